"""What every measure gives: its value, what it is under resampled roles, and what it is by chance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from persona_lens.statistics import Interval, interval_of


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
