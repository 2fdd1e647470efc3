"""Axis and first component under reweighted roles, without going back to d_model dimensions.

The axis, the roles and every component lie in the span of the default and role vectors. Once their Gram matrix K
is known, every resample of a layer (bootstrap, split halves, exchanged default) is a reweighting in a few dozen
coordinates: those of the leading components, which hold all of PC1 that a reweighting can move it to. With no more
than `COORDINATES` roles nothing is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from persona_lens.space.pca import unit

COORDINATES = 48
_MAX_ITERATIONS = 100
_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class Resamples:
    """Axes and first components of resamples.

    Attributes:
        axes: Coefficients over the default and role vectors: target minus weighted mean of the roles.
        axis_coordinates: The same, in the leading coordinates.
        pc1: Unit first components in the leading coordinates, each pointing along its axis.
    """

    axes: Float[np.ndarray, "resample row"]
    axis_coordinates: Float[np.ndarray, "resample coordinate"]
    pc1: Float[np.ndarray, "resample coordinate"]


class GramGeometry:
    """The default (row 0) and the roles of one layer, known by their inner products.

    Args:
        gram: K of the default and role vectors, roles centred on their mean.
        components: Eigenvectors of the roles' part of K, leading first.
        variances: Their eigenvalues.
    """

    def __init__(
        self,
        gram: Float[np.ndarray, "row row"],
        components: Float[np.ndarray, "role component"],
        variances: Float[np.ndarray, " component"],
    ) -> None:
        self.gram = gram
        lengths = np.sqrt(np.maximum(variances[:COORDINATES], 0.0))
        leading = components[:, :COORDINATES]
        safe = np.where(lengths > 0, lengths, np.inf)
        default = gram[0, 1:] @ leading / safe
        # What of the default lies outside the leading components is one more coordinate, at right angles to them.
        outside = np.sqrt(max(0.0, gram[0, 0] - default @ default))
        self.coordinates = np.zeros((len(gram), len(lengths) + 1))
        self.coordinates[0] = [*default, outside]
        self.coordinates[1:, :-1] = leading * lengths

    def resample(
        self, weights: Float[np.ndarray, "resample row"], targets: Int[np.ndarray, " resample"]
    ) -> Resamples:
        """Axis and PC1 when the rows count with `weights` as roles and `targets` stand for the default.

        Args:
            weights: Non-negative; normalised to sum one in each resample.
            targets: The row that plays the default in each resample.
        """
        w = weights / weights.sum(axis=1, keepdims=True)
        axes = np.eye(len(self.gram))[targets] - w
        axis_coordinates = axes @ self.coordinates
        pc1 = _leading_eigenvectors(self._covariances(w), start=axis_coordinates)
        along = np.sign((pc1 * axis_coordinates).sum(axis=1, keepdims=True))
        return Resamples(axes, axis_coordinates, pc1 * np.where(along == 0, 1.0, along))

    def _covariances(
        self, w: Float[np.ndarray, "resample row"]
    ) -> Float[np.ndarray, "resample coordinate coordinate"]:
        size = self.coordinates.shape[1]
        upper = np.triu_indices(size)
        products = self.coordinates[:, upper[0]] * self.coordinates[:, upper[1]]
        means = w @ self.coordinates
        values = w @ products - means[:, upper[0]] * means[:, upper[1]]
        matrices = np.empty((len(w), size, size))
        matrices[:, upper[0], upper[1]] = values
        matrices[:, upper[1], upper[0]] = values
        return matrices

    def axis_norms(self, axes: Float[np.ndarray, "resample row"]) -> Float[np.ndarray, " resample"]:
        """Length of each axis."""
        return np.sqrt(np.maximum((axes @ self.gram * axes).sum(axis=1), np.finfo(float).tiny))

    def axis_cosines(
        self, first: Float[np.ndarray, "resample row"], second: Float[np.ndarray, "resample row"]
    ) -> Float[np.ndarray, " resample"]:
        """Cosine of each pair of axes."""
        inner = (first @ self.gram * second).sum(axis=1)
        return inner / (self.axis_norms(first) * self.axis_norms(second))

    def pc1_axis_cosines(self, resamples: Resamples) -> Float[np.ndarray, " resample"]:
        """cos(PC1, axis) of each resample; not negative, for PC1 points along the axis."""
        inner = (resamples.pc1 * resamples.axis_coordinates).sum(axis=1)
        return inner / self.axis_norms(resamples.axes)


def _leading_eigenvectors(
    matrices: Float[np.ndarray, "resample size size"], start: Float[np.ndarray, "resample size"]
) -> Float[np.ndarray, "resample size"]:
    x = unit(start)
    for _ in range(_MAX_ITERATIONS):
        image = unit((matrices @ x[:, :, None])[:, :, 0])
        moved = 1 - np.abs((image * x).sum(axis=1)).min()
        x = image
        if moved < _TOLERANCE:
            break
    return x
