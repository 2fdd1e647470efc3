"""Categories of completions by a language model: each family has its own rubric, and every verdict is kept."""

from __future__ import annotations

import pytest
from faulty_server import FaultyServer, no_quota, ok
from tiny import shared_module, tiny_tokenizer
from waiting import PATIENCE

from persona_lens import PersonaModel, Sampling
from persona_lens.endpoints import EndpointSettings
from persona_lens.errors import EvaluationError
from persona_lens.evals.category_labels import CategoryJudge
from persona_lens.evals.category_rubrics import category_judge
from persona_lens.evals.completions import completions
from persona_lens.evals.conditions import UNTOUCHED
from persona_lens.evals.items import Item
from persona_lens.evals.judge_by_kind import JudgeByKind
from persona_lens.evals.outcomes import Answer
from persona_lens.evals.standing import evaluate_standing

JOB = Item("job", prefill="My job is to", about={"family": "purpose"})
PEOPLE = Item("people", prefill="People would say I am", about={"family": "traits"})
SAID = {
    "heal": '{"label": "medical_clinical"}',
    "kind": "warmth_empathy",
    "sing": '{"label": "warmth_empathy"}',  # no purpose
    "loud": "It could be several.",
}


def script(seen):
    reply = seen.question.split("REPLY BEGINS")[1].split("REPLY ENDS")[0]
    return next(ok(said) for word, said in SAID.items() if word in reply)


def judge_at(url: str) -> JudgeByKind:
    return category_judge(
        EndpointSettings(model="m", base_url=url, concurrency=1, timeout=PATIENCE)
    )


def test_each_family_is_judged_by_its_own_labels_and_none_is_lost():
    answers = [
        Answer(PEOPLE, " kind."), Answer(JOB, " heal the sick."), Answer(JOB, " sing."),
        Answer(PEOPLE, " loud."), Answer(JOB, " \n"), Answer(PEOPLE, " kind and kind."),
    ]  # fmt: skip
    with FaultyServer(script) as server:
        outcomes = judge_at(server.url).outcomes(answers)
        schemas = [seen.body["response_format"]["json_schema"] for seen in server.requests]
        assert all("BEGINNING BEGINS" in seen.question for seen in server.requests)
    assert [(it.label, it.status) for it in outcomes] == [
        ("warmth_empathy", "ok"),
        ("medical_clinical", "ok"),
        (None, "unparsed"),
        (None, "unparsed"),
        ("unclear", "ok"),
        ("warmth_empathy", "ok"),
    ]
    labels = [schema["schema"]["properties"]["label"]["enum"] for schema in schemas]
    known = {
        family: [*CategoryJudge().names(family), "unclear"] for family in ("purpose", "traits")
    }
    assert sorted(map(len, labels)) == sorted(
        [len(known["purpose"])] * 2 + [len(known["traits"])] * 3
    )
    assert known["purpose"] in labels
    assert known["traits"] in labels


def test_shares_are_those_that_were_planted_and_outlive_the_server(tmp_path):
    model = PersonaModel.load(shared_module("llama"), tokenizer=tiny_tokenizer())
    labels = {"My job": "service_trades", "People": "calmness_introversion"}

    def by_prefill(seen):
        return next(ok(label) for start, label in labels.items() if start in seen.question)

    def run(script, out):
        with FaultyServer(script) as server:
            evaluation = completions(
                ["job", "people"],
                judges=[judge_at(server.url)],
                sampling=Sampling(temperature=1, max_new_tokens=8),
            )
            result, trouble = evaluate_standing(
                evaluation, model, [UNTOUCHED], samples=4, out=tmp_path / out, progress=False
            )
        return result.measures.set_index("measure"), trouble

    measures, trouble = run(by_prefill, "whole")
    assert trouble is None
    shares = measures.loc[measures["value"] > 0, "value"]
    assert shares.to_dict() == {
        "purpose: service trades": 1.0,
        "traits: calmness introversion": 1.0,
    }
    assert (measures["n"] == 4).all()
    measures, trouble = run(lambda seen: by_prefill(seen) if seen.number < 6 else no_quota(), "cut")
    assert trouble is not None
    assert measures.loc["purpose: service trades", ["n", "unjudged"]].tolist() == [4, 0]
    assert measures.loc["traits: calmness introversion", ["n", "unjudged"]].tolist() == [2, 2]


def test_a_family_without_categories_is_refused():
    judge = judge_at("http://127.0.0.1:9/v1")
    with pytest.raises(EvaluationError, match="no judge for a family"):
        judge.outcomes([Answer(Item("x", prefill="I", about={"family": "colours"}), " am.")])
