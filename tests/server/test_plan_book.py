"""Which plan acts: names, what an operator allows, and what no request may have."""

from __future__ import annotations

import numpy as np
import pytest

from persona_lens.errors import InterventionError, ServerError
from persona_lens.interventions import Add, Direction, Plan
from persona_lens.server.bodies import PersonaBody
from persona_lens.server.limits import Allowed, parse_percentiles
from persona_lens.server.plans import PlanBook
from persona_lens.server.refusals import Refusal


@pytest.fixture
def push(tiny_model):
    units = np.ones((2, tiny_model.d_model))
    return Plan.of(Add(Direction("ghost", (1, 2), units), lengths=1.0))


def test_a_request_names_plans_that_are_there(tiny_model, push):
    book = PlanBook(tiny_model, default=push, named={"calm": 0.5 * push})
    assert book.names == ("none", "default", "calm")
    assert book.choose(None).plan is push
    assert book.choose(PersonaBody(plan="none")).plan is None
    assert book.choose(PersonaBody(plan="calm")).card()["layers"] == [1, 2]
    assert book.choose(PersonaBody(plan="calm")).digest != book.choose(None).digest
    with pytest.raises(Refusal, match="did you mean calm") as caught:
        book.choose(PersonaBody(plan="clam"))
    assert caught.value.code == "unknown_plan"


def test_layers_are_chosen_within_what_is_allowed(tiny_model, push):
    book = PlanBook(tiny_model, default=push, allowed=Allowed(layers=(0, 1)))
    chosen = book.choose(PersonaBody(layers=[1]))
    assert chosen.plan.layers == (1,)
    assert (chosen.name, chosen.label) == ("default at 1", "requested")
    assert book.choose(PersonaBody(layers=[1])) is chosen
    for layers, reason in (([2], "not allowed"), ([0], "No such plan")):
        with pytest.raises(Refusal, match=reason):
            book.choose(PersonaBody(layers=layers))
    with pytest.raises(Refusal, match="does nothing"):
        book.choose(PersonaBody(plan="none", layers=[1]))
    with pytest.raises(Refusal, match="not for requests"):
        PlanBook(tiny_model, default=push).choose(PersonaBody(layers=[1]))


def test_percentiles_are_chosen_within_what_is_allowed(smol):
    from persona_lens import PersonaSpace

    space = PersonaSpace.load("smollm2-135m-instruct")
    allowed = Allowed(percentiles=(50, 90), layers=tuple(range(18, 24)))
    book = PlanBook(smol, default=space.floor(percentile=75), space=space, allowed=allowed)
    chosen = book.choose(PersonaBody(percentile=60.0, layers=[20, 21]))
    assert chosen.plan.layers == (20, 21)
    assert (
        chosen.digest
        == PlanBook(smol, default=space.floor(percentile=60, layers=[20, 21])).choose(None).digest
    )
    assert chosen.name == "cap 60 at 20-21"
    with pytest.raises(Refusal, match="50 to 90"):
        book.choose(PersonaBody(percentile=95.0))
    with pytest.raises(Refusal, match="no percentile"):
        book.choose(PersonaBody(plan="none", percentile=60.0))


def test_plans_that_no_server_can_have(tiny_model, push):
    for name in ("none", "default", "requested", " ", "a\nb"):
        with pytest.raises(ServerError, match="name"):
            PlanBook(tiny_model, named={name: push})
    with pytest.raises(ServerError, match="single rows"):
        PlanBook(tiny_model, default=np.array([0.0, 1.0]) * push)
    far = Plan.of(Add(Direction("far", (7,), np.ones((1, tiny_model.d_model))), lengths=1.0))
    with pytest.raises(InterventionError, match="does not have"):
        PlanBook(tiny_model, default=far)
    with pytest.raises(ServerError, match="need a space"):
        PlanBook(tiny_model, allowed=Allowed(percentiles=(50, 90)))


def test_a_plan_for_roles_wants_a_chat(tiny_model, push):
    book = PlanBook(tiny_model, default=push.where("user"), named={"all": push.where("generated")})
    with pytest.raises(Refusal, match="'user' tokens"):
        book.choose(None).refuse_plain_text()
    book.choose(PersonaBody(plan="all")).refuse_plain_text()


@pytest.mark.parametrize("text", ["x", "50-", "-", "50-x"])
def test_percentiles_that_are_none(text):
    with pytest.raises(ServerError, match="cannot read"):
        parse_percentiles(text)


def test_percentiles_that_run_backwards():
    with pytest.raises(ServerError, match="no percentiles"):
        Allowed(percentiles=(90, 50))
