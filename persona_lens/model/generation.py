"""Batched replies: left padding, KV cache, transformers' `generate`, and pooling while the tokens are made.

`replies_to` is the work behind `PersonaModel.generate`: replies under the plans in force, cut into thought and
answer, and read again where not every token is the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int

from persona_lens.errors import ModelError
from persona_lens.model.backends import Backend
from persona_lens.model.batching import Ids, left_padded, token_budget_batches
from persona_lens.model.finiteness import FiniteWatch, warn_not_finite
from persona_lens.model.intervening import Call
from persona_lens.model.leaving import Follower, generate_leaving
from persona_lens.model.listening import Call as HeardCall
from persona_lens.model.loaded import LoadedModel
from persona_lens.model.memory import Marks, Memory
from persona_lens.model.pooling import DecodeMeans
from persona_lens.model.reading import Reader
from persona_lens.model.sampling import LIKELIEST, NucleusFilter, RowDraws
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
    before: bool,
    batch_size: int,
    log_probs: bool,
    memory: Memory | None,
    on_batch: Callable[[int, int], None] | None,
) -> list[Reply]:
    """One reply a prompt, which listeners hear; arguments as for `PersonaModel.generate`.

    Raises:
        ModelError: The residual stream is not finite, so that there is nothing to draw from.
    """
    heard = HeardCall(model, prompts, layers)
    with heard.answering():
        replies = _answers(
            model,
            prompts,
            sampling,
            layers=heard.layers,
            before=before,
            batch_size=batch_size,
            log_probs=log_probs,
            memory=memory,
            on_batch=on_batch,
        )
    return heard.told(replies)


def _answers(
    model: LoadedModel,
    prompts: Sequence[Transcript],
    sampling: Sampling,
    *,
    layers: Sequence[int] | None,
    before: bool,
    batch_size: int,
    log_probs: bool,
    memory: Memory | None,
    on_batch: Callable[[int, int], None] | None,
) -> list[Reply]:
    reader = Reader(model)
    with model.held.lock:
        active = model.interventions.active
        if active:
            model.conduct.check_steps()
        together = len(prompts) == 1 or model.conduct.pads_in_front
        watch = FiniteWatch(model.n_layers)
        call = reader.call(prompts, padding_side="left", end_ids=model.end_ids)
        acted_at = {layer for each in active for layer in each.plan.layers}
        raw = [layer for layer in layers or () if before and layer in acted_at]
        generator = _Generator(model, model.held.backend, watch, sampling, layers, raw, log_probs)
        try:
            replies = generator.sample(
                [prompt.ids for prompt in prompts],
                batch_size if together else 1,
                call,
                memory,
                on_batch,
            )
        except RuntimeError as error:  # torch refuses to draw from what are no probabilities
            if watch.broken:
                raise nothing_to_draw(model, reader.first_broken_layer(prompts)) from error
            raise
        if watch.broken:
            warn_not_finite("replies", reader.first_broken_layer(prompts), model.dtype)
    told = [_heard(model, prompt, reply) for prompt, reply in zip(prompts, replies, strict=True)]
    return told if layers is None else without_thinking(reader, prompts, told, layers)


def _heard(model: LoadedModel, prompt: Transcript, reply: Reply) -> Reply:
    """The reply with what of it is answer; its text keeps the marks of thoughts."""
    said = model.encoder.said(prompt, reply.ids)
    return replace(reply, text=model.encoder.text_of(reply.ids), said=said)


def without_thinking(
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
    rows: dict[str, Any] = {"rows": mixed, "n_rows": len(prompts)}
    means = reader.means(read, positions, layers, **rows)
    for row, mean in zip(mixed, means, strict=True):
        replies[row] = replace(replies[row], mean=mean)
    if any(reply.before is not None for reply in replies):
        raw = reader.means(read, positions, layers, **rows, before=True)
        for row, mean in zip(mixed, raw, strict=True):
            replies[row] = replace(replies[row], before=mean)
    return replies


def nothing_to_draw(model: LoadedModel, layer: int | None) -> ModelError:
    """What is raised where the residual stream is no number from a layer on."""
    where = "" if layer is None else f" at layer {layer} on"
    return ModelError(
        f"no reply can be sampled: the residual stream is not finite{where}",
        expected="numbers that the dtype can hold",
        given=str(model.dtype).removeprefix("torch."),
        remedy='load it with dtype="bfloat16" or "float32"; under a plan, look at its receipt',
    )


@dataclass(frozen=True, eq=False)
class _Generator:
    """Samples replies on one backend, whose blocks `watch` looks at on the way; the rest as for `replies_to`.

    `raw` are the layers at which plans act and what was there before them is pooled too.
    """

    model: LoadedModel
    backend: Backend
    watch: FiniteWatch
    sampling: Sampling
    layers: Sequence[int] | None
    raw: Sequence[int]
    log_probs: bool

    def sample(
        self,
        prompts: Sequence[Ids],
        batch_size: int,
        call: Call | None,
        memory: Memory | None,
        on_batch: Callable[[int, int], None] | None,
    ) -> list[Reply]:
        """One reply a prompt.

        The random state of torch is restored afterwards. The same prompts, settings and batch size give the
        same replies on the same machine.
        """
        replies: dict[int, Reply] = {}
        lengths = [len(prompt) for prompt in prompts]
        batches = token_budget_batches(lengths, max_rows=batch_size)
        if memory is not None and batch_size >= len(prompts):
            batches = [list(range(len(prompts)))]  # the rows of what is kept
        cuda = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            for number, batch in enumerate(batches):
                # Each batch has its own state: pooling draws once more than plain sampling does.
                torch.manual_seed(_mixed(self.sampling.seed, number))
                kept = self._usable(memory, call, whole=len(batches) == 1)
                done = self._answered([prompts[row] for row in batch], batch, call, kept)
                replies.update(zip(batch, done, strict=True))
                if on_batch is not None:
                    on_batch(len(done), sum(len(reply.ids) for reply in done))
        return [replies[row] for row in range(len(prompts))]

    def _answered(
        self, prompts: Sequence[Ids], batch: Sequence[int], call: Call | None, memory: Memory | None
    ) -> list[Reply]:
        """The replies to a batch, behind what is kept of its prompts where that serves."""
        if memory is None:
            ids, mask = left_padded(prompts, self.model.pad_id, self.model.device)
            around = nullcontext([]) if call is None else call.around(batch)
            with self._pooled_raw() as raw, around as runs:
                followers = runs if self._lets_rows_leave(call, len(batch)) else None
                return self._sample_batch(ids, mask, raw, followers=followers)[0]
        marks = _marks(call, batch, prompts)
        acting = [] if call is None else [each.plan for each in call.active]
        model = self.model
        laid = memory.lay_out(
            prompts, marks, self.backend, acting, pad_id=model.pad_id, device=model.device
        )
        around = nullcontext() if call is None else call.around(batch, laid=laid)
        with self._pooled_raw() as raw, around:
            replies, past = self._sample_batch(laid.ids, laid.mask, raw, memory.take(), kept=True)
        fed = past.get_seq_length() - laid.width
        texts = [
            [*prompt, *reply.ids[:fed]] for prompt, reply in zip(prompts, replies, strict=True)
        ]
        marks = _marks(call, batch, prompts, sampled=fed)
        done = [mark[: len(text)] for mark, text in zip(marks, texts, strict=True)]
        memory.hold(past, laid, self.backend, texts, done)
        return replies

    def _usable(self, memory: Memory | None, call: Call | None, *, whole: bool) -> Memory | None:
        """The memory, if it serves; else it is told why not. `whole` says that one batch has all prompts."""
        if memory is None:
            return None
        memory.why = self._forgets(call) if whole else "the prompts do not fit one batch"
        if memory.why:
            memory.forget(memory.why)
            return None
        return memory

    def _forgets(self, call: Call | None) -> str:
        """Why nothing is kept of what is run; empty where it is."""
        if self.model.has_hooks:
            return "hooks of yours act on the model"
        if not self.model.conduct.keeps_conversations:
            return "this model does not go on from what it has kept as it would from the text"
        return "" if call is None else call.forgets

    def _lets_rows_leave(self, call: Call | None, n_rows: int) -> bool:
        """Whether rows that are over leave their batch, and the others are as they would be beside them."""
        if n_rows == 1 or self.model.has_hooks or (call is not None and call.holds_rows):
            return False
        return self.model.conduct.lets_rows_leave

    @contextmanager
    def _pooled_raw(self) -> Iterator[DecodeMeans | None]:
        """Pool what plans find, while their taps are not attached yet, so that they come after."""
        if not self.raw:
            yield None
            return
        pool = DecodeMeans(self._ends, self.raw)
        with self.backend.before_forward(pool.watch), self.backend.taps(pool.taps()):
            yield pool

    @property
    def _ends(self) -> Int[torch.Tensor, " end"]:
        return torch.tensor(sorted(set(self.model.end_ids)), dtype=torch.long)

    def _sample_batch(
        self,
        ids: Int[torch.Tensor, "batch position"],
        mask: Bool[torch.Tensor, "batch position"],
        raw: DecodeMeans | None,
        past: Any = None,
        *,
        kept: bool = False,
        followers: Sequence[Follower] | None = None,
    ) -> tuple[list[Reply], Any]:
        """The replies, and what the model keeps if it is to be `kept`.

        With `followers`, which have to know, rows leave as they end.
        """
        pool = None if self.layers is None else DecodeMeans(self._ends, self.layers)
        noted = TokenLogProbs() if self.log_probs else None
        processors = [each for each in (noted, self._draws(len(ids))) if each is not None]
        options: dict[str, Any] = {**LIKELIEST, "logits_processor": processors}
        # The last sampled token is never fed back, so pooling needs one step more than the reply is long.
        options["max_new_tokens"] = self.sampling.max_new_tokens + (pool is not None)
        options |= {"eos_token_id": self._ends.tolist(), "pad_token_id": self.model.pad_id}
        with ExitStack() as stack:
            stack.enter_context(self.backend.taps(self.watch.taps()))
            if pool is not None:
                stack.enter_context(self.backend.before_forward(pool.watch))
                stack.enter_context(self.backend.taps(pool.taps()))
            there = torch.arange(len(ids), device=ids.device)
            if kept:
                output, past = self.backend.generate_on(ids, mask, past, **options)
            elif followers is not None:
                pools = [each for each in (pool, raw) if each is not None]
                follow = [*followers, *processors, *pools]
                output, there = generate_leaving(self.backend, ids, mask, follow, **options)
            else:
                output = self.backend.generate(ids, mask, **options)
        log_probs = None if noted is None else noted.result(output[there, -1])
        means, before = self._means(pool, raw, len(ids))
        replies = [
            self._reply(
                tokens,
                log_probs=None if log_probs is None else log_probs[row],
                mean=None if means is None else means[row],
                before=None if before is None else before[row],
            )
            for row, tokens in enumerate(output[:, ids.shape[1] :].cpu())
        ]
        return replies, past

    def _draws(self, n_rows: int) -> RowDraws | None:
        """What draws the tokens; nothing where the likeliest is taken."""
        if self.sampling.temperature == 0:
            return None
        return RowDraws(NucleusFilter(self.sampling.temperature, self.sampling.top_p), n_rows)

    def _means(
        self, pool: DecodeMeans | None, raw: DecodeMeans | None, n_rows: int
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """What was pooled after plans acted and, where that is asked for, before."""
        if pool is None:
            return None, None
        means = pool.result(n_rows, self.backend.d_model).numpy()
        if raw is None:
            return means, None
        before = means.copy()
        before[:, [pool.layers.index(layer) for layer in raw.layers]] = raw.result(
            n_rows, self.backend.d_model
        ).numpy()
        return means, before

    def _reply(
        self,
        tokens: Int[torch.Tensor, " token"],
        *,
        log_probs: np.ndarray | None,
        mean: np.ndarray | None,
        before: np.ndarray | None,
    ) -> Reply:
        longest = self.sampling.max_new_tokens
        at_end = torch.isin(tokens, self._ends).nonzero()
        length = int(at_end[0]) if len(at_end) else len(tokens)
        kept = min(length, longest)
        ids = tokens[:kept].numpy()
        return Reply(
            ids=ids,
            text=str(self.model.tokenizer.decode(ids, skip_special_tokens=True)),
            finish="stop" if length < min(len(tokens), longest) else "length",
            log_probs=None if log_probs is None else log_probs[:kept],
            mean=mean,
            before=before,
        )


def _marks(
    call: Call | None, batch: Sequence[int], prompts: Sequence[Ids], *, sampled: int = 0
) -> list[Marks]:
    """What plans do to each token of the prompts, and to as many sampled ones behind them."""
    if call is not None:
        return call.marks(batch, sampled)
    return [np.zeros((len(prompt) + sampled, 0), dtype=bool) for prompt in prompts]


def _mixed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0]) % 2**63
