"""Checks of interventions at work: with a KV cache, in plain TransformerLens, and what they leave behind."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from persona_lens.interventions import Operation, Plan
from persona_lens.interventions.hooks import tap_hooks
from persona_lens.interventions.operations.layer_pass import Move
from persona_lens.model.residuals import keep
from persona_lens.rollouts.sampling import Sampling
from persona_lens.verify.outcomes import Finding, Measure, NotApplicable
from persona_lens.verify.reading import Reading, largest_difference, read, relative_difference
from persona_lens.verify.reading_checks import (
    find_bridge,
    refuse_other_logits,
    root_mean_square,
    run_lens,
)
from persona_lens.verify.registry import check
from persona_lens.verify.subject import Subject, least_changed

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.rollouts.reply import Reply
    from persona_lens.transcripts import Transcript

_SAMPLING = Sampling(temperature=1.0, top_p=0.95, max_new_tokens=24)
_ENOUGH = 8  # tokens of a reply


@check(
    "cache",
    title="a plan acts alike with and without a KV cache",
    meaning="steered replies are not those of the model that is measured; do not compare replies with readings",
)
def cached_is_uncached(subject: Subject) -> Finding:
    """A reply sampled under a plan, and the whole text run once under the same plan.

    Floors on every token and a push on those sampled; log-probabilities of the reply and its mean residuals.
    """
    refuse_other_logits(subject)
    if not subject.steers_replies:
        raise NotApplicable(
            "the model is fed the whole text for every token, so plans do not act on its replies"
        )
    model, prompt = subject.model, subject.prompts[0]
    layers = list(range(model.n_layers))
    with model.intervene(subject.plan) as receipt:
        reply = _reply(subject, prompt, layers)
        sampled = np.asarray(reply.log_probs)
        whole = model.log_probs([prompt], [reply.ids])[0]
        mean = model.pooled([model.encoder.with_reply(prompt, reply.ids)], layers=layers)[0]
    plain = model.log_probs([prompt], [reply.ids])[0]
    assert reply.mean is not None
    # Means of many tokens can be short; rounding goes with the length of the tokens.
    everywhere = subject.places()
    norms = [np.median(subject.norms(layer, everywhere)) for layer in layers]
    apart = np.linalg.norm(reply.mean - mean, axis=1) / np.maximum(
        np.linalg.norm(mean, axis=1), norms
    )
    nats = root_mean_square(sampled - whole)
    effect = root_mean_square(whole - plain)
    limits = subject.tolerances
    return Finding(
        [
            Measure("log-probs", nats, "nats", at_most=limits.log_prob),
            Measure(
                "mean residuals", float(apart.max()), "of the residual", at_most=limits.residual
            ),
            Measure("plan moves log-probs by", effect, "nats", at_least=2 * limits.log_prob),
            Measure("changed", least_changed(receipt), "tokens", at_least=1),
        ],
        note=f"{len(reply.ids)} tokens sampled",
    )


def _reply(subject: Subject, prompt: Transcript, layers: list[int]) -> Reply:
    """A reply long enough to tell anything from, if one of a few seeds gives one."""
    reply = None
    for seed in range(8):
        sampling = _SAMPLING.model_copy(update={"seed": seed})
        reply = subject.model.generate([prompt], sampling, layers=layers, log_probs=True)[0]
        if len(reply.ids) >= _ENOUGH:
            break
    assert reply is not None
    return reply


@check(
    "lens-hooks",
    title="plan.hooks() in TransformerLens does what model.intervene does",
    meaning="an experiment on the bridge does not show what the model does in bulk; use model.intervene",
)
def hooks_in_the_lens(subject: Subject) -> Finding:
    """The same batch under the same plan, once through `run_with_hooks`."""
    model = subject.model
    lens = find_bridge(subject) if model.held.own_lens is None else model.held.own_lens
    acting = read(model, subject.transcripts, subject.plan)
    by_layer: dict[int, torch.Tensor] = {}
    reading = tap_hooks({layer: keep(by_layer, layer) for layer in acting.by_layer})
    has_bos = any(said.ids[0] == model.tokenizer.bos_token_id for said in subject.transcripts)
    sinks = sorted({*model.sinks, 0} if has_bos else model.sinks)
    hooks = subject.plan.hooks(subject.transcripts, padding_side="right", sinks=sinks)
    found = Reading(by_layer, run_lens(subject, lens, [*hooks, *reading]))
    limit = subject.tolerances.residual
    leaving_out = list(model.sinks)
    apart = relative_difference(found, acting, leaving_out=leaving_out)
    moved = relative_difference(acting, subject.baseline, leaving_out=leaving_out)
    return Finding(
        [
            Measure("difference", apart, "of the residual", at_most=limit),
            Measure("plan moves it by", moved, "of the residual", at_least=2 * limit),
        ]
    )


@check(
    "hooks-gone",
    title="nothing is left of an intervention afterwards",
    meaning="later results are still steered; load the model anew after each intervention",
)
def hooks_are_gone(subject: Subject) -> Finding:
    """Hooks on every module after a plan, after one that raises and a block that raises; and the residuals."""
    model = subject.model
    short = Sampling(temperature=0, max_new_tokens=2)
    read(model, subject.transcripts[:1])
    before = hooks(model)
    spy = _Spy(subject.direction.at([subject.middle]), model=model)
    with model.intervene(Plan.of(spy)):
        if subject.steers_replies:
            model.generate(subject.prompts, short)
        model.pooled(subject.transcripts, layers=[subject.middle])
    left = (hooks(model) - before).total()
    failing = Plan.of(_Spy(subject.direction.at([subject.middle]), model=model, fails=True))
    with suppress(_Stop), model.intervene(failing):
        model.pooled(subject.transcripts, layers=[subject.middle])
    if subject.steers_replies:
        with suppress(_Stop), model.intervene(failing):
            model.generate(subject.prompts, short)
    with suppress(_Stop), model.intervene(subject.plan):
        raise _Stop
    left_raising = (hooks(model) - before).total() - left
    attached = max(((seen - before).total() for seen in spy.seen), default=0)
    measures = [
        Measure("left", left, "hooks", at_most=0),
        Measure("left by an error", left_raising, "hooks", at_most=0),
        Measure("while it acts", attached, "hooks", at_least=1),
    ]
    if not left + left_raising:  # else what was left may raise once more
        apart = largest_difference(read(model, subject.transcripts), subject.baseline)
        measures.append(Measure("residuals moved", apart, "", at_most=4 * subject.noise))
    return Finding(measures)


def hooks(model: PersonaModel) -> Counter[tuple[int, int]]:
    """Every forward hook and pre-hook on any module the model runs on, the bridge's hook points included."""
    modules = {id(part): part for root in model.held.roots for part in root.modules()}
    return Counter(
        (name, key)
        for name, module in modules.items()
        for key in (*module._forward_hooks, *module._forward_pre_hooks)
    )


class _Stop(Exception):
    """What the failing operation raises."""


@dataclass(frozen=True, eq=False)
class _Spy(Operation):
    """Counts the hooks there are while it runs, and fails if asked to; changes nothing."""

    model: PersonaModel = field(kw_only=True)
    fails: bool = field(default=False, kw_only=True)
    seen: list[Counter[tuple[int, int]]] = field(default_factory=list, kw_only=True)
    name: ClassVar[str] = "spy"

    def move(self, projection, norm, *, at, strength):
        """Look and stay, or fail."""
        if self.fails:
            raise _Stop
        self.seen.append(hooks(self.model))
        return Move(torch.zeros_like(projection))
