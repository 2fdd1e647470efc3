"""How a conversation is cut that does not fit the context: windows that overlap, so that turns have a past."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from persona_lens.errors import ConversationError

MARGIN = 16
"""Tokens left free for what a template writes around a window."""


class Window(NamedTuple):
    """A stretch of turns that is read in one go.

    Attributes:
        first: First turn seen.
        new: First turn read: the others were read in windows before.
        last: Last turn, seen and read.
    """

    first: int
    new: int
    last: int


def windows(head: int, ends: Sequence[int], *, context: int) -> list[Window]:
    """Windows over turns, each as long as fits; a later one begins with the past that fills half the context.

    Args:
        head: Tokens before the first message of the user, which stand in front of every window.
        ends: Tokens up to the end of each turn.
        context: Tokens of a window, at most.

    Raises:
        ConversationError: A turn does not fit even with nothing but the message before it.

    Examples:
        >>> [tuple(window) for window in windows(0, [40, 80, 120, 160, 200], context=120)]
        [(0, 0, 1), (1, 2, 2), (2, 3, 3), (3, 4, 4)]
    """
    begins = [head, *ends[:-1]]

    def size(first: int, last: int) -> int:
        return head + ends[last] - begins[first] + MARGIN

    found: list[Window] = []
    first = new = 0
    while new < len(ends):
        while first < new and size(first, new) > context:
            first += 1
        if size(first, new) > context:
            raise ConversationError(
                f"turn {new} does not fit the model's context, even with the message before it alone",
                expected=f"at most {context} tokens",
                given=size(first, new),
            )
        last = new
        while last + 1 < len(ends) and size(first, last + 1) <= context:
            last += 1
        found.append(Window(first, new, last))
        new = last + 1
        first = next(
            (turn for turn in range(new) if ends[last] - begins[turn] <= context // 2), new
        )
    return found
