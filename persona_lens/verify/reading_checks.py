"""Checks of reading: the bridge, repeated readings, padding, attention sinks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from persona_lens.errors import first_line
from persona_lens.interventions import Plan
from persona_lens.interventions.hooks import tap_hooks
from persona_lens.model.batching import right_padded
from persona_lens.model.residuals import Side, keep
from persona_lens.rollouts.reply import Reply
from persona_lens.rollouts.sampling import Sampling
from persona_lens.verify.outcomes import Finding, Measure, NotApplicable
from persona_lens.verify.reading import (
    Reading,
    largest_difference,
    not_finite,
    read,
    relative_difference,
    row_of,
)
from persona_lens.verify.registry import check
from persona_lens.verify.subject import Subject, least_changed

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

ORDINARY_SINKS = 4
"""Sinks at the first few positions are common; further back they are worth a look."""

_SAMPLING = Sampling(temperature=1.0, top_p=0.95, max_new_tokens=16)


@check(
    "repeatable",
    title="two equal readings are equal, and finite",
    meaning="numbers from this model overflow or differ from run to run; load it in bfloat16 or float32, or "
    "switch off kernels that are not deterministic",
)
def repeatable(subject: Subject) -> Finding:
    """Read the same batch twice."""
    once, again = (read(subject.model, subject.transcripts) for _ in range(2))
    apart = relative_difference(again, once, leaving_out=subject.model.sinks)
    same = largest_difference(again, once) == 0
    return Finding(
        [
            Measure("not finite", not_finite(once), "numbers", at_most=0),
            Measure("difference", apart, "of the residual", at_most=subject.tolerances.residual),
        ],
        note="" if same else "not the same to the bit: this model is not quite repeatable",
    )


@check(
    "bridge",
    title="TransformerLens sees the residuals of the plain module",
    meaning="results from model.bridge and from generate or pooled do not belong together; use only one of them",
)
def bridge_agrees(subject: Subject) -> Finding:
    """Read at `blocks.{i}.hook_resid_post` of the bridge, and from the module bulk work runs on."""
    bridge = find_bridge(subject)
    if subject.model.has_bridge_hooks:
        raise NotApplicable("the bridge carries hooks of yours, so everything runs on it already")
    by_layer: dict[int, torch.Tensor] = {}
    taps = {layer: keep(by_layer, layer) for layer in subject.baseline.by_layer}
    present = run_lens(subject, bridge, tap_hooks(taps))
    found = Reading(by_layer, present)
    apart = relative_difference(found, subject.baseline, leaving_out=subject.model.sinks)
    limit = subject.tolerances.residual
    tokens = int(present.sum())
    return Finding(
        [Measure("difference", apart, "of the residual", at_most=limit)],
        note=f"{tokens} tokens at {len(by_layer)} layers",
    )


@check(
    "padding",
    title="left-padded, right-padded and alone are the same",
    meaning="what a text is found to be depends on the texts beside it; read and generate one at a time "
    "(batch_size=1) and report the model",
)
def padding(subject: Subject) -> Finding:
    """Texts of three lengths in padded batches and each alone, without a plan and under one.

    Residuals at every token and layer; log-probabilities of replies as they were sampled in a left-padded batch,
    and as they are read in a right-padded one and alone.
    """
    refuse_other_logits(subject)
    model, limits = subject.model, subject.tolerances
    apart, nats, changed, tokens = 0.0, 0.0, [], 0
    sides: tuple[Side, ...] = ("left", "right") if subject.pads_in_front else ("right",)
    for plan in (None, subject.plan):
        alone = [read(model, [transcript], plan) for transcript in subject.transcripts]
        for side in sides:
            batch = read(model, subject.transcripts, plan, side=side)
            changed += [] if batch.receipt is None else [least_changed(batch.receipt)]
            for row, single in enumerate(alone):
                gap = relative_difference(row_of(batch, row), single, leaving_out=model.sinks)
                apart = float(np.maximum(apart, gap))
        if plan is not None and not subject.steers_replies:
            continue
        replies, scores = _replies(subject, plan)
        tokens += sum(len(reply.ids) for reply in replies)
        sampled, *read_again = (np.concatenate(each) for each in scores)
        gaps = [root_mean_square(sampled - other) for other in read_again]
        nats = float(np.maximum(nats, max(gaps)))
    return Finding(
        [
            Measure("residuals", apart, "of the residual", at_most=limits.residual),
            Measure("log-probs", nats, "nats", at_most=limits.log_prob),
            Measure("sampled", tokens, "tokens", at_least=len(subject.prompts)),
            Measure("changed by the plan", min(changed), "tokens", at_least=1),
            Measure("pads", int((~subject.baseline.present).sum()), "positions", at_least=1),
        ],
        note=""
        if subject.pads_in_front
        else "pads in front would reach the text, so one reply is sampled at a time",
    )


@check(
    "sinks",
    title="attention sinks are known",
    meaning="the sinks could not be measured, so means and interventions would reach them",
)
def sinks(subject: Subject) -> Finding:
    """Positions whose norm dwarfs all others; they are left out of means and of interventions."""
    found = subject.model.sinks
    listed = ", ".join(
        f"position {position}: {ratio:.0f} times the median" for position, ratio in found.items()
    )
    late = [position for position in found if position >= ORDINARY_SINKS]
    warning = f"; unusually far back: {late}, look at the texts there" if late else ""
    ratios = list(found.values())
    measures = [Measure("sinks", len(found), "positions")]
    if ratios:
        measures.append(Measure("largest", max(ratios), "times the median norm"))
    return Finding(measures, note=(listed or "none") + warning)


def find_bridge(subject: Subject) -> TransformerBridge:
    """The model's bridge.

    Raises:
        NotApplicable: There is none, or making it would change the module the model runs on.
    """
    model = subject.model
    if model.held.own_lens is not None:
        raise NotApplicable("a HookedTransformer runs everything itself")
    if model.held.would_wrap_in_place:
        raise NotApplicable(
            "a bridge would wrap this device-mapped or quantised module in place; use model.bridge once to have "
            "it checked"
        )
    try:
        bridge = model.bridge
    except Exception as error:  # TransformerLens refuses models in many ways
        raise NotApplicable(f"no bridge can be built: {first_line(error)}") from error
    shown: dict[int, torch.Tensor] = {}
    taps = {layer: keep(shown, layer) for layer in range(model.n_layers)}
    try:
        run_lens(subject, bridge, tap_hooks(taps))
    except Exception as error:
        raise NotApplicable(
            f"TransformerLens cannot run its bridge: {first_line(error)}"
        ) from error
    if len(shown) < model.n_layers:
        hidden = sorted(taps.keys() - shown.keys())
        raise NotApplicable(
            f"the bridge of TransformerLens shows no residual stream at layers {hidden}"
        )
    return bridge


def refuse_other_logits(subject: Subject) -> None:
    """End a check that needs log-probabilities of a model whose logits are not the model's own.

    Raises:
        NotApplicable: They are not; the check of logits says so.
    """
    if not subject.model.conduct.logits_are_own:
        raise NotApplicable(
            "log-probabilities would not be the model's own: see the check of logits"
        )


def run_lens(subject: Subject, lens: Any, hooks: Sequence[tuple[str, Any]]) -> np.ndarray:
    """Run the transcripts through TransformerLens as a user would, right-padded; returns where no pads are."""
    model = subject.model
    ids, mask = right_padded([said.ids for said in subject.transcripts], model.pad_id, model.device)
    with torch.no_grad(), model.held.lock:
        lens.run_with_hooks(
            ids, attention_mask=mask.long(), fwd_hooks=list(hooks), return_type=None
        )
    return mask.cpu().numpy()


def _replies(subject: Subject, plan: Plan | None) -> tuple[list[Reply], list[list[np.ndarray]]]:
    """Sampled replies, and their log-probabilities as sampled, in a batch and alone."""
    model, prompts = subject.model, subject.prompts
    with nullcontext() if plan is None else model.intervene(plan):
        replies = model.generate(prompts, _SAMPLING, log_probs=True)
        sampled = [np.asarray(reply.log_probs) for reply in replies]
        ids = [reply.ids for reply in replies]
        together = model.log_probs(prompts, ids)
        alone = [model.log_probs([p], [i])[0] for p, i in zip(prompts, ids, strict=True)]
    return replies, [sampled, together, alone]


def root_mean_square(values: np.ndarray) -> float:
    """NaN if there are none.

    Examples:
        >>> root_mean_square(np.array([3.0, -3.0]))
        3.0
    """
    return float(np.sqrt(np.square(values.astype(np.float64)).mean())) if len(values) else np.nan
