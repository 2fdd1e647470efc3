"""What every measure gives: its value, what it is under resampled roles, and what it is by chance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

from persona_lens.statistics import Interval, interval_of
from persona_lens.statistics.resampling import LEVEL


class Estimate(NamedTuple):
    """One number with its uncertainty and its null.

    Attributes:
        value: The measure.
        interval: 95 % interval over roles (or traits).
        null: The same measure where chance is at work.
    """

    value: float
    interval: Interval
    null: Float[np.ndarray, " draw"]


def sign_free(
    value: float,
    draws: Float[np.ndarray, " draw"],
    null: Float[np.ndarray, " permutation"],
) -> Estimate:
    """The size of a correlation whose sign means nothing, as that of a component.

    Draws count in the direction of the value: folding them would lift the interval of no correlation off zero.
    """
    low, high = interval_of(draws if value >= 0 else -draws)
    return Estimate(abs(value), Interval(max(low, 0.0), high), np.abs(null))


def fisher_interval(value: float, draws: Float[np.ndarray, " draw"]) -> Interval:
    """The cosine give or take 1.96 standard errors, on the scale on which those of cosines are alike.

    For directions: a resample repeats roles, which lowers its cosine, so that percentiles would lie too low.

    Examples:
        >>> low, high = fisher_interval(0.5, np.array([0.3, 0.4, 0.5]))
        >>> round(low, 2), round(high, 2)
        (0.3, 0.66)
    """
    limit = 1 - 1e-12
    error = np.arctanh(np.clip(draws, -limit, limit)).std(ddof=1)
    centre = np.arctanh(np.clip(value, -limit, limit))
    reach = norm.ppf((1 + LEVEL) / 2) * error
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
