"""Replies read back: the mean residual over the reply tokens, with any model.

A reply is read as it was written: behind the prompt that was sent, as the ids that were sampled, or as those that
its text stands for there. The paper feeds replies of an instruct model to its base model (section 2.1.3); so a
reader need not be the writer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from persona_lens.errors import TranscriptError
from persona_lens.model.reply import Reply
from persona_lens.rollouts.plan import Shard
from persona_lens.transcripts import Transcript
from persona_lens.transcripts.continuing import Continuation

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel


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
) -> Float[np.ndarray, "reply layer d_model"]:
    """Mean residual of each reply at each layer, float32; NaN for empty replies.

    Thinking, special tokens and attention sinks are not averaged.

    Source: paper section 2.1.2.
    """
    transcripts = reply_transcripts(reader, shard, replies, exact_ids=exact_ids)
    return reader.pooled(transcripts, layers=layers, token_budget=token_budget)
