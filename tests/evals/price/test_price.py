"""The price as an evaluation: its items, planted answers at a known rate, and the table of who fell and rose."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from tiny import shared_module, tiny_tokenizer

from persona_lens import PersonaModel, Sampling
from persona_lens.errors import EvaluationError
from persona_lens.evals.conditions import UNTOUCHED, Condition
from persona_lens.evals.evaluation import evaluate
from persona_lens.evals.measures import Measure
from persona_lens.evals.outcomes import Answer
from persona_lens.evals.price import (
    arithmetic,
    followed_by_kind,
    formats,
    instructions,
    price,
    price_table,
)
from persona_lens.evals.price.checks import CHECKS
from persona_lens.evals.price.data_files import material
from persona_lens.interventions import Add, Direction, Plan


def test_there_are_150_instructions_of_22_kinds_over_40_requests():
    items = instructions().items
    kinds = Counter(kind for item in items for kind in item.about["variety"].split(" + "))
    assert len(items) == 150
    assert set(kinds) == set(CHECKS)
    assert min(kinds.values()) >= 7
    assert len({item.question for item in items}) == 150
    assert set(Counter(item.cluster for item in items).values()) <= {3, 4}


def test_stories_say_all_numbers_that_they_need():
    for story in material("stories")["stories"]:
        used = {part for _, operand in story["then"] for part in np.ravel(operand)}
        used = {part for part in used if not str(part).isdigit()} | {story["start"]}
        assert used == set(story["numbers"]), story["id"]
        assert all(f"{{{name}}}" in story["text"] for name in story["numbers"]), story["id"]


def test_seeds_decide_the_numbers():
    first, again, other = arithmetic(36), arithmetic(36), arithmetic(36, seed=1)
    assert [item.question for item in first.items] == [item.question for item in again.items]
    assert [item.check for item in first.items] != [item.check for item in other.items]


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_planted_answers_are_measured_at_their_rate(rate):
    rng = np.random.default_rng(0)
    evaluation = arithmetic(400)
    right = rng.random(400) < rate
    answers = [
        Answer(item, f"So 2 and 3.\nAnswer: {item.check['number'] + (not good)}")
        for item, good in zip(evaluation.items, right, strict=True)
    ]
    outcomes = evaluation.judges[0].outcomes(answers)
    assert np.mean([outcome.label == "right" for outcome in outcomes]) == right.mean()


def test_one_run_has_all_three_and_judges_only_their_own():
    evaluation = price(first=2)
    answers = [Answer(item, "Answer: 7") for item in evaluation.items]
    for judge in evaluation.judges:
        said = [outcome.status for outcome in judge.outcomes(answers)]
        assert said.count("ok") == 2
        assert said.count("not asked") == 4


def test_the_price_of_a_model_under_a_push(tmp_path):
    model = PersonaModel.load(shared_module("llama"), tokenizer=tiny_tokenizer())
    direction = Direction("up", (1,), np.ones((1, model.d_model)))
    push = Condition("push", Plan.of(Add(direction, lengths=40.0)), "plan", 1.0)
    evaluation = price(first=3)
    run = {"sampling": Sampling(temperature=0, max_new_tokens=4), "progress": False}
    result = evaluate(evaluation, model, [UNTOUCHED, push], out=tmp_path, **run)
    table = price_table(result.replies, evaluation.measures)
    assert len(table) == 2 * len(evaluation.measures)
    assert (table["n"] == 3).all()
    assert not table["unjudged"].any()
    pushed = table.loc[table["condition"] == "push"]
    assert (pushed["engaged"] == 1).all()
    assert pushed["p"].notna().all()
    kinds = followed_by_kind(result.replies)
    assert set(kinds["measure"]) == {"no_commas", "lowercase", "uppercase"}


def test_noise_has_no_price_and_harm_has_one():
    rng = np.random.default_rng(1)
    about = [Condition(name, kind="plan").about() for name in ("noise", "harm")]
    conditions = {"none": Condition("none").about(), "noise": about[0], "harm": about[1]}
    rates = {"none": 0.7, "noise": 0.7, "harm": 0.4}
    rows = [
        {
            "item": str(item),
            "cluster": str(item // 4),
            "condition": name,
            "judge": "right",
            "label": None,
            "score": float(rng.random() < rates[name]),
            "engaged": 0.0,
            "moved": 0.0,
            **told,
        }
        for item in range(200)
        for name, told in conditions.items()
    ]
    table = price_table(pd.DataFrame(rows), [Measure("right", "right")]).set_index("condition")
    assert np.isnan(table.loc["none", "p"])
    assert table.loc["noise", "q"] > 0.05
    assert table.loc["harm", "q"] < 0.001
    assert table.loc["harm", "fell"] - table.loc["harm", "rose"] == pytest.approx(
        -200 * table.loc["harm", "change"]
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: instructions(first=0), "1 to 150"),
        (lambda: formats(first=73), "1 to 72"),
        (lambda: instructions(kinds=["rhymes"]), "rhymes"),
        (lambda: formats(kinds=[]), "none"),
    ],
)
def test_items_that_are_not_there_are_refused(make, said):
    with pytest.raises(EvaluationError, match=said):
        make()
