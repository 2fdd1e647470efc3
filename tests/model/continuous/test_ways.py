"""Models and users that do not let rows run as one batch: it is said, and what comes out is the same."""

from __future__ import annotations

import pytest
from alone import assert_same, come_and_go, directions, greedy, prompt, tiny_requests, toward
from tiny import shared_model, tiny_module, tiny_tokenizer
from tiny_architectures import tiny_case

from persona_lens import PersonaModel
from persona_lens.interventions import Add, Plan
from persona_lens.model.continuous import ContinuousBatch, Failed, Request, Token
from persona_lens.model.continuous.ways import Way, way_of


@pytest.mark.parametrize(
    ("architecture", "said", "streams"),
    [
        ("lfm2", "put beside", True),  # convolutions keep a state
        ("llama4_text", "depends on those it runs with", True),  # chunks are counted from column 0
        ("mamba", "from outside", False),
    ],
)
def test_what_a_model_does_not_allow_is_done_without(architecture, said, streams):
    model = PersonaModel.load(tiny_case(architecture), tokenizer=tiny_tokenizer())
    requests = tiny_requests(model, top_log_probs=0)
    with ContinuousBatch(model, most_rows=3) as batch:
        assert said in batch.why
        assert batch.streams is streams
        for found, request in zip(come_and_go(batch, requests), requests, strict=True):
            assert_same(model, found, request)


def test_hooks_of_the_user_act():
    module = tiny_module("llama")
    model = PersonaModel.load(module, tokenizer=tiny_tokenizer())
    requests = tiny_requests(model)
    along = directions(model, (0, 2))
    with ContinuousBatch(model, along=along) as batch:
        assert batch.why == ""
        plain = come_and_go(batch, requests)
        handle = module.model.layers[0].register_forward_hook(lambda _m, _a, out: out * 1.5)
        assert "hooks of yours" in batch.why
        hooked = come_and_go(batch, requests)
        assert [end.reply.ids.tolist() for end in plain] != [
            end.reply.ids.tolist() for end in hooked
        ]
        for found, request in zip(hooked, requests, strict=True):
            assert_same(model, found, request, along)
        handle.remove()
        assert batch.why == ""


@pytest.mark.parametrize("way", [Way(joins=False, steps=True, pads=True), Way(False, True, False)])
def test_cohorts_run_beside_each_other(way, monkeypatch):
    model = shared_model("llama")
    monkeypatch.setattr("persona_lens.model.continuous.at_work.way_of", lambda _model: way)
    requests, along = tiny_requests(model), directions(model, (1,))
    with ContinuousBatch(model, most_rows=4, along=along) as batch:
        for found, request in zip(come_and_go(batch, requests), requests, strict=True):
            assert_same(model, found, request, along)
        batch.add(requests[0]), batch.add(requests[2])
        events = [*batch.step(), *batch.step()]
        tickets = {event.ticket for event in events if isinstance(event, Token)}
        assert len(tickets) == 2  # nobody waits for the other


def test_whole_replies_come_one_by_one_where_rows_cannot_be_padded(monkeypatch):
    model = shared_model("llama")
    way = Way(joins=False, steps=False, pads=False)
    monkeypatch.setattr("persona_lens.model.continuous.at_work.way_of", lambda _model: way)
    requests, along = tiny_requests(model), directions(model, (0, 1))
    with ContinuousBatch(model, along=along) as batch:
        for request in requests:
            batch.add(request)
        assert {event.ticket for event in batch.step()} == {0}
        for found, request in zip(come_and_go(batch, requests), requests, strict=True):
            assert_same(model, found, request, along)


def test_a_model_that_reads_the_whole_text_at_each_step_cannot_be_steered():
    model = PersonaModel.load(tiny_case("openai-gpt"), tokenizer=tiny_tokenizer())
    plain = Request(prompt(model, "Hello"), greedy(4))
    push = Plan.of(Add(toward(model, (1,)), lengths=4.0))
    with ContinuousBatch(model) as batch:
        batch.add(plain), batch.add(Request(plain.prompt, plain.sampling, push))
        events = batch.run()
    [failed] = [event for event in events if isinstance(event, Failed)]
    assert failed.ticket == 1
    assert "do not act on the replies" in str(failed.error)


def test_windows_are_no_obstacle():
    assert way_of(shared_model("mistral")) == Way(joins=True, steps=True, pads=True)
