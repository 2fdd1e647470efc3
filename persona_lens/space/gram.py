"""Axis and first component under reweighted roles, without going back to d_model dimensions.

The axis, the roles and every component lie in the span of the default and role vectors. With their Gram matrix
K, all resamples of a layer (bootstrap, split halves, exchanged default) cost n_vectors² each instead of
n_vectors x d_model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

_MAX_ITERATIONS = 60
_TOLERANCE = 1e-7


@dataclass(frozen=True, eq=False)
class Resample:
    """Axis and first principal component of resamples, as coefficients over the rows of K.

    Attributes:
        axis: Coefficients of target minus weighted mean of the roles.
        pc1: Coefficients of the unit first component, its sign along the axis.
    """

    axis: Float[np.ndarray, "row resample"]
    pc1: Float[np.ndarray, "row resample"]


def resample(
    gram: Float[np.ndarray, "row row"],
    weights: Float[np.ndarray, "resample row"],
    targets: Int[np.ndarray, " resample"],
) -> Resample:
    """Axis and PC1 when the roles count with `weights` and row `targets` stands for the default.

    Args:
        gram: K of the default and role vectors.
        weights: Non-negative; normalised to sum one in each resample.
        targets: The row that plays the default in each resample.
    """
    n_rows = len(gram)
    w = (weights / weights.sum(axis=1, keepdims=True)).T
    axis = np.eye(n_rows)[:, targets] - w
    root = np.sqrt(w)

    def covariance(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        coefficients = root * x
        coefficients = coefficients - w * coefficients.sum(axis=0)
        image = gram @ coefficients
        return root * (image - (w * image).sum(axis=0)), coefficients

    x = root * (gram @ axis)  # the axis itself is a good first guess at PC1
    x = _normalised(x - root * (root * x).sum(axis=0))
    for _ in range(_MAX_ITERATIONS):
        image, _ = covariance(x)
        image = _normalised(image)
        moved = np.abs(1 - np.abs((image * x).sum(axis=0))).max()
        x = image
        if moved < _TOLERANCE**2:
            break
    _, pc1 = covariance(x)
    pc1 = pc1 / _norms(gram, pc1)
    signs = np.sign((pc1 * (gram @ axis)).sum(axis=0))
    return Resample(axis=axis, pc1=pc1 * np.where(signs == 0, 1.0, signs))


def cosines(
    gram: Float[np.ndarray, "row row"],
    a: Float[np.ndarray, "row resample"],
    b: Float[np.ndarray, "row resample"],
) -> Float[np.ndarray, " resample"]:
    """Cosine of each pair of combinations of the rows of K.

    Examples:
        >>> cosines(np.eye(2), np.array([[1.0], [0.0]]), np.array([[1.0], [1.0]])).round(3)
        array([0.707])
    """
    return (a * (gram @ b)).sum(axis=0) / (_norms(gram, a) * _norms(gram, b))


def _norms(gram: np.ndarray, a: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum((a * (gram @ a)).sum(axis=0), np.finfo(float).tiny))


def _normalised(x: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(x, axis=0)
    return x / np.where(norms == 0, 1.0, norms)
