"""Batched replies: left padding, KV cache, transformers' `generate`, and pooling while the tokens are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int

from persona_lens.model.backends import Backend
from persona_lens.model.finiteness import FiniteWatch
from persona_lens.model.intervening import Around
from persona_lens.model.pooling import DecodeMeans, Ids, left_padded, token_budget_batches
from persona_lens.model.sampling import generate_options
from persona_lens.model.scoring import TokenLogProbs
from persona_lens.rollouts.reply import Reply
from persona_lens.rollouts.sampling import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Generator:
    """Samples replies on one backend.

    Attributes:
        end_ids: Tokens that end a reply.
        pad_id: Fills the front of shorter prompts; always masked.
        watch: Looks at the residual stream on the way, after whatever is in force.
    """

    backend: Backend
    tokenizer: PreTrainedTokenizerBase
    end_ids: Sequence[int]
    pad_id: int
    device: torch.device
    watch: FiniteWatch | None = None

    def sample(
        self,
        prompts: Sequence[Ids],
        sampling: Sampling,
        *,
        layers: Sequence[int] | None,
        batch_size: int,
        log_probs: bool = False,
        around: Around | None = None,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> list[Reply]:
        """One reply a prompt; with `layers`, the residual stream is pooled over each reply on the way.

        The random state of torch is restored afterwards. The same prompts, settings and batch size give the
        same replies on the same machine.

        Args:
            log_probs: Note the log-probability of every sampled token.
            around: What to run each batch in, such as interventions.
            on_batch: Called after each batch with the number of replies and of sampled tokens.
        """
        replies: dict[int, Reply] = {}
        lengths = [len(prompt) for prompt in prompts]
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            for number, batch in enumerate(token_budget_batches(lengths, max_rows=batch_size)):
                # Each batch has its own state: pooling draws once more than plain sampling does.
                torch.manual_seed(_mixed(sampling.seed, number))
                with nullcontext() if around is None else around(batch, None):
                    done = self._sample_batch(
                        [prompts[i] for i in batch], sampling, layers, log_probs
                    )
                replies.update(zip(batch, done, strict=True))
                if on_batch is not None:
                    on_batch(len(done), sum(len(reply.ids) for reply in done))
        return [replies[index] for index in range(len(prompts))]

    def _sample_batch(
        self,
        prompts: Sequence[Ids],
        sampling: Sampling,
        layers: Sequence[int] | None,
        log_probs: bool,
    ) -> list[Reply]:
        ids, mask = left_padded(prompts, self.pad_id, self.device)
        ends = torch.tensor(sorted(set(self.end_ids)), dtype=torch.long)
        pool = None if layers is None else DecodeMeans(ends, layers)
        # The last sampled token is never fed back, so pooling needs one step more than the reply is long.
        steps = sampling.max_new_tokens + (pool is not None)
        noted = TokenLogProbs() if log_probs else None
        options = dict(generate_options(sampling))
        if noted is not None:
            options["logits_processor"] = [noted, *options.get("logits_processor", [])]
        with ExitStack() as stack:
            if self.watch is not None:
                stack.enter_context(self.backend.taps(self.watch.taps()))
            if pool is not None:
                stack.enter_context(self.backend.before_forward(pool.watch))
                stack.enter_context(self.backend.taps(pool.taps()))
            output = self.backend.generate(
                ids,
                mask,
                max_new_tokens=steps,
                eos_token_id=ends.tolist(),
                pad_token_id=self.pad_id,
                **options,
            )
        means = None if pool is None else pool.result(len(prompts), self.backend.d_model).numpy()
        noted_log_probs = None if noted is None else noted.result(output[:, -1])
        return [
            self._reply(
                tokens,
                ends,
                sampling.max_new_tokens,
                log_probs=None if noted_log_probs is None else noted_log_probs[row],
                mean=None if means is None else means[row],
            )
            for row, tokens in enumerate(output[:, ids.shape[1] :].cpu())
        ]

    def _reply(
        self,
        tokens: Int[torch.Tensor, " token"],
        ends: Int[torch.Tensor, " end"],
        max_new_tokens: int,
        *,
        log_probs: np.ndarray | None,
        mean: np.ndarray | None,
    ) -> Reply:
        at_end = torch.isin(tokens, ends).nonzero()
        length = int(at_end[0]) if len(at_end) else len(tokens)
        kept = min(length, max_new_tokens)
        ids = tokens[:kept].numpy()
        return Reply(
            ids=ids,
            text=str(self.tokenizer.decode(ids, skip_special_tokens=True)),
            finish="stop" if length < min(len(tokens), max_new_tokens) else "length",
            log_probs=None if log_probs is None else log_probs[:kept],
            mean=mean,
        )


def _mixed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0]) % 2**63
