"""Results as people read them: a table with a title, the columns that are shown, and which numbers are one.

    told = Told("effect", "What the persona does", frame, {"effect": ("effect", "low", "high"), "p": ("p",)})
    told.head, told.rows()

A number stands with its interval in one cell: `12% [8%, 16%]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False)
class Told:
    """A table of results.

    Attributes:
        name: Of its file.
        title: Above it, in words.
        frame: All of it.
        shown: The columns that are shown: their heads, each with the name of a column, of the two ends of a range,
            or of a number and the ends of its interval.
        percent: Heads of those that are shares or differences of shares.
        note: Below it.
        only: Rows are shown that have these values.
        whole: It has all that the evaluation's measures have, which are not shown beside it.

    Examples:
        >>> frame = pd.DataFrame({"who": ["cap"], "share": [0.123], "low": [0.08], "high": [0.2], "p": [0.01234]})
        >>> shown = {"": ("who",), "broken": ("share", "low", "high"), "p": ("p",)}
        >>> Told("cap", "A cap", frame, shown, percent=("broken",)).rows()
        [['cap', '12% [8%, 20%]', '0.0123']]
    """

    name: str
    title: str
    frame: pd.DataFrame
    shown: Mapping[str, tuple[str, ...]]
    percent: tuple[str, ...] = field(default=())
    note: str = ""
    only: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False

    @property
    def head(self) -> list[str]:
        """Heads of the columns."""
        return list(self.shown)

    def rows(self) -> list[list[str]]:
        """Cells, in words; a number that is not there is empty."""
        rows = self.frame
        for column, value in self.only.items():
            rows = rows.loc[rows[column] == value]
        return [
            [
                _cell([record[column] for column in columns], percent=head in self.percent)
                for head, columns in self.shown.items()
            ]
            for record in rows.to_dict("records")
        ]


def _cell(values: list[Any], *, percent: bool) -> str:
    """
    >>> _cell([0.5, 0.4, np.nan], percent=True), _cell([-1.0, 1.0], percent=False), _cell([1200], percent=False)
    ('50%', '-1 to 1', '1,200')
    """
    if isinstance(values[0], str):
        return values[0]
    told = [_number(value, percent=percent) for value in values]
    if len(told) == 2:
        return " to ".join(told) if all(told) else ""
    return f"{told[0]} [{told[1]}, {told[2]}]" if len(told) == 3 and all(told) else told[0]


def _number(value: Any, *, percent: bool) -> str:
    if not isinstance(value, float | np.floating):
        return f"{value:,}"
    if not np.isfinite(value):
        return ""
    return f"{value:.0%}" if percent else f"{value:.3g}"
