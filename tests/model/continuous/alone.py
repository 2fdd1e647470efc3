"""What a request would be answered alone, and a batch in which requests come and go, to compare with it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np

from persona_lens import PersonaModel, Reply, Sampling
from persona_lens.interventions import Ablate, Add, Direction, Floor, Plan, Receipt
from persona_lens.model.continuous import (
    Along,
    ContinuousBatch,
    Event,
    Failed,
    Finished,
    Projected,
    Request,
    Token,
)
from persona_lens.transcripts import Transcript

TEXTS = ("Hello", "Who are you, my friend?", "B", "Say something about the sea and the ships.", "?")


def prompt(model: PersonaModel, text: str) -> Transcript:
    return model.encoder.prompt(model.encoder.messages(text))


def greedy(tokens: int) -> Sampling:
    return Sampling(temperature=0, max_new_tokens=tokens)


def directions(model: PersonaModel, layers: tuple[int, ...], count: int = 2) -> Along:
    units = np.random.default_rng(0).standard_normal((len(layers), count, model.d_model))
    units = units / np.linalg.norm(units, axis=-1, keepdims=True)
    return Along(layers, units.astype(np.float32))


def toward(model: PersonaModel, layers: tuple[int, ...], seed: int = 1) -> Direction:
    values = np.random.default_rng(seed).standard_normal((len(layers), model.d_model))
    return Direction("somewhere", layers, values)


def tiny_requests(model: PersonaModel, **options) -> list[Request]:
    """Rows under three plans and under none, two of them sharing one."""
    push = Plan.of(Add(toward(model, (0, 1)), lengths=4.0))
    floor = Plan.of(Floor(toward(model, (0, 2), seed=2), np.zeros(2))).where("generated")
    plans = [None, push, floor, push, Plan.of(Ablate(toward(model, (1,)))).where("user")]
    return [
        Request(prompt(model, text), greedy(tokens), plan, **options)
        for text, plan, tokens in zip(TEXTS, plans, (9, 4, 12, 7, 10), strict=True)
    ]


def alone(
    model: PersonaModel, request: Request, along: Along | None = None
) -> tuple[Reply, Receipt | None]:
    """The reply of `generate`, and what the plan did."""
    plan = request.plan
    layers = None if along is None else along.layers
    with nullcontext() if plan is None else model.intervene(plan) as receipt:
        [reply] = model.generate(
            [request.prompt],
            request.sampling,
            layers=layers,
            before=along is not None,
            log_probs=request.top_log_probs is not None,
        )
    return reply, receipt


def come_and_go(
    batch: ContinuousBatch, requests: Sequence[Request], *, seed: int = 0
) -> list[Finished]:
    """Answer requests that come at random times, with others that leave before they are done between them."""
    rng = np.random.default_rng(seed)
    order, tickets, strangers = list(rng.permutation(len(requests))), {}, []
    events: list[Event] = []
    while order or batch.busy:
        if order and rng.random() < 0.5:
            place = int(order.pop())
            tickets[place] = batch.add(requests[place])
        if rng.random() < 0.15 and order:
            strangers.append(batch.add(requests[int(rng.integers(len(requests)))]))
        if strangers and rng.random() < 0.3:
            batch.cancel(strangers.pop())
        events += batch.step()
    return [end_of(events, tickets[place]) for place in range(len(requests))]


def end_of(events: Sequence[Event], ticket: int) -> Finished:
    """How a request ended, after what was told of it on the way is seen to be the same."""
    mine = [event for event in events if event.ticket == ticket]
    ends = [event for event in mine if isinstance(event, Failed | Finished)]
    assert len(ends) == 1
    end = ends[0]
    assert mine[-1] is end
    if isinstance(end, Failed):
        raise end.error
    tokens = [event for event in mine if isinstance(event, Token)]
    assert [token.index for token in tokens] == list(range(len(tokens)))
    assert [token.id for token in tokens] == end.reply.ids.tolist()
    assert "".join(token.text for token in tokens) + end.tail == end.reply.text
    read = [event for event in mine if isinstance(event, Projected)]
    if end.after is None:
        assert not read
    else:
        assert [event.index for event in read] == list(range(len(end.after)))
    return end


def assert_same(
    model: PersonaModel, found: Finished, request: Request, along: Along | None = None
) -> None:
    """What a batch has made of a request is what it would be alone."""
    reply, receipt = alone(model, request, along)
    assert found.reply.ids.tolist() == reply.ids.tolist()
    assert found.reply.text == reply.text
    assert found.reply.said == reply.said
    assert found.reply.finish == reply.finish
    assert found.prompt_tokens == len(request.prompt)
    for name in ("mean", "before", "log_probs"):
        ours, own = getattr(found.reply, name), getattr(reply, name)
        assert (ours is None) == (own is None), name
        if own is not None:
            np.testing.assert_allclose(ours, own, rtol=2e-3, atol=2e-3, err_msg=name)
    assert (found.receipt is None) == (receipt is None)
    if receipt is not None and found.receipt is not None:
        ours, own = found.receipt.frame(), receipt.frame()
        for column in ("step", "layer", "seen", "not_finite", "changed"):
            assert ours[column].tolist() == own[column].tolist(), column
        for column in ("mean_change", "max_change", "before", "after", "lowest", "highest"):
            np.testing.assert_allclose(ours[column], own[column], rtol=2e-3, atol=2e-3)
    if along is not None:
        assert found.after is not None
        assert found.before is not None
        assert len(found.after) == len(reply.ids)
        if len(reply.ids):
            _assert_projections(found, reply, along)


def _assert_projections(found: Finished, reply: Reply, along: Along) -> None:
    """The mean of the projections is the projection of the mean."""
    assert reply.mean is not None
    before = reply.mean if reply.before is None else reply.before
    for ours, mean in ((found.after, reply.mean), (found.before, before)):
        assert ours is not None
        own = np.einsum("ld,lkd->lk", mean, along.units)
        np.testing.assert_allclose(ours.mean(axis=0), own, rtol=2e-3, atol=2e-3)
