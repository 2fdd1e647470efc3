"""Axis and first component under reweighted roles, without going back to d_model dimensions.

The axis, the roles and every component lie in the span of the default and role vectors. Once their Gram matrix K
is known, every resample of a layer (bootstrap, split halves, exchanged default) costs a few products with K,
all resamples at once.

First components are sought in two steps. Among the leading components of all roles, the covariance of a resample
is a small matrix, and those of all resamples are one product. From what is found there, Krylov steps with K itself
go on, in single precision, since only a direction is wanted of them, and go on longer where it is not found yet.
Numbers are made of products in double precision (`benchmarks/fit_at_size.py` shows how exact they are).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from persona_lens.statistics.pca import Spectrum

KRYLOV_STEPS = (4, 8, 16)
"""In all resamples first, then in those whose component is not yet one."""

LEADING = 12
"""Components of all roles among which those of resamples are sought first."""

_CONVERGED = 3e-4
"""How far the covariance of its resample may move a component off its direction, relative to its variance."""

_ROUNDING = 1e-6
"""What is left of a vector in single precision, relative to it, is nothing from here on."""


@dataclass(frozen=True, eq=False)
class Combinations:
    """Combinations of the default and role vectors, one a resample, and their inner products with these."""

    rows: Float[np.ndarray, "row resample"]
    inner: Float[np.ndarray, "row resample"]

    @property
    def norms(self) -> Float[np.ndarray, " resample"]:
        """Lengths."""
        return np.sqrt(np.maximum(self.with_(self), np.finfo(float).tiny))

    def with_(self, other: Combinations) -> Float[np.ndarray, " resample"]:
        """Inner product with another, resample by resample."""
        return np.einsum("nr,nr->r", self.rows, other.inner)

    def scaled(self, factor: Float[np.ndarray, " resample"]) -> Combinations:
        """Each times a number."""
        return Combinations(self.rows * factor, self.inner * factor)


@dataclass(frozen=True, eq=False)
class Resamples:
    """Axes and first components of resamples.

    Attributes:
        axes: Target minus weighted mean of the roles.
        pc1: First components, of unit length, each pointing along its axis.
    """

    axes: Combinations
    pc1: Combinations


class GramGeometry:
    """The default (row 0) and the roles of one layer, known by their inner products.

    Args:
        gram: K of the default and role vectors, roles centred on their mean.
        spectrum: Of the roles' part of K, where the search for the components of resamples starts.
        on_axis: Which role vectors the axis is made of; PCA is of all.
    """

    def __init__(
        self,
        gram: Float[np.ndarray, "row row"],
        spectrum: Spectrum,
        on_axis: Bool[np.ndarray, " role"],
    ) -> None:
        self.gram = gram
        self.on_axis = on_axis
        # Where the default is given weight, it stands among the roles in the place of one.
        self._far_end = np.concatenate([[True], on_axis])[:, None]
        largest = max(float(np.diagonal(gram).max()), np.finfo(float).tiny)
        self._single = (gram / largest).astype(np.float32)
        self._scores = self._leading_scores(spectrum) / np.sqrt(largest)

    def _leading_scores(self, spectrum: Spectrum) -> Float[np.ndarray, "row leading"]:
        """Coordinates of the rows along the leading components."""
        vectors, roots = spectrum.vectors[:, :LEADING], np.sqrt(spectrum.squares[:LEADING])
        sound = roots > 1e-6 * roots.max(initial=np.finfo(float).tiny)
        return self.gram[:, 1:] @ vectors[:, sound] / roots[sound]

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
        rows = far_end / -far_end.sum(axis=0)
        rows[targets, np.arange(len(targets))] += 1.0
        axes = self._combined(rows)
        pc1 = self._combined(self._first_components(w.astype(np.float32)).astype(np.float64))
        along = np.where(pc1.with_(axes) < 0, -1.0, 1.0)
        return Resamples(axes, pc1.scaled(along / pc1.norms))

    def _combined(self, rows: Float[np.ndarray, "row resample"]) -> Combinations:
        return Combinations(rows, self.gram @ rows)

    @staticmethod
    def cosines(first: Combinations, second: Combinations) -> Float[np.ndarray, " resample"]:
        """Cosine of each pair of combinations of the rows."""
        return first.with_(second) / (first.norms * second.norms)

    def _first_components(
        self, w: Float[np.ndarray, "row resample"]
    ) -> Float[np.ndarray, "row resample"]:
        """Coefficients of the first components.

        With D = diag(w) and H the centring on the weighted mean, PC1 is the first eigenvector of
        D^(1/2) H K H' D^(1/2), carried back to the rows by H' D^(1/2).
        """
        found = _centred(self._along_first(w), w, np.sqrt(w))
        sought = np.arange(w.shape[1])
        for steps in KRYLOV_STEPS:
            weights = w[:, sought]
            better, away = self._krylov(found[:, sought], weights, steps)
            found[:, sought] = better
            sought = sought[away > _CONVERGED]
            if not len(sought):
                break
        return _carried_back(found, w, np.sqrt(w))

    def _krylov(
        self,
        start: Float[np.ndarray, "row resample"],
        w: Float[np.ndarray, "row resample"],
        steps: int,
    ) -> tuple[Float[np.ndarray, "row resample"], Float[np.ndarray, " resample"]]:
        """The best of a few Lanczos steps in all resamples at once, by Rayleigh-Ritz; how far it is moved off."""
        root = np.sqrt(w)
        basis, images = [_unit(start)], []
        for step in range(steps):
            images.append(_centred(self._single @ _carried_back(basis[-1], w, root), w, root))
            if step == steps - 1:
                break
            remainder = images[-1].copy()
            for vector in (
                basis * 2
            ):  # twice, or what is left of a converged start would not be orthogonal
                remainder -= vector * _inner(vector, remainder)
            basis.append(_unit(remainder, at_least=_ROUNDING * _norms(images[-1])))
        small = np.empty((w.shape[1], steps, steps))
        for i, vector in enumerate(basis):
            for j, image in enumerate(images):
                small[:, i, j] = _inner(vector, image)
        values, vectors = np.linalg.eigh((small + small.transpose(0, 2, 1)) / 2)
        shares = vectors[:, :, -1].T.astype(np.float32)
        largest = np.maximum(values[:, -1], np.finfo(np.float32).tiny).astype(np.float32)
        best, moved = np.zeros_like(start), np.zeros_like(start)
        for share, vector, image in zip(shares, basis, images, strict=True):
            best += vector * share
            moved += image * share
        moved /= largest
        return best, _norms(moved - best)

    def _along_first(
        self, w: Float[np.ndarray, "row resample"]
    ) -> Float[np.ndarray, "row resample"]:
        """Scores on the first component of each resample, sought among the leading ones of all roles."""
        scores = self._scores.astype(np.float32)
        n_rows, k = scores.shape
        if not k:  # all roles are one and the same
            return np.zeros((n_rows, w.shape[1]), np.float32)
        products = (scores[:, :, None] * scores[:, None, :]).reshape(n_rows, k * k)
        means = w.T @ scores
        covariances = (w.T @ products).reshape(-1, k, k) - means[:, :, None] * means[:, None, :]
        first = np.linalg.eigh(covariances.astype(np.float64)).eigenvectors[:, :, -1]
        return scores @ first.T.astype(np.float32)


def _carried_back(x: np.ndarray, w: np.ndarray, root: np.ndarray) -> np.ndarray:
    """H' D^(1/2) x."""
    coefficients = root * x
    coefficients -= w * coefficients.sum(axis=0)
    return coefficients


def _centred(x: np.ndarray, w: np.ndarray, root: np.ndarray) -> np.ndarray:
    """D^(1/2) H x."""
    return root * (x - _inner(w, x))


def _inner(
    one: Float[np.ndarray, "row resample"], other: Float[np.ndarray, "row resample"]
) -> Float[np.ndarray, " resample"]:
    return np.einsum("nr,nr->r", one, other)


def _norms(x: Float[np.ndarray, "row resample"]) -> Float[np.ndarray, " resample"]:
    return np.sqrt(_inner(x, x))


def _unit(
    x: Float[np.ndarray, "row resample"], at_least: float | np.ndarray = 0.0
) -> Float[np.ndarray, "row resample"]:
    """Columns of length one; what is not longer than `at_least` is rounding and becomes zero."""
    norms = _norms(x)
    return x / np.where(norms <= at_least, np.inf, norms)
