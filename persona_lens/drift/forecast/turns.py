"""The wide table of a trace, checked: which rows can be scored, and what of the table cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from persona_lens.drift.forecast.keys import GROUPS, KEYS, check_keys
from persona_lens.errors import SpaceError
from persona_lens.spelling import did_you_mean

BEFORE = "before:"
_OF_A_TRACE = ("since", "tokens", "reply")
_STILL = 1e-9  # of the largest absolute value: a spread below this is none


@dataclass(frozen=True, eq=False)
class Turns:
    """The rows of a table that are scored, and what is known of each.

    Attributes:
        frame: `conversation`, `turn`, `message`, and those of `persona`, `domain`, `simulator` that the table has.
        rows: Where each stands in the table given.
        directions: Names of the directions forecast.
        place: Projections of the reply to `message`.
        previous: Projections of the reply before, in the same conversation; None where no conversation has two
            turns one after the other.
        before: Projections right before the reply's first token, of the directions that have them; None where
            the table has none.
        notes: What was left out, and why, in sentences.
        counts: Rows left out, by reason.
    """

    frame: pd.DataFrame
    rows: Int[np.ndarray, " row"]
    directions: tuple[str, ...]
    place: Float[np.ndarray, "row direction"]
    previous: Float[np.ndarray, "row direction"] | None
    before: Float[np.ndarray, "row before"] | None
    notes: tuple[str, ...]
    counts: dict[str, int]

    def __len__(self) -> int:
        return len(self.frame)

    def codes(self, column: str) -> Int[np.ndarray, " row"]:
        """A column as numbers from 0."""
        return pd.factorize(self.frame[column])[0]


def read_turns(table: pd.DataFrame, directions: Sequence[str] | None = None) -> Turns:
    """Check a wide table of assistant turns and find the rows that can be scored.

    Args:
        table: One row an assistant turn. `conversation`, `turn` (counted from 0), `message` (what the user said
            before that reply); of `persona`, `domain` and `simulator` those there are; one column of projections
            a direction; and, for some directions, `before:<direction>`.
        directions: Columns to forecast. By default those that have a `before:` column, and where none has, all
            numeric columns that have no other meaning in a trace.

    Raises:
        SpaceError: A column is missing, holds something else, or does not vary; a turn occurs twice; a
            conversation has two personas, domains or simulators; or no row is left.

    Examples:
        >>> turns = read_turns(pd.DataFrame({"conversation": ["a"] * 3, "turn": [0, 1, 2],
        ...     "message": ["Hi.", "And?", "Go on."], "axis": [1.0, 3.0, 2.0]}))
        >>> turns.place.ravel(), turns.previous.ravel(), turns.notes
        (array([3., 2.]), array([1., 3.]), ('1 of 3 rows is the first turn of its conversation and has no ...',))
    """
    check_keys(table)
    chosen = _directions(table, directions)
    columns = [*KEYS, *(name for name in GROUPS if name in table)]
    frame = table.loc[:, columns].reset_index(drop=True)
    place = table[list(chosen)].to_numpy(dtype=float, na_value=np.nan)
    previous, unstarted = _previous(frame, place)
    named = [BEFORE + name for name in chosen if BEFORE + name in table]
    before = table[named].to_numpy(dtype=float, na_value=np.nan) if named else None

    why: dict[str, np.ndarray] = {}
    notes: list[str] = []
    empty = np.array([not message.strip() for message in frame["message"]])
    why["an empty message"] = empty
    for at, name in enumerate(chosen):
        why[f"no projection on {name!r}"] = ~np.isfinite(place[:, at])
    followed = np.isfinite(previous).all(axis=1)
    whole = np.asarray(~_any(why))
    with_previous = bool((whole & followed).any())
    if with_previous:
        why["no known reply before it"] = ~followed & ~unstarted
    if before is not None:
        lacking = np.asarray(~np.isfinite(before).all(axis=1))
        if lacking[whole].all():
            notes.append("no row has all of its `before:` projections: not used")
            before = None
        else:
            why["no projection before the reply"] = lacking
    kept = ~_any(why)
    counts = {reason: int(found.sum()) for reason, found in why.items() if found.any()}
    notes += [_left_out(count, len(frame), reason) for reason, count in counts.items()]
    if with_previous:
        first = int((kept & unstarted).sum())
        kept &= ~unstarted
        counts["first turn"] = first
        if first:
            notes.append(
                f"{first} of {len(frame)} rows {_are(first)} the first turn of {_its(first)} conversation and "
                f"{_has(first)} no reply before: not scored, so that all predictors have the same rows"
            )
        alone = _alone(frame)
        if alone:
            notes.append(f"{alone} conversations of one turn have no change and are not scored")
    else:
        notes.append(
            "no conversation has two turns one after the other: only the next position is forecast, "
            "and nothing is compared with the last one"
        )
    if not kept.any():
        raise SpaceError(
            "no row of the table can be scored",
            expected="rows with a message and finite projections",
            given="; ".join(notes) or f"{len(frame)} rows",
            remedy="trace the conversations again, or forecast other directions",
        )
    _check_spread(chosen, place[kept])
    return Turns(
        frame=frame.loc[kept].reset_index(drop=True),
        rows=np.flatnonzero(kept),
        directions=chosen,
        place=place[kept],
        previous=previous[kept] if with_previous else None,
        before=None if before is None else before[kept],
        notes=tuple(notes),
        counts=counts,
    )


def _any(found: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(np.stack(list(found.values())).any(axis=0))


def _directions(table: pd.DataFrame, directions: Sequence[str] | None) -> tuple[str, ...]:
    taken = {*KEYS, *GROUPS, *_OF_A_TRACE}
    found = [
        str(name)
        for name in table.columns
        if name not in taken and not str(name).startswith(BEFORE) and _numeric(table[name])
    ]
    if isinstance(directions, str):
        directions = [directions]
    # Beside projections a trace has numbers that conversations tell of themselves, such as a topic's.
    told = [name for name in found if BEFORE + name in table] or found
    chosen = tuple(dict.fromkeys(told if directions is None else directions))
    if not chosen:
        raise SpaceError(
            "the table has no column of projections",
            expected='numeric columns such as "axis" or "pc1"',
            given=", ".join(map(str, table.columns)),
        )
    for name in chosen:
        if name not in found:
            raise SpaceError(
                f"the table has no numeric column {name!r}",
                expected=", ".join(found) or "columns of projections",
                given=str(table[name].dtype) if name in table else "no such column",
                remedy=did_you_mean(name, found),
            )
    for name in (*chosen, *(BEFORE + name for name in chosen)):
        if name in table and not _numeric(table[name]):
            raise SpaceError(f"column {name!r} does not hold numbers", given=table[name].dtype)
        if name in table and np.isinf(table[name].to_numpy(dtype=float, na_value=np.nan)).any():
            raise SpaceError(
                f"column {name!r} has infinite values",
                expected="finite projections, or NaN where there is none",
                remedy="trace these turns again in float32",
            )
    for name in chosen:
        if table[name].isna().all():
            raise SpaceError(
                f"column {name!r} is empty", remedy="leave this direction out, or trace it again"
            )
    return chosen


def _numeric(column: pd.Series) -> bool:
    return is_numeric_dtype(column) and not is_bool_dtype(column)


def _previous(
    frame: pd.DataFrame, place: Float[np.ndarray, "row direction"]
) -> tuple[Float[np.ndarray, "row direction"], np.ndarray]:
    """Where the reply one turn before was (NaN if it is not in the table), and which rows are first turns."""
    keys = list(zip(frame["conversation"], frame["turn"], strict=True))
    row = {key: at for at, key in enumerate(keys)}
    before = np.array([row.get((name, turn - 1), -1) for name, turn in keys])
    found = np.where((before >= 0)[:, None], place[before], np.nan)
    return found, frame["turn"].to_numpy() == 0


def _alone(frame: pd.DataFrame) -> int:
    return int((frame.groupby("conversation", sort=False).size() == 1).sum())


def _check_spread(directions: Sequence[str], place: Float[np.ndarray, "row direction"]) -> None:
    still = [
        name
        for name, values in zip(directions, place.T, strict=True)
        if np.ptp(values) <= _STILL * np.abs(values).max()
    ]
    if still:
        raise SpaceError(
            f"{', '.join(map(repr, still))} {_has(len(still), 'have')} the same projection in every row: "
            "there is nothing to forecast",
            remedy="leave it out of the directions, or see what the trace has read",
        )


def _left_out(count: int, total: int, reason: str) -> str:
    return f"{count} of {total} rows {_has(count)} {reason}: left out"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _its(count: int) -> str:
    return "its" if count == 1 else "their"


def _has(count: int, many: str = "have") -> str:
    return "has" if count == 1 else many
