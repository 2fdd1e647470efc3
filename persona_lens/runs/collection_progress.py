"""The progress of a collection, which counts replies and tells tokens a second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from persona_lens.progress import StageProgress
from persona_lens.runs.estimate import Estimate


class CollectionProgress(StageProgress):
    """The progress of a collection in replies and tokens a second, or silence.

    Args:
        total: Replies of the whole plan, finished ones included.
        shown: False keeps quiet.
    """

    def __init__(self, total: int, *, shown: bool) -> None:
        super().__init__("Collecting", total, shown=shown)
        self._tokens = 0
        self._stored = 0
        self._sampled = 0

    def announce(self, estimate: Estimate, done: int) -> None:
        """Say what is to come, and what is there already."""
        if done:
            self.console.print(f"Continuing: {done:,} of {self.total:,} replies are there.")
        self.console.print(f"To do: {estimate}.")

    @contextmanager
    def running(self, done: int = 0) -> Iterator[None]:
        """Show the progress while the collection runs, starting from the replies that are there."""
        self._stored = done
        with super().running(done):
            yield

    def advance_tokens(self, replies: int, tokens: int) -> None:
        """A batch is sampled, though not yet stored."""
        self._tokens += tokens
        self._sampled += replies
        rate = f", {self._tokens / self.elapsed:,.0f} tokens/s" if self.elapsed else ""
        self.reach(self._stored + self._sampled, rate)

    def advance_replies(self, replies: int) -> None:
        """The replies of a unit are stored."""
        self._stored += replies
        self._sampled = 0
        self.reach(self._stored, self.remark)
