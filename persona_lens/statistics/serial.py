"""Means of values that depend on those before them, such as the tokens of a reply."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student_t

LEVEL = 0.95
MOST_CORRELATED = 0.95
"""No stretch is taken for more correlated than this, where its mean would tell nothing at all."""


def effective_count(values: Float[np.ndarray, "value ..."]) -> Float[np.ndarray, ...]:
    """How many independent values tell as much of the mean as these do.

    A first-order autoregression: n (1 - r) / (1 + r), with the lag-one correlation r, which short stretches
    underestimate, corrected by (1 + 3 r) / n (Kendall 1954). Negative correlation is not made use of.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> bool(effective_count(rng.normal(size=400)) > 300)
        True
        >>> bool(effective_count(rng.normal(size=400).cumsum()) < 20)
        True
    """
    n = len(values)
    centred = values - values.mean(axis=0)
    squares = (centred**2).sum(axis=0)
    lagged = (centred[1:] * centred[:-1]).sum(axis=0)
    correlation = np.divide(lagged, squares, out=np.zeros_like(squares), where=squares > 0)
    corrected = np.clip(correlation + (1 + 3 * correlation) / n, 0.0, MOST_CORRELATED)
    return n * (1 - corrected) / (1 + corrected)


def serial_margin(
    values: Float[np.ndarray, "value ..."], level: float = LEVEL
) -> Float[np.ndarray, ...]:
    """Half-width of the interval of a mean of values that depend on those before them.

    Student's t with the effective count instead of the count. NaN for fewer than three values, or where no more
    than two of them are independent: so little says nothing of its own spread.

    Examples:
        >>> float(serial_margin(np.array([1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0])).round(2))
        0.45
    """
    shape = values.shape[1:]
    if len(values) < 3:
        return np.full(shape, np.nan)
    values = values.astype(np.float64)
    count = effective_count(values)
    known = count > 2
    quantile = student_t.ppf((1 + level) / 2, np.where(known, count, 3) - 1)
    return np.where(known, quantile * values.std(axis=0, ddof=1) / np.sqrt(count), np.nan)
