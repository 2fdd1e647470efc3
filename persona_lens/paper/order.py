"""Whether published names lie in the published order here: the area under the curve, with interval and null.

>>> scores = {"a": 3.0, "b": 2.0, "c": 1.0, "d": 0.0}
>>> found = ordered(scores, ("a", "b"), ("c", "d"))
>>> found.area, found.n
(1.0, 4)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from persona_lens.statistics import draw_rows, interval_of

DRAWS = 2000


@dataclass(frozen=True)
class Ordered:
    """How well two lists of names are told apart.

    Attributes:
        area: Share of pairs of which the name of the first list has the higher score; ties count half.
        interval: 95 %, names of both lists resampled.
        null: Where 95 % of areas lie for as many names drawn from all that have a score.
        n: Names of both lists that have a score.
        missing: Names without one.
    """

    area: float
    interval: tuple[float, float]
    null: tuple[float, float]
    n: int
    missing: tuple[str, ...]


def ordered(
    scores: Mapping[str, float], plus: Sequence[str], minus: Sequence[str], *, seed: int = 0
) -> Ordered:
    """Whether names of the first list have higher scores.

    Args:
        scores: Of all names there are.
        plus: Should have the higher ones.
        minus: Should have the lower ones.
        seed: Of resamples and null.

    Returns:
        NaN where a list has no name with a score.
    """
    above = np.array([scores[name] for name in plus if name in scores])
    below = np.array([scores[name] for name in minus if name in scores])
    missing = tuple(name for name in (*plus, *minus) if name not in scores)
    n = len(above) + len(below)
    if not len(above) or not len(below):
        nan = (np.nan, np.nan)
        return Ordered(np.nan, nan, nan, n, missing)
    rng = np.random.default_rng(seed)
    drawn = _areas(
        above[draw_rows(len(above), DRAWS, rng)], below[draw_rows(len(below), DRAWS, rng)]
    )
    everything = np.array(list(scores.values()))
    picked = rng.random((DRAWS, len(everything))).argsort(axis=1)[:, :n]
    null = _areas(everything[picked[:, : len(above)]], everything[picked[:, len(above) :]])
    area = float(_areas(above[None], below[None])[0])
    null_low, null_high = interval_of(null)
    if np.ptp(drawn) == 0:  # all apart: no resample tells how far that holds
        low, high = _all_apart(area, min(len(above), len(below)))
    else:
        low, high = interval_of(drawn)
    return Ordered(area, (float(low), float(high)), (null_low, null_high), n, missing)


def _areas(
    above: Float[np.ndarray, "draw plus"], below: Float[np.ndarray, "draw minus"]
) -> Float[np.ndarray, " draw"]:
    difference = above[:, :, None] - below[:, None, :]
    return (np.sign(difference) + 1).mean(axis=(1, 2)) / 2


def _all_apart(area: float, fewest: int) -> tuple[float, float]:
    """As wide as that of a share of none among as many names as the shorter list has."""
    reach = 1 - 0.025 ** (1 / fewest)
    return (1 - reach, 1.0) if area > 0.5 else (0.0, reach)
