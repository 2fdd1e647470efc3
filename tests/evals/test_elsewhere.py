"""Items answered elsewhere: workers say what the model here would, and a server what it says, piece by piece."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from faulty_server import FaultyServer, Seen, filtered, ok, server_error
from tiny import shared_module, tiny_tokenizer

from persona_lens import PersonaModel, PersonaSpace, Sampling
from persona_lens.endpoints import EndpointSettings
from persona_lens.errors import EvaluationError, ModelError, RunError
from persona_lens.evals.conditions import UNTOUCHED, Condition
from persona_lens.evals.evaluation import Evaluated, Evaluation, evaluate
from persona_lens.evals.items import Item
from persona_lens.evals.measures import Measure
from persona_lens.evals.outcomes import Exact, Outcome
from persona_lens.interventions import Add, Direction, Plan
from persona_lens.rollouts.serving import ServedSource
from persona_lens.runs.engines.engine import LocalEngine
from persona_lens.runs.store.locking import held_for_writing

GREEDY = Sampling(temperature=0, max_new_tokens=6)
DRAWN = Sampling(max_new_tokens=6)
ITEMS = [
    Item.asked(f"item {n}", f"Say {n}", system="Be brief." * (n % 2), about={"n": n}, check=max)
    for n in range(5)
]
LENGTH = Exact("length", lambda answer: Outcome(score=float(len(answer.text))))


def asked(sampling: Sampling) -> Evaluation:
    return Evaluation("length", "Length", ITEMS, [LENGTH], [Measure("length", "length")], sampling)


@pytest.fixture(scope="module")
def model() -> PersonaModel:
    return PersonaModel.load(shared_module("llama"), tokenizer=tiny_tokenizer())


@pytest.fixture
def conditions(model: PersonaModel) -> list[Condition]:
    push = Plan.of(Add(Direction("up", (1,), np.ones((1, model.d_model))), lengths=40.0))
    return [UNTOUCHED, Condition("push", push, "plan", 1.0)]


class OutOfOrder(LocalEngine):
    """A worker that gives back its pieces in another order than it was given them."""

    def each(self, function: Any, pieces: Any) -> Any:
        return reversed(list(super().each(function, pieces)))


def frames_equal(one: Evaluated, other: Evaluated) -> None:
    pd.testing.assert_frame_equal(one.replies, other.replies)
    pd.testing.assert_frame_equal(one.measures, other.measures)


def test_workers_say_what_the_model_here_says(model, conditions):
    run = {"batch_size": 4, "samples": 2, "progress": False}
    here = evaluate(asked(DRAWN), model, conditions, **run)
    there = evaluate(asked(DRAWN), model, conditions, engine=OutOfOrder(model), **run)
    frames_equal(here, there)


def test_a_piece_that_fails_costs_no_other(model, conditions, tmp_path, monkeypatch):
    class Unwell(LocalEngine):
        ill = True

        def each(self, function: Any, pieces: Any) -> Any:
            for name, made in super().each(function, pieces):
                yield name, ModelError("out of memory") if self.ill and "item 2" in name else made

    engine = Unwell(model)
    run: dict[str, Any] = {"batch_size": 2, "engine": engine, "out": tmp_path, "progress": False}
    with pytest.raises(ModelError, match="out of memory"):
        evaluate(asked(GREEDY), model, conditions, **run)
    engine.ill = False
    worked: list[str] = []
    each = LocalEngine.each

    def noted(self: LocalEngine, function: Any, pieces: Any) -> Any:
        pieces = list(pieces)
        worked.extend(name for name, _ in pieces)
        return each(self, function, pieces)

    monkeypatch.setattr(LocalEngine, "each", noted)
    result = evaluate(asked(GREEDY), model, conditions, **run)
    assert worked == ["item 2 and 0 more, all"]
    frames_equal(result, evaluate(asked(GREEDY), model, conditions, batch_size=2, progress=False))


def test_workers_with_another_model_are_refused(model, conditions):
    other = PersonaModel.load("random:smollm2-135m-instruct")
    with pytest.raises(EvaluationError, match=r"(?s)workers do not hold.*fingerprint.*dtype"):
        evaluate(asked(GREEDY), model, conditions, engine=LocalEngine(other), progress=False)


def test_two_processes_do_not_write_one_folder(model, conditions, tmp_path):
    with held_for_writing(tmp_path), pytest.raises(RunError, match="another process"):
        evaluate(asked(GREEDY), model, conditions, out=tmp_path, progress=False)


def source(server: FaultyServer, **options: Any) -> ServedSource:
    settings = EndpointSettings(model="m", base_url=server.url, backoff=0.001, max_attempts=2)
    return ServedSource(settings, **options)


def test_a_server_answers_where_nothing_acts(model, conditions):
    bodies = []

    def say(seen: Seen) -> Any:
        bodies.append(seen.body)
        return ok(f"served {seen.body['messages'][-1]['content']}")

    with FaultyServer(say) as server:
        result = evaluate(
            asked(DRAWN),
            model,
            conditions,
            served=source(server),
            samples=2,
            batch_size=4,
            progress=False,
        )
    replies = result.replies.set_index(["condition", "item", "sample"])
    assert replies.loc[("as it is", "item 3", 1), "text"] == "served Say 3"
    assert len(result.replies) == 20
    assert not replies.loc["push", "text"].str.startswith("served").any()
    here = evaluate(asked(DRAWN), model, conditions[1:], samples=2, batch_size=4, progress=False)
    own = replies.loc["push", "text"].sort_index()
    assert len(own) == len(here.replies)
    assert len(bodies) == 10
    assert len({body["seed"] for body in bodies}) == 10
    assert [m["role"] for m in bodies[2]["messages"]] in (["system", "user"], ["user"])
    assert result.card["served"]["model"] == "m"


def test_what_a_server_does_not_answer_is_asked_again(model, conditions, tmp_path):
    down, heard = True, []

    def say(seen: Seen) -> Any:
        heard.append(seen)
        failing = down and seen.body["messages"][-1]["content"] == "Say 2"
        return server_error() if failing else ok("well")

    with FaultyServer(say) as server:
        run: dict[str, Any] = {"served": source(server), "out": tmp_path, "batch_size": 2}
        with pytest.raises(EvaluationError, match="has not answered 'item 2'"):
            evaluate(asked(GREEDY), model, conditions, progress=False, **run)
        down, before = False, len(heard)
        result = evaluate(asked(GREEDY), model, conditions, progress=False, **run)
        assert len(heard) - before == 1
    assert (result.replies.loc[result.replies["condition"] == "as it is", "text"] == "well").all()


def test_what_a_server_filters_is_kept_as_such(model, conditions):
    with FaultyServer(lambda _: filtered()) as server:
        result = evaluate(
            asked(GREEDY), model, conditions[:1], served=source(server), progress=False
        )
    assert set(result.replies["finish"]) == {"filtered"}


def test_prefills_go_to_text_completions(model):
    bodies = []

    def say(seen: Seen) -> Any:
        bodies.append(seen.body)
        return ok(" to help.")

    item = Item("job", prefill="My job is")
    evaluation = Evaluation("job", "Job", [item], [LENGTH], [Measure("length", "length")], GREEDY)
    with FaultyServer(say) as server:
        result = evaluate(evaluation, model, [UNTOUCHED], served=source(server), progress=False)
    assert bodies[0]["prompt"] == "My job is"
    assert "messages" not in bodies[0]
    assert result.replies["text"].tolist() == [" to help."]


@pytest.mark.embedded
def test_served_text_is_read_here_as_if_it_had_been_written_here(
    smol: PersonaModel, small_space: PersonaSpace
) -> None:
    whole = GREEDY.model_copy(update={"max_new_tokens": 24})  # cut words have other tokens as text
    items = [Item.asked("capital", "What is the capital of France?")]
    evaluation = replace(asked(whole), items=items)
    here = evaluate(evaluation, smol, [UNTOUCHED], space=small_space, progress=False)
    assert here.replies["finish"].tolist() == ["stop"]
    with FaultyServer(lambda _: ok(here.replies["text"].item())) as server:
        served = source(server, encoder=smol.encoder)
        there = evaluate(
            evaluation, smol, [UNTOUCHED], space=small_space, served=served, progress=False
        )
    assert there.replies["projection"].item() == pytest.approx(
        here.replies["projection"].item(), abs=1e-4
    )
