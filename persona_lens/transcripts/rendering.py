"""Find the characters of each message in a rendered chat template, with proof.

A template is a program: it trims, drops, moves and adds text. Searching the rendered text for a
message fails on repeated or empty messages, so the template itself is asked instead: the
conversation is rendered a second time with every message replaced by a sentinel of private-use
characters. What stands between the sentinels is the *skeleton*. Messages put back into the
skeleton must give the first rendering character for character, or the skeleton is not believed:

    real     "<|user|>\\nHi<|end|>\\n<|assistant|>\\nHi<|end|>\\n"
    marked   "<|user|>\\n\\ue0000\\ue000<|end|>\\n<|assistant|>\\n\\ue0001\\ue000<|end|>\\n"
    skeleton ["<|user|>\\n", slot 0, "<|end|>\\n<|assistant|>\\n", slot 1, "<|end|>\\n"]

A template whose own text depends on what a message says defeats the skeleton as a whole. Then one
message at a time is marked, all others staying real: by a sentinel in its place, or by marks around
it that must vanish without a trace. (Rendering ever longer prefixes of the conversation would prove
less: Qwen3 rewrites earlier turns when a later one arrives.) If that fails too, an error says so; a
guess is never made.

Examples:
    >>> from persona_lens.transcripts.layout import lay_out
    >>> layout = lay_out([{"role": "user", "content": " Hi "}, {"role": "assistant", "content": "Hi"}])
    >>> def trimming_template(messages):
    ...     return "".join(f"[{m['role']}]{m['content'].strip()}" for m in messages)
    >>> locate(layout, trimming_template)
    ('[user]Hi[assistant]Hi', [Span(start=6, end=8, slot=0), Span(start=19, end=21, slot=1)])
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from persona_lens.errors import TranscriptError
from persona_lens.transcripts.layout import Layout, Slot
from persona_lens.transcripts.validation import short

_PRIVATE_USE = range(0xE000, 0xF900)

Render = Callable[[list[dict[str, str]]], str]


class Span(NamedTuple):
    """The characters ``text[start:end]`` of a rendering, owned by a slot."""

    start: int
    end: int
    slot: int


def locate(layout: Layout, render: Render) -> tuple[str, list[Span]]:
    """Render a layout and prove which characters belong to which slot.

    Args:
        layout: The conversation, from ``lay_out``.
        render: Messages to text; raises ``TranscriptError`` where the template refuses.

    Returns:
        The rendered text and its spans in order, free of overlap. A slot the template drops
        (thinking of earlier turns) has no span.

    Raises:
        TranscriptError: The template refuses the conversation, drops a message, or no span can be
            proved.
    """
    text = render(layout.fill())
    used = set(text).union(*(slot.text for slot in layout.slots))
    mark = next((chr(c) for c in _PRIVATE_USE if chr(c) not in used), None)
    if mark is None:
        raise TranscriptError(
            "no private-use character is free to mark the messages with",
            remedy="remove characters U+E000 to U+F8FF from the messages",
        )
    spans = _by_skeleton(text, layout, render, mark)
    return text, _one_by_one(text, layout, render, mark) if spans is None else spans


def _by_skeleton(text: str, layout: Layout, render: Render, mark: str) -> list[Span] | None:
    """Spans from one rendering with all slots marked, or None if the proof fails."""
    marks = {index: f"{mark}{index}{mark}" for index in range(len(layout.slots))}
    try:
        pieces = re.split(f"{mark}(\\d+){mark}", render(layout.fill(marks)))
    except TranscriptError:
        return None
    literals, order = pieces[::2], [int(piece) for piece in pieces[1::2]]
    if not all(layout.slots[index].may_drop for index in set(marks) - set(order)):
        return None
    return _substitute(text, literals, order, layout.slots)


def _substitute(
    text: str, literals: list[str], order: list[int], slots: Sequence[Slot]
) -> list[Span] | None:
    """Find for each slot the trimming under which the skeleton gives the text exactly."""
    if not text.startswith(literals[0]):
        return None
    failed: set[tuple[int, int]] = set()
    # Depth first with an explicit stack: conversations may be longer than Python's.
    stack: list[tuple[int, int, tuple | None]] = [(0, len(literals[0]), None)]
    while stack:
        depth, at, path = stack.pop()
        if depth == len(order):
            if at == len(text):
                spans = []
                while path is not None:
                    span, path = path
                    spans.append(span)
                return spans[::-1]
            continue
        if (depth, at) in failed:
            continue
        failed.add((depth, at))
        for trimmed in reversed(_trimmings(slots[order[depth]].text)):
            end = at + len(trimmed)
            after = literals[depth + 1]
            if text.startswith(trimmed, at) and text.startswith(after, end):
                step = Span(at, end, order[depth])
                stack.append((depth + 1, end + len(after), (step, path)))
    return None


def _trimmings(text: str) -> list[str]:
    """The text as templates leave it, most text first."""
    cut = [f(text, what) for what in ("\n", None) for f in (str.lstrip, str.rstrip, str.strip)]
    return [text, *sorted(dict.fromkeys(t for t in cut if t != text), key=len, reverse=True)]


def _one_by_one(text: str, layout: Layout, render: Render, mark: str) -> list[Span]:
    """Spans from renderings with one slot marked, for templates that look at what messages say."""
    spans: list[Span] = []
    for index, slot in enumerate(layout.slots):
        found = _by_sentinel(text, layout, render, mark, index)
        if found is None:
            found = _by_brackets(text, layout, render, mark, index)
        # White space alone may render like nothing at all; then it stays the template's.
        if found is None and slot.text.strip():
            raise _unproved(slot, "text around it changes with what it says")
        spans += found or []
    spans.sort()
    for left, right in pairwise(spans):
        if left.end > right.start:
            raise _unproved(layout.slots[right.slot], "place overlaps that of another message")
    return spans


def _by_sentinel(
    text: str, layout: Layout, render: Render, mark: str, index: int
) -> list[Span] | None:
    """The span between what precedes and what follows a sentinel; empty if the slot is dropped."""
    slot = layout.slots[index]
    try:
        before, *rest = render(layout.fill({index: mark})).split(mark)
    except TranscriptError:
        return None
    if not rest and slot.text.strip() and not slot.may_drop:
        raise TranscriptError(
            f"the chat template drops the {slot.group.value} text of message {slot.message}",
            expected="a template that renders every message",
            given=short(slot.text),
            remedy="leave the message out or pass another chat_template",
        )
    if not rest:
        return [] if before == text else None
    start, end = len(before), len(text) - len(rest[-1])
    around = len(rest) == 1 and text.startswith(before) and text.endswith(rest[0])
    if around and start <= end and text[start:end] in _trimmings(slot.text):
        return [Span(start, end, index)]
    return None


def _by_brackets(
    text: str, layout: Layout, render: Render, mark: str, index: int
) -> list[Span] | None:
    """The spans between marks put around a slot's text, where they alter nothing else.

    What a template makes of the text in between (capitals, escapes) does not matter. White space
    at its ends stays outside the marks if the template would otherwise no longer trim it.
    """
    said, *_, may_drop = layout.slots[index]
    core = said.strip()
    for inside in filter(None, (said, core)):
        bracketed = said.replace(inside, mark + inside + mark, 1)
        try:
            parts = render(layout.fill({index: bracketed})).split(mark)
        except TranscriptError:
            continue
        paired = len(parts) % 2 == 1 and (len(parts) > 1 or may_drop)
        if paired and "".join(parts) == text:
            starts = [0, *accumulate(map(len, parts))]
            return [Span(starts[k], starts[k + 1], index) for k in range(1, len(parts), 2)]
    return None


def _unproved(slot: Slot, reason: str) -> TranscriptError:
    return TranscriptError(
        f"cannot prove which characters hold the {slot.group.value} text "
        f"of message {slot.message}: the {reason}",
        expected="a chat template that prints each message once, as it is or trimmed",
        given=short(slot.text),
        remedy="pass a simpler chat_template",
    )
