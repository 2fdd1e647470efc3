"""Procrustes alignment: how well one space, turned and rescaled, foretells units it was not fitted on.

Both sets of vectors are reduced to their leading components, so that models of different width can be laid on
each other (Schönemann 1966, doi:10.1007/BF02289451). The reduction sees all units, but never which unit of one
space belongs to which of the other; only the rotation learns that, and from the training folds alone.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from persona_lens.analysis.comparison.estimates import Estimate
from persona_lens.statistics import interval_of
from persona_lens.statistics.pca import Spectrum

MOST_COMPONENTS = 10
N_FOLDS = 5


def reduced(
    vectors: Float[np.ndarray, "unit d_model"],
) -> Float[np.ndarray, "unit component"]:
    """Scores on the leading components: ten, or a quarter as many as there are units."""
    kept = max(1, min(MOST_COMPONENTS, len(vectors) // 4, vectors.shape[1]))
    centred = vectors - vectors.mean(axis=0)
    spectrum = Spectrum.of_gram(centred @ centred.T, vectors.shape[1])
    return spectrum.vectors[:, :kept] * np.sqrt(spectrum.squares[:kept])


def held_out_r2(
    a: Float[np.ndarray, "unit component"],
    b: Float[np.ndarray, "unit component"],
    counts: Float[np.ndarray, "draw unit"],
    orders: Int[np.ndarray, "permutation unit"],
    folds: Int[np.ndarray, " unit"],
) -> Estimate:
    """Held-out R² of rotation, scale and shift, the mean of both ways (a to b, b to a).

    One is perfect; zero is as good as the mean of the training units; below zero is worse than that.

    Args:
        a, b: Scores of the same units on the leading components of each space.
        counts: Bootstrap samples of the units; the rotations stay, their held-out errors are drawn anew.
        orders: Permutations of the units of `b`; the rotations are fitted anew.
        folds: The fold in which each unit is held out.
    """
    kept = min(a.shape[1], b.shape[1])
    # Of the same overall size, so that sums of squares of both do not meet at different scales.
    a, b = (scores[:, :kept] / np.linalg.norm(scores[:, :kept]) for scores in (a, b))
    errors = _held_out_errors(a, b[None], folds)[:, 0]
    null = _held_out_errors(a, b[orders], folds)
    return Estimate(
        float(_r2(errors.sum(axis=-1))),
        interval_of(_r2(errors @ counts.T)),
        _r2(null.sum(axis=-1)),
    )


def _r2(sums: Float[np.ndarray, "4 ..."]) -> Float[np.ndarray, " *draw"]:
    """From sums of squared errors and squared deviations, of b and of a."""
    return 1 - (sums[0] / sums[1] + sums[2] / sums[3]) / 2


def _held_out_errors(
    a: Float[np.ndarray, "unit component"],
    b: Float[np.ndarray, "draw unit component"],
    folds: Int[np.ndarray, " unit"],
) -> Float[np.ndarray, "part draw unit"]:
    """Squared error and squared deviation from the training mean of each unit when held out, of b and of a."""
    found = np.empty((4, *b.shape[:2]))
    for fold in np.unique(folds):
        test, train = folds == fold, folds != fold
        mean_a, mean_b = a[train].mean(axis=0), b[:, train].mean(axis=1, keepdims=True)
        from_a, from_b = a - mean_a, b - mean_b
        cross = np.einsum("uj,duk->djk", from_a[train], from_b[:, train], optimize=True)
        left, singular, right = np.linalg.svd(cross)
        rotation = left @ right
        shrink = singular.sum(axis=1)[:, None, None]
        size_a = (from_a[train] ** 2).sum()
        size_b = (from_b[:, train] ** 2).sum(axis=(1, 2))[:, None, None]
        b_error = from_b[:, test] - shrink / size_a * (from_a[test] @ rotation)
        a_error = from_a[test] - shrink / size_b * (from_b[:, test] @ rotation.transpose(0, 2, 1))
        parts = (b_error, from_b[:, test], a_error, np.broadcast_to(from_a[test], a_error.shape))
        found[:, :, test] = [(part**2).sum(axis=-1) for part in parts]
    return found
