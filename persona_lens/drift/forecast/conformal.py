"""How wide an interval must be to hold the next reply: conformal, calibrated on held-out groups, by `crepes`.

Turns of one persona are not exchangeable with those of another, personas are. So every persona weighs the same,
however many turns it has, and the next one counts as one of them (Lee, Barber and Willett 2023, arXiv 2306.06342):
with K personas, a level of 1 - alpha asks for the (1 - alpha)(K + 1)/K quantile of the equally weighted errors.
With fewer than about (1 - alpha)/alpha personas no finite interval holds as often as asked.
"""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float, Int

_GRID = 200  # errors a group is brought to, at least
_ROUNDING = 1e-9


def half_width(
    errors: Float[np.ndarray, " row"], groups: Int[np.ndarray, " row"], confidence: float
) -> float:
    """How far to either side of a forecast the interval goes; infinite where there are too few groups.

    Args:
        errors: Of forecasts of rows that their models had not seen.
        groups: What is exchangeable: the persona or conversation of each row.
        confidence: How often a row of a new group is to lie within.

    Examples:
        >>> errors = np.arange(40.0)
        >>> half_width(errors, np.arange(40), 0.9), half_width(errors, np.arange(40) // 10, 0.9)
        (36.0, inf)
    """
    members = [np.sort(np.abs(errors[groups == group])) for group in np.unique(groups)]
    level = confidence * (len(members) + 1) / len(members)
    if level > 1 - _ROUNDING:
        return float("inf")
    from crepes import ConformalRegressor  # noqa: PLC0415 - scikit-learn's neighbours, a second

    longest = max(map(len, members))
    # Each group as many errors, evenly over its own: equal weights, without weights.
    size = longest if longest == min(map(len, members)) else max(longest, _GRID)
    even = (np.arange(size) + 0.5) / size
    balanced = np.concatenate([own[(even * len(own)).astype(int)] for own in members])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of too few, which infinity tells
        regressor = ConformalRegressor().fit(balanced)
        # crepes counts the next row as one more; the next group is counted above, and once is enough.
        own = level * len(balanced) / (len(balanced) + 1) - _ROUNDING
        interval = regressor.predict_int(np.zeros(1), confidence=own)
    return float(interval[0, 1])


def fewest_groups(confidence: float) -> int:
    """How many groups a finite interval takes.

    Examples:
        >>> fewest_groups(0.9), fewest_groups(0.5)
        (10, 2)
    """
    count = 1
    while confidence * (count + 1) / count > 1 - _ROUNDING:
        count += 1
    return count
