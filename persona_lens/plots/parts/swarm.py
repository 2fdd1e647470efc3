"""Points in a row that do not hide each other, and the middle of them with its interval."""

from __future__ import annotations

from itertools import count

import numpy as np
from jaxtyping import Float

from persona_lens.statistics import draw_counts, interval_of

N_DRAWS = 2000


def swarm(
    across: Float[np.ndarray, " point"], step: float, height: float
) -> Float[np.ndarray, " point"]:
    """How far each point goes up or down so that points do not hide each other.

    Each takes the place nearest to the middle that is free; where the swarm would be taller than `height`, it is
    pressed together.

    Args:
        across: Places in pixels, in order.
        step: Size of a point in pixels.
        height: Of the swarm in pixels.

    Examples:
        >>> swarm(np.array([0.0, 1.0, 2.0, 50.0]), step=8.0, height=100.0)
        array([ 0.,  8., -8.,  0.])
    """
    levels = np.zeros(len(across))
    ends: dict[int, float] = {}
    for place, x in enumerate(across):
        tried = ((n + 1) // 2 * (1 if n % 2 else -1) for n in count())
        level = next(each for each in tried if x - ends.get(each, -np.inf) >= step)
        ends[level] = float(x)
        levels[place] = level
    rows = 2 * np.abs(levels).max() + 1
    return levels * min(step, height / rows)


def median_interval(depths: Float[np.ndarray, " unit"]) -> tuple[float, float, float]:
    """The median and its 95 % bootstrap interval over the units.

    Examples:
        >>> median_interval(np.array([2.0, 2.0, 2.0]))
        (2.0, 2.0, 2.0)
    """
    drawn = draw_counts(len(depths), N_DRAWS, np.random.default_rng(0))
    ordered = np.sort(depths)
    totals = drawn.cumsum(axis=1)
    half = len(depths) / 2
    # The middle of the sorted sample, or of its two middle values.
    below = ordered[(totals >= half).argmax(axis=1)]
    above = ordered[(totals > half).argmax(axis=1)]
    low, high = interval_of((below + above) / 2)
    return float(np.median(depths)), low, high
