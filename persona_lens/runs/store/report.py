"""What a check of a run has found, as data and as a table.

>>> report = Report(Path("run"), (Part("replies", 11, ("role-ghost-p0",), ()),), (), 0, 0, (), 84_000_000, 0)
>>> print(report)
Check of run
 replies  11 of 12 whole
          missing: role-ghost-p0
 on disk  84 MB
<BLANKLINE>
Nothing is damaged: the same collect or judge command makes what is missing.
>>> report.sound
True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from persona_lens.quantities import format_bytes

_LISTED = 8


@dataclass(frozen=True)
class Damage:
    """A file that does not hold what was written.

    Attributes:
        path: The file.
        what: What is wrong with it.
        lost: Its content is gone; False if it only cannot be read, for want of permission for example.
        set_aside: Where it is now, once it has been repaired.
    """

    path: Path
    what: str
    lost: bool = True
    set_aside: Path | None = None


@dataclass(frozen=True)
class Part:
    """Replies, activations, or the labels of one judge, shard by shard; or what is known of the judges.

    Attributes:
        name: `replies`, `activations`, `labels` with the key of the judge, `judges` or `calibrations`.
        whole: How many are there, undamaged.
        missing: Keys of those that are not there.
        damaged: Keys of those that are damaged.
    """

    name: str
    whole: int
    missing: tuple[str, ...]
    damaged: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What a check has found; prints as a table.

    Attributes:
        run: The folder.
        parts: How much of the plan is there; empty if the manifest cannot be read.
        damaged: Files that do not hold what was written.
        journals: How many shards are under way.
        records: How many replies and verdicts lie in their journals.
        others: Files that are not of the plan: of other plans, set aside earlier, left by killed processes.
        bytes_used: Size of all files in the folder.
        bytes_of_others: Size of those that are not of the plan.
    """

    run: Path
    parts: tuple[Part, ...]
    damaged: tuple[Damage, ...]
    journals: int
    records: int
    others: tuple[Path, ...]
    bytes_used: int
    bytes_of_others: int

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged, or all that was has been set aside."""
        return all(damage.set_aside for damage in self.damaged)

    @property
    def verdict(self) -> str:
        """What it comes to, and what to do next."""
        if not self.sound:
            return "Damaged: persona-lens info RUN --check --repair sets such files aside."
        if self.damaged:
            return "Set aside: the same collect or judge command makes these shards again."
        if any(part.missing for part in self.parts):
            return "Nothing is damaged: the same collect or judge command makes what is missing."
        return "Everything is there and undamaged."

    def __rich__(self) -> RenderableType:
        facts = Table(
            title=f"Check of {self.run}", title_justify="left", show_header=False, box=None
        )
        facts.add_column(style="bold")
        facts.add_column(overflow="fold")
        for part in self.parts:
            planned = part.whole + len(part.missing) + len(part.damaged)
            facts.add_row(part.name, f"{part.whole:,} of {planned:,} whole")
            if part.missing:
                facts.add_row("", f"missing: {_listed(part.missing)}")
        if self.journals:
            journals = _counted(self.journals, "journal")
            facts.add_row("under way", f"{_counted(self.records, 'record')} in {journals}")
        if self.others:
            names = _listed([path.name for path in self.others])
            size = f"{_counted(len(self.others), 'file')}, {format_bytes(self.bytes_of_others)}"
            facts.add_row("not of the plan", f"{size}: {names}")
        facts.add_row("on disk", format_bytes(self.bytes_used))
        lines: list[RenderableType] = []
        for damage in self.damaged:
            aside = f", set aside as {damage.set_aside.name}" if damage.set_aside else ""
            lines.append(Text(f"\n{damage.path.relative_to(self.run)}", style="bold red"))
            lines.append(Text(f"  {damage.what}{aside}"))
        return Group(facts, *lines, Text(f"\n{self.verdict}"))

    def __str__(self) -> str:
        console = Console(width=100)
        with console.capture() as printed:
            console.print(self)
        return printed.get()


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
