"""Measures of pairs: whether what is alike in one space is alike in the other.

Both are correlations of two unit-by-unit matrices over pairs of different units, so one code does for both:
*representational similarity* of cosines (Kriegeskorte et al. 2008, doi:10.3389/neuro.06.004.2008), and *linear
CKA* of centred inner products (Kornblith et al. 2019, arXiv:1905.00414) without its bias: the self-pairs are
left out and the matrix is centred accordingly (Song et al. 2012), so that chance gives zero however few the
units are for the width.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from persona_lens.analysis.comparison.estimates import Estimate
from persona_lens.statistics import interval_of
from persona_lens.statistics.pca import unit


def cosines(vectors: Float[np.ndarray, "unit d_model"]) -> Float[np.ndarray, "unit unit"]:
    """Cosine of every pair."""
    units = unit(vectors)
    return units @ units.T


def centred_gram(vectors: Float[np.ndarray, "unit d_model"]) -> Float[np.ndarray, "unit unit"]:
    """Inner products, shifted so that those of each unit with all others sum to zero; zero on the diagonal.

    Examples:
        >>> gram = centred_gram(np.random.default_rng(0).normal(size=(5, 3)))
        >>> bool(np.allclose(gram.sum(axis=0), 0.0))
        True
    """
    n = len(vectors)
    centred = vectors - vectors.mean(axis=0)
    gram = centred @ centred.T
    np.fill_diagonal(gram, 0.0)
    sums = gram.sum(axis=0) / (n - 2)
    gram = gram - sums - sums[:, None] + sums.sum() / (n - 1)
    np.fill_diagonal(gram, 0.0)
    return gram


def pair_correlations(
    a: Float[np.ndarray, "layer_a unit unit"],
    b: Float[np.ndarray, "layer_b unit unit"],
    orders: Int[np.ndarray, "permutation unit"],
) -> tuple[Float[np.ndarray, "layer_a layer_b"], Float[np.ndarray, "permutation layer_a layer_b"]]:
    """Correlation over pairs of units of every layer of one space with every layer of the other.

    Args:
        a, b: Symmetric matrices of the same units.
        orders: Permutations of the units.

    Returns:
        The correlations, and the same with the units of `b` permuted, rows and columns alike (Mantel's test).
    """
    n = a.shape[1]
    first, second = np.triu_indices(n, k=1)
    # Single precision is plenty for correlations, and half the memory to move.
    over_pairs = [_over_pairs(matrix, first, second) for matrix in (a, b)]
    every_b = np.zeros((len(b), n, n), dtype=np.float32)
    every_b[:, first, second] = every_b[:, second, first] = over_pairs[1]
    every_b = every_b.reshape(len(b), -1)
    null = np.stack(
        [
            over_pairs[0] @ np.take(every_b, order[first] * n + order[second], axis=1).T
            for order in orders
        ]
    )
    return (over_pairs[0] @ over_pairs[1].T).astype(float), null.astype(float)


def _over_pairs(
    matrices: Float[np.ndarray, "layer unit unit"], first: np.ndarray, second: np.ndarray
) -> Float[np.ndarray, "layer pair"]:
    values = matrices[:, first, second].astype(np.float64)
    values -= values.mean(axis=1, keepdims=True)
    return unit(values).astype(np.float32)


def pair_estimate(
    a: Float[np.ndarray, "unit unit"],
    b: Float[np.ndarray, "unit unit"],
    counts: Float[np.ndarray, "draw unit"],
    null: Float[np.ndarray, " permutation"],
) -> Estimate:
    """Correlation of two matrices over pairs of units, with the interval of resampled units.

    A unit drawn twice makes a pair with itself, whose cosine is one in both spaces; such pairs do not count.

    Args:
        a, b: Symmetric matrices of the same units.
        counts: Bootstrap samples of the units.
        null: The correlation under permutations, from `pair_correlations`.
    """
    everyone = np.ones((1, len(a)))
    return Estimate(float(_weighted(a, b, everyone)[0]), interval_of(_weighted(a, b, counts)), null)


def _weighted(
    a: np.ndarray, b: np.ndarray, counts: Float[np.ndarray, "draw unit"]
) -> Float[np.ndarray, " draw"]:
    others = 1.0 - np.eye(len(a))
    a = (a - (a * others).sum() / others.sum()) * others
    b = (b - (b * others).sum() / others.sum()) * others

    def mean(matrix: np.ndarray) -> np.ndarray:
        return ((counts @ matrix) * counts).sum(axis=1) / pairs

    pairs = ((counts @ others) * counts).sum(axis=1)
    mean_a, mean_b = mean(a), mean(b)
    variances = (mean(a**2) - mean_a**2) * (mean(b**2) - mean_b**2)
    return (mean(a * b) - mean_a * mean_b) / np.sqrt(np.maximum(variances, np.finfo(float).tiny))
