"""Progress on standard error: a bar in a terminal or notebook, a line every half minute in a log file.

Collecting: 310 of 1,480 replies, 212 tokens/s, 4 min gone, 14 min left
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from persona_lens.quantities import format_seconds

SECONDS_BETWEEN_LINES = 30.0

_Item = TypeVar("_Item")


class Pace:
    """The time left, by what was measured of late.

    Args:
        window: Seconds that count, though never less than the last two steps.
        clock: Tells the time in seconds.

    Examples:
        >>> now = iter([0.0, 10.0, 10.0])
        >>> pace = Pace(clock=lambda: next(now))
        >>> pace.note(0)
        >>> pace.note(5)
        >>> pace.left(20)
        40.0
    """

    def __init__(self, window: float = 120.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._window = window
        self._clock = clock
        self._points: deque[tuple[float, float]] = deque()

    def note(self, done: float) -> None:
        """So many are done by now."""
        now = self._clock()
        self._points.append((now, done))
        while len(self._points) > 3 and self._points[1][0] < now - self._window:
            self._points.popleft()

    def left(self, remaining: float) -> float | None:
        """Seconds for those that remain; None before the first step. It grows while nothing gets done."""
        if not self._points:
            return None
        (begun, before), (_, done) = self._points[0], self._points[-1]
        if done <= before:
            return None
        return (self._clock() - begun) / (done - before) * remaining


class StageProgress:
    """The progress of one stage, or silence.

    Args:
        title: What is being done.
        total: How many there are to do.
        shown: False keeps quiet.
        unit: What is counted.
        console: Where to show it; standard error by default.
        seconds_between_lines: Where there is neither terminal nor notebook.

    Examples:
        >>> bar = StageProgress("Judging", total=2, shown=False)
        >>> with bar.running():
        ...     bar.advance(2)
    """

    def __init__(
        self,
        title: str,
        total: int,
        *,
        shown: bool,
        unit: str = "replies",
        console: Console | None = None,
        seconds_between_lines: float = SECONDS_BETWEEN_LINES,
    ) -> None:
        self.console = console or Console(stderr=True, quiet=not shown)
        self.total = total
        self._title = title
        self._unit = unit
        self._pace = Pace()
        self._seconds_between_lines = seconds_between_lines
        self._drawn = _can_redraw(self.console)
        self._shown = shown
        self._bar = Progress(
            TextColumn(title),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit + "{task.fields[remark]} ·"),
            TimeElapsedColumn(),
            TextColumn("· left"),
            _TimeLeft(self._pace),
            console=self.console,
            disable=not (shown and self._drawn),
        )
        self._task = self._bar.add_task(title, total=total, remark="")

    @contextmanager
    def running(self, done: int = 0) -> Iterator[None]:
        """Show the progress while the stage runs, starting from what is done already."""
        self.reach(done)
        with self._bar, self._lines():
            yield

    def advance(self, count: int) -> None:
        """So many more are done."""
        self.reach(self.done + count)

    def reach(self, done: int, remark: str = "") -> None:
        """So many are done; `remark` stands behind the count."""
        self._pace.note(done)
        self._bar.update(self._task, completed=done, remark=remark)

    @property
    def done(self) -> int:
        """How many are done."""
        return int(self._bar.tasks[0].completed)

    @property
    def remark(self) -> str:
        """What stands behind the count."""
        return str(self._bar.tasks[0].fields["remark"])

    @property
    def elapsed(self) -> float:
        """Seconds since the stage began."""
        return self._bar.tasks[0].elapsed or 0.0

    def counted(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """The same items, each counted when the next is asked for."""
        for item in items:
            yield item
            self.advance(1)

    @contextmanager
    def _lines(self) -> Iterator[None]:
        """Print lines for a log file, from a thread of their own: a step may take longer than half a minute."""
        if self._drawn or not self._shown:
            yield
            return
        over = threading.Event()

        def write() -> None:
            while not over.wait(self._seconds_between_lines):
                self._write_line()

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        try:
            yield
        finally:
            over.set()
            writer.join()
            self._write_line()

    def _write_line(self) -> None:
        task = self._bar.tasks[0]
        left = self._pace.left(self.total - task.completed)
        parts = [
            f"{self._title}: {self.done:,} of {self.total:,} {self._unit}{task.fields['remark']}",
            f"{format_seconds(self.elapsed)} gone",
        ]
        if left:
            parts.append(f"{format_seconds(left)} left")
        self.console.print(", ".join(parts), markup=False, highlight=False, soft_wrap=True)


class _TimeLeft(ProgressColumn):
    """The time left by a pace, for a bar."""

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._pace = pace

    def render(self, task: Task) -> Text:
        """The time as a person says it, or a dash before anything is measured."""
        left = self._pace.left(task.remaining or 0)
        return Text("-" if left is None else format_seconds(left), style="progress.remaining")


def _can_redraw(console: Console) -> bool:
    """Whether a line can be drawn over; elsewhere lines follow one another."""
    return console.is_jupyter or (console.is_terminal and not console.is_dumb_terminal)
