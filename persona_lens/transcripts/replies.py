"""Groups for sampled token ids, which are kept exactly as they were sampled.

Text that is tokenised again may give other tokens than the model produced, so a reply is cut into
thinking and answer by looking at what its ids decode to, never by encoding its text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import cache

from persona_lens.transcripts.groups import Group
from persona_lens.transcripts.marks import Notation
from persona_lens.transcripts.thoughts import DEFAULT, Piece, Said, ThoughtState, cut


class SampledReply:
    """Sampled ids, cut into thoughts and answer.

    Args:
        ids: Without the ids at their end that end the turn; marks of thoughts may stand there.
        decode: Ids to text, special tokens kept.
        notation: How the model writes thoughts.
        opened: The mark that the prompt left open.
        before: End of the prompt.

    Attributes:
        text: What the ids decode to.
        state: Whether a thought is there: ``none``, ``whole`` or ``cut``.

    Examples:
        >>> words = ["<think>", "Hm", "</think>", "Yes"]
        >>> reply = SampledReply(range(4), lambda ids: "".join(words[i] for i in ids))
        >>> [group.value for group in reply.groups()], reply.said()
        (['template', 'thinking', 'template', 'assistant'], Said(answer='Yes', thought='whole'))
    """

    def __init__(
        self,
        ids: Sequence[int],
        decode: Callable[[Sequence[int]], str],
        notation: Notation = DEFAULT,
        *,
        opened: str | None = None,
        before: str = "",
    ) -> None:
        self.ids = list(ids)
        self.text = decode(self.ids)
        self._notation = notation
        self._reached = cache(lambda count: len(decode(self.ids[:count])))
        self._pieces: list[Piece]
        self.state: ThoughtState
        self._pieces, self.state = cut(
            self.text, notation, opened=opened, before=before, genuine=self._is_token
        )

    def groups(self) -> list[Group]:
        """Assistant, thinking or template (the marks) for each id.

        A token that a mark shares with words belongs to the words.
        """
        if self.all_answer:
            return [Group.ASSISTANT] * len(self.ids)
        groups = [Group.TEMPLATE] * len(self.ids)
        for start, end, group in self._pieces:
            if group is not Group.TEMPLATE:
                first, last = self._token(start), self._token(end - 1)
                # Bytes that complete the last character belong to it.
                behind = max(last + 1, self._token(end) if end < len(self.text) else len(self.ids))
                groups[first:behind] = [group] * (behind - first)
        return groups

    @property
    def all_answer(self) -> bool:
        """Whether nothing is a thought or a mark."""
        return all(group is Group.ASSISTANT for _, _, group in self._pieces)

    def said(self) -> Said:
        """The answer, special tokens kept, and whether there is a thought beside it."""
        return Said.of(self.text, self._pieces, self.state)

    def _token(self, at: int) -> int:
        """The token that a character of the text begins in."""
        return bisect_right(range(1, len(self.ids)), at, key=self._reached)

    def _is_token(self, at: int, mark: str) -> bool:
        """Whether the mark at this place is its own token, where it has one."""
        own = self._notation.ids.get(mark)
        return own is None or self.ids[self._token(at)] == own
