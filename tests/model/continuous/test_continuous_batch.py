"""Rows that run together say what each says alone, whatever joins or leaves."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from alone import (
    TEXTS,
    alone,
    assert_same,
    come_and_go,
    directions,
    end_of,
    greedy,
    prompt,
    tiny_requests,
    toward,
)
from tiny import shared_model, tiny_module, tiny_tokenizer

from persona_lens import PersonaModel, Sampling
from persona_lens.errors import InterventionError, ModelError
from persona_lens.interventions import Ablate, Add, Floor, Plan
from persona_lens.interventions.operations.gating import Gate
from persona_lens.interventions.operations.layer_pass import Move
from persona_lens.interventions.operations.operation import Operation
from persona_lens.model.continuous import (
    ContinuousBatch,
    Failed,
    Finished,
    Request,
    Token,
)


def test_what_joins_and_leaves_is_not_noticed(smol):
    along = directions(smol, (10, 20))
    floor = Plan.of(Floor(toward(smol, (8, 9, 20)), np.full(3, 8.0)))
    push = Plan.of(Add(toward(smol, (10,), seed=3), lengths=20.0)).where("generated")
    asked = [
        ("What is the capital of France?", None, 8),
        ("What is the capital of Italy?", floor, 8),
        ("List the days of the week.", floor, 10),
        ("What is 2 + 2?", push, 5),
    ]
    requests = [
        Request(prompt(smol, text), greedy(tokens), plan, top_log_probs=0)
        for text, plan, tokens in asked
    ]
    with ContinuousBatch(smol, most_rows=3, along=along) as batch:
        assert batch.why == ""
        for found, request in zip(come_and_go(batch, requests), requests, strict=True):
            assert_same(smol, found, request, along)


@pytest.mark.parametrize(
    "architecture", ["llama", "gpt2", "gemma2", "mistral", "gemma3_text", "qwen3_moe"]
)
@pytest.mark.parametrize("read", [True, False])
def test_any_architecture(architecture, read):
    model = shared_model(architecture)
    along = directions(model, (0, 2)) if read else None
    requests = tiny_requests(model, top_log_probs=0)
    with ContinuousBatch(model, most_rows=3, along=along) as batch:
        assert batch.why == ""
        for seed in range(2):
            for found, request in zip(
                come_and_go(batch, requests, seed=seed), requests, strict=True
            ):
                assert_same(model, found, request, along)


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_long_prompts_are_read_in_pieces_while_others_write(architecture, monkeypatch):
    monkeypatch.setattr("persona_lens.model.continuous.cohort.piece", lambda _device: 16)
    model = shared_model(architecture)
    requests, along = tiny_requests(model), directions(model, (0, 2))
    long = replace(requests[2], prompt=prompt(model, "A long story. " * 8))
    with ContinuousBatch(model, along=along) as batch:
        batch.add(requests[0])
        events = batch.step()
        batch.add(long), batch.add(replace(long, plan=None))
        written = [event for _ in range(8) for event in batch.step()]
        assert {event.ticket for event in written} == {0}
        events += [*written, *batch.run()]
        assert_same(model, end_of(events, 0), requests[0], along)
        assert_same(model, end_of(events, 1), long, along)
        for found, request in zip(come_and_go(batch, requests), requests, strict=True):
            assert_same(model, found, request, along)


@pytest.mark.parametrize("good", [1, 4])
def test_a_prompt_that_breaks_amid_is_given_up(good, monkeypatch):
    monkeypatch.setattr("persona_lens.model.continuous.cohort.piece", lambda _device: 32)
    model = shared_model("llama")
    requests = tiny_requests(model)
    bad = Plan.of(Breaks(toward(model, (1,)), good_passes=good))
    with ContinuousBatch(model) as batch:
        for request in (*requests[:3], replace(requests[0], plan=bad)):
            batch.add(request)
        events = batch.run()
        [failed] = [event for event in events if isinstance(event, Failed)]
        assert failed.ticket == 3
        for ticket, request in enumerate(requests[:3]):
            assert_same(model, end_of(events, ticket), request)


def test_rows_that_end_leave_no_columns_behind():
    model = shared_model("llama")
    long = Request(prompt(model, "A long story. " * 12), greedy(3))
    short = Request(prompt(model, "Hi"), greedy(12))
    for others in (
        1,
        7,
    ):  # one row more than those that idle, or so many that it would not be worth it
        with ContinuousBatch(model) as batch:
            batch.add(long)
            for _ in range(others):
                batch.add(short)
            events = [event for _ in range(8) for event in batch.step()]
            [cohort] = batch._at_work._cohorts
            assert cohort.past.get_seq_length() < len(long.prompt)
            assert_same(model, end_of([*events, *batch.run()], others), short)


def test_a_seed_alone_decides_the_draws():
    model = shared_model("llama")
    wanted = Request(
        prompt(model, "Hello"), Sampling(seed=7, max_new_tokens=12, temperature=1.3, top_p=0.9)
    )
    with ContinuousBatch(model, most_rows=4) as batch:
        batch.add(wanted)
        first = end_of(batch.run(), 0)
        others = [
            replace(wanted, prompt=prompt(model, text), sampling=Sampling(seed=seed, top_p=top_p))
            for seed, (text, top_p) in enumerate(zip(TEXTS, (1.0, 0.3, 0.9, 1.0, 0.5), strict=True))
        ]
        again = come_and_go(batch, [*others[:2], wanted, *others[2:]], seed=3)[2]
        other = replace(wanted, sampling=wanted.sampling.model_copy(update={"seed": 8}))
        ticket = batch.add(other)
        assert end_of(batch.run(), ticket).reply.ids.tolist() != first.reply.ids.tolist()
    assert again.reply.ids.tolist() == first.reply.ids.tolist()


def test_log_probabilities_and_the_likeliest():
    model = shared_model("llama")
    request = Request(prompt(model, "What is the capital of France?"), greedy(4), top_log_probs=3)
    with ContinuousBatch(model) as batch:
        batch.add(request)
        tokens = [event for event in batch.run() if isinstance(event, Token)]
    own, _ = alone(model, request)
    assert own.log_probs is not None
    for token, expected in zip(tokens, own.log_probs, strict=True):
        assert token.log_prob == pytest.approx(float(expected), abs=1e-4)
        assert len(token.top) == 3
        assert token.top[0] == (token.id, pytest.approx(token.log_prob))
        assert token.top[0][1] > token.top[1][1] > token.top[2][1]


def test_penalties_keep_a_token_from_coming_again():
    model = shared_model("llama")
    request = Request(prompt(model, "Hello"), greedy(30))
    with ContinuousBatch(model) as batch:
        batch.add(request), batch.add(replace(request, presence_penalty=1e4))
        events = batch.run()
    plain, penalised = (end_of(events, ticket).reply.ids.tolist() for ticket in (0, 1))
    assert len(set(plain)) < len(plain)
    assert len(set(penalised)) == len(penalised)


def test_stops_at_a_text_within_and_across_tokens(smol):
    request = Request(prompt(smol, "What is the capital of France?"), greedy(12))
    whole = alone(smol, request)[0].text
    assert "France is Par" in whole
    stops = ("France is Par", "e", "Paris", "not in it")
    with ContinuousBatch(smol, along=directions(smol, (3,))) as batch:
        for stop in stops:
            batch.add(replace(request, stop=(stop, "nor this")))
        events = batch.run()
    for ticket, stop in enumerate(stops):
        end = end_of(events, ticket)
        assert end.reply.text == whole.partition(stop)[0]
        assert end.stopped_by == (stop if stop in whole else None)
        assert end.after is not None
        assert len(end.after) == len(end.reply.ids)
        if stop in whole:
            assert end.reply.finish == "stop"
            assert stop in smol.encoder.text_of(end.reply.ids)
            assert stop not in smol.encoder.text_of(end.reply.ids[:-1])


def test_an_end_token_ends_a_row_where_it_ends_it_alone():
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    requests = tiny_requests(model)
    probe = alone(model, requests[0])[0].ids
    model.end_ids = (int(probe[4]), int(alone(model, requests[2])[0].ids[0]))
    for along in (None, directions(model, (0, 1, 2))):
        with ContinuousBatch(model, most_rows=3, along=along) as batch:
            found = come_and_go(batch, requests)
        assert {"stop", "length"} == {end.reply.finish for end in found}
        for end, request in zip(found, requests, strict=True):
            assert_same(model, end, request, along)


def test_who_is_cancelled_is_not_heard_of_again():
    model = shared_model("llama")
    requests = tiny_requests(model)
    with ContinuousBatch(model, most_rows=2) as batch:
        tickets = [batch.add(request) for request in requests[:4]]
        events = batch.step()
        assert (batch.running, batch.waiting) == (2, 2)
        assert batch.cancel(tickets[0])
        assert batch.cancel(tickets[3])
        assert not batch.cancel(tickets[3])
        later = batch.run()
        assert {event.ticket for event in later} == {tickets[1], tickets[2]}
        assert_same(model, end_of([*events, *later], tickets[1]), requests[1])
        assert_same(model, end_of(later, tickets[2]), requests[2])
        ticket = batch.add(requests[0])
        batch.step()
        assert batch.cancel(ticket)
        assert not batch._at_work._cohorts  # nobody is left whose keys and values anybody needs


@dataclass(frozen=True, eq=False)
class Breaks(Operation):
    """Works for some passes, and then breaks them all, or makes of its tokens what is no number."""

    name = "breaks"
    good_passes: int = 0
    quietly: bool = False
    passes: list[int] = field(default_factory=list)

    def apply(self, given):
        self.passes.append(given.start)
        if len(self.passes) <= self.good_passes:
            return super().apply(given)
        if not self.quietly:
            raise RuntimeError("broken")
        assert given.chosen is not None
        broken = given.residual.masked_fill(given.chosen.unsqueeze(-1), torch.nan)
        return super().apply(given._replace(residual=broken))

    def move(self, projection, norm, *, at, strength):
        return Move(torch.zeros_like(projection))


@pytest.mark.parametrize("good", [0, 3])
def test_only_the_row_fails_that_breaks_a_pass(good):
    model = shared_model("llama")
    requests = tiny_requests(model)
    bad = Plan.of(Breaks(toward(model, (1,)), good_passes=good))
    with ContinuousBatch(model) as batch:
        tickets = [batch.add(request) for request in requests]
        wrong = batch.add(replace(requests[0], plan=bad))
        events = batch.run()
        [failed] = [event for event in events if isinstance(event, Failed)]
        assert failed.ticket == wrong
        assert str(failed.error) == "broken"
        for ticket, request in zip(tickets, requests, strict=True):
            assert_same(model, end_of(events, ticket), request)
        ticket = batch.add(requests[1])
        assert_same(model, end_of(batch.run(), ticket), requests[1])


def test_a_row_of_no_numbers_fails_with_what_to_do():
    model = shared_model("llama")
    good = Request(prompt(model, "What is the capital of France?"), greedy(6))
    bad = Plan.of(Breaks(toward(model, (2,)), quietly=True)).where("generated")
    with ContinuousBatch(model) as batch:
        batch.add(good), batch.add(replace(good, plan=bad))
        events = batch.run()
    [failed] = [event for event in events if isinstance(event, Failed)]
    assert failed.ticket == 1
    assert isinstance(failed.error, ModelError)
    assert "not finite" in str(failed.error)
    assert_same(model, end_of(events, 0), good)


def test_nothing_is_left_on_the_model():
    model = shared_model("llama")
    module = model.held.backend.module

    def hooks() -> int:
        return sum(
            len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules()
        )

    before = hooks()
    requests = tiny_requests(model)

    def interrupt(_residual):
        raise KeyboardInterrupt

    with ContinuousBatch(model, along=directions(model, (0, 1))) as batch:
        for request in requests:
            batch.add(request)
        for _ in range(2):
            batch.step()
            assert hooks() == before
        with model.held.backend.taps({2: interrupt}), pytest.raises(KeyboardInterrupt):
            batch.step()
        assert hooks() == before
        assert [type(event) for event in batch.step()] == [Failed] * len(requests)
        ticket = batch.add(requests[1])
        events = [event for _ in range(2) for event in batch.step()]
        [cohort] = batch._at_work._cohorts
        kept = weakref.ref(cohort.past)
        del cohort
        events += batch.run()
        gc.collect()
        assert kept() is None
        assert_same(model, end_of(events, ticket), requests[1], directions(model, (0, 1)))
    assert not batch.busy


def test_a_plan_for_one_row_stays_with_it():
    model = shared_model("llama")
    requests = tiny_requests(model)
    mask = np.arange(len(requests[0].prompt)) % 3 == 1
    push = Plan.of(Add(toward(model, (1,)), lengths=6.0))
    requests[0] = replace(requests[0], plan=push.where(mask))
    requests[3] = replace(requests[3], plan=push * [0.5])
    with ContinuousBatch(model, most_rows=4) as batch:
        for found, request in zip(come_and_go(batch, requests), requests, strict=True):
            assert_same(model, found, request)


def test_what_makes_no_sense_is_refused_at_once():
    model = shared_model("llama")
    good = tiny_requests(model)[0]
    push = Plan.of(Add(toward(model, (1,)), lengths=6.0))
    with ContinuousBatch(model) as batch:
        for change, error, said in (
            ({"stop": ("",)}, ModelError, "stops is none"),
            ({"stop": "no tuple"}, ModelError, "stops is none"),
            ({"top_log_probs": -1}, ModelError, "likeliest"),
            ({"frequency_penalty": float("nan")}, ModelError, "frequency_penalty"),
            ({"sampling": Sampling(max_new_tokens=600)}, ModelError, "context"),
            ({"plan": push * [1.0, 2.0]}, InterventionError, "made for several"),
            ({"plan": push.where(np.array([True]))}, InterventionError, "wrong length"),
            ({"plan": Plan.of(Ablate(toward(model, (7,))))}, InterventionError, "layers"),
            ({"prompt": "Hello"}, ModelError, "no transcripts"),
        ):
            with pytest.raises(error, match=said):
                batch.add(replace(good, **change))
        with model.intervene(push), pytest.raises(InterventionError, match="plan acts"):
            batch.add(good)
        assert not batch.busy
        assert batch.step() == []
    with pytest.raises(ModelError, match="at least 1"):
        ContinuousBatch(model, most_rows=0)
    along = directions(model, (1,))
    with pytest.raises(ModelError, match="unit vector"):
        ContinuousBatch(model, along=replace(along, units=2 * along.units))


def test_what_a_plan_does_may_depend_on_the_tokens_before():
    model = shared_model("llama")
    v = toward(model, (1,))
    opens = Plan.of(Gate(v, np.array([1.0]), Add(v, lengths=5.0), per="sequence"))
    requests = [replace(request, plan=opens) for request in tiny_requests(model)[:2]]
    requests += tiny_requests(model)[2:]
    with ContinuousBatch(model, most_rows=3) as batch:
        for found, request in zip(come_and_go(batch, requests), requests, strict=True):
            assert_same(model, found, request)


def test_finished_tells_what_there_was_to_tell():
    model = shared_model("llama")
    request = Request(prompt(model, "Who are you?"), greedy(3))
    with ContinuousBatch(model) as batch:
        batch.add(request)
        *_, end = batch.run()
    assert isinstance(end, Finished)
    assert (end.receipt, end.before, end.after, end.stopped_by) == (None, None, None, None)
