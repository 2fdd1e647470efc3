"""Batched replies: left padding, KV cache, transformers' `generate`, and pooling while the tokens are made.

`replies_to` is the work behind `PersonaModel.generate`: replies under the plans in force, cut into thought and
answer, and read again where not every token is the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int

from persona_lens.errors import ModelError
from persona_lens.model.backends import Backend
from persona_lens.model.batching import Ids, left_padded, token_budget_batches
from persona_lens.model.finiteness import FiniteWatch, warn_not_finite
from persona_lens.model.intervening import Around
from persona_lens.model.listening import Call
from persona_lens.model.loaded import LoadedModel
from persona_lens.model.pooling import DecodeMeans
from persona_lens.model.reading import Reader
from persona_lens.model.sampling import generate_options
from persona_lens.model.scoring import TokenLogProbs
from persona_lens.rollouts.reply import Reply
from persona_lens.rollouts.sampling import Sampling
from persona_lens.transcripts import Transcript


def replies_to(
    model: LoadedModel,
    prompts: Sequence[Transcript],
    sampling: Sampling,
    *,
    layers: Sequence[int] | None,
    batch_size: int,
    log_probs: bool,
    on_batch: Callable[[int, int], None] | None,
) -> list[Reply]:
    """One reply a prompt, which listeners hear; arguments as for `PersonaModel.generate`.

    Raises:
        ModelError: The residual stream is not finite, so that there is nothing to draw from.
    """
    call = Call(model, prompts, layers)
    with call.answering():
        replies = _answers(
            model,
            prompts,
            sampling,
            layers=call.layers,
            batch_size=batch_size,
            log_probs=log_probs,
            on_batch=on_batch,
        )
    return call.told(replies)


def _answers(
    model: LoadedModel,
    prompts: Sequence[Transcript],
    sampling: Sampling,
    *,
    layers: Sequence[int] | None,
    batch_size: int,
    log_probs: bool,
    on_batch: Callable[[int, int], None] | None,
) -> list[Reply]:
    reader = Reader(model)
    with model.held.lock:
        if model.interventions.active:
            model.conduct.check_steps()
        together = len(prompts) == 1 or model.conduct.pads_in_front
        watch = FiniteWatch(model.n_layers)
        around = reader.around(prompts, padding_side="left", end_ids=model.end_ids)
        generator = _Generator(model, model.held.backend, watch, sampling, layers, log_probs)
        try:
            replies = generator.sample(
                [prompt.ids for prompt in prompts], batch_size if together else 1, around, on_batch
            )
        except RuntimeError as error:  # torch refuses to draw from what are no probabilities
            if watch.broken:
                raise _nothing_to_draw(model, reader.first_broken_layer(prompts)) from error
            raise
        if watch.broken:
            warn_not_finite("replies", reader.first_broken_layer(prompts), model.dtype)
    told = [_heard(model, prompt, reply) for prompt, reply in zip(prompts, replies, strict=True)]
    return told if layers is None else _without_thinking(reader, prompts, told, layers)


def _heard(model: LoadedModel, prompt: Transcript, reply: Reply) -> Reply:
    """The reply with what of it is answer; its text keeps the marks of thoughts."""
    said = model.encoder.said(prompt, reply.ids)
    return replace(reply, text=model.encoder.text_of(reply.ids), said=said)


def _without_thinking(
    reader: Reader, prompts: Sequence[Transcript], replies: list[Reply], layers: Sequence[int]
) -> list[Reply]:
    """Read those replies again of which not every token is the assistant's answer."""
    whole = reader.with_replies(prompts, [reply.ids for reply in replies])
    mixed = [
        row
        for row, (transcript, reply) in enumerate(zip(whole, replies, strict=True))
        if transcript.mask("assistant", turn=-1).sum() != len(reply.ids)
    ]
    read = [whole[row] for row in mixed]
    positions = [reader.model.reply_positions(transcript) for transcript in read]
    means = reader.means(read, positions, layers, rows=mixed, n_rows=len(prompts))
    for row, mean in zip(mixed, means, strict=True):
        replies[row] = replace(replies[row], mean=mean)
    return replies


def _nothing_to_draw(model: LoadedModel, layer: int | None) -> ModelError:
    where = "" if layer is None else f" at layer {layer} on"
    return ModelError(
        f"no reply can be sampled: the residual stream is not finite{where}",
        expected="numbers that the dtype can hold",
        given=str(model.dtype).removeprefix("torch."),
        remedy='load it with dtype="bfloat16" or "float32"; under a plan, look at its receipt',
    )


@dataclass(frozen=True, eq=False)
class _Generator:
    """Samples replies on one backend, whose blocks `watch` looks at on the way; the rest as for `replies_to`."""

    model: LoadedModel
    backend: Backend
    watch: FiniteWatch
    sampling: Sampling
    layers: Sequence[int] | None
    log_probs: bool

    def sample(
        self,
        prompts: Sequence[Ids],
        batch_size: int,
        around: Around,
        on_batch: Callable[[int, int], None] | None,
    ) -> list[Reply]:
        """One reply a prompt.

        The random state of torch is restored afterwards. The same prompts, settings and batch size give the
        same replies on the same machine.
        """
        replies: dict[int, Reply] = {}
        lengths = [len(prompt) for prompt in prompts]
        cuda = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            for number, batch in enumerate(token_budget_batches(lengths, max_rows=batch_size)):
                # Each batch has its own state: pooling draws once more than plain sampling does.
                torch.manual_seed(_mixed(self.sampling.seed, number))
                with around(batch, None):
                    done = self._sample_batch([prompts[row] for row in batch])
                replies.update(zip(batch, done, strict=True))
                if on_batch is not None:
                    on_batch(len(done), sum(len(reply.ids) for reply in done))
        return [replies[row] for row in range(len(prompts))]

    def _sample_batch(self, prompts: Sequence[Ids]) -> list[Reply]:
        ids, mask = left_padded(prompts, self.model.pad_id, self.model.device)
        ends = torch.tensor(sorted(set(self.model.end_ids)), dtype=torch.long)
        pool = None if self.layers is None else DecodeMeans(ends, self.layers)
        # The last sampled token is never fed back, so pooling needs one step more than the reply is long.
        steps = self.sampling.max_new_tokens + (pool is not None)
        noted = TokenLogProbs() if self.log_probs else None
        options = dict(generate_options(self.sampling))
        if noted is not None:
            options["logits_processor"] = [noted, *options.get("logits_processor", [])]
        with ExitStack() as stack:
            stack.enter_context(self.backend.taps(self.watch.taps()))
            if pool is not None:
                stack.enter_context(self.backend.before_forward(pool.watch))
                stack.enter_context(self.backend.taps(pool.taps()))
            output = self.backend.generate(
                ids,
                mask,
                max_new_tokens=steps,
                eos_token_id=ends.tolist(),
                pad_token_id=self.model.pad_id,
                **options,
            )
        means = None if pool is None else pool.result(len(prompts), self.backend.d_model).numpy()
        noted_log_probs = None if noted is None else noted.result(output[:, -1])
        return [
            self._reply(
                tokens,
                ends,
                log_probs=None if noted_log_probs is None else noted_log_probs[row],
                mean=None if means is None else means[row],
            )
            for row, tokens in enumerate(output[:, ids.shape[1] :].cpu())
        ]

    def _reply(
        self,
        tokens: Int[torch.Tensor, " token"],
        ends: Int[torch.Tensor, " end"],
        *,
        log_probs: np.ndarray | None,
        mean: np.ndarray | None,
    ) -> Reply:
        longest = self.sampling.max_new_tokens
        at_end = torch.isin(tokens, ends).nonzero()
        length = int(at_end[0]) if len(at_end) else len(tokens)
        kept = min(length, longest)
        ids = tokens[:kept].numpy()
        return Reply(
            ids=ids,
            text=str(self.model.tokenizer.decode(ids, skip_special_tokens=True)),
            finish="stop" if length < min(len(tokens), longest) else "length",
            log_probs=None if log_probs is None else log_probs[:kept],
            mean=mean,
        )


def _mixed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0]) % 2**63
