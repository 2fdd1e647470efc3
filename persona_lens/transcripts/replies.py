"""Groups for sampled token ids, which are kept exactly as they were sampled.

Text that is tokenised again may give other tokens than the model produced, so a reply is cut into
thinking and answer by looking at what its ids decode to, never by encoding its text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from .groups import Group
from .layout import THINK_CLOSE, THINK_OPEN


def reply_groups(
    ids: Sequence[int], decode: Callable[[Sequence[int]], str], *, opened: bool = False
) -> list[Group]:
    """Assistant, thinking or template (the think tags) for each id of a reply.

    Args:
        ids: Sampled ids without the special ids at their end.
        decode: Ids to text, special tokens kept.
        opened: True where the prompt itself ends in an open think tag.

    Examples:
        >>> words = ["<think>", "Hm", "</think>", "Yes"]
        >>> [g.value for g in reply_groups(range(4), lambda ids: "".join(words[i] for i in ids))]
        ['template', 'thinking', 'template', 'assistant']
    """
    whole = decode(ids)
    close, open_ = whole.find(THINK_CLOSE), whole.find(THINK_OPEN)
    thinking = opened or (close >= 0 and (open_ < 0 or close < open_))
    groups = [Group.ASSISTANT] * len(ids)
    at = 0
    while True:
        inside, beyond = _kinds(thinking)
        tag = THINK_CLOSE if thinking else THINK_OPEN
        if tag not in decode(ids[at:]):
            groups[at:] = [inside] * (len(ids) - at)
            return groups
        # The first end after which the tag is whole, then the last start before which it is whole.
        end = bisect_left(
            range(at, len(ids) + 1), True, key=lambda k, at=at, tag=tag: tag in decode(ids[at:k])
        )
        end += at
        start = next(k for k in range(end - 1, at - 1, -1) if tag in decode(ids[k:end]))
        before, _, after = decode(ids[start:end]).partition(tag)
        groups[at:start] = [inside] * (start - at)
        groups[start:end] = [Group.TEMPLATE] * (end - start)
        if before.strip():
            groups[start] = inside
        shared = bool(after.strip())
        if shared:
            groups[end - 1] = beyond
        # White space that touches a tag is structure, as it is in a rendered conversation.
        while start > at and not decode(ids[start - 1 : start]).strip():
            start -= 1
            groups[start] = Group.TEMPLATE
        while end < len(ids) and not decode(ids[end : end + 1]).strip():
            groups[end] = Group.TEMPLATE
            end += 1
        # One token may end this tag and begin the next.
        at, thinking = (end - 1 if shared and end - 1 > at else end), not thinking


def _kinds(thinking: bool) -> tuple[Group, Group]:
    if thinking:
        return Group.THINKING, Group.ASSISTANT
    return Group.ASSISTANT, Group.THINKING
