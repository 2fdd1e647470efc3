"""The progress of a collection on standard error: replies, tokens a second, time left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from persona_lens.runs.estimate import Estimate

_Item = TypeVar("_Item")


class CollectionProgress:
    """A progress bar over replies, or silence.

    Args:
        total: Replies of the whole plan, finished ones included.
        shown: False keeps quiet.
    """

    def __init__(self, total: int, *, shown: bool) -> None:
        self.console = Console(stderr=True, quiet=not shown)
        self.total = total
        self._tokens = 0
        self._stored = 0
        self._sampled = 0
        self._bar = Progress(
            TextColumn("Collecting"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("replies · {task.fields[rate]} tokens/s ·"),
            TimeElapsedColumn(),
            TextColumn("· left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self.console,
            speed_estimate_period=120,
            disable=not shown,
        )
        self._task = self._bar.add_task("collect", total=total, rate="-")

    def announce(self, estimate: Estimate, done: int) -> None:
        """Say what is to come, and what is there already."""
        if done:
            self.console.print(f"Continuing: {done:,} of {self.total:,} replies are there.")
        self.console.print(f"To do: {estimate}.")

    @contextmanager
    def running(self, done: int) -> Iterator[None]:
        """Show the bar while the collection runs, starting from the replies that are there."""
        self._stored = done
        self._bar.update(self._task, completed=done)
        with self._bar:
            yield

    def advance_tokens(self, replies: int, tokens: int) -> None:
        """A batch is sampled, though not yet stored."""
        self._tokens += tokens
        self._sampled += replies
        elapsed = self._bar.tasks[0].elapsed or 0.0
        rate = f"{self._tokens / elapsed:,.0f}" if elapsed else "-"
        self._bar.update(self._task, completed=self._stored + self._sampled, rate=rate)

    def advance_replies(self, replies: int) -> None:
        """The replies of a unit are stored."""
        self._stored += replies
        self._sampled = 0
        self._bar.update(self._task, completed=self._stored)


class StageProgress:
    """A progress bar over one stage, or silence.

    Examples:
        >>> bar = StageProgress("Judging", total=2, shown=False)
        >>> with bar.running():
        ...     bar.advance(2)
    """

    def __init__(self, title: str, total: int, *, shown: bool, unit: str = "replies") -> None:
        self._bar = Progress(
            TextColumn(title),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{unit} ·"),
            TimeElapsedColumn(),
            TextColumn("· left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=Console(stderr=True, quiet=not shown),
            speed_estimate_period=120,
            disable=not shown,
        )
        self._task = self._bar.add_task(title, total=total)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show the bar while the stage runs."""
        with self._bar:
            yield

    def advance(self, count: int) -> None:
        """So many more are done."""
        self._bar.advance(self._task, count)

    def counted(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """The same items, each counted when the next is asked for."""
        for item in items:
            yield item
            self.advance(1)
