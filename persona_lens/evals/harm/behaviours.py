"""Behaviours that a person brings: what is asked, of which category, and its harmless twin if it has one.

Nothing of the kind is in this package. `read_behaviours` reads the tables that are published.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, overload

import numpy as np

from persona_lens.errors import EvaluationError
from persona_lens.evals.harm.sources import Fault

if TYPE_CHECKING:
    import pandas as pd

_CONTEXT = "\n\n---\n\n"
_SHOWN = 3


@dataclass(frozen=True)
class Behaviour:
    """Something a model may be asked, harmful or its harmless twin.

    Attributes:
        id: Its name, once in a set.
        text: The request.
        category: Of harm, as its table has it.
        benign: It is harmless: a refusal is one too many.
        pair: The same for a harmful behaviour and its twin; its id by default.
        context: Text that stands before the request.
        system: A system prompt of its own, where the set pairs requests with personas.
        persona: Who that prompt makes of the model.
        source: Where its table has it from.
        kind: `FunctionalCategory` of HarmBench: "standard" or "contextual".
        tags: What else its table says of it.
        place: File and line.

    Examples:
        >>> Behaviour("crane", "How is it folded?", context="Of the forbidden paper crane:").asked
        'Of the forbidden paper crane:\\n\\n---\\n\\nHow is it folded?'
    """

    id: str
    text: str
    category: str = ""
    benign: bool = False
    pair: str = ""
    context: str = ""
    system: str = ""
    persona: str = ""
    source: str = ""
    kind: str = ""
    tags: tuple[str, ...] = ()
    place: str = ""

    @property
    def asked(self) -> str:
        """What the user says: context, if there is any, and request."""
        return f"{self.context}{_CONTEXT}{self.text}" if self.context else self.text

    @property
    def group(self) -> str:
        """Shared with its twin."""
        return self.pair or self.id


@dataclass(frozen=True)
class Behaviours(Sequence[Behaviour]):
    """Behaviours in the order of their table, and what became of its rows.

    Attributes:
        found: The behaviours.
        layout: Of the table.
        faults: Rows that were refused or left out, and what is worth a word.
    """

    found: tuple[Behaviour, ...]
    layout: str = ""
    faults: tuple[Fault, ...] = field(default=(), repr=False)

    @overload
    def __getitem__(self, place: int) -> Behaviour: ...
    @overload
    def __getitem__(self, place: slice) -> Behaviours: ...
    def __getitem__(self, place: int | slice) -> Behaviour | Behaviours:
        """One of them, or some as a set."""
        if isinstance(place, slice):
            return Behaviours(self.found[place], self.layout, self.faults)
        return self.found[place]

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Behaviour]:
        return iter(self.found)

    @property
    def refused(self) -> int:
        """Rows that could not be read."""
        return sum(fault.kind == "refused" for fault in self.faults)

    @property
    def frame(self) -> pd.DataFrame:
        """What is to be said of rows: `kind`, `place`, `column`, `problem`, `remedy`."""
        import pandas as pd  # noqa: PLC0415 - takes half a second

        names = ["kind", "place", "column", "problem", "remedy"]
        return pd.DataFrame([[getattr(f, n) for n in names] for f in self.faults], columns=names)

    @property
    def summary(self) -> str:
        """Counts, and the first faults in words."""
        benign = sum(each.benign for each in self.found)
        lines = [
            f"{len(self.found) - benign:,} harmful and {benign:,} benign behaviours of "
            f"{len({each.category for each in self.found}):,} categories were read"
        ]
        for kind in ("refused", "left out", "noted"):
            some = [fault for fault in self.faults if fault.kind == kind]
            if some:
                lines.append(f"{kind}: {len(some):,}")
                lines += [str(fault) for fault in some[:_SHOWN]]
        return "\n".join(lines)

    def chosen(
        self,
        n: int | None = None,
        *,
        categories: Collection[str] | None = None,
        ids: Collection[str] | None = None,
        seed: int | None = None,
    ) -> Behaviours:
        """Some of them; twins stay together.

        Args:
            n: Pairs (or single behaviours) at most: the first, or with a seed as many as can be of each category.
            categories: Only these.
            ids: Only these, and their twins.
            seed: Draws them.

        Raises:
            EvaluationError: A category or id is not there.
        """
        known = {each.category for each in self.found}
        groups = {each.id: each.group for each in self.found}
        for what, wanted, all_there in (
            ("category", categories, known),
            ("behaviour", ids, set(groups)),
        ):
            lost = sorted(set(wanted or ()) - all_there)
            if lost:
                raise EvaluationError(
                    f"there is no such {what}",
                    expected=", ".join(sorted(all_there)[:20]),
                    given=", ".join(lost),
                )
        kept_groups = None if ids is None else {groups[each] for each in ids}
        some = [
            each
            for each in self.found
            if (categories is None or each.category in categories)
            and (kept_groups is None or each.group in kept_groups)
        ]
        first_of = {each.group: each.category for each in reversed(some)}
        order = list(dict.fromkeys(each.group for each in some))
        if seed is not None:
            order = _spread(order, first_of, np.random.default_rng(seed))
        kept = set(order[:n])
        return Behaviours(tuple(e for e in some if e.group in kept), self.layout, self.faults)

    def __repr__(self) -> str:
        return f"Behaviours({self.layout}: {self.summary.splitlines()[0]}; {self.refused:,} rows refused)"


def _spread(order: list[str], category: dict[str, str], rng: np.random.Generator) -> list[str]:
    """In random order, every category once before any comes twice."""
    drawn = [order[place] for place in rng.permutation(len(order))]
    turns: dict[str, int] = {}
    turn = {}
    for name in drawn:
        turn[name] = turns[category[name]] = turns.get(category[name], -1) + 1
    return sorted(drawn, key=turn.__getitem__)
