"""Batched replies: left padding, KV cache, transformers' `generate`, and pooling while the tokens are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import torch

from persona_lens.model.backends import Backend
from persona_lens.model.pooling import DecodeMeans, left_padded, token_budget_batches
from persona_lens.model.reply import Reply
from persona_lens.model.sampling import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def generate_replies(
    backend: Backend,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    end_ids: Sequence[int],
    pad_id: int,
    device: torch.device,
    layers: Sequence[int] | None,
    batch_size: int,
    on_batch: Callable[[int, int], None] | None = None,
) -> list[Reply]:
    """Sample one reply a prompt; with `layers`, pool the residual stream over each reply on the way.

    The random state of torch is restored afterwards. The same prompts, settings and batch size give the same
    replies on the same machine.

    Args:
        on_batch: Called after each batch with the number of replies and of sampled tokens.
    """
    replies: dict[int, Reply] = {}
    ends = torch.tensor(sorted(set(end_ids)), dtype=torch.long)
    lengths = [len(prompt) for prompt in prompts]
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(sampling.seed)
        for batch in token_budget_batches(lengths, budget=1 << 62, max_rows=batch_size):
            done = _generate_batch(
                backend, [prompts[i] for i in batch], sampling, ends, pad_id, device, layers
            )
            tokens = 0
            for index, (ids, ended, mean) in zip(batch, done, strict=True):
                tokens += len(ids)
                text = str(tokenizer.decode(ids, skip_special_tokens=True))
                replies[index] = Reply(np.asarray(ids, dtype=np.int64), text, ended, mean)
            if on_batch is not None:
                on_batch(len(batch), tokens)
    return [replies[index] for index in range(len(prompts))]


def _generate_batch(
    backend: Backend,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    ends: torch.Tensor,
    pad_id: int,
    device: torch.device,
    layers: Sequence[int] | None,
) -> list[tuple[list[int], bool, np.ndarray | None]]:
    ids, mask = left_padded(prompts, pad_id, device)
    pool = None if layers is None else DecodeMeans(ends, layers)
    # The last sampled token is never fed back, so pooling needs one step more than the reply is long.
    steps = sampling.max_new_tokens + (pool is not None)
    with ExitStack() as stack:
        if pool is not None:
            stack.enter_context(backend.before_forward(pool.watch))
            stack.enter_context(backend.taps(pool.taps()))
        output = backend.generate(
            ids,
            mask,
            max_new_tokens=steps,
            eos_token_id=ends.tolist(),
            pad_token_id=pad_id,
            **sampling.generate_options(),
        )
    means = None if pool is None else pool.result(len(prompts), backend.d_model).numpy()
    sampled = output[:, ids.shape[1] :].cpu()
    results = []
    for row, tokens in enumerate(sampled):
        at_end = torch.isin(tokens, ends).nonzero()
        length = int(at_end[0]) if len(at_end) else len(tokens)
        reply = tokens[: min(length, sampling.max_new_tokens)].tolist()
        ended = length < len(tokens) and length <= sampling.max_new_tokens
        results.append((reply, ended, None if means is None else means[row]))
    return results
