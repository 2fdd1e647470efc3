"""How a threshold is set: how many turns, which calm conversations for what, and which statistic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from persona_lens.drift.monitor.readings import Readings
from persona_lens.drift.monitor.rule import Rule, first_of
from persona_lens.drift.monitor.statistics import Statistic, find, known_statistics
from persona_lens.errors import MonitorError
from persona_lens.statistics.conformal import (
    cases_needed,
    conformal_rank,
    conformal_threshold,
    realised_rates,
    share_interval,
)
from persona_lens.statistics.resampling import Interval

LEAST_REFERENCE = 4
"""Calm conversations that constants of a statistic are made of, at least."""

_REFERENCE_SHARE = 3
_REACHED = 0.9
"""Share of conversations that are as long as the horizon, if nobody names one."""


@dataclass(frozen=True, eq=False)
class Threshold:
    """Where a rule alarms.

    Attributes:
        rule: What is compared with it.
        value: The threshold.
        rate: Nominal false-alarm rate of a conversation.
        scores: Maxima of the calm conversations that set it, ascending.
    """

    rule: Rule
    value: float
    rate: float
    scores: np.ndarray

    @classmethod
    def of(cls, rule: Rule, calm: Readings, rate: float) -> Threshold:
        """Set on some calm conversations, none of which the rule's constants come from.

        Raises:
            MonitorError: They are too few for the rate, or all alike.
        """
        maxima = rule.maxima(calm)
        scores = np.sort(maxima[np.isfinite(maxima)])
        if len(scores) < cases_needed(rate):
            raise too_few(len(scores), rate)
        if scores[0] == scores[-1]:
            raise MonitorError(
                f"{rule.statistic} is the same for all calm conversations, so no threshold can be set",
                expected="conversations of two turns or more that differ",
                given=f"{len(scores)} times {scores[0]:.4g}",
                remedy='choose another statistic, such as "lowest"',
            )
        return cls(rule, conformal_threshold(scores, rate), rate, scores)

    @property
    def n(self) -> int:
        """Conversations that set it."""
        return len(self.scores)

    @property
    def interval(self) -> Interval:
        """Where the real rate lies (95 %): the Beta law of thresholds set on so many conversations."""
        return realised_rates(self.n, self.rate)

    @property
    def mean_rate(self) -> float:
        """The rate on average over calibrations: what the nominal rate becomes with so many conversations."""
        return (self.n + 1 - conformal_rank(self.n, self.rate)) / (self.n + 1)

    def alarms(self, readings: Readings) -> Int[np.ndarray, " conversation"]:
        """The place of the first turn of each conversation that alarms; -1 where none does."""
        return first_of(self.rule.joint(readings).crossings(self.value))


def check_rate(rate: float) -> float:
    """Refuse what is no rate.

    Raises:
        MonitorError: It is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise MonitorError(
            "this is no false-alarm rate",
            expected="a share of conversations between 0 and 1, such as 0.01",
            given=rate,
        )
    return float(rate)


def too_few(n: int, rate: float, more: int = 0) -> MonitorError:
    """The refusal of a rate that calm conversations are too few for."""
    needed = cases_needed(rate) + more
    behind = f", {more} of them for the constants of the statistic" if more else ""
    possible = f"false_alarms={_up(1 / (n - more + 1))}" if n > more else ""
    return MonitorError(
        f"a false-alarm rate of {rate:g} cannot be kept with so few calm conversations",
        expected=f"at least {needed}{behind}",
        given=n,
        remedy=f"add conversations, or ask for {possible}" if possible else "add conversations",
    )


def _up(rate: float) -> float:
    """Rounded to two digits, never down."""
    digits = 2 - int(np.floor(np.log10(rate))) - 1
    return float(np.ceil(round(rate * 10**digits, 9)) / 10**digits)


def usual_horizon(counts: Int[np.ndarray, " conversation"], least: int) -> int:
    """The most turns that nine of ten conversations have, or fewer where too few conversations have so many.

    Examples:
        >>> usual_horizon(np.array([10] * 19 + [3]), least=19)
        10
        >>> usual_horizon(np.array([10] * 18 + [3] * 2), least=19)
        3
    """
    for horizon in range(int(counts.max(initial=1)), 1, -1):
        reached = int((counts >= horizon).sum())
        if reached >= _REACHED * len(counts) and reached >= least:
            return horizon
    return 1


def reference_rows(
    n: int, rate: float, asked: int | None, *, needed: bool, seed: int
) -> Bool[np.ndarray, " conversation"]:
    """Which calm conversations are set aside for the constants of a statistic, drawn by chance.

    A third, or fewer where the rate needs the others; none where the statistic needs no constants.

    Raises:
        MonitorError: There are too few for both.
    """
    chosen = np.zeros(n, dtype=bool)
    if not needed and not asked:
        if n < cases_needed(rate):
            raise too_few(n, rate)
        return chosen
    least = LEAST_REFERENCE if asked is None else asked
    room = n - cases_needed(rate)
    if least < 2 or room < least:
        raise too_few(n, rate, max(least, 2))
    count = asked if asked is not None else max(least, min(n // _REFERENCE_SHARE, room))
    chosen[np.random.default_rng(seed).permutation(n)[:count]] = True
    return chosen


def choose(
    names: Sequence[str | Statistic],
    reference: Readings,
    drifting: Readings,
    high: Sequence[str],
    rate: float,
) -> tuple[Statistic, pd.DataFrame]:
    """The statistic that finds most drifting conversations, by reference conversations alone.

    The threshold of each is that of the strictest rate they support, the asked one at best. Among equals the one
    that is listed first, the simplest, is taken.

    Returns:
        It, and a frame with `statistic`, `rate`, `power`, `low`, `high` (95 %) and `drifting` (how many).
    """
    tried = max(rate, 1 / (len(reference) + 1))
    rows, found = [], {}
    for name in names:
        statistic = find(name)
        try:
            rule = Rule.fitted(statistic, reference, high)
            threshold = Threshold.of(rule, reference, tried)
        except MonitorError as error:
            if len(names) == 1:
                raise
            rows.append(
                (str(statistic), tried, np.nan, np.nan, np.nan, 0, str(error).split("\n")[0])
            )
            continue
        caught = int((threshold.alarms(drifting) >= 0).sum())
        found[len(rows)] = statistic
        rows.append(
            (
                str(statistic),
                tried,
                caught / len(drifting),
                *share_interval(caught, len(drifting)),
                len(drifting),
                "",
            )
        )
    columns = ["statistic", "rate", "power", "low", "high", "drifting", "refused"]
    frame = pd.DataFrame(rows, columns=columns)
    if not found:
        raise MonitorError("no statistic can be used on these conversations", given=rows[0][-1])
    best = max(found, key=lambda place: (frame["power"][place], -place))
    return found[best], frame


def usable_statistics(readings: Readings) -> list[str]:
    """Names of those that can be made of some readings."""
    return [
        name
        for name in known_statistics()
        if not find(name).of_residuals or readings.residuals is not None
    ]


def told_short(error: MonitorError, short: int, turns: int) -> MonitorError:
    """The same refusal with what was left out, since that may be why."""
    if not short:
        return error
    return MonitorError(
        f"{error}\n  {short} conversations have fewer than {turns} turns and do not count: choose a shorter "
        "horizon="
    )


def choice_in_words(auto: bool, named: Statistic, chosen: pd.DataFrame) -> str:
    """How the statistic was chosen, in words."""
    if not auto:
        return ""
    if not len(chosen):
        return f"{named} was taken as the simplest, with no drifting conversations to choose by"
    row = chosen[chosen["statistic"] == str(named)].iloc[0]
    return (
        f"{named} was chosen among {len(chosen)} for finding {100 * row['power']:.0f} % "
        f"[{100 * row['low']:.0f}, {100 * row['high']:.0f}] of {row['drifting']} drifting conversations"
    )
