"""What chance gives: p-values from null draws, and the false discovery rate over many of them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.stats import false_discovery_control

Alternative = Literal["greater", "less", "two-sided"]


def permutation_p(
    value: Float[np.ndarray, " *unit"] | float,
    null: Float[np.ndarray, "draw ..."],
    alternative: Alternative = "greater",
) -> Float[np.ndarray, " *unit"]:
    """Share of null draws at least as extreme, with the value itself counted as one, so never zero.

    `two-sided` doubles the smaller of the two one-sided values. NaN where the value is.

    Examples:
        >>> permutation_p(3.0, np.array([1.0, 2.0, 4.0]))
        array(0.5)
    """
    null = np.asarray(null, dtype=float)
    value = np.asarray(value, dtype=float)
    above = (1 + (null >= value).sum(axis=0)) / (1 + len(null))
    below = (1 + (null <= value).sum(axis=0)) / (1 + len(null))
    p = {
        "greater": above,
        "less": below,
        "two-sided": np.minimum(1.0, 2 * np.minimum(above, below)),
    }
    return np.where(np.isfinite(value), p[alternative], np.nan)


def fdr(p_values: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Benjamini-Hochberg adjusted p-values: those below 0.05 hold at most 5 % false findings on average.

    Args:
        p_values: One a role, trait, ... tested; those that are NaN stay so and do not count.

    Examples:
        >>> fdr(np.array([0.01, 0.02, np.nan, 0.5])).round(3)
        array([0.03, 0.03,   nan, 0.5 ])
    """
    p_values = np.asarray(p_values, dtype=float)
    known = np.isfinite(p_values)
    adjusted = np.full_like(p_values, np.nan)
    if known.any():
        adjusted[known] = false_discovery_control(p_values[known])
    return adjusted
