"""Verdicts that there are outlive the judge: shown, kept where a piece is whole, and not asked for twice."""

from __future__ import annotations

from collections import Counter

import pytest
from faulty_server import FaultyServer, no_quota, ok
from tiny import shared_module, tiny_tokenizer
from waiting import PATIENCE

from persona_lens import PersonaModel, Sampling
from persona_lens.endpoints import EndpointSettings
from persona_lens.errors import EndpointError
from persona_lens.evals.conditions import UNTOUCHED
from persona_lens.evals.evaluation import Evaluated, Evaluation
from persona_lens.evals.items import Item
from persona_lens.evals.measures import Measure
from persona_lens.evals.outcomes import Exact, Outcome
from persona_lens.evals.rubric_judge import RubricJudge
from persona_lens.evals.standing import evaluate_standing

ITEMS = [Item.asked(f"item {number}", f"Say {number}") for number in range(6)]
LABELS = {"kind": "It is kind.", "curt": "It is not."}
RUN = {"batch_size": 2, "progress": False}


@pytest.fixture(scope="module")
def model() -> PersonaModel:
    return PersonaModel.load(shared_module("llama"), tokenizer=tiny_tokenizer())


def judged_at(url: str) -> Evaluation:
    settings = EndpointSettings(model="m", base_url=url, concurrency=1, timeout=PATIENCE)
    judges = [RubricJudge(settings, "Is it kind?", LABELS), Exact("said", lambda _: Outcome("yes"))]
    measures = [Measure("kind", "rubric", ("kind",)), Measure("said", "said", ("yes",))]
    sampling = Sampling(temperature=0, max_new_tokens=6)
    return Evaluation("kindness", "Kindness", ITEMS, judges, measures, sampling)


def test_a_judge_that_runs_out_of_quota_leaves_what_it_said(model, tmp_path):
    with FaultyServer(lambda seen: ok("kind") if seen.number < 3 else no_quota()) as server:
        evaluation = judged_at(server.url)
        result, trouble = evaluate_standing(evaluation, model, [UNTOUCHED], out=tmp_path, **RUN)
        assert len(server.requests) == 4  # and nobody goes on asking
    assert isinstance(trouble, EndpointError)
    told = result.replies.loc[result.replies["judge"] == "rubric"].set_index("item")
    assert told["status"].tolist() == ["ok"] * 3 + ["failed"] * 3
    assert told["raw"].iloc[-1] == str(trouble)
    kind, said = result.measures.to_dict("records")
    assert (kind["value"], kind["n"], kind["unjudged"]) == (1.0, 3, 3)
    assert (said["n"], said["unjudged"]) == (6, 0)
    assert Evaluated.load(tmp_path).measures["unjudged"].tolist() == [3, 0]


def test_the_same_call_asks_only_for_what_is_left(model, tmp_path, monkeypatch):
    questions: Counter[str] = Counter()

    def script(seen):
        questions[seen.question] += seen.number < 3 or bool(mended)
        return ok("kind") if seen.number < 3 or mended else no_quota()

    mended: list[bool] = []
    with FaultyServer(script) as server:
        evaluation = judged_at(server.url)
        evaluate_standing(evaluation, model, [UNTOUCHED], out=tmp_path, **RUN)
        mended.append(True)
        monkeypatch.setattr(PersonaModel, "generate", None)  # every reply is there already
        result, trouble = evaluate_standing(evaluation, model, [UNTOUCHED], out=tmp_path, **RUN)
    assert trouble is None
    assert result.measures["n"].tolist() == [6, 6]
    assert set(questions.values()) == {1}


def test_other_errors_are_raised(model):
    def broken(_):
        raise ZeroDivisionError

    evaluation = Evaluation("b", "B", ITEMS, [Exact("broken", broken)], [], Sampling())
    with pytest.raises(ZeroDivisionError):
        evaluate_standing(
            evaluation, model, [UNTOUCHED], sampling=Sampling(max_new_tokens=2), **RUN
        )
