"""How many replies think, and how many of those were cut before they came to an answer.

A reply without an answer has no mean and no label, so it is missing from every vector: that is told, not found out
later.

Examples:
    >>> print(ThoughtCount(replies=1200, thinking=800, cut=37))
    800 of 1,200 replies hold a thought, which no mean and no judge sees; 37 were cut before any answer
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from persona_lens.rollouts.reply import Reply

_THINKING, _CUT = "thinking", "cut_thoughts"


@dataclass(frozen=True)
class ThoughtCount:
    """Counts of replies.

    Attributes:
        replies: All of them.
        thinking: Those that hold a thought.
        cut: Those of which the limit left only the thought, and no answer.
    """

    replies: int = 0
    thinking: int = 0
    cut: int = 0

    @classmethod
    def of(cls, replies: Sequence[Reply]) -> ThoughtCount:
        """Count some replies."""
        thinking = sum(reply.thought != "none" for reply in replies)
        return cls(len(replies), thinking, sum(reply.unanswered for reply in replies))

    @staticmethod
    def is_known(metadata: Mapping[str, str]) -> bool:
        """Whether the replies of a file were counted when it was written."""
        return _THINKING in metadata

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], replies: int) -> ThoughtCount:
        """What the metadata of a file of replies tells."""
        return cls(replies, int(metadata.get(_THINKING, 0)), int(metadata.get(_CUT, 0)))

    def as_metadata(self) -> dict[str, str]:
        """The counts, to be written beside the replies."""
        return {_THINKING: str(self.thinking), _CUT: str(self.cut)}

    def __add__(self, other: ThoughtCount) -> ThoughtCount:
        return ThoughtCount(
            self.replies + other.replies, self.thinking + other.thinking, self.cut + other.cut
        )

    def __str__(self) -> str:
        told = f"{self.thinking:,} of {self.replies:,} replies hold a thought, which no mean and no judge sees"
        return f"{told}; {self.cut:,} were cut before any answer" if self.cut else told
