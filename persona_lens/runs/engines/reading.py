"""Replies read back: the mean residual over the reply tokens, with any model.

A reply is read as it was written: behind the prompt that was sent, as the ids that were sampled, or as those that
its text stands for there. The paper feeds replies of an instruct model to its base model (section 2.1.3); so a
reader need not be the writer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from persona_lens.errors import TranscriptError
from persona_lens.rollouts.plan import Shard
from persona_lens.rollouts.reply import Reply
from persona_lens.transcripts import Transcript
from persona_lens.transcripts.continuing import Continuation
from persona_lens.transcripts.paper_span import paper_messages, paper_reply

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel


Tokens = Literal["answer", "paper"]
"""Which tokens of a reply are averaged: those of its answer, or those the paper's code takes."""

POOLING: dict[Tokens, str] = {
    "answer": "mean over reply tokens, without thinking, special tokens and attention sinks",
    "paper": "mean over the tokens the paper's code takes: the reply rendered anew in its finished conversation, "
    "with its borders, nothing left out",
}


def read_tokens(
    reader: PersonaModel,
    shard: Shard,
    replies: Sequence[Reply],
    *,
    exact_ids: bool,
    tokens: Tokens = "answer",
) -> list[tuple[Transcript, Bool[np.ndarray, " token"]]]:
    """The conversations of a shard as `reader` sees them, and which tokens of each stand for its reply.

    Args:
        reader: Who reads.
        shard: What was asked.
        replies: What was answered.
        exact_ids: As for `reply_transcripts`.
        tokens: `answer`, or `paper`: see `persona_lens.transcripts.paper_span`.
    """
    if tokens == "answer":
        transcripts = reply_transcripts(reader, shard, replies, exact_ids=exact_ids)
        return [(transcript, reader.reply_positions(transcript)) for transcript in transcripts]
    qwen = "qwen" in f"{reader.name} {reader.card()['architecture']}".lower()
    read = []
    for request, reply in zip(shard.requests, replies, strict=True):
        answer = {"role": "assistant", "content": reply.text}
        messages = [*paper_messages(request.question, shard.system), answer]
        read.append(paper_reply(reader.encoder, messages, qwen=qwen))
    return read


def reply_transcripts(
    reader: PersonaModel, shard: Shard, replies: Sequence[Reply], *, exact_ids: bool
) -> list[Transcript]:
    """The conversations of a shard as `reader` sees them: the prompt that was sent, and the reply behind it.

    A reply whose text no tokens of the reader stand for is left out of its conversation, as an empty one is.

    Args:
        exact_ids: The reader tokenises like the writer, so ids that are known are used as they are. Elsewhere the
            text is tokenised as what follows the prompt.
    """
    encoder = reader.encoder
    continuation = Continuation(encoder, end_ids=reader.end_ids)
    transcripts = []
    for request, reply in zip(shard.requests, replies, strict=True):
        prompt = encoder.prompt(encoder.messages(request.question, system=shard.system))
        ids = (
            reply.ids
            if exact_ids and _decodes(reader, reply)
            else _of_text(continuation, prompt, reply)
        )
        transcripts.append(encoder.with_reply(prompt, ids, end_ids=continuation.end_ids))
    return transcripts


def _decodes(reader: PersonaModel, reply: Reply) -> bool:
    """Whether the ids are known, and are those of the text: a server's may be of another vocabulary."""
    if not reply.has_ids:
        return False
    decoded = reader.encoder.text_of(reply.ids).strip()
    # A server that takes thoughts out of its text hands out their ids all the same.
    thinking, text = reply.thinking.strip(), reply.text.strip()
    return decoded == text or (bool(thinking) and thinking in decoded and decoded.endswith(text))


def _of_text(
    continuation: Continuation, prompt: Transcript, reply: Reply
) -> Int[np.ndarray, " token"]:
    try:
        return continuation.ids(prompt, reply.text, thinking=reply.thinking)
    except TranscriptError:
        return np.empty(0, dtype=np.int64)


def read_replies(
    reader: PersonaModel,
    shard: Shard,
    replies: Sequence[Reply],
    *,
    layers: Sequence[int],
    exact_ids: bool,
    token_budget: int | None = None,
    tokens: Tokens = "answer",
) -> Float[np.ndarray, "reply layer d_model"]:
    """Mean residual of each reply at each layer, float32; NaN for empty replies.

    Thinking, special tokens and attention sinks are not averaged, unless `tokens` is `paper`.

    Source: paper section 2.1.2.
    """
    read = read_tokens(reader, shard, replies, exact_ids=exact_ids, tokens=tokens)
    transcripts, positions = [text for text, _ in read], [chosen for _, chosen in read]
    return reader.pooled(transcripts, positions, layers=layers, token_budget=token_budget)
