"""What the checker found: counts, how near the nearest texts are, and what to do about each fault.

Examples:
    >>> fault = Fault("length", "role baker, prompts[0]", "has 2 words", ("You bake.",), "write more")
    >>> Report(counts={"roles": 1}, measures=[], faults=[fault]).ok
    False
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

Check = Literal["count", "field", "length", "name", "leak", "exact", "words", "meaning"]
"""What a fault is found by: the number of entries, their fields, the length of a text, names given
twice, a question that names a role or its own trait, and texts that are the same, share words or
are near in meaning."""


@dataclass(frozen=True)
class Fault:
    """One thing to mend.

    Attributes:
        check: What found it.
        where: Entry and field.
        problem: What is wrong.
        texts: The texts it is about.
        remedy: What to do.
        owners: The entries it is about, such as "role baker".
    """

    check: Check
    where: str
    problem: str
    texts: tuple[str, ...] = ()
    remedy: str = ""
    owners: tuple[str, ...] = ()

    def __str__(self) -> str:
        quoted = "".join(f"\n  {text}" for text in self.texts)
        return f"{self.where} {self.problem}{quoted}\n  {self.remedy}"


@dataclass(frozen=True)
class Measure:
    """How near the texts of one family are to each other, by one search.

    Attributes:
        family: Which texts.
        search: "words", the share of runs of three words, or "meaning", the cosine.
        texts: How many.
        median: Of each text's likeness to the nearest text of another entry.
        highest: Largest of these.
        limit: From which on it is a fault.
        highest_own: The largest likeness of two texts of one entry; None if no entry has two.
        own_limit: From which on that is a fault.
    """

    family: str
    search: str
    texts: int
    median: float
    highest: float
    limit: float
    highest_own: float | None
    own_limit: float


@dataclass(frozen=True)
class Report:
    """What the checker found.

    Attributes:
        counts: How many of each kind of entry and text.
        measures: How near the nearest texts are.
        faults: What to mend; empty if the catalogue passes.
    """

    counts: Mapping[str, int]
    measures: Sequence[Measure]
    faults: Sequence[Fault]

    @property
    def ok(self) -> bool:
        """Whether nothing has to be mended."""
        return not self.faults

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield ", ".join(f"{number:,} {what}" for what, number in self.counts.items() if number)
        if self.measures:
            yield from self._measured()
        for fault in self.faults:
            yield from _shown(fault)
        found = Counter(fault.check for fault in self.faults)
        by_check = ", ".join(f"{number} {check}" for check, number in found.most_common())
        yield (
            "[green]No faults.[/green]"
            if self.ok
            else f"[red]{len(self.faults)} faults:[/red] {by_check}"
        )

    def _measured(self) -> Iterator[RenderableType]:
        from rich.table import Table  # noqa: PLC0415

        table = Table(title="Likeness to the nearest text", title_justify="left")
        table.add_column("texts", no_wrap=True)
        table.add_column("by")
        for heading in ("number", "median", "highest", "limit", "in one entry", "limit"):
            table.add_column(heading, justify="right")
        for each in self.measures:
            own = each.highest_own
            table.add_row(
                f"{each.family}s",
                each.search,
                f"{each.texts:,}",
                *(f"{value:.2f}" for value in (each.median, each.highest, each.limit)),
                *("", "") if own is None else (f"{own:.2f}", f"{each.own_limit:.2f}"),
            )
        yield table


def _shown(fault: Fault) -> Iterator[RenderableType]:
    from rich.padding import Padding  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    yield Text.assemble((fault.where, "bold"), " ", fault.problem)
    for text in fault.texts:
        yield Padding(Text(text, "italic"), (0, 0, 0, 2))
    yield Padding(Text(fault.remedy, "cyan"), (0, 0, 0, 2))
