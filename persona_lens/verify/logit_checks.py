"""The check of logits: log-probabilities and KL are those of the model's own forward pass."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from persona_lens.interventions import Plan
from persona_lens.model.conduct import rounding
from persona_lens.transcripts import Transcript
from persona_lens.verify.outcomes import Finding, Measure
from persona_lens.verify.reading_checks import root_mean_square
from persona_lens.verify.registry import check
from persona_lens.verify.subject import Subject


@check(
    "logits",
    title="log-probabilities and KL are those of the model's own forward pass",
    meaning="the model scales, caps or changes its logits in a way that is not followed here: log-probabilities, "
    "KL and what judges make of them are not the model's",
)
def logits_are_the_models(subject: Subject) -> Finding:
    """Replies scored by `log_probs` and `kl`, and by a plain forward pass a row, without a plan and under one."""
    model = subject.model
    conduct = model.conduct
    made = Measure(
        "made from states", conduct.logits_gap, "of their spread", at_most=rounding(model.dtype)
    )
    if not made.holds:
        return Finding([made])
    limit = subject.tolerances.log_prob
    prompts, replies, whole = [], [], []
    for prompt, said in zip(subject.prompts, subject.transcripts, strict=True):
        ids = said.ids[said.mask("assistant", turn=-1)]
        prompts.append(prompt)
        replies.append(ids)
        whole.append(model.encoder.with_reply(prompt, ids))
    plain = [_own(subject, each, None) for each in whole]
    acting = [_own(subject, each, subject.plan) for each in whole]
    gaps = {}
    for name, plan, own in (("", None, plain), (" under a plan", subject.plan, acting)):
        with nullcontext() if plan is None else model.intervene(plan):
            scored = model.log_probs(prompts, replies)
        expected = [
            _of_reply(one, each, len(p)) for one, each, p in zip(own, whole, prompts, strict=True)
        ]
        gaps[name] = root_mean_square(np.concatenate(scored) - np.concatenate(expected))
    moved = [
        (one.exp() * (one - other)).sum(dim=-1)[len(prompt) - 1 : -1].cpu().numpy()
        for one, other, prompt in zip(plain, acting, prompts, strict=True)
    ]
    nats = np.concatenate(model.kl(subject.plan, whole)) - np.concatenate(moved)
    return Finding(
        [
            made,
            *(
                Measure(f"log-probs{name}", gap, "nats", at_most=limit)
                for name, gap in gaps.items()
            ),
            Measure("KL", root_mean_square(nats), "nats", at_most=limit),
            Measure(
                "KL of the plan", float(np.concatenate(moved).mean()), "nats", at_least=limit**2
            ),
        ],
        note=f"{sum(map(len, replies))} tokens; each prompt is run "
        + ("once" if conduct.shares_prompts else "with each reply: it cannot be shared"),
    )


def _own(subject: Subject, said: Transcript, plan: Plan | None) -> Float[Tensor, "token vocab"]:
    """Log-probabilities of every next token by one forward pass of one row."""
    with nullcontext() if plan is None else subject.model.intervene(plan):
        return subject.model.logits(said).log_softmax(dim=-1)


def _of_reply(scores: Tensor, said: Transcript, start: int) -> Float[np.ndarray, " token"]:
    tokens = torch.from_numpy(said.ids[start:]).to(scores.device)
    return scores[start - 1 : -1].gather(1, tokens[:, None])[:, 0].cpu().numpy()
