"""Who answers which conditions of an evaluation: the model here, workers in its place, or a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import pandas as pd

from persona_lens.evals.answering import Answerer
from persona_lens.evals.conditions import Condition
from persona_lens.evals.elsewhere import Server, by_workers
from persona_lens.evals.experiment import Cell
from persona_lens.evals.items import Item

if TYPE_CHECKING:
    from persona_lens.rollouts.serving import ServedSource
    from persona_lens.runs.engines.engine import Engine
    from persona_lens.space import Space


@dataclass(frozen=True, eq=False)
class Asking:
    """Has items answered, and places the replies on the axis of a space.

    Attributes:
        answerer: Asks the model here.
        space: On whose axis; None for no axis.
        layer: Where.
        conditions: All of them.
        engine: Workers that answer in the place of the model.
        served: Answers where nothing acts.
    """

    answerer: Answerer
    space: Space | None
    layer: int
    conditions: tuple[Condition, ...]
    engine: Engine | None
    served: ServedSource | None

    @property
    def groups(self) -> dict[str, tuple[Condition, ...]]:
        """Conditions that are answered together."""
        if self.served is None:
            return {"all": self.conditions}
        bare = tuple(each for each in self.conditions if each.plan is None)
        acting = tuple(each for each in self.conditions if each.plan is not None)
        named = {**{f"served, {each.name}": (each,) for each in bare}, "with a plan": acting}
        return {name: group for name, group in named.items() if group}

    def answer(self, items: Sequence[Item], conditions: Sequence[Condition]) -> pd.DataFrame:
        """The rows of some items, by the model here."""
        return self.answerer.answered(items, conditions).placed(self.space, self.layer)

    def ahead(
        self, items: Mapping[str, Sequence[Item]]
    ) -> Callable[[Sequence[Cell]], Iterator[tuple[Cell, pd.DataFrame | Exception]]] | None:
        """What answers cells elsewhere; None if nothing does."""
        if self.engine is None and self.served is None:
            return None

        def found(cells: Sequence[Cell]) -> Iterator[tuple[Cell, pd.DataFrame | Exception]]:
            named = {str(cell): cell for cell in cells}
            asked = {
                name: (items[cell.item], self.groups[cell.condition])
                for name, cell in named.items()
            }
            bare = {
                name: (some, group[0])
                for name, (some, group) in asked.items()
                if group[0].plan is None and self.served is not None
            }
            parts = []
            if bare and self.served is not None:
                parts.append(Server(self.served, self.answerer).answers(bare))
            if self.engine is not None:
                rest = {name: piece for name, piece in asked.items() if name not in bare}
                parts.append(by_workers(self.engine, self.answerer, rest))
            for name, answered in chain.from_iterable(parts):
                rows = (
                    answered
                    if isinstance(answered, Exception)
                    else answered.placed(self.space, self.layer)
                )
                yield named[name], rows

        return found
