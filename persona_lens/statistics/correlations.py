"""Correlations and cosines: their interval on Fisher's z scale, and under many bootstrap weights at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

from persona_lens.statistics.resampling import LEVEL, Interval

_LIMIT = 1 - 1e-12


def to_z(values: Float[np.ndarray, "*values"] | float) -> Float[np.ndarray, "*values"]:
    """Fisher's z of correlations or cosines: arctanh, finite even of one of 1; `np.tanh` is the way back.

    Examples:
        >>> to_z(np.array([0.0, 1.0])).round(1)
        array([ 0. , 14.2])
    """
    return np.arctanh(np.clip(values, -_LIMIT, _LIMIT))


def fisher_interval(
    value: float, draws: Float[np.ndarray, " draw"], level: float = LEVEL
) -> Interval:
    """A cosine give or take its bootstrap standard errors, on the scale on which those of cosines are alike.

    Percentiles would not do: a resample repeats roles, so that it has fewer of them, which lowers its cosine.

    Args:
        value: The cosine or correlation.
        draws: The same in bootstrap samples; those that are NaN do not count.
        level: Share of the interval.

    Returns:
        Two NaN where the value or all draws but one are unknown.

    Examples:
        >>> low, high = fisher_interval(0.5, np.array([0.3, 0.4, 0.5]))
        >>> round(low, 2), round(high, 2)
        (0.3, 0.66)
    """
    known = draws[np.isfinite(draws)]
    if len(known) < 2 or not np.isfinite(value):
        return Interval(np.nan, np.nan)
    centre = to_z(value)
    reach = norm.ppf((1 + level) / 2) * to_z(known).std(ddof=1)
    return Interval(float(np.tanh(centre - reach)), float(np.tanh(centre + reach)))


def standardised(columns: Float[np.ndarray, " *columns"]) -> Float[np.ndarray, " *columns"]:
    """Columns (along the first dimension) of mean zero and length one, so that products are correlations.

    Constant ones become zero.
    """
    centred = columns - columns.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=0)
    return centred / np.where(lengths <= 1e-12 * np.abs(columns).max(initial=0.0), np.inf, lengths)


def weighted_correlations(
    x: Float[np.ndarray, "unit column"],
    y: Float[np.ndarray, "unit column"],
    counts: Float[np.ndarray, "draw unit"],
) -> Float[np.ndarray, "draw column"]:
    """Pearson correlation of each pair of columns in every bootstrap sample; NaN where one is constant.

    Examples:
        >>> x = np.arange(4.0)[:, None]
        >>> weighted_correlations(x, 1 - x, np.ones((1, 4)))
        array([[-1.]])
    """
    weights = counts / counts.sum(axis=1, keepdims=True)
    x, y = standardised(x), standardised(y)  # correlations stay, rounding does less harm
    mean_x, mean_y = weights @ x, weights @ y
    covariance = weights @ (x * y) - mean_x * mean_y
    variances = (weights @ x**2 - mean_x**2) * (weights @ y**2 - mean_y**2)
    known = variances > 1e-20
    return np.where(known, covariance / np.sqrt(np.where(known, variances, 1.0)), np.nan)
