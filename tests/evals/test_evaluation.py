"""The one shape of evaluations: batched over conditions, resumed, judged, summed up with planted truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tiny import shared_module, tiny_tokenizer

from persona_lens import PersonaModel, Sampling
from persona_lens.errors import EvaluationError
from persona_lens.evals.answering import Answerer
from persona_lens.evals.conditions import UNTOUCHED, Condition
from persona_lens.evals.evaluation import Evaluated, Evaluation, evaluate
from persona_lens.evals.items import Item
from persona_lens.evals.measures import Measure, measured
from persona_lens.evals.outcomes import Exact, Outcome
from persona_lens.interventions import Add, Direction, Floor, Plan

ITEMS = [
    Item.asked(f"item {number}", f"Say {number}", about={"number": number}) for number in range(5)
]
EVEN = Exact("even", lambda answer: Outcome(score=float(answer.item.about["number"] % 2 == 0)))
LONG = Exact("long", lambda answer: Outcome("long" if len(answer.text) > 30 else "short"))
MEASURES = [Measure("even", "even"), Measure("long", "long", labels=("long",))]
GREEDY = Sampling(temperature=0, max_new_tokens=6)


@pytest.fixture(scope="module")
def model() -> PersonaModel:
    return PersonaModel.load(shared_module("llama"), tokenizer=tiny_tokenizer())


def pushes(model: PersonaModel) -> list[Condition]:
    direction = Direction("up", (1,), np.ones((1, model.d_model)))
    push = Plan.of(Add(direction, lengths=40.0))
    never = Plan.of(Floor(direction, thresholds=-1e6))
    return [
        UNTOUCHED,
        Condition("push", push, "plan", 1.0),
        Condition("never", never, "control", control_of="push"),
    ]


def test_rows_in_one_batch_are_those_of_each_condition_alone(model):
    answerer, conditions = Answerer(model, GREEDY), pushes(model)
    together = answerer.answered(ITEMS, conditions).frame.set_index(["condition", "item"])
    for condition in conditions:
        alone = answerer.answered(ITEMS, [condition]).frame.set_index(["condition", "item"])
        columns = ["text", "engaged", "moved"]
        pd.testing.assert_frame_equal(together.loc[[condition.name], columns], alone[columns])
    engaged = together["engaged"].groupby("condition").mean()
    assert engaged[["as it is", "never", "push"]].tolist() == [0.0, 0.0, 1.0]


def test_a_killed_evaluation_continues_without_asking_again(model, tmp_path):
    asked = []

    def judged(answer):
        asked.append(answer.item.id)
        if answer.item.id == "item 3" and len(asked) == 10:
            raise KeyboardInterrupt
        return Outcome(score=1.0)

    evaluation = Evaluation(
        "counted", "Counted", ITEMS, [Exact("count", judged)], [Measure("all", "count")], GREEDY
    )
    run = {"out": tmp_path, "batch_size": 3, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        evaluate(evaluation, model, pushes(model), **run)
    result = evaluate(evaluation, model, pushes(model), **run)
    assert asked.count("item 0") == 3  # once a condition
    assert len(result.replies) == 15
    kept = Evaluated.load(tmp_path)
    pd.testing.assert_frame_equal(kept.measures, result.measures)


def test_measures_of_planted_answers():
    rng = np.random.default_rng(0)
    rows = [
        {
            "item": f"{cluster}-{item}",
            "cluster": str(cluster),
            "condition": condition,
            "judge": "broke",
            "label": None,
            "score": float(rng.random() < rate),
            **Condition(condition, kind=kind).about(),
            "engaged": 0.5,
            "moved": 0.1,
        }
        for condition, kind, rate in [("none", "none", 0.2), ("cap", "plan", 0.6)]
        for cluster in range(100)
        for item in range(4)
    ]
    table = measured(pd.DataFrame(rows), [Measure("broken", "broke")]).set_index("condition")
    assert table.loc["none", "low"] < 0.2 < table.loc["none", "high"]
    assert table.loc["cap", "change_low"] < 0.4 < table.loc["cap", "change_high"]
    assert table["n"].tolist() == [400, 400]
    assert table["clusters"].tolist() == [100, 100]


def test_answers_without_a_verdict_are_counted_and_left_out(model):
    def judged(answer):
        if answer.item.id == "item 0":
            return Outcome(status="failed", raw="no answer")
        return Outcome("good")

    evaluation = Evaluation(
        "some", "Some", ITEMS, [Exact("some", judged)], [Measure("good", "some", labels=("good",))]
    )
    result = evaluate(evaluation, model, [UNTOUCHED], sampling=GREEDY, progress=False)
    (row,) = result.measures.to_dict("records")
    assert (row["value"], row["n"], row["unjudged"]) == (1.0, 4, 1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Item("a"), "messages, or a prefill"),
        (lambda: Item("a", ({"role": "assistant", "content": "Hi"},)), "last message of the user"),
        (lambda: Evaluation("e", "E", [*ITEMS, ITEMS[0]], [EVEN], []), "several items have one id"),
        (lambda: Evaluation("e", "E", ITEMS, [EVEN], [Measure("x", "odd")]), "no judge says"),
    ],
)
def test_what_cannot_be_asked_is_refused(make, said):
    with pytest.raises(EvaluationError, match=said):
        make()


def test_conditions_have_to_be_told_apart(model):
    evaluation = Evaluation("e", "E", ITEMS, [EVEN, LONG], MEASURES)
    with pytest.raises(EvaluationError, match="told apart"):
        evaluate(evaluation, model, [UNTOUCHED, UNTOUCHED], progress=False)
    rows = pushes(model)[1]
    single = Condition("rows", rows.plan * [1.0, 2.0])
    with pytest.raises(EvaluationError, match="made for single rows"):
        evaluate(evaluation, model, [single], progress=False)
