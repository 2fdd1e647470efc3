"""Messages taken apart: which text will be a token group, and which is structure already.

Examples:
    >>> layout = lay_out([{"role": "user", "content": "Hi"},
    ...                   {"role": "assistant", "content": "<think>Hm.</think> Hi"}])
    >>> [(slot.group.value, slot.text) for slot in layout.slots]
    [('user', 'Hi'), ('thinking', 'Hm.'), ('assistant', 'Hi')]
    >>> layout.fill({2: "..."})[1]["content"]
    '<think>Hm.</think> ...'
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from persona_lens.errors import TranscriptError

from .groups import Group

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
_THINK_TAG = re.compile(f"({THINK_OPEN}|{THINK_CLOSE})")

Part = str | int  # literal text, or the index of a slot


class Slot(NamedTuple):
    """A stretch of message text that becomes one token group.

    Templates may drop thinking, and what stands before a closing think tag, from the transcript;
    nothing else.
    """

    text: str
    group: Group
    turn: int
    message: int
    may_drop: bool


@dataclass(frozen=True)
class Layout:
    """Messages taken apart into slots and the literal text between them."""

    messages: list[tuple[str, dict[str, list[Part]]]]
    slots: list[Slot]

    def fill(self, marks: Mapping[int, str] | None = None) -> list[dict[str, str]]:
        """The messages with slots filled: by their mark where given, else by their own text."""
        marks = marks or {}

        def text(part: Part) -> str:
            return part if isinstance(part, str) else marks.get(part, self.slots[part].text)

        return [
            {"role": role} | {field: "".join(map(text, parts)) for field, parts in fields.items()}
            for role, fields in self.messages
        ]


def split_thinking(content: str) -> list[tuple[str, bool | None]]:
    """Cut assistant content at its think tags: (text, is thinking), None marking a literal.

    Tags and the white space that touches them are structure, not thought. Text before a closing
    tag that nothing opened is thinking, and so is all text after a tag that nothing closed.

    Examples:
        >>> split_thinking("<think>\\nHm.\\n</think>\\n\\nYes.")
        [('<think>', None), ('\\n', None), ('Hm.', True), ('\\n', None), ('</think>', None), \
    ('\\n\\n', None), ('Yes.', False)]
    """
    pieces = _THINK_TAG.split(content)
    thinking = len(pieces) > 1 and pieces[1] == THINK_CLOSE
    cut: list[tuple[str, bool | None]] = []
    for index, piece in enumerate(pieces):
        if index % 2:
            thinking = piece == THINK_OPEN
            cut.append((piece, None))
            continue
        start = len(piece) - len(piece.lstrip()) if index else 0
        end = len(piece.rstrip()) if index < len(pieces) - 1 else len(piece)
        parts: list[tuple[str, bool | None]] = [
            (piece[:start], None),
            (piece[start:end], thinking),
            (piece[max(start, end) :], None),
        ]
        cut += [part for part in parts if part[0]]
    return cut


def lay_out(messages: Sequence[Mapping[str, str]], *, fold_system: bool = False) -> Layout:
    """Take valid messages apart; optionally put the system text before the first user message.

    Raises:
        TranscriptError: There is system text to fold and no user message to fold it into.

    Examples:
        >>> lay_out([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        ...         fold_system=True).fill()
        [{'role': 'user', 'content': 'Be brief.\\n\\nHi'}]
    """
    laid: list[tuple[str, dict[str, list[Part]]]] = []
    slots: list[Slot] = []
    seen = {"system": -1, "user": -1, "assistant": -1}
    held: list[Part] = []
    for index, message in enumerate(messages):
        role = message["role"]
        seen[role] += 1
        turn = -1 if role == "system" else seen[role]

        def parts(
            text: str, kind: str, may_drop: bool = False, turn: int = turn, index: int = index
        ) -> list[Part]:
            if not text:  # an empty slot has no tokens, and its sentinel could change the template
                return []
            slots.append(Slot(text, Group(kind), turn, index, may_drop))
            return [len(slots) - 1]

        if role != "assistant":
            content = parts(message["content"], role)
            if role == "system" and fold_system:
                held = [*content, "\n\n"] if content else []
                continue
            if role == "user":
                content, held = [*held, *content], []
            laid.append((role, {"content": content}))
            continue
        fields: dict[str, list[Part]] = {"content": []}
        cut = split_thinking(message["content"])
        for at, (text, thinks) in enumerate(cut):
            kind = "thinking" if thinks else "assistant"
            may_drop = bool(thinks) or (THINK_CLOSE, None) in cut[at:]
            fields["content"] += [text] if thinks is None else parts(text, kind, may_drop)
        if "reasoning_content" in message:
            fields["reasoning_content"] = parts(message["reasoning_content"], "thinking", True)
        laid.append((role, fields))
    if held:
        raise TranscriptError(
            "the template takes no system message, and there is no user message to hold its text",
            expected="a user message after the system message",
            given=f"roles {[message['role'] for message in messages]}",
        )
    return Layout(laid, slots)
