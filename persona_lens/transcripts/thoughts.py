"""Cut the text of a reply into thought and answer.

A thought stands where a reply begins, or the prompt has opened it. A mark in the middle of a sentence, in
quotation marks or in code is only spoken of, and the answer keeps it. Later in a reply a thought is opened by a
special token, or by a block of its own: opening mark, text and closing mark, each on a line.

Examples:
    >>> heard("<think>\\nWho asks?\\n</think>\\n\\nA ghost.")
    Said(answer='A ghost.', thought='whole')
    >>> heard("Some models write <think> first. I do not.").thought
    'none'
    >>> heard("They want a gho", opened="<think>")
    Said(answer='', thought='cut')
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from persona_lens.transcripts.channels import cut_channels
from persona_lens.transcripts.groups import Group
from persona_lens.transcripts.marks import ANSWER, Notation

ThoughtState = Literal["none", "whole", "cut"]
"""Whether a reply holds a thought, and whether the thought came to its end."""

Genuine = Callable[[int, str], bool]
"""Whether the text at a place is that mark's own token, where it has one."""


class Piece(NamedTuple):
    """The characters ``text[start:end]`` of a reply: thinking, assistant, or template (marks)."""

    start: int
    end: int
    group: Group


@dataclass(frozen=True)
class Said:
    """What a reply says when its thoughts are taken out.

    Attributes:
        answer: The rest; the whole text where there is no thought, empty where the thought was cut.
        thought: ``none``, ``whole``, or ``cut`` if the reply ends within a thought.
    """

    answer: str
    thought: ThoughtState = "none"

    @classmethod
    def of(cls, text: str, pieces: Sequence[Piece], thought: ThoughtState) -> Said:
        """What the pieces of a text come to."""
        spoken = (text[start:end] for start, end, group in pieces if group is Group.ASSISTANT)
        return cls("".join(spoken), thought)


DEFAULT = Notation()
_ANSWER_OPENS = re.compile("|".join(re.escape(opens) for opens, _ in ANSWER))
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "`": "`", "*": "*"}
_PUNCTUATION = ".,;:!?…)"


def heard(
    text: str,
    notation: Notation = DEFAULT,
    *,
    opened: str | None = None,
    before: str = "",
    genuine: Genuine | None = None,
) -> Said:
    """The answer in a reply, and whether there is a thought beside it.

    Args:
        text: The whole reply, special tokens kept.
        notation: How its writer writes thoughts.
        opened: The mark its prompt left open.
        before: End of the prompt, for replies in channels.
        genuine: Tells a mark's own token from the same letters in other tokens.
    """
    return Said.of(text, *cut(text, notation, opened=opened, before=before, genuine=genuine))


def cut(
    text: str,
    notation: Notation = DEFAULT,
    *,
    opened: str | None = None,
    before: str = "",
    genuine: Genuine | None = None,
) -> tuple[list[Piece], ThoughtState]:
    """Pieces that together are the whole text, and whether a thought is among them.

    Marks, and the white space that touches them, are template. Arguments as for ``heard``.

    Examples:
        >>> pieces, _ = cut("<think>Hm.</think> Yes.")
        >>> [(group.value, start, end) for start, end, group in pieces]
        [('template', 0, 7), ('thinking', 7, 10), ('template', 10, 19), ('assistant', 19, 23)]
    """
    real = genuine or (lambda at, mark: True)
    in_channels = cut_channels(text, before, known=notation.channels, genuine=real)
    if in_channels is not None:
        pieces, state = in_channels
        return [Piece(*piece) for piece in pieces], state
    reply = _Reply(text, notation, real)
    reply.read(opened)
    return reply.pieces, reply.state


class _Reply:
    """Reads a reply from its first character to its last."""

    def __init__(self, text: str, notation: Notation, genuine: Genuine) -> None:
        self.text = text
        self.notation = notation
        self.genuine = genuine
        self.pieces: list[Piece] = []
        self.state: ThoughtState = "none"
        self.at = 0
        self._wrapped: str | None = None

    def read(self, opened: str | None) -> None:
        if opened is not None:
            self._think(opened)
        elif self._begins_with_thought() is None:
            self._close_stray()
        while self.at < len(self.text):
            mark = self._begins_with_thought()
            if mark is None:
                mark = self._answer()
            if mark is not None:
                self._mark(mark)
                self._think(mark[0])

    def _begins_with_thought(self) -> re.Match[str] | None:
        """The opening mark that stands here, behind white space at most."""
        start = len(self.text) - len(self.text[self.at :].lstrip())
        found = self.notation.opener.match(self.text, start)
        return found if found and self.genuine(start, found[0]) else None

    def _think(self, opened: str) -> None:
        """Read a thought up to the mark that closes it."""
        self.state = "whole"
        marks = list(self._genuine_ones(self.notation.closer_of(opened), self.at))
        # A thought may speak of its own closing mark, if a real one follows.
        plain = [mark for mark in marks if not _is_quoted(self.text, mark)]
        closing = next(iter(plain or marks), None)
        if closing is None:
            self.state = "cut"
        else:  # some marks close the thought and open the answer
            self._wrapped = dict(ANSWER).get(closing[0])
        self._content(Group.THINKING, closing)

    def _close_stray(self) -> None:
        """Take for a thought what stands before a closing mark that nothing has opened.

        Some prompts open the thought, and whoever has only the reply does not see it.
        """
        opener = next(self._genuine_ones(self.notation.opener, self.at), None)
        for mark in self._genuine_ones(self.notation.closer, self.at):
            if opener is not None and opener.start() < mark.start():
                return
            if not _is_mention(self.text, mark):
                self.state = "whole"
                self._content(Group.THINKING, mark)
                return

    def _answer(self) -> re.Match[str] | None:
        """Read the answer, up to a thought in the middle of it if there is one."""
        wrapped = self._unwrap() or self._wrapped
        until = next(
            filter(self._opens_later, self._genuine_ones(self.notation.opener, self.at)), None
        )
        end = len(self.text) if until is None else until.start()
        behind = None
        if wrapped is not None:
            place = self.text.rfind(wrapped, self.at, end)
            if place >= 0 and not self.text[place + len(wrapped) : end].strip():
                behind = place
        spoken = end if behind is None else behind
        if behind is not None or until is not None:
            spoken = self.at + len(self.text[self.at : spoken].rstrip())
        self._add(spoken, Group.ASSISTANT)
        self._add(end, Group.TEMPLATE)
        return until

    def _unwrap(self) -> str | None:
        """Step over a mark that opens the answer; returns the one that will close it."""
        start = len(self.text) - len(self.text[self.at :].lstrip())
        opening = _ANSWER_OPENS.match(self.text, start)
        if opening is None or not self.genuine(start, opening[0]):
            return None
        if self.state == "none" and not opening[0].startswith("<|"):
            return None  # a word in brackets may be the reply's own
        self._mark(opening)
        return dict(ANSWER)[opening[0]]

    def _opens_later(self, mark: re.Match[str]) -> bool:
        """Whether a mark in the middle of an answer opens a thought."""
        if mark[0] in self.notation.controls and not _is_mention(self.text, mark):
            return True
        if not _alone_on_its_line(self.text, mark.start(), mark.end()) or _in_fence(
            self.text, mark.start()
        ):
            return False
        closers = self._genuine_ones(self.notation.closer_of(mark[0]), mark.end())
        return any(_ends_its_line(self.text, closer.end()) for closer in closers)

    def _content(self, group: Group, closing: re.Match[str] | None) -> None:
        """Content up to a mark, and the mark; all that is left if there is none."""
        if closing is None:
            self._add(len(self.text), group)
            return
        self._add(self.at + len(self.text[self.at : closing.start()].rstrip()), group)
        self._mark(closing)

    def _mark(self, mark: re.Match[str]) -> None:
        """Step over a mark and the white space around it."""
        self._add(len(self.text) - len(self.text[mark.end() :].lstrip()), Group.TEMPLATE)

    def _add(self, end: int, group: Group) -> None:
        if end > self.at:
            self.pieces.append(Piece(self.at, end, group))
            self.at = end

    def _genuine_ones(self, pattern: re.Pattern[str], at: int) -> Iterator[re.Match[str]]:
        return (
            mark for mark in pattern.finditer(self.text, at) if self.genuine(mark.start(), mark[0])
        )


def _is_mention(text: str, mark: re.Match[str]) -> bool:
    """Whether a sentence speaks of the mark: in quotation marks, in code, or as one of its words.

    Examples:
        >>> first_mark = lambda text: _is_mention(text, re.search("<t>", text))
        >>> [first_mark(text) for text in ("Write <t> first.", "Write `<t>`.", "Done.<t>Hm", "Done. <t> Hm")]
        [True, True, False, False]
    """
    if _is_quoted(text, mark):
        return True
    before, after = text[: mark.start()], text[mark.end() : mark.end() + 1]
    line = before.rpartition("\n")[2]
    within = line[-1:] in (" ", "\t", "(") and line.strip() and line.rstrip()[-1] not in ".!?"
    return bool(within) and (not after or after in " \t" or after in _PUNCTUATION)


def _is_quoted(text: str, mark: re.Match[str]) -> bool:
    """Whether the mark stands between quotation marks or in code."""
    before, after = text[: mark.start()], text[mark.end() :]
    if after and _QUOTES.get(before[-1:]) == after[0]:
        return True
    in_line = before.rpartition("\n")[2].count("`") % 2 == 1 and "`" in after.partition("\n")[0]
    return in_line or _in_fence(text, mark.start())


def _in_fence(text: str, at: int) -> bool:
    return text.count("```", 0, at) % 2 == 1 and "```" in text[at:]


def _alone_on_its_line(text: str, start: int, end: int) -> bool:
    line, newline, _ = text[end:].partition("\n")
    return bool(newline) and not line.strip() and not text[:start].rpartition("\n")[2].strip()


def _ends_its_line(text: str, end: int) -> bool:
    return not text[end:].partition("\n")[0].strip()
