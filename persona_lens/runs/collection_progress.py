"""What a collection will cost, told before it starts, and its progress in replies and tokens a second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from persona_lens.progress import StageProgress
from persona_lens.quantities import format_bytes, format_seconds

_BYTES_PER_VALUE = 4
_BYTES_PER_TOKEN = 12  # an id, its text and its log-probability, compressed


@dataclass(frozen=True)
class Estimate:
    """An upper bound: replies that end early make it cheaper.

    Attributes:
        replies: To be sampled.
        tokens: Of those, at most.
        seconds: For those.
        read_only: Replies that are there and only have to be read; not timed.
        values_per_reply: Numbers kept of each reply: layers times width.

    Examples:
        >>> print(Estimate(replies=1200, tokens=76_800, seconds=300.0, read_only=0, values_per_reply=17_280))
        1,200 replies, at most 76,800 tokens, about 5 min, 83.9 MB on disk
    """

    replies: int
    tokens: int
    seconds: float
    read_only: int
    values_per_reply: int

    @property
    def disk_bytes(self) -> int:
        """For all of it."""
        values = (self.replies + self.read_only) * self.values_per_reply
        return values * _BYTES_PER_VALUE + self.tokens * _BYTES_PER_TOKEN

    def __str__(self) -> str:
        parts = []
        if self.replies:
            parts += [f"{self.replies:,} replies", f"at most {self.tokens:,} tokens"]
            parts += [f"about {format_seconds(self.seconds)}"]
        if self.read_only:
            parts += [f"{self.read_only:,} stored replies to read"]
        return ", ".join([*parts, f"{format_bytes(self.disk_bytes)} on disk"])


class CollectionProgress(StageProgress):
    """The progress of a collection in replies and tokens a second, or silence.

    Args:
        total: Replies of the whole plan, finished ones included.
        shown: False keeps quiet.

    Attributes:
        tokens: Sampled so far.
        sampled: Replies these are of.
    """

    def __init__(self, total: int, *, shown: bool) -> None:
        super().__init__("Collecting", total, shown=shown)
        self.tokens = 0
        self.sampled = 0
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
        self.tokens += tokens
        self.sampled += replies
        self._sampled += replies
        rate = f", {self.tokens / self.elapsed:,.0f} tokens/s" if self.elapsed else ""
        self.reach(self._stored + self._sampled, rate)

    def advance_replies(self, replies: int) -> None:
        """The replies of a unit are stored."""
        self._stored += replies
        self._sampled = 0
        self.reach(self._stored, self.remark)
