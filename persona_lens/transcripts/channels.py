"""Replies in channels (harmony, the format of gpt-oss): messages, of which only ``final`` is the answer.

    <|channel|>analysis<|message|>Who asks?<|end|><|start|>assistant<|channel|>final<|message|>A ghost.<|return|>

What is said in other channels, to tools, or in the name of somebody else counts as thinking. Where the special
tokens were dropped on the way, the words around them are left, and are read as well: ``analysisWho
asks?assistantfinalA ghost.``

Examples:
    >>> pieces, state = cut_channels("<|channel|>final<|message|>A ghost.", "<|start|>assistant")
    >>> [(start, end, group.value) for start, end, group in pieces], state
    ([(0, 27, 'template'), (27, 35, 'assistant')], 'none')
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from persona_lens.transcripts.groups import Group

_TOKEN = re.compile(r"<\|(start|channel|constrain|message|end|call|return)\|>")
_ENDS = ("start", "end", "call", "return")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_WRITER = re.compile(r"<\|start\|>\s*([\w.-]*)")
_BARE_THOUGHT = re.compile(r"\s*(?:analysis|commentary)")
_BARE_FINAL = "assistantfinal"

Pieces = list[tuple[int, int, Group]]
State = Literal["none", "whole", "cut"]


def cut_channels(
    text: str,
    before: str = "",
    *,
    known: bool = False,
    genuine: Callable[[int, str], bool] = lambda at, mark: True,
) -> tuple[Pieces, State] | None:
    """Pieces of a reply in channels, and whether a thought is among them; None if it is not in channels.

    Args:
        text: The reply.
        before: End of the prompt, where its first message may have begun.
        known: Whether its writer is known to write channels.
        genuine: Whether the text at a place is the token of that name.
    """
    begun = before.rfind("<|start|>")
    head = before[begun:] if begun >= 0 else ""
    whole = head + text
    tokens = [
        token
        for token in _TOKEN.finditer(whole)
        if token.end() <= len(head) or genuine(token.start() - len(head), token[0])
    ]
    if not _is_message(whole, len(head), tokens):
        return _cut_bare(text, known=known)
    pieces: Pieces = []
    state: State = "none"
    for start, end, group, closed in _stretches(whole, tokens):
        if group is Group.THINKING:
            state = "whole" if closed else "cut"
        elif group is Group.TEMPLATE and not closed:
            state = "cut"
        if end > max(start, len(head)):
            pieces.append((max(start, len(head)) - len(head), end - len(head), group))
    return pieces, state


def lead_in_channels(before: str) -> str:
    """What stands between a prompt and the final words.

    Examples:
        >>> lead_in_channels("<|start|>assistant")
        '<|channel|>final<|message|>'
    """
    header = before[max(before.rfind("<|start|>"), 0) :]
    channel = _CHANNEL.search(header)
    if channel is None:
        return "<|channel|>final<|message|>"
    return "" if channel[1] == "final" else "<|end|><|start|>assistant<|channel|>final<|message|>"


def _is_message(whole: str, reply: int, tokens: Sequence[re.Match[str]]) -> bool:
    """Whether the reply goes on with a message that the prompt has begun, or begins one."""
    if any(token[1] == "channel" for token in tokens if token.end() <= reply):
        return True
    first = next((token for token in tokens if token.start() >= reply), None)
    if first is None or first[1] not in ("start", "channel", "message"):
        return False
    return whole[reply : first.start()].strip() in ("", "assistant")


def _stretches(
    whole: str, tokens: Sequence[re.Match[str]]
) -> Iterator[tuple[int, int, Group, bool]]:
    """Headers and bodies of messages in turn: start, end, group, and whether it comes to its end."""
    at = 0
    while at < len(whole):
        message = next((t for t in tokens if t.start() >= at and t[1] == "message"), None)
        if message is None:  # an end token, or a header that was cut
            header = whole[at:]
            yield (
                at,
                len(whole),
                Group.TEMPLATE,
                "<|start|>" not in header and "<|channel|>" not in header,
            )
            return
        yield at, message.end(), Group.TEMPLATE, True
        group = _group(whole[at : message.start()])
        end = next((t for t in tokens if t.start() >= message.end() and t[1] in _ENDS), None)
        at = len(whole) if end is None else end.start()
        yield message.end(), at, group, end is not None


def _group(header: str) -> Group:
    """What the body behind a header is: only the assistant's final words to the user are the answer."""
    channel, writer = _CHANNEL.search(header), _WRITER.search(header)
    final = channel is None or channel[1] == "final"
    own = writer is None or writer[1] in ("", "assistant")
    return Group.ASSISTANT if final and own and "to=" not in header else Group.THINKING


def _cut_bare(text: str, *, known: bool) -> tuple[Pieces, State] | None:
    """The same of a text whose special tokens were dropped."""
    begins = _BARE_THOUGHT.match(text)
    final = text.find(_BARE_FINAL)
    if begins is None or (final < 0 and (not known or text[begins.end() :][:1].isspace())):
        return None
    mark = (0, begins.end(), Group.TEMPLATE)
    if final < 0:
        return [mark, (begins.end(), len(text), Group.THINKING)], "cut"
    answer = final + len(_BARE_FINAL)
    thought = (begins.end(), final, Group.THINKING)
    pieces = [mark, thought, (final, answer, Group.TEMPLATE), (answer, len(text), Group.ASSISTANT)]
    return [piece for piece in pieces if piece[1] > piece[0]], "whole"
