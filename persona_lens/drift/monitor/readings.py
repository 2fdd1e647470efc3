"""`Readings`: projections of many conversations as one array, which is what statistics are made of.

readings = Readings.of(trace, layer=20, directions=["axis"])
readings.values.shape           # (conversations, turns of the longest, directions)
readings.cut(10).maxima(rule)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from persona_lens.drift.trace import Trace
from persona_lens.errors import MonitorError

AXIS = "axis"


@dataclass(frozen=True, eq=False)
class Readings:
    """Some conversations, turn by turn.

    Attributes:
        names: Of the conversations.
        directions: Along which they were read.
        counts: Turns of each conversation, those without a token among them.
        numbers: What each turn is called in its conversation; -1 behind the last.
        values: Projections; NaN where a turn has no token, or no finite residual, and behind the last.
        tokens: Tokens of each reply; NaN where not known.
        residuals: Predicted minus actual projection; None if nobody has forecast.
    """

    names: tuple[str, ...]
    directions: tuple[str, ...]
    counts: Int[np.ndarray, " conversation"]
    numbers: Int[np.ndarray, "conversation turn"]
    values: Float[np.ndarray, "conversation turn direction"]
    tokens: Float[np.ndarray, "conversation turn"]
    residuals: Float[np.ndarray, "conversation turn direction"] | None = None

    @classmethod
    def of(
        cls,
        given: Trace | pd.DataFrame,
        *,
        layer: int | None = None,
        directions: Sequence[str] | None = None,
        reading: str | None = None,
    ) -> Readings:
        """From a trace, or a frame with the columns `conversation`, `turn` and `projection`.

        Args:
            given: A frame may have `direction`, `layer`, `reading`, `tokens` and `residual` as well.
            layer: Block, where there are several.
            directions: Of those there are; all by default.
            reading: As `persona_lens.drift.trace.READINGS`, where there are several.

        Raises:
            MonitorError: A column, layer, direction or reading is missing, or a turn has two rows.

        Examples:
            >>> frame = pd.DataFrame({"conversation": ["a", "a", "b"], "turn": [0, 1, 0],
            ...                       "projection": [1.0, 2.0, 3.0]})
            >>> Readings.of(frame).values[:, :, 0].tolist()
            [[1.0, 2.0], [3.0, nan]]
        """
        frame = given.frame if isinstance(given, Trace) else given
        _need(frame, ("conversation", "turn", "projection"))
        frame = _of_one(_of_one(frame, "layer", layer), "reading", reading)
        if "direction" not in frame:
            frame = frame.assign(direction=AXIS if directions is None else directions[0])
        there = list(dict.fromkeys(map(str, frame["direction"])))
        wanted = there if directions is None else list(dict.fromkeys(directions))
        missing = [name for name in wanted if name not in there]
        if missing:
            raise MonitorError(
                "conversations were not read along every direction",
                expected=", ".join(wanted),
                given=", ".join(there) or "none",
                remedy=f"trace them along {', '.join(missing)} too",
            )
        return cls._filled(frame.loc[frame["direction"].isin(wanted)], tuple(wanted))

    @classmethod
    def _filled(cls, frame: pd.DataFrame, directions: tuple[str, ...]) -> Readings:
        twice = frame.duplicated(["conversation", "turn", "direction"])
        if twice.any():
            first = frame.loc[twice].iloc[0]
            raise MonitorError(
                f"turn {first['turn']} of conversation {first['conversation']!r} has two projections",
                expected="one row a turn and direction",
                remedy="choose a layer and a reading, and give conversations names of their own",
            )
        names = tuple(dict.fromkeys(map(str, frame["conversation"])))
        rows = frame["conversation"].astype(str).map({name: row for row, name in enumerate(names)})
        told = frame.assign(row=rows.to_numpy(dtype=np.int64))
        turns = told.loc[:, ["row", "turn"]].drop_duplicates().sort_values(["row", "turn"])
        turns["column"] = turns.groupby("row").cumcount()
        told = told.merge(turns, on=["row", "turn"])
        places = told["row"].to_numpy(), told["column"].to_numpy()
        along = told["direction"].map({name: n for n, name in enumerate(directions)}).to_numpy()
        width = int(turns["column"].max()) + 1 if len(turns) else 0
        shape = (len(names), width)

        def filled(column: str) -> np.ndarray:
            found = np.full((*shape, len(directions)), np.nan)
            values = told[column].to_numpy(dtype=np.float64)
            found[(*places, along)] = np.where(np.isfinite(values), values, np.nan)
            return found

        numbers = np.full(shape, -1, dtype=np.int64)
        numbers[turns["row"], turns["column"]] = turns["turn"]
        tokens = np.full(shape, np.nan)
        if "tokens" in told:
            tokens[places] = told["tokens"].to_numpy(dtype=np.float64)
        return cls(
            names,
            directions,
            (numbers >= 0).sum(axis=1),
            numbers,
            filled("projection"),
            tokens,
            filled("residual") if "residual" in told else None,
        )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def read(self) -> Bool[np.ndarray, "conversation turn"]:
        """Which turns have a projection along every direction."""
        return np.asarray(np.isfinite(self.values).all(axis=2))

    @property
    def unread(self) -> int:
        """Turns that are there and have none."""
        return int((self.counts.sum()) - self.read.sum())

    def rows(self, chosen: Any) -> Readings:
        """Some of the conversations, by a mask or by their places."""
        which = np.arange(len(self))[chosen]
        return replace(
            self,
            names=tuple(self.names[row] for row in which),
            counts=self.counts[which],
            numbers=self.numbers[which],
            values=self.values[which],
            tokens=self.tokens[which],
            residuals=None if self.residuals is None else self.residuals[which],
        )

    def cut(self, horizon: int) -> Readings:
        """The same conversations up to so many turns."""
        return replace(
            self,
            counts=np.minimum(self.counts, horizon),
            numbers=self.numbers[:, :horizon],
            values=self.values[:, :horizon],
            tokens=self.tokens[:, :horizon],
            residuals=None if self.residuals is None else self.residuals[:, :horizon],
        )

    def digests(self) -> list[str]:
        """What tells each conversation from others: its numbers, not its name."""
        found = []
        for row, count in enumerate(self.counts):
            values = np.nan_to_num(self.values[row, :count].round(6), nan=1e30)
            found.append(hashlib.sha256(values.tobytes()).hexdigest()[:16])
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """For safetensors; `Readings.stored` reads them."""
        residuals = {} if self.residuals is None else {"residuals": self.residuals}
        names = ("counts", "numbers", "values", "tokens")
        return {name: getattr(self, name) for name in names} | residuals

    @classmethod
    def stored(
        cls, names: Sequence[str], directions: Sequence[str], arrays: Mapping[str, np.ndarray]
    ) -> Readings:
        """What `arrays` gave."""
        return cls(
            tuple(names),
            tuple(directions),
            arrays["counts"],
            arrays["numbers"],
            arrays["values"],
            arrays["tokens"],
            arrays.get("residuals"),
        )


def _need(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in frame]
    if missing:
        raise MonitorError(
            "these are no readings of conversations",
            expected=f"a Trace, or a frame with the columns {', '.join(columns)}",
            given=", ".join(map(str, frame.columns)) or "no columns",
        )


def _of_one(frame: pd.DataFrame, column: str, wanted: Any) -> pd.DataFrame:
    """The rows of one layer or reading."""
    if column not in frame:
        return frame
    there = list(dict.fromkeys(frame[column]))
    if wanted is None and len(there) > 1:
        raise MonitorError(
            f"there are readings of more than one {column}",
            expected=f"{column}=, one of them",
            given=", ".join(map(str, there)),
        )
    if wanted is not None and wanted not in there:
        raise MonitorError(
            f"there is no reading of {column} {wanted}",
            expected=", ".join(map(str, there)) or "any rows",
            given=wanted,
            remedy=f"trace the conversations with {column}s={wanted!r} among them",
        )
    return frame if wanted is None else frame.loc[frame[column] == wanted]
