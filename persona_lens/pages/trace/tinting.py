"""Replies as text with a tint: blue towards the Assistant, orange towards role-play, by turn or by token."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

BLUE, ORANGE = "0, 114, 178", "213, 94, 0"
FULL = 0.55


@dataclass(frozen=True)
class Tint:
    """From a projection to a colour that is laid over the page.

    Attributes:
        middle: Has no colour.
        reach: What is so far away has all of it.
        calibrated: Whether the middle lies between replies of the default and of the roles; else it is the median.
    """

    middle: float
    reach: float
    calibrated: bool

    @classmethod
    def of(cls, values: Iterable[float], spread: pd.DataFrame | None) -> Tint:
        """Centred between the default's and the roles' replies where these are known.

        Examples:
            >>> spread = pd.DataFrame({"population": ["default", "roles"], "mean": [6.0, -10.0], "deviation": 2.0})
            >>> Tint.of([1.0], spread)
            Tint(middle=-2.0, reach=10.0, calibrated=True)
        """
        known = np.array([value for value in values if np.isfinite(value)])
        if spread is not None and len(spread) == 2:
            ends = spread["mean"].to_numpy()
            reach = abs(ends[0] - ends[1]) / 2 + spread["deviation"].max()
            return cls(float(ends.mean()), float(reach), True)
        if not len(known):
            return cls(0.0, 1.0, False)
        middle = float(np.median(known))
        return cls(middle, float(np.abs(known - middle).max()) or 1.0, False)

    def style(self, value: float) -> str:
        """CSS of a piece of text.

        Examples:
            >>> Tint(0.0, 2.0, True).style(1.0), Tint(0.0, 2.0, True).style(float("nan"))
            ('background: rgba(0, 114, 178, 0.28)', '')
        """
        if not np.isfinite(value):
            return ""
        share = float(np.clip((value - self.middle) / self.reach, -1, 1))
        return f"background: rgba({BLUE if share > 0 else ORANGE}, {FULL * abs(share):.2f})"


class Tinted(NamedTuple):
    """A piece of a reply."""

    text: str
    style: str
    title: str


class TintedTurn(NamedTuple):
    """What a page shows of a turn."""

    number: int
    message: str
    pieces: list[Tinted]
    told: str


def tinted_turns(
    turns: pd.DataFrame, rows: pd.DataFrame, tokens: pd.DataFrame, tint: Tint
) -> list[TintedTurn]:
    """The turns of one conversation.

    Args:
        turns: Of the trace: `turn`, `message`, `reply`.
        rows: Of the trace, one a turn: `turn`, `projection`, `low`, `high`, `nearest`.
        tokens: One a token: `turn`, `place`, `token`, `projection`; empty to tint whole replies.
        tint: Of the page.
    """
    by_turn = rows.set_index("turn")
    found = []
    for turn in turns.to_dict("records"):
        place = by_turn.loc[turn["turn"]]
        told = f"{place['projection']:.2f}"
        if np.isfinite(place["low"]):
            told += f" ({place['low']:.2f} to {place['high']:.2f})"
        if place["nearest"]:
            told += f"; nearest roles: {place['nearest'].replace('_', ' ')}"
        own = tokens.loc[tokens["turn"] == turn["turn"]] if len(tokens) else tokens
        if len(own):
            pieces = [
                Tinted(
                    token["token"], tint.style(token["projection"]), f"{token['projection']:.2f}"
                )
                for token in own.sort_values("place").to_dict("records")
            ]
        else:
            pieces = [Tinted(turn["reply"], tint.style(place["projection"]), told)]
        found.append(TintedTurn(turn["turn"], turn["message"], pieces, told))
    return found
