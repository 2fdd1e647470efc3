"""Split conformal thresholds: the false-alarm rate of a rule that was set on calm cases, whatever their law.

    threshold = conformal_threshold(scores, rate=0.05)      # alarm where a new score is above it
    realised_rates(len(scores), 0.05)                       # what the rate of that threshold may really be

A new case that is exchangeable with the calm ones alarms with a probability of at most `rate`, on average over
draws of the calm ones. The threshold of one draw has a rate of its own, which follows a Beta law: so say the
number of cases with the rate.

Source: Vovk, Gammerman and Shafer 2005; Vovk 2012, "Conditional validity of inductive conformal predictors".
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy.stats import beta, betabinom, binomtest

from persona_lens.statistics.resampling import LEVEL, Interval

_ROUNDING = 1e-9
"""So that 100 times 0.99 is 99 and no more."""


def cases_needed(rate: float) -> int:
    """How many calm cases a rate needs: with fewer, no threshold among their scores keeps it.

    Examples:
        >>> cases_needed(0.01), cases_needed(0.05), cases_needed(0.3)
        (99, 19, 3)
    """
    return math.ceil(1 / rate - _ROUNDING) - 1


def conformal_rank(n: int, rate: float) -> int:
    """Which of `n` scores in ascending order is the threshold, counted from 1: ceil((n + 1)(1 - rate)).

    It is above `n` where a rate has fewer cases than it needs.

    Examples:
        >>> conformal_rank(99, 0.01), conformal_rank(104, 0.01), conformal_rank(98, 0.01)
        (99, 104, 99)
    """
    return math.ceil((n + 1) * (1 - rate) - _ROUNDING)


def conformal_threshold(scores: Float[np.ndarray, " case"], rate: float) -> float:
    """The score that a new one has to exceed, for an alarm at this rate; infinite for too few cases.

    Ties are no alarm: where scores are equal the rate is lower.

    Examples:
        >>> conformal_threshold(np.arange(19.0), 0.05), conformal_threshold(np.arange(18.0), 0.05)
        (18.0, inf)
    """
    rank = conformal_rank(len(scores), rate)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf


def conformal_p(
    scores: Float[np.ndarray, " case"], given: Float[np.ndarray, " new"]
) -> Float[np.ndarray, " new"]:
    """The share of cases as extreme as a new one, itself counted: how rare it is among calm ones.

    Examples:
        >>> conformal_p(np.arange(9.0), np.array([100.0, 8.0, -1.0])).tolist()
        [0.1, 0.2, 1.0]
    """
    ordered = np.sort(scores)
    above = len(ordered) - np.searchsorted(ordered, given, side="left")
    return (1 + above) / (len(ordered) + 1)


def realised_rates(n: int, rate: float, level: float = LEVEL) -> Interval:
    """The interval that holds the real rate of a threshold set on `n` cases, for scores without ties.

    Examples:
        >>> low, high = realised_rates(99, 0.05, level=0.8)
        >>> round(low, 3), round(high, 3)
        (0.025, 0.079)
    """
    rank = conformal_rank(n, rate)
    law = beta(n + 1 - rank, rank)
    return Interval(float(law.ppf((1 - level) / 2)), float(law.ppf((1 + level) / 2)))


def expected_alarms(n: int, rate: float, cases: int, level: float = LEVEL) -> tuple[int, int]:
    """How many of so many new calm cases alarm, with this probability at least.

    Examples:
        >>> expected_alarms(199, 0.05, 1000)
        (22, 87)
    """
    rank = conformal_rank(n, rate)
    law = betabinom(cases, n + 1 - rank, rank)
    return int(law.ppf((1 - level) / 2)), int(law.ppf((1 + level) / 2))


def share_interval(count: int, cases: int, level: float = LEVEL) -> Interval:
    """The exact interval of a share (Clopper and Pearson 1934); NaN where nothing was counted.

    Examples:
        >>> low, high = share_interval(0, 100)
        >>> low, round(high, 3)
        (0.0, 0.036)
    """
    if not cases:
        return Interval(np.nan, np.nan)
    found = binomtest(count, cases).proportion_ci(level)
    return Interval(float(found.low), float(found.high))
