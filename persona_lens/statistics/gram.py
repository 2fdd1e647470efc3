"""Axis and first component under reweighted roles, without going back to d_model dimensions.

The axis, the roles and every component lie in the span of the default and role vectors. Once their Gram matrix K
is known, every resample of a layer (bootstrap, split halves, exchanged default) costs a few products with K,
all resamples at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

KRYLOV_STEPS = 8


@dataclass(frozen=True, eq=False)
class Resamples:
    """Axes and first components of resamples, as coefficients over the default and role vectors.

    Attributes:
        axes: Target minus weighted mean of the roles.
        pc1: First components, of unit length, each pointing along its axis.
    """

    axes: Float[np.ndarray, "row resample"]
    pc1: Float[np.ndarray, "row resample"]


class GramGeometry:
    """The default (row 0) and the roles of one layer, known by their inner products.

    Args:
        gram: K of the default and role vectors, roles centred on their mean.
        pc1: First eigenvector of the roles' part of K, where the search for those of resamples starts.
        on_axis: Which role vectors the axis is made of; PCA is of all.
    """

    def __init__(
        self,
        gram: Float[np.ndarray, "row row"],
        pc1: Float[np.ndarray, " role"],
        on_axis: Bool[np.ndarray, " role"],
    ) -> None:
        self.gram = gram
        self.on_axis = on_axis
        # Where the default is given weight, it stands among the roles in the place of one.
        self._far_end = np.concatenate([[True], on_axis])[:, None]
        self._start = np.concatenate([[0.0], pc1])

    def resample(
        self, weights: Float[np.ndarray, "resample row"], targets: Int[np.ndarray, " resample"]
    ) -> Resamples:
        """Axis and PC1 when the rows count with `weights` as roles and `targets` stand for the default.

        Args:
            weights: Non-negative; normalised to sum one in each resample.
            targets: The row that plays the default in each resample.
        """
        w = (weights / weights.sum(axis=1, keepdims=True)).T
        far_end = w * self._far_end
        axes = np.eye(len(self.gram))[:, targets] - far_end / far_end.sum(axis=0)
        pc1 = self._first_components(w)
        pc1 = pc1 / self._norms(pc1)
        along = np.sign(self._inner(pc1, axes))
        return Resamples(axes, pc1 * np.where(along == 0, 1.0, along))

    def cosines(
        self, first: Float[np.ndarray, "row resample"], second: Float[np.ndarray, "row resample"]
    ) -> Float[np.ndarray, " resample"]:
        """Cosine of each pair of combinations of the rows."""
        return self._inner(first, second) / (self._norms(first) * self._norms(second))

    def _first_components(
        self, w: Float[np.ndarray, "row resample"]
    ) -> Float[np.ndarray, "row resample"]:
        """Coefficients of the first components: Lanczos steps in all resamples at once, then Rayleigh-Ritz.

        With D = diag(w) and H the centring on the weighted mean, PC1 is the first eigenvector of
        D^(1/2) H K H' D^(1/2), carried back to the rows by H' D^(1/2).
        """
        root = np.sqrt(w)

        def carried_back(x: np.ndarray) -> np.ndarray:
            coefficients = root * x
            return coefficients - w * coefficients.sum(axis=0)

        def image_of(x: np.ndarray) -> np.ndarray:
            image = self.gram @ carried_back(x)
            return root * (image - (w * image).sum(axis=0))

        basis, images = [_unit(image_of(root * self._start[:, None]))], []
        for step in range(KRYLOV_STEPS):
            images.append(image_of(basis[-1]))
            remainder = images[-1]
            for vector in basis[max(0, step - 1) :]:
                remainder = remainder - vector * (vector * remainder).sum(axis=0)
            basis.append(_unit(remainder, at_least=1e-6 * np.linalg.norm(images[-1], axis=0)))
        steps = len(images)
        small = np.einsum("inr,jnr->rij", np.stack(basis[:steps]), np.stack(images), optimize=True)
        leading = np.linalg.eigh((small + small.transpose(0, 2, 1)) / 2).eigenvectors[:, :, -1]
        return carried_back(
            np.einsum("ri,inr->nr", leading, np.stack(basis[:steps]), optimize=True)
        )

    def _inner(self, first: np.ndarray, second: np.ndarray) -> Float[np.ndarray, " resample"]:
        return (first * (self.gram @ second)).sum(axis=0)

    def _norms(self, rows: np.ndarray) -> Float[np.ndarray, " resample"]:
        return np.sqrt(np.maximum(self._inner(rows, rows), np.finfo(float).tiny))


def _unit(
    x: Float[np.ndarray, "row resample"], at_least: float | np.ndarray = 0.0
) -> Float[np.ndarray, "row resample"]:
    """Columns of length one; what is not longer than `at_least` is rounding and becomes zero."""
    norms = np.linalg.norm(x, axis=0)
    return x / np.where(norms <= at_least, np.inf, norms)
