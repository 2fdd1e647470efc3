"""Intervals from random halves of the units.

The usual bootstrap draws units with replacement. A repeated unit has distance zero to itself, so a resample has
fewer dimensions than the roles and more agreement between layers: its percentiles may not even hold the
estimate. Halves drawn without replacement repeat nobody. Their spread is the standard error of the whole (half
of the units in, half out: the delete-half jackknife; Shao and Wu 1989, doi:10.1214/aos/1176347263), and the
distance of their mean from the estimate is its bias, to first order in 1/n.

The interval reaches from the estimate to the estimate less that bias, and 1.96 standard errors (Student's t)
beyond both: it holds its own estimate, and the value that more and more units would come to. It is made on the
scale on which errors are alike: `inverse` for counts of dimensions, whose inverse falls off exactly as 1/n for
equal variances, Fisher's z for correlations and cosines (`absolute` ones do not go below zero), the logit for
shares.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import t as student_t

from persona_lens.statistics import Interval, to_z

Scale = Literal["linear", "inverse", "fisher", "absolute", "share"]
SCALES: tuple[Scale, ...] = get_args(Scale)
MIN_UNITS = 8
"""Fewer units give no interval: four in a half do not tell how much halves differ."""
_EDGE = 1e-9


def halves(
    n_units: int, n_draws: int, rng: np.random.Generator
) -> Int[np.ndarray, "draw half"] | None:
    """Random halves of the units, none twice; None where there are too few units.

    Examples:
        >>> halves(9, 100, np.random.default_rng(0)).shape
        (100, 4)
    """
    if n_units < MIN_UNITS:
        return None
    return rng.random((n_draws, n_units)).argsort(axis=1)[:, : n_units // 2]


def half_interval(
    value: float,
    from_halves: Float[np.ndarray, " draw"],
    n_units: int,
    *,
    scale: Scale = "linear",
    most: float = np.inf,
) -> Interval:
    """95 % interval of a value from its values in random halves of the units.

    Args:
        value: In all units.
        from_halves: In the halves.
        n_units: How many units there are; of two kinds, the fewer.
        scale: See `Scale`.
        most: With `inverse`, the largest value there can be (the width of the residual stream).

    Examples:
        >>> low, high = half_interval(0.5, np.array([0.4, 0.5, 0.6]), 20, scale="fisher")
        >>> low < 0.5 < high
        True
    """
    known = from_halves[np.isfinite(from_halves)]
    if not np.isfinite(value) or len(known) < 2:
        return Interval(np.nan, np.nan)
    there, spread_out = _forward(np.array(value), scale), _forward(known, scale)
    margin = student_t.ppf(0.975, n_units - 1) * spread_out.std(ddof=1)
    corrected = 2 * there - spread_out.mean()
    low = min(there, corrected) - margin
    high = max(there, corrected) + margin
    if scale == "inverse":
        least = 1 / most
        low, high = max(high, least), max(low, least)
        return Interval(float(1 / low), float(1 / high) if high > 0 else np.inf)
    return Interval(_back(low, scale), _back(high, scale))


def _forward(values: np.ndarray, scale: Scale) -> np.ndarray:
    if scale == "inverse":
        return 1 / np.maximum(values, _EDGE)
    if scale in ("fisher", "absolute"):
        return to_z(values)
    if scale == "share":
        inside = np.clip(values, _EDGE, 1 - _EDGE)
        return np.log(inside / (1 - inside))
    return np.asarray(values, dtype=float)


def _back(value: float, scale: Scale) -> float:
    if scale == "fisher":
        return float(np.tanh(value))
    if scale == "absolute":
        return float(np.tanh(max(value, 0.0)))
    if scale == "share":
        return float(1 / (1 + np.exp(-value)))
    return float(value)
