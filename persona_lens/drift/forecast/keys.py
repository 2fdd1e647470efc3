"""The columns that say which turn of whose conversation a row is, checked."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype

from persona_lens.errors import SpaceError

KEYS = ("conversation", "turn", "message")
GROUPS = ("persona", "domain", "simulator")


def check_keys(table: pd.DataFrame) -> None:
    """Refuse a table whose rows are not turns of conversations.

    Raises:
        SpaceError: A column is missing or twice there, or holds something else; a turn occurs twice; a
            conversation has two personas, domains or simulators.
    """
    missing = [name for name in KEYS if name not in table]
    if missing:
        raise SpaceError(
            f"the table has no column {', '.join(map(repr, missing))}",
            expected=", ".join(KEYS) + " and a column of projections a direction",
            given=", ".join(map(str, table.columns)) or "no columns",
            remedy="rename the columns, one row an assistant turn",
        )
    doubled = sorted({str(name) for name in table.columns[table.columns.duplicated()]})
    if doubled:
        raise SpaceError(
            f"the table has two columns {', '.join(map(repr, doubled))}",
            remedy="keep one of each name",
        )
    if not len(table):
        raise SpaceError("the table has no rows", expected="one row an assistant turn")
    for name in (*KEYS, *(group for group in GROUPS if group in table)):
        unknown = np.flatnonzero(table[name].isna().to_numpy())
        if len(unknown):
            raise SpaceError(
                f"column {name!r} is empty in {len(unknown)} of {len(table)} rows, first in row {unknown[0]}",
                expected="a value in every row",
                remedy="fill it in, leave those rows out"
                + ("" if name in KEYS else ", or leave the column out"),
            )
    _check_names(table)
    odd = [at for at, message in enumerate(table["message"]) if not isinstance(message, str)]
    if odd:
        raise SpaceError(
            "column 'message' holds something else than text",
            expected="the user's message before the reply",
            given=f"{type(table['message'].iloc[odd[0]]).__name__} in row {odd[0]}",
        )
    turn = table["turn"]
    if not is_integer_dtype(turn) or is_bool_dtype(turn) or (turn < 0).any():
        raise SpaceError(
            "column 'turn' does not count turns",
            expected="whole numbers from 0",
            given=f"{turn.dtype}, least {turn.min()}" if is_numeric_dtype(turn) else turn.dtype,
        )
    again = np.flatnonzero(table.duplicated(["conversation", "turn"]).to_numpy())
    if len(again):
        at = table.iloc[again[0]]
        raise SpaceError(
            f"{len(again)} turns occur twice, first conversation {at['conversation']!r}, turn {at['turn']}",
            expected="one row an assistant turn",
            remedy="give each conversation a name of its own, persona and simulator included",
        )
    _check_groups(table)


def _check_names(table: pd.DataFrame) -> None:
    for name in ("conversation", *(group for group in GROUPS if group in table)):
        nested = [type(value).__name__ for value in table[name] if not isinstance(value, Hashable)]
        if nested:
            raise SpaceError(
                f"column {name!r} holds {nested[0]}, not names",
                expected="a text or a number that is the same wherever it is the same " + name,
                remedy=f"put the name of each {name} there",
            )


def _check_groups(table: pd.DataFrame) -> None:
    for name in GROUPS:
        if name in table:
            values = table.groupby("conversation", sort=False)[name].agg(list)
            several = {key: set(found) for key, found in values.items() if len(set(found)) > 1}
            for conversation, found in several.items():
                raise SpaceError(
                    f"conversation {conversation!r} has {len(found)} values of {name!r}",
                    expected=f"one {name} a conversation",
                    remedy="give each conversation a name of its own",
                )
