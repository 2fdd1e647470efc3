"""What chance gives: the users' messages handed to other conversations of the same domain, whole and in order.

Messages of a conversation belong together, and so do its replies. Rows shuffled one by one would break both, and
chance would look smaller than it is; so whole conversations of messages change hands, turn by turn, and where
there are enough personas all conversations of one persona go to another. What a domain or the count of turns
tells is in the null, too: only what a message says beyond them can beat it.
"""

from __future__ import annotations

from math import lgamma, log

import numpy as np
import pandas as pd
from jaxtyping import Int

from persona_lens.drift.forecast.turns import Turns

_ENOUGH = 1000  # arrangements, so that p-values are not made of a few that recur


class Shuffler:
    """Draws which message each row is given.

    Args:
        turns: The rows.
        seed: Of the draws.

    Attributes:
        unit: What changes hands: "persona" or "conversation".

    Examples:
        >>> from persona_lens.drift.forecast.turns import read_turns
        >>> turns = read_turns(pd.DataFrame({"conversation": list("aabb"), "turn": [0, 1, 0, 1],
        ...     "message": ["1", "2", "3", "4"], "axis": [1.0, 2.0, 3.0, 4.0]}))
        >>> {tuple(Shuffler(turns, seed).draw().tolist()) for seed in range(9)} == {(0, 1), (1, 0)}
        True
    """

    def __init__(self, turns: Turns, seed: int) -> None:
        frame = turns.frame
        self._rng = np.random.default_rng(seed)
        domains = turns.codes("domain") if "domain" in frame else np.zeros(len(turns), dtype=int)
        conversations = turns.codes("conversation")
        self.unit = "conversation"
        units = conversations
        if "persona" in frame:
            personas = pd.factorize(
                pd.Series(list(zip(turns.codes("persona"), domains, strict=True)))
            )[0]
            if _arrangements(personas, domains) >= log(_ENOUGH):
                self.unit, units = "persona", personas
        self._rows = _rows_by_turn(conversations, frame["turn"].to_numpy())
        self._domains: list[list[list[int]]] = []
        table = pd.DataFrame({"domain": domains, "unit": units, "conversation": conversations})
        for _, domain in table.groupby("domain"):
            members = domain.groupby("unit")["conversation"].unique()
            self._domains.append([list(map(int, own)) for own in members])
        self.arrangements = float(np.exp(min(_arrangements(units, domains), 50.0)))

    def draw(self) -> Int[np.ndarray, " row"]:
        """For each row the row whose message it is given."""
        given = np.zeros(sum(len(rows) for rows in self._rows.values()), dtype=int)
        for units in self._domains:
            for taker, giver in enumerate(self._rng.permutation(len(units))):
                sources = self._rng.permutation(units[giver])
                for place, conversation in enumerate(units[taker]):
                    self._hand_over(conversation, int(sources[place % len(sources)]), given)
        return given

    def _hand_over(self, to: int, source: int, given: np.ndarray) -> None:
        theirs = self._rows[source]
        any_of_them = list(theirs.values())
        for turn, row in self._rows[to].items():
            known = theirs.get(turn)
            given[row] = known if known is not None else self._rng.choice(any_of_them)


def _rows_by_turn(conversations: np.ndarray, turns: np.ndarray) -> dict[int, dict[int, int]]:
    found: dict[int, dict[int, int]] = {}
    for row, (conversation, turn) in enumerate(zip(conversations, turns, strict=True)):
        found.setdefault(int(conversation), {})[int(turn)] = row
    return found


def _arrangements(units: np.ndarray, domains: np.ndarray) -> float:
    """Logarithm of how many ways there are to hand units around within domains."""
    counts = pd.Series(units).groupby(domains).nunique()
    return float(sum(lgamma(count + 1) for count in counts))
