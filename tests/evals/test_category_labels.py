"""Labels of completions by embedding, and how often they are right: measured on what chose nothing."""

from __future__ import annotations

import numpy as np
import pytest
from planted_completions import answers

from persona_lens.catalog.prefills import Category, load_categories, load_labelled, split_labelled
from persona_lens.errors import EvaluationError
from persona_lens.evals.category_labels import CategoryJudge, opening
from persona_lens.evals.items import Item
from persona_lens.evals.labelling_error import labelling_error
from persona_lens.evals.outcomes import Answer, Exact, Outcome


class Letters:
    """An embedder that counts letters."""

    name, texts_per_call = "letters", 8

    def fingerprint(self) -> str:
        return "letters"

    def __call__(self, texts):
        return np.array([[1e-3 + text.count(letter) for letter in "abc"] for text in texts])


TOY = [
    Category(family="toy", name=name, about=name * 3, exemplars=(name * 4,))
    for name in ("a", "b", "c")
]


def toy(text: str) -> Answer:
    return Answer(Item("toy", prefill="I am", about={"family": "toy"}), text)


def test_the_packaged_judge_is_far_better_than_chance_on_the_other_half(remembering):
    found = labelling_error(CategoryJudge(remembering)).summary.set_index("family")
    assert found["n"].tolist() == [80, 80]
    assert (found["low"] > 0.65).all()
    assert (found["low"] > 4 * found["chance"]).all()
    assert (found["labelled"] > 0.7).all()
    assert (found["accepted"] >= found["accuracy"]).all()


def test_the_nearest_category_is_said_or_that_two_are_as_near():
    judge = CategoryJudge(Letters(), TOY, margins={"toy": 0.2})
    said = judge.outcomes([toy(" aaa"), toy(" bbbb a"), toy(" ab"), toy(" ...")])
    assert [each.label for each in said] == ["a", "b", "unclear", "other"]
    assert said[0].score == pytest.approx(1.0, abs=0.01)


def test_the_margin_is_the_least_at_which_enough_labels_are_right(remembering):
    half = split_labelled(load_labelled())[0]
    judge = CategoryJudge(remembering)
    for family in judge.families:
        own = labelling_error(judge, [each for each in half if each.family == family]).summary
        assert own["accuracy"].item() >= 0.9
        none = labelling_error(
            CategoryJudge(remembering, margins={family: 0.0}),
            [each for each in half if each.family == family],
        )
        assert none.summary["accuracy"].item() <= own["accuracy"].item()


def test_families_are_labelled_apart_and_in_order(remembering):
    mixed = [load_labelled("purpose")[0], load_labelled("traits")[0], load_labelled("purpose")[40]]
    said = CategoryJudge(remembering, margins={"purpose": 0.0, "traits": 0.0}).outcomes(
        answers(mixed)
    )
    names = {
        family: [each.name for each in load_categories(family)] for family in ("purpose", "traits")
    }
    assert [
        outcome.label in names[each.family] for outcome, each in zip(said, mixed, strict=True)
    ] == [True] * 3


def test_only_the_opening_counts():
    assert opening("one. two! three? four") == "one. two!"
    assert opening("word " * 100).count("word") == 40


def test_a_coin_is_no_better_than_chance():
    rng = np.random.default_rng(0)
    names = [each.name for each in load_categories("purpose")]
    coin = Exact("coin", lambda answer: Outcome(str(rng.choice(names))))
    found = labelling_error(coin, load_labelled("purpose")).summary.iloc[0]
    assert found["low"] < found["chance"] < found["high"]


def test_what_cannot_be_labelled_is_refused(remembering):
    with pytest.raises(EvaluationError, match="no categories of family 'toy'"):
        CategoryJudge(remembering).outcomes([toy(" a")])
    with pytest.raises(EvaluationError, match="no completion of family 'toy' is labelled"):
        CategoryJudge(Letters(), TOY).outcomes([toy(" a")])
    with pytest.raises(EvaluationError, match="no completions to measure"):
        labelling_error(CategoryJudge(remembering), [])
