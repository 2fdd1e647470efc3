"""What a monitor really does: false alarms on calm conversations it has not seen, power and delay on others.

Every statistic is calibrated on the same calm conversations at the same rate, and beside them stands the usual
rule, a fixed z: what false alarms it would have if turns were independent and normal, and what it has.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int
from scipy.stats import norm

from persona_lens.drift.monitor.readings import Readings
from persona_lens.drift.monitor.rule import Rule, first_of
from persona_lens.drift.monitor.setting import Threshold, reference_rows, usable_statistics
from persona_lens.drift.monitor.statistics import Statistic, find
from persona_lens.drift.trace import Trace
from persona_lens.errors import MonitorError, PersonaLensWarning
from persona_lens.statistics.conformal import expected_alarms, share_interval
from persona_lens.statistics.resampling import draw_rows, interval_of

if TYPE_CHECKING:
    from persona_lens.drift.monitor.monitor import Monitor

FIXED_Z = "fixed z"
"""The usual rule: alarm where a turn is so many standard deviations below the calm mean."""

_DRAWS = 1000


def measure(
    monitor: Monitor,
    held_out: Trace | pd.DataFrame,
    drifting: Trace | pd.DataFrame | None = None,
    *,
    changes: Mapping[str, int] | str | None = None,
    statistics: Sequence[str | Statistic] | None = None,
) -> pd.DataFrame:
    """Count alarms within the horizon, rule by rule.

    Args:
        monitor: Its calm conversations, rate and horizon are those of every rule.
        held_out: Calm conversations it was not calibrated on.
        drifting: Conversations that should alarm.
        changes: The turn at which each drifting conversation begins to drift, by its name or as a column of the
            trace's `turns` (or of the frame). An alarm before it is early, and finds nothing.
        statistics: Of the rules to measure; all that can be made, the monitor's own first.

    Returns:
        One row a rule: `rule`, `threshold`, `nominal` (rate), `n` (conversations that set it), `own` (whether it
        is the monitor's); `alarms` among `calm` conversations, `rate` with `rate_low` and `rate_high` (95 %,
        Clopper and Pearson), and `expected_low` and `expected_high`, between which the count lies in 95 of 100
        calibrations if the held-out conversations are of the same kind. Then `found` of `drifting`, `power`
        with its interval, `early`, and `delay`, the median number of turns from the first turn (or the change) to
        the alarm among those found, with the interval of a bootstrap over them; NaN where nothing is found.

    Raises:
        MonitorError: Conversations are among those it was calibrated on, or were read otherwise.

    Warns:
        PersonaLensWarning: Drifting conversations are those that the statistic was chosen by, so their power is
            too high; held-out conversations are of another kind, or shorter than the horizon.
    """
    calm = monitor.readings(held_out)
    _refuse_known(monitor, calm)
    for problem in monitor.doubts(calm, pd.DataFrame({"within": []})):
        warnings.warn(problem, PersonaLensWarning, stacklevel=3)
    shorter = int((calm.counts < monitor.horizon).sum())
    if shorter:
        warnings.warn(
            f"{shorter} of {len(calm)} held-out conversations have fewer than {monitor.horizon} turns, so they "
            "alarm less than the rate says",
            PersonaLensWarning,
            stacklevel=3,
        )
    drift = None if drifting is None else monitor.readings(drifting).cut(monitor.horizon)
    begins = None if drifting is None or drift is None else _begins(drifting, drift, changes)
    if drift is not None:
        _tell_chosen(monitor, drift)
    calm = calm.cut(monitor.horizon)
    rows = []
    for measured in _rules(monitor, statistics):
        count = int((measured.alarms(calm) >= 0).sum())
        low, high = share_interval(count, len(calm))
        row = {
            "rule": measured.name,
            "threshold": measured.threshold,
            "nominal": monitor.threshold.rate,
            "n": measured.n,
            "own": measured.own,
            "alarms": count,
            "calm": len(calm),
            "rate": count / len(calm) if len(calm) else np.nan,
            "rate_low": low,
            "rate_high": high,
        }
        expected = (np.nan, np.nan)
        if measured.calibrated:
            expected = expected_alarms(measured.n, monitor.threshold.rate, len(calm))
        row |= {"expected_low": expected[0], "expected_high": expected[1]}
        if drift is not None and begins is not None:
            row |= _power(measured.alarms(drift), begins)
        rows.append(row)
    return pd.DataFrame(rows)


class _Measured(NamedTuple):
    """A rule and where it alarms."""

    name: str
    threshold: float
    n: int
    own: bool
    alarms: Callable[[Readings], Int[np.ndarray, " conversation"]]

    @property
    def calibrated(self) -> bool:
        """Whether it promises the rate whatever the law of the turns."""
        return self.name != FIXED_Z

    @classmethod
    def of(cls, threshold: Threshold, *, own: bool) -> _Measured:
        name = str(threshold.rule.statistic)
        return cls(name, threshold.value, threshold.n, own, threshold.alarms)


def _rules(monitor: Monitor, statistics: Sequence[str | Statistic] | None) -> Iterator[_Measured]:
    yield _Measured.of(monitor.threshold, own=True)
    given = usable_statistics(monitor.calm) if statistics is None else statistics
    for statistic in map(find, given):
        if statistic == monitor.rule.statistic:
            continue
        try:
            threshold = _calibrated(monitor, statistic)
        except MonitorError:
            if statistics is not None:
                raise
            continue  # not to be had of so few conversations, or of a single turn
        yield _Measured.of(threshold, own=False)
    fixed = _fixed_z(monitor)
    if fixed is not None:
        yield fixed


def _calibrated(monitor: Monitor, statistic: Statistic) -> Threshold:
    """Another statistic on the same calm conversations, with as many set aside as it needs."""
    calm, rate = monitor.calm, monitor.threshold.rate
    high = sorted(monitor.rule.high)
    needed = statistic.needs_calm or len(calm.directions) > 1
    kept = monitor.reference
    if needed and not kept.any():
        kept = reference_rows(len(calm), rate, None, needed=True, seed=monitor.card["seed"])
    return Threshold.of(Rule.fitted(statistic, calm.rows(kept), high), calm.rows(~kept), rate)


def _fixed_z(monitor: Monitor) -> _Measured | None:
    """The threshold for single turns that would keep the rate, were they independent and normal."""
    calm = monitor.calm
    signs = np.array([-1.0 if name in monitor.rule.high else 1.0 for name in calm.directions])
    known = (calm.values * signs)[calm.read]
    if len(known) < 2 or not (known.std(axis=0) > 0).all():
        return None
    level, spread = known.mean(axis=0), known.std(axis=0, ddof=1)
    turns = monitor.horizon * len(calm.directions)
    threshold = float(norm.isf(1 - (1 - monitor.threshold.rate) ** (1 / turns)))

    def alarms(readings: Readings) -> Int[np.ndarray, " conversation"]:
        z = (level - readings.values * signs) / spread
        highest = np.where(np.isfinite(z), z, -np.inf).max(axis=2)
        return first_of(highest > threshold)

    return _Measured(FIXED_Z, threshold, len(calm), False, alarms)


def _refuse_known(monitor: Monitor, readings: Readings) -> None:
    """Refuse to count on conversations that the threshold was set on."""
    known = set(monitor.calm.digests())
    again = [
        name
        for name, digest in zip(
            readings.names, readings.cut(monitor.horizon).digests(), strict=True
        )
        if digest in known
    ]
    if again:
        raise MonitorError(
            "false alarms would be counted on conversations that the monitor was calibrated on",
            expected="held-out conversations",
            given=f"{len(again)} of {len(readings)} that are the same, such as {again[0]!r}",
            remedy="split them before calibrating, as persona_lens.catalog.split_everyday does",
        )


def _tell_chosen(monitor: Monitor, drifting: Readings) -> None:
    known = set(monitor.card["chosen_on"] or ())
    again = sum(digest in known for digest in drifting.digests())
    if again:
        warnings.warn(
            f"the statistic was chosen by {again} of these {len(drifting)} drifting conversations, so its power "
            "is too high: measure it on others",
            PersonaLensWarning,
            stacklevel=4,
        )


def _begins(
    given: Trace | pd.DataFrame, drift: Readings, changes: Mapping[str, int] | str | None
) -> Int[np.ndarray, " conversation"]:
    """The place of the turn at which each conversation begins to drift; the first where nothing is said."""
    if changes is None:
        return np.zeros(len(drift), dtype=np.int64)
    if isinstance(changes, str):
        frame = given.turns if isinstance(given, Trace) else given
        if changes not in frame:
            raise MonitorError(
                f"the drifting conversations have no column {changes!r}",
                expected="a column with the turn at which a conversation begins to drift",
                given=", ".join(map(str, frame.columns)),
            )
        own = frame.drop_duplicates("conversation")
        changes = dict(zip(own["conversation"].astype(str), own[changes], strict=True))
    missing = [name for name in drift.names if name not in changes]
    if missing:
        raise MonitorError(
            "of some drifting conversations nobody says where they begin to drift",
            expected="a turn for each",
            given=f"none for {len(missing)}, such as {missing[0]!r}",
        )
    numbers = np.where(drift.numbers >= 0, drift.numbers, np.iinfo(np.int64).max)
    wanted = np.array([int(changes[name]) for name in drift.names])
    return (numbers < wanted[:, None]).sum(axis=1)


def _power(alarms: Int[np.ndarray, " conversation"], begins: np.ndarray) -> dict[str, float]:
    early = (alarms >= 0) & (alarms < begins)
    found = (alarms >= 0) & ~early
    delays = (alarms - begins)[found].astype(np.float64)
    low, high = share_interval(int(found.sum()), len(found))
    ends = (np.nan, np.nan)
    if len(delays):
        draws = draw_rows(len(delays), _DRAWS, np.random.default_rng(0))
        ends = interval_of(np.median(delays[draws], axis=1))
    return {
        "found": int(found.sum()),
        "drifting": len(found),
        "power": float(found.mean()) if len(found) else np.nan,
        "power_low": low,
        "power_high": high,
        "early": int(early.sum()),
        "delay": float(np.median(delays)) if len(delays) else np.nan,
        "delay_low": ends[0],
        "delay_high": ends[1],
    }
