"""Replies read back: the mean residual over the reply tokens, with any model.

The paper feeds replies of an instruct model to its base model (section 2.1.3); so a reader need not be the writer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from persona_lens.model.reply import Reply
from persona_lens.rollouts.plan import Shard
from persona_lens.transcripts import Transcript

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel


def reply_transcripts(
    reader: PersonaModel, shard: Shard, replies: Sequence[Reply], *, exact_ids: bool
) -> list[Transcript]:
    """The conversations of a shard as `reader` sees them.

    Args:
        exact_ids: The reader tokenises like the writer, so the sampled ids are used as they are. Otherwise the
            text is tokenised again, as a whole conversation.
    """
    transcripts = []
    for request, reply in zip(shard.requests, replies, strict=True):
        messages = reader.encoder.messages(request.question, system=shard.system)
        if exact_ids:
            prompt = reader.encoder.prompt(messages)
            transcripts.append(reader.encoder.with_reply(prompt, reply.ids))
        else:
            answer = {"role": "assistant", "content": reply.text}
            transcripts.append(reader.encoder.encode([*messages, answer]))
    return transcripts


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
