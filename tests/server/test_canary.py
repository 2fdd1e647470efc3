"""A server whose plans do not act, or act when they should not, does not start."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from persona_lens.errors import ServerError
from persona_lens.interventions import Ablate, Add, Plan
from persona_lens.interventions.receipt import Receipt
from persona_lens.model.continuous import ContinuousBatch, Request
from persona_lens.server import Served, Serving
from persona_lens.server.canary import canary
from persona_lens.server.desk import continuous


class Wrapped:
    """A batch that does something else to requests, or to what comes of them."""

    def __init__(
        self, batch: ContinuousBatch, ask=lambda request: request, tell=lambda event: event
    ):
        self._batch, self._ask, self._tell = batch, ask, tell

    def add(self, request: Request):
        return self._batch.add(self._ask(request))

    def step(self):
        return [self._tell(event) for event in self._batch.step()]

    def __getattr__(self, name):
        return getattr(self._batch, name)


@pytest.fixture(scope="module")
def push(tiny_space):
    return Plan.of(
        Add(tiny_space.direction("assistant", layers=[0, 1]), lengths=np.array([3.0, 3.0]))
    )


@pytest.fixture(scope="module")
def served(tiny_model, tiny_space, push):
    return Served.of(tiny_model, tiny_space, plans={"push": push})


def test_plans_that_act_are_told(served, tiny_model, tiny_space):
    found = [str(check) for check in canary(served, continuous(served))]
    assert len(found) == 3
    assert "at strength 0 it changes nothing" in found[0]
    nothing = Served.of(tiny_model, tiny_space)
    assert len(canary(nothing, continuous(nothing))) == 2


def test_a_batch_that_drops_plans(served):
    batch = Wrapped(continuous(served), ask=lambda request: replace(request, plan=None))
    with pytest.raises(ServerError, match="no receipt"):
        canary(served, batch)


def test_a_batch_whose_receipts_count_nothing(served):
    def tell(event):
        receipt = getattr(event, "receipt", None)
        return event if receipt is None else replace(event, receipt=Receipt(receipt.plan))

    with pytest.raises(ServerError, match="does not count"):
        canary(served, Wrapped(continuous(served), tell=tell))


def test_a_batch_in_which_the_presence_of_a_plan_acts(served, push):
    def ask(request):
        return request if request.plan is None else replace(request, plan=40.0 * push)

    with pytest.raises(ServerError, match="strength 0"):
        canary(served, Wrapped(continuous(served), ask=ask))


def test_a_model_that_no_push_reaches(served, monkeypatch, tiny_model):
    logits = tiny_model.logits(tiny_model.encoder.prompt(tiny_model.encoder.messages("Hi")))
    monkeypatch.setattr(type(tiny_model), "logits", lambda *_: logits)
    with pytest.raises(ServerError, match="does not reach"):
        canary(served, continuous(served))


def test_a_server_does_not_start_then(served):
    def make(served):
        return Wrapped(continuous(served), ask=lambda request: replace(request, plan=None))

    with pytest.raises(ServerError, match="no receipt"):
        Serving(served, port=0, make=make)


def test_an_ablation_counts(tiny_model, tiny_space):
    plan = Plan.of(Ablate(tiny_space.direction("assistant"))).where("generated")
    served = Served.of(tiny_model, tiny_space, default=plan)
    assert "counts 18 tokens and layers seen" in str(canary(served, continuous(served))[-1])
