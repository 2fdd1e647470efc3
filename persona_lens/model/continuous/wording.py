"""Text of a reply while its tokens come: whole characters only, and nothing of a text at which it stops.

    wording = Wording(encoder.text_of, stop=("\\n\\n",))
    wording.add(ids)       # what can be said from here on; ids are all so far
    wording.stopped_by     # the text at which the reply ended, if it did
    wording.end(ids)       # what was held back, once nothing more comes

Decoders look at neighbours, so a few tokens are decoded again with each new one; the texts of all of them together
are the text of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

_UNFINISHED = "\ufffd"
"""What decoders write for bytes that are no character, or not yet."""


class Wording:
    """The text of one reply.

    Args:
        text_of: Ids to text.
        stop: Texts at which the reply ends.

    Attributes:
        said: All that was handed out.
        stopped_by: Which of `stop` has ended it.

    Examples:
        >>> wording = Wording(lambda ids: bytes(ids).decode(errors="replace"), stop=("END",))
        >>> ids, parts = [], []
        >>> for byte in "né EN EN END".encode():
        ...     ids.append(byte)
        ...     parts.append(wording.add(ids))
        >>> parts
        ['n', '', 'é', ' ', '', '', 'EN ', '', '', 'EN ', '', '', '']
        >>> wording.said, wording.stopped_by
        ('né EN EN ', 'END')
    """

    def __init__(self, text_of: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        self._text_of = text_of
        self._stop = tuple(stop)
        self._longest = max(map(len, self._stop), default=0)
        self._from = 0  # tokens before it are decoded no more
        self._told = 0  # tokens before it are in the text
        self._text = ""
        self._held = ""
        self.said = ""
        self.stopped_by: str | None = None

    def add(self, ids: Sequence[int]) -> str:
        """What can be said now that there is a token more."""
        before = self._text_of(ids[self._from : self._told])
        whole = self._text_of(ids[self._from :])
        if len(whole) <= len(before) or whole.endswith(_UNFINISHED):
            return ""
        self._from, self._told = self._told, len(ids)
        return self._say(whole[len(before) :])

    def end(self, ids: Sequence[int]) -> str:
        """What was held back; of a reply that a text of `stop` has ended, nothing."""
        if self.stopped_by is not None:
            return ""
        whole = self._text_of(ids)
        rest = whole[len(self._text) :] if whole.startswith(self._text) else ""
        said = self._say(rest)
        if self.stopped_by is None:
            said += self._held
            self.said += self._held
            self._held = ""
        return said

    def _say(self, new: str) -> str:
        """Hand out what is there, up to where the reply stops, or may."""
        self._text += new
        held = self._held + new
        found = [(held.find(text), text) for text in self._stop if text in held]
        if found:
            end, self.stopped_by = min(found)
            self._held = ""
        else:
            end = len(held) - self._may_stop(held)
            self._held = held[end:]
        self.said += held[:end]
        return held[:end]

    def _may_stop(self, held: str) -> int:
        """How many of the last characters may begin a text at which the reply stops."""
        for length in range(min(self._longest - 1, len(held)), 0, -1):
            if any(text.startswith(held[-length:]) for text in self._stop):
                return length
        return 0
