"""Before anything is served: that plans act here, and nothing else does, on this model, through this very batch.

    for check in canary(served, batch):
        print(check)

A server that writes replies with a plan that does not reach them, or counts what it did not do, is worse than
none: nobody would notice. So a plan of strength 0 has to change no reply, a push at every layer that a plan names
has to change what comes next, and receipts have to count the tokens that ran.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from persona_lens.errors import ServerError
from persona_lens.interventions import Add, Direction, Plan
from persona_lens.model.continuous import ContinuousBatch, Failed, Finished, Request
from persona_lens.rollouts.sampling import Sampling
from persona_lens.server.served import Served
from persona_lens.transcripts import Transcript

QUESTION = "Who are you, and what do you like to talk about?"
_TOKENS = 6
_PUSH = 1.0
"""Length of the push, as a share of the residual norm."""
_LEAST = 1e-3
"""Nats that a push has to move the distribution of the next token by."""
_TIPPED = 0.02
"""Share of tokens that a receipt may count otherwise than a plain pass over the text does."""


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes:
        name: What was tried.
        found: In words.
    """

    name: str
    found: str

    def __str__(self) -> str:
        return f"{self.name}: {self.found}"


def canary(served: Served, batch: ContinuousBatch) -> list[Check]:
    """Try the plans of a server.

    Args:
        served: What will be served.
        batch: That replies will be written in; nothing runs in it.

    Raises:
        ServerError: One of them does not do what it says.
    """
    model = served.model
    prompt = model.encoder.prompt(model.encoder.messages(QUESTION))
    return list(_checks(served, batch, prompt))


def _checks(served: Served, batch: ContinuousBatch, prompt: Transcript) -> Iterator[Check]:
    plain = _written(batch, prompt, None)
    again = _written(batch, prompt, None)
    if plain.reply.ids.tolist() != again.reply.ids.tolist():
        raise ServerError(
            "the model does not say the same twice at temperature 0",
            remedy="nothing that a plan does could be told from chance: serve it in float32",
        )
    if not len(plain.reply.ids):
        raise ServerError("the model says nothing", given=QUESTION)
    for plan in {plan.digest: plan for plan in served.plans.acting}.values():
        assert plan.plan is not None
        nothing = _written(batch, prompt, 0.0 * plan.plan)
        if nothing.reply.ids.tolist() != plain.reply.ids.tolist():
            raise ServerError(
                f"the plan {plan.name!r} changes replies at strength 0",
                expected=plain.reply.text,
                given=nothing.reply.text,
                remedy="its presence alone does something, so that nothing it does could be believed",
            )
        yield Check(plan.name, "at strength 0 it changes nothing")
        yield _reaches(served, prompt, plan.name, plan.plan)
        yield _counts(served, batch, prompt, plan.name, plan.plan)
    if not served.plans.acting:
        layer = served.reader.layer
        push = Plan.of(
            Add(Direction("push", (layer,), served.reader.along.units[:, 0]), lengths=np.ones(1))
        )
        yield _reaches(served, prompt, "a push", push)
        yield _counts(served, batch, prompt, "a push", push)


def _reaches(served: Served, prompt: Transcript, name: str, plan: Plan) -> Check:
    """A push along the plan's directions moves the next token at each of its layers, one at a time."""
    model = served.model
    base = _log_softmax(model.logits(prompt)[-1].float().cpu().numpy())
    norms = model.residuals([prompt], layers=list(plan.layers))
    least = np.inf
    for layer in plan.layers:
        direction = next(
            step.operation.direction for step in plan.steps if layer in step.operation.layers
        )
        length = _PUSH * float(np.linalg.norm(norms.row(layer, 0)[-1]))
        push = Plan.of(Add(direction.at([layer]), lengths=np.array([length])))
        with model.intervene(push.without_origins()):
            moved = _log_softmax(model.logits(prompt)[-1].float().cpu().numpy())
        least = min(least, float((np.exp(base) * (base - moved)).sum()))
        if least < _LEAST:
            raise ServerError(
                f"a push at layer {layer}, where the plan {name!r} acts, does not reach the replies",
                expected=f"at least {_LEAST} nats",
                given=f"{least:.2g}",
                remedy="the plan would be without effect: see `persona-lens verify`",
            )
    return Check(name, f"a push at its layers moves the next token by {least:.2g} nats or more")


def _counts(
    served: Served,
    batch: ContinuousBatch,
    prompt: Transcript,
    name: str,
    plan: Plan,
) -> Check:
    """The receipt has seen the tokens that the plan chooses, at every layer."""
    steered = _written(batch, prompt, plan)
    if steered.receipt is None:
        raise ServerError(f"the plan {name!r} left no receipt")
    whole = served.model.encoder.with_reply(prompt, steered.reply.ids)
    with served.model.intervene(plan) as receipt:
        served.model.pooled([whole], layers=[served.reader.layer])
    ours, theirs = steered.receipt.frame(), receipt.frame()
    # What is seen hangs on no number; of what is changed rounding may tip a token.
    slack = 1 + _TIPPED * theirs["seen"]
    if (ours["seen"] != theirs["seen"]).any() or (
        (ours["changed"] - theirs["changed"]).abs() > slack
    ).any():
        counted = ["layer", "seen", "changed"]
        raise ServerError(
            f"the receipt of the plan {name!r} does not count what was done",
            expected=theirs[counted].to_numpy().tolist(),
            given=ours[counted].to_numpy().tolist(),
        )
    seen, changed = int(ours["seen"].sum()), int(ours["changed"].sum())
    return Check(name, f"its receipt counts {seen} tokens and layers seen, {changed} moved")


def _written(batch: ContinuousBatch, prompt: Transcript, plan: Plan | None) -> Finished:
    """A short reply at temperature 0."""
    batch.add(Request(prompt, Sampling(temperature=0, max_new_tokens=_TOKENS), plan=plan))
    while batch.busy:
        for event in batch.step():
            match event:
                case Failed():
                    raise ServerError(
                        "the canary's reply failed", given=event.error
                    ) from event.error
                case Finished():
                    return event
    raise ServerError("the canary's reply never came to its end")


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max()
    return shifted - np.log(np.exp(shifted).sum())
