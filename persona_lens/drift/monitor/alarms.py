"""Frames of what a monitor says: one row for each alarm, or one for each turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from persona_lens.drift.monitor.readings import Readings
from persona_lens.drift.monitor.rule import first_of
from persona_lens.drift.trace import Trace
from persona_lens.statistics.conformal import conformal_p

if TYPE_CHECKING:
    from persona_lens.drift.monitor.monitor import Monitor

COLUMNS = [
    *("conversation", "turn", "statistic", "value", "threshold", "p", "direction", "reason"),
    *("projection", "z", "nearest", "reading", "within", "message"),
]
"""Of an alarm."""


def alarm_frame(monitor: Monitor, readings: Readings, given: Trace | pd.DataFrame) -> pd.DataFrame:
    """The first alarm of each conversation that has one; columns as `Monitor.read` tells."""
    joint = monitor.rule.joint(readings)
    threshold = monitor.threshold
    crossings = joint.crossings(threshold.value)
    columns = first_of(crossings)
    rows = np.flatnonzero(columns >= 0)
    found = []
    for row in rows:
        column = columns[row]
        along = joint.along[row, column]
        found.append(
            {
                "conversation": readings.names[row],
                "turn": int(readings.numbers[row, column]),
                "statistic": str(monitor.rule.statistic),
                "value": float(joint.values[row, column]),
                "threshold": threshold.value,
                "p": float(
                    conformal_p(threshold.scores, joint.values[row, column : column + 1])[0]
                ),
                "direction": readings.directions[joint.which[row, column]],
                "reason": reason(readings.directions, along, threshold.value),
                "projection": float(readings.values[row, column, joint.which[row, column]]),
                "within": bool(column < monitor.horizon),
                "reading": monitor.reading or "",
            }
        )
    frame = pd.DataFrame(found, columns=[name for name in COLUMNS if name not in _TOLD])
    told = _told(monitor, given)
    return frame.merge(told, how="left", on=["conversation", "turn", "direction"]).loc[:, COLUMNS]


_TOLD = ("z", "nearest", "message")


def _told(monitor: Monitor, given: Trace | pd.DataFrame) -> pd.DataFrame:
    """What a trace says of each turn beside its projections."""
    frame = given.frame if isinstance(given, Trace) else given
    for column, wanted in (("layer", monitor.layer), ("reading", monitor.reading)):
        if column in frame and wanted is not None:
            frame = frame.loc[frame[column] == wanted]
    told = pd.DataFrame(
        {
            "conversation": frame["conversation"].astype(str),
            "turn": frame["turn"],
            "direction": _column(frame, "direction", monitor.directions[0]),
            "z": _column(frame, "z_default", np.nan),
            "nearest": _column(frame, "nearest", ""),
            "message": _column(frame, "message", ""),
        }
    )
    if not isinstance(given, Trace):
        return told
    said = given.turns.loc[:, ["conversation", "turn", "message"]]
    return told.drop(columns="message").merge(said, how="left", on=["conversation", "turn"])


def _column(frame: pd.DataFrame, name: str, otherwise: object) -> object:
    return frame[name] if name in frame.columns else otherwise


def turn_frame(monitor: Monitor, readings: Readings) -> pd.DataFrame:
    """What the rule says after every turn; columns as `Monitor.values` tells."""
    joint = monitor.rule.joint(readings)
    rows, columns = np.nonzero(readings.numbers >= 0)
    return pd.DataFrame(
        {
            "conversation": np.array(readings.names, dtype=object)[rows],
            "turn": readings.numbers[rows, columns],
            "value": joint.values[rows, columns],
            "threshold": monitor.threshold.value,
            "direction": np.array(readings.directions, dtype=object)[joint.which[rows, columns]],
            "alarming": joint.crossings(monitor.threshold.value)[rows, columns],
            "within": columns < monitor.horizon,
        }
    )


def reason(directions: tuple[str, ...], along: np.ndarray, threshold: float) -> str:
    """The directions that are above a threshold, the most alarming first."""
    order = np.argsort(-np.where(np.isfinite(along), along, -np.inf), kind="stable")
    return ", ".join(directions[place] for place in order if along[place] > threshold)
