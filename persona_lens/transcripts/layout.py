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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from persona_lens.errors import TranscriptError
from persona_lens.transcripts.groups import Group
from persona_lens.transcripts.marks import Notation
from persona_lens.transcripts.thoughts import DEFAULT, cut

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


def split_thinking(
    content: str, notation: Notation = DEFAULT, template: str = ""
) -> Iterator[tuple[str, Group]]:
    """Cut assistant content into thoughts, answer, and marks with the white space that touches them (template).

    Args:
        content: Of an assistant's message.
        notation: Marks of thoughts.
        template: The template that will print it. A closing mark that it looks for is structure wherever it
            stands: what the template makes of the text before it, only the template knows.

    Examples:
        >>> [(text, group.value) for text, group in split_thinking("<think>\\nHm.\\n</think>\\n\\nYes.")]
        [('<think>\\n', 'template'), ('Hm.', 'thinking'), ('\\n</think>\\n\\n', 'template'), ('Yes.', 'assistant')]
    """
    for start, end, group in cut(content, notation)[0]:
        if group is not Group.ASSISTANT:
            yield content[start:end], group
            continue
        at = start
        for mark in notation.closer.finditer(content, start, end):
            if mark[0] in template:
                said = content[at : mark.start()].rstrip()
                behind = len(content[mark.end() : end]) - len(content[mark.end() : end].lstrip())
                yield said, group
                yield content[at + len(said) : mark.end() + behind], Group.TEMPLATE
                at = mark.end() + behind
        yield content[at:end], group


def lay_out(
    messages: Sequence[Mapping[str, str]],
    *,
    fold_system: bool = False,
    notation: Notation = DEFAULT,
    template: str = "",
) -> Layout:
    """Take valid messages apart; optionally put the system text before the first user message.

    Args:
        messages: Already validated.
        fold_system: Whether the template takes no system message.
        notation: Marks of thoughts.
        template: Source of the template.

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
        pieces = list(split_thinking(message["content"], notation, template))
        for at, (text, group) in enumerate(pieces):
            if group is Group.TEMPLATE:
                fields["content"].append(text)
            else:
                may_drop = group is Group.THINKING or any(
                    later is Group.TEMPLATE for _, later in pieces[at:]
                )
                fields["content"] += parts(text, group.value, may_drop)
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
