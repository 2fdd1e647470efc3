"""Where a model stands in persona space, turn by turn: the result of `persona_lens.drift.tracing.trace`.

    found = space.trace(conversations, model)
    found.frame                    # conversation, turn, layer, direction, projection, interval, z, nearest roles
    found.motion()                 # how far each conversation wanders
    found.curves(by="domain")      # the mean of many, with bands over conversations

Three readings of a reply are kept apart, because a projection that a cap holds is a flat line of its own making:
`clean` is what the unsteered model makes of the text, `before` and `after` are the two sides of a plan's
operations at the layer itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from persona_lens.drift.curves import FEWEST, turn_curves
from persona_lens.drift.motion import motion
from persona_lens.errors import ConversationError
from persona_lens.frames import ResultKind

Reading = Literal["clean", "before", "after"]
READINGS: tuple[Reading, ...] = ("clean", "before", "after")

KEYS = ("conversation", "turn", "reading", "layer", "direction")
OWN_COLUMNS = ("conversation", "turn", "since", "tokens", "message", "reply")
"""Columns of `Trace.turns`, before what the conversations say of themselves."""

_KIND = ResultKind(
    "trace",
    card="trace.json",
    frames=("projections", "turns", "tokens", "refused"),
    error=ConversationError,
)


@dataclass(frozen=True, eq=False)
class Trace:
    """Projections of the replies of some conversations.

    Attributes:
        frame: One row a turn, reading, layer and direction (`KEYS`): `projection` (of the axis, roles and traits
            the uncentred dot product with the unit direction, Assistant positive; of a component the score),
            `low` and `high` (95 %, for the mean of tokens that depend on one another), `z_default` and `z_roles`
            (distance from the mean of single replies of the default or the roles, in their standard deviations;
            NaN where the space has no calibration along the direction), `start` (projection of the token right
            before the reply), `tokens`, `nearest` (the three roles whose direction from the mean of the roles is
            closest) and `nearest_cosine` (of the first).
        turns: One row a turn: `message` of the user before it, `reply`, `since` (the first turn the model has
            seen), `tokens`, and what the conversation says of itself, such as `domain` and `persona`.
        refused: Conversations that could not be read, and why.
        card: Model, space, layers, directions and how it was read.
        tokens: With `detail`, one row a token, reading, layer and direction: its place in the reply, its text, its
            projection.
    """

    frame: pd.DataFrame
    turns: pd.DataFrame
    refused: pd.DataFrame
    card: Mapping[str, Any]
    tokens: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers read, in the order asked for."""
        return tuple(self.card["layers"])

    @property
    def directions(self) -> tuple[str, ...]:
        """Directions read, in the order asked for."""
        return tuple(self.card["directions"])

    @property
    def readings(self) -> tuple[str, ...]:
        """Which of `READINGS` there are."""
        return tuple(self.card["readings"])

    def at(
        self,
        layer: int | None = None,
        *,
        direction: str | None = None,
        reading: str | None = None,
    ) -> pd.DataFrame:
        """The rows of one layer and reading, and of one direction if named; the first of each by default.

        Raises:
            ConversationError: There is none of these.
        """
        layer = self._one("layer", layer, self.layers)
        reading = self._one("reading", reading, self.readings)
        frame = self.frame
        rows = (frame["layer"] == layer) & (frame["reading"] == reading)
        if direction is not None:
            rows &= frame["direction"] == self._one("direction", direction, self.directions)
        return frame.loc[rows]

    def select(self, **wanted: Any) -> Trace:
        """The trace of some conversations alone.

        Args:
            **wanted: A value, or several, that a column of `turns` must have: `domain="coding"`,
                `conversation=["a", "b"]`.

        Raises:
            ConversationError: No such column, or no conversation like that.
        """
        kept = pd.Series(True, index=self.turns.index)
        for name, values in wanted.items():
            listed = [values] if isinstance(values, str | int | float | bool) else list(values)
            kept &= self._column(name).isin(listed)
        if not kept.any():
            raise ConversationError("no conversation of the trace is like that", given=wanted)
        names = set(self.turns.loc[kept, "conversation"])
        own, tokens = self.frame["conversation"].isin(names), self.tokens
        return replace(
            self,
            frame=self.frame.loc[own].reset_index(drop=True),
            turns=self.turns.loc[kept].reset_index(drop=True),
            tokens=tokens.loc[tokens["conversation"].isin(names)] if len(tokens) else tokens,
        )

    def wide(self, layer: int | None = None, *, reading: str | None = None) -> pd.DataFrame:
        """One row a turn with a column for each direction: what forecasts are made of.

        Columns: those of `turns`; for each direction its projection, by its name, and `before:<direction>`, that
        of the token right before the reply.
        """
        rows = self.at(layer, reading=reading)
        keys = ["conversation", "turn"]
        parts = [self.turns.set_index(keys)]
        for prefix, column in (("", "projection"), ("before:", "start")):
            table = rows.pivot(index=keys, columns="direction", values=column)
            parts.append(table[list(self.directions)].add_prefix(prefix))
        return pd.concat(parts, axis=1).reindex(parts[0].index).reset_index()

    def motion(
        self,
        layer: int | None = None,
        *,
        directions: Sequence[str] | None = None,
        reading: str | None = None,
    ) -> pd.DataFrame:
        """How far each conversation wanders; see `persona_lens.drift.motion.motion`.

        Args:
            layer: Block; the first read by default.
            directions: Several are looked at together, as one path through their coordinates; the first by
                default.
            reading: `clean`, `before` or `after`.
        """
        named = [self._one("direction", name, self.directions) for name in directions or [None]]
        return motion(self.at(layer, reading=reading), named)

    def curves(
        self,
        by: str | None = None,
        layer: int | None = None,
        *,
        direction: str | None = None,
        reading: str | None = None,
        value: str = "projection",
        fewest: int = FEWEST,
        n_draws: int = 1000,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Mean projection at each turn of groups of conversations, with bands; see `persona_lens.drift.curves`.

        Args:
            by: Column of `turns` that tells the groups; all conversations together by default.
            layer: Block; the first read by default.
            direction: The first by default.
            reading: `clean`, `before` or `after`.
            value: Column that is averaged.
            fewest: Turns of a group with fewer conversations are left out.
            n_draws: Bootstrap samples of whole conversations, whose turns go together.
            seed: Of the samples.

        Raises:
            ConversationError: No such column.
        """
        chosen = self._one("direction", direction, self.directions)
        rows = self.at(layer, direction=chosen, reading=reading)
        groups = pd.Series("all", index=self.turns.index) if by is None else self._column(by)
        told = self.turns[["conversation", "turn"]].assign(group=groups)
        merged = rows.merge(told, on=["conversation", "turn"])
        return turn_curves(merged, value=value, fewest=fewest, n_draws=n_draws, seed=seed)

    def save(self, folder: str | Path) -> Path:
        """Write it to a folder: Parquet and a JSON card."""
        frames = {
            "projections": self.frame,
            "turns": self.turns,
            "tokens": self.tokens,
            "refused": self.refused,
        }
        return _KIND.save(folder, self.card, frames=frames)

    @classmethod
    def load(cls, folder: str | Path) -> Trace:
        """Open a saved trace.

        Raises:
            ConversationError: There is none.
        """
        kept = _KIND.load(folder, remedy="make one: persona-lens trace --save FOLDER")
        frames = kept.frames
        return cls(
            frames["projections"], frames["turns"], frames["refused"], kept.card, frames["tokens"]
        )

    def _column(self, name: str) -> pd.Series:
        if name not in self.turns.columns:
            told = [column for column in self.turns.columns if column not in OWN_COLUMNS]
            raise ConversationError(
                f"the conversations say nothing of their {name!r}",
                expected=f"one of {', '.join(told)}" if told else "conversations that say more",
                given=name,
            )
        return self.turns[name]

    @staticmethod
    def _one(what: str, given: Any, known: tuple[Any, ...]) -> Any:
        """The one given, or the first."""
        if given is None:
            return known[0]
        if given not in known:
            raise ConversationError(
                f"this trace has no such {what}",
                expected=f"one of {', '.join(map(str, known))}",
                given=given,
            )
        return given

    def __repr__(self) -> str:
        refused = f", {len(self.refused)} refused" if len(self.refused) else ""
        return (
            f"Trace({self.turns['conversation'].nunique()} conversations, {len(self.turns)} turns, "
            f"layers {', '.join(map(str, self.layers))}, {', '.join(self.directions)}{refused})"
        )
