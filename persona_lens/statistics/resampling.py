"""Bootstrap by counts: how often each unit is drawn, so that one matrix product gives all resamples at once."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import norm
from scipy.stats import t as student_t

N_DRAWS = 200
LEVEL = 0.95


class Interval(NamedTuple):
    """The two ends of an interval."""

    low: float
    high: float


def draw_counts(
    n_units: int, n_draws: int, rng: np.random.Generator
) -> Float[np.ndarray, "draw unit"]:
    """How often each unit occurs in each bootstrap sample of as many units.

    Examples:
        >>> draw_counts(4, 2, np.random.default_rng(0)).sum(axis=1)
        array([4., 4.])
    """
    return rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=n_draws).astype(float)


def draw_rows(n_units: int, n_draws: int, rng: np.random.Generator) -> Int[np.ndarray, "draw unit"]:
    """Which unit stands at each place of each bootstrap sample of as many units; for what no weights can express.

    Examples:
        >>> draw_rows(4, 2, np.random.default_rng(0)).shape
        (2, 4)
    """
    return rng.integers(max(n_units, 1), size=(n_draws, n_units))


def even_splits(n_folds: int) -> Bool[np.ndarray, "split fold"]:
    """Which folds make the first half, in every even split once; of an odd number the second has one more.

    Examples:
        >>> even_splits(2)
        array([[ True, False]])
        >>> len(even_splits(5)), len(even_splits(6))
        (10, 10)
    """
    halves = combinations(range(n_folds), n_folds // 2)
    chosen = [half for half in halves if n_folds % 2 or 0 in half]
    splits = np.zeros((len(chosen), n_folds), dtype=bool)
    for split, half in zip(splits, chosen, strict=True):
        split[list(half)] = True
    return splits


def crossed_means(
    scores: Float[np.ndarray, "unit question ..."],
    *,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> Float[np.ndarray, "draw ..."]:
    """Bootstrap samples of the mean score, with units (roles, traits) and questions drawn anew, both.

    Units share their questions, so that resampling the cells alone would give intervals that are too narrow
    (the pigeonhole bootstrap; Owen 2007, doi:10.1214/07-AOAS122).

    Args:
        scores: NaN where a unit has no score for a question.
        n_draws: Bootstrap samples.
        seed: Of the samples.

    Returns:
        The mean of each sample; NaN where a sample holds no score at all.

    Examples:
        >>> scores = np.random.default_rng(0).normal(1.0, 0.1, size=(30, 6))
        >>> interval_of(crossed_means(scores)).low > 0.9
        True
    """
    rng = np.random.default_rng(seed)
    units = draw_counts(scores.shape[0], n_draws, rng)
    questions = draw_counts(scores.shape[1], n_draws, rng)
    known = np.isfinite(scores)

    def weighted(values: np.ndarray) -> np.ndarray:
        by_question = np.tensordot(units, values, axes=1)  # draw, question, rest
        return np.einsum("dq,dq...->d...", questions, by_question, optimize=True)

    totals, weights = weighted(np.where(known, scores, 0.0)), weighted(known.astype(float))
    return np.where(weights > 0, totals / np.where(weights > 0, weights, 1.0), np.nan)


def interval_of(draws: Float[np.ndarray, " draw"], level: float = LEVEL) -> Interval:
    """The percentiles that hold the middle `level` of the draws; NaN where none is known.

    Examples:
        >>> low, high = interval_of(np.linspace(0, 1, 101), level=0.9)
        >>> round(low, 3), round(high, 3)
        (0.05, 0.95)
    """
    known = np.asarray(draws)[np.isfinite(draws)]
    if not len(known):
        return Interval(np.nan, np.nan)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def known_mean(
    values: Float[np.ndarray, " *batch"], axis: int | tuple[int, ...]
) -> Float[np.ndarray, " *rest"]:
    """Mean of what is known along an axis or several, NaN where nothing is.

    Examples:
        >>> known_mean(np.array([[1.0, np.nan], [np.nan, np.nan]]), axis=1)
        array([ 1., nan])
    """
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def widened(
    draws: Float[np.ndarray, "draw ..."],
    n_folds: int,
) -> Float[np.ndarray, "draw ..."]:
    """Draws of few folds, spread out about their median as far as so few can be trusted.

    As Student's t is wider than the normal distribution, and as deviations from a mean of n are too small: with
    six folds by 1.4, with two by 9. With a single one nothing is drawn, and nothing changed.

    Examples:
        >>> widened(np.array([[-1.0], [0.0], [1.0]]), 6).ravel().round(2)
        array([-1.44,  0.  ,  1.44])
    """
    if n_folds < 2:
        return draws
    factor = student_t.ppf(0.975, n_folds - 1) / norm.ppf(0.975) * np.sqrt(n_folds / (n_folds - 1))
    known = np.isfinite(draws).any(axis=0)
    middle = np.full(draws.shape[1:], np.nan)
    middle[known] = np.nanmedian(draws[:, known], axis=0)
    return middle + factor * (draws - middle)
