"""The tokens that the released code of "The Assistant Axis" averages for a reply, borders and all.

That code renders the finished conversation anew, tokenises it, and looks for the reply in it:

* in models of the Qwen family between the marks of the assistant's turn, without `<think>` blocks before or behind
  and without tokens of white space at either end;
* elsewhere where its text, tokenised alone, occurs behind what the same conversation with an empty reply begins
  with. Where it does not occur (the template trimmed it, or its first token merged with the template's last), all
  that follows counts, the end of the turn too.

It reads at most 2,048 tokens. Nothing is taken out: attention sinks count if they lie within.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from persona_lens.errors import TranscriptError
from persona_lens.transcripts.groups import Group, Transcript

if TYPE_CHECKING:
    from persona_lens.transcripts.encoder import TranscriptEncoder

MAX_TOKENS = 2048


def paper_messages(question: str, system: str = "") -> list[dict[str, str]]:
    """A question as the released code asks it: without a system message where there is no system text.

    Examples:
        >>> paper_messages("Who are you?")
        [{'role': 'user', 'content': 'Who are you?'}]
    """
    user = {"role": "user", "content": question}
    return [{"role": "system", "content": system}, user] if system else [user]


def paper_reply(
    encoder: TranscriptEncoder, messages: Sequence[Mapping[str, str]], *, qwen: bool
) -> tuple[Transcript, Bool[np.ndarray, " token"]]:
    """A finished conversation as the released code tokenises it, and what it averages for the last message.

    Args:
        encoder: Of the model that reads.
        messages: A conversation that ends with the assistant.
        qwen: Whether the released code takes the model for one of the Qwen family, which it does by its name.

    Returns:
        The conversation, cut at 2,048 tokens, and one span of it; an empty one for an empty reply.

    Raises:
        TranscriptError: The template refuses the conversation, or one with an empty reply.

    Source: released code, `internals/conversation.py`.
    """
    if messages[-1]["role"] != "assistant":
        raise TranscriptError(
            "a finished conversation ends with the assistant", given=messages[-1]["role"]
        )
    whole = encoder.finished_ids(messages)
    start, stop = 0, 0
    if messages[-1]["content"]:
        start, stop = (_qwen_span if qwen else _found_span)(encoder, messages, whole)
    ids = np.array(whole[:MAX_TOKENS], dtype=np.int64)
    chosen = np.zeros(len(ids), dtype=bool)
    chosen[start:stop] = True
    roles = [message["role"] for message in messages]
    turns = roles.count("assistant")
    codes = np.where(chosen, Group.ASSISTANT.code, Group.TEMPLATE.code).astype(np.int8)
    transcript = Transcript(
        ids=ids,
        groups=codes,
        turns=np.where(chosen, turns - 1, -1),
        text=str(encoder.tokenizer.decode(ids)),
        user_turns=roles.count("user"),
        assistant_turns=turns,
    )
    return transcript, chosen


def _qwen_span(
    encoder: TranscriptEncoder, messages: Sequence[Mapping[str, str]], whole: list[int]
) -> tuple[int, int]:
    token = encoder.tokenizer.convert_tokens_to_ids
    opens, closes, assistant = (token(mark) for mark in ("<|im_start|>", "<|im_end|>", "assistant"))
    starts = [
        place + 2
        for place in range(len(whole) - 1)
        if whole[place] == opens and whole[place + 1] == assistant
    ]
    which = sum(message["role"] == "assistant" for message in messages) - 1
    if which >= len(starts) or closes not in whole[starts[which] :]:
        raise TranscriptError(
            "the turns of this conversation are not marked as in Qwen's template",
            expected="<|im_start|>assistant ... <|im_end|>",
            remedy='read it with tokens="answer"',
        )
    begin = starts[which]
    end = whole.index(closes, begin)
    thinks, stops = token("<think>"), token("</think>")
    kept: list[int] = []
    thinking = False
    for place in range(begin, end):
        if whole[place] in (thinks, stops):
            thinking = whole[place] == thinks
        elif not thinking:
            kept.append(place)

    def blank(place: int) -> bool:
        return not str(encoder.tokenizer.decode([whole[place]])).strip()

    while kept and blank(kept[0]):
        kept.pop(0)
    while kept and blank(kept[-1]):
        kept.pop()
    return (kept[0], kept[-1] + 1) if kept else (0, 0)


def _found_span(
    encoder: TranscriptEncoder, messages: Sequence[Mapping[str, str]], whole: list[int]
) -> tuple[int, int]:
    content = messages[-1]["content"]
    empty = encoder.finished_ids([*messages[:-1], {"role": "assistant", "content": ""}])
    begin = 0
    while begin < min(len(whole), len(empty)) and whole[begin] == empty[begin]:
        begin += 1
    special = set(encoder.tokenizer.all_special_ids)
    end = len(whole)
    while end > begin and whole[end - 1] in special:
        end -= 1
    for text in (content, f" {content}"):
        wanted = encoder.plain_ids(text)
        for place in range(begin, end - len(wanted) + 1):
            if whole[place : place + len(wanted)] == wanted:
                return place, place + len(wanted)
    return begin, end
