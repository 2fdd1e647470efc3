"""The evaluation of completions: its items and measures, and once for real on an embedded base model."""

from __future__ import annotations

import numpy as np
import pytest

from persona_lens import PersonaModel, Sampling
from persona_lens.errors import CatalogError, EvaluationError
from persona_lens.evals.category_labels import CategoryJudge
from persona_lens.evals.completion_shares import shares
from persona_lens.evals.completion_trends import trends
from persona_lens.evals.completions import completions
from persona_lens.evals.conditions import UNTOUCHED, Condition
from persona_lens.evals.evaluation import evaluate
from persona_lens.evals.items import Item
from persona_lens.evals.outcomes import Answer
from persona_lens.evals.surprise import Surprise
from persona_lens.interventions import Add, Direction, Plan


def test_items_are_plain_text_with_the_family_that_judges_need():
    evaluation = completions(
        "paper", categories=CategoryJudge(margins={"purpose": 0.0, "traits": 0.0})
    )
    assert [item.about["family"] for item in evaluation.items] == ["purpose"] * 3 + ["traits"] * 2
    assert all(
        item.prefill and not item.messages and item.cluster == item.id for item in evaluation.items
    )
    assert len(evaluation.measures) == 22
    assert evaluation.measures[10].labels == ("unclear",)


def test_nothing_and_families_without_categories_are_refused():
    with pytest.raises(EvaluationError, match="nothing to complete"):
        completions(None)
    with pytest.raises(CatalogError, match="unknown prefill"):
        completions("papers")
    with pytest.raises(EvaluationError, match="no categories of family 'fears'"):
        completions({"id": "fear", "family": "fears", "text": "I am afraid of"})


@pytest.mark.embedded
def test_a_base_model_completes_under_plans_and_controls(remembering, tmp_path):
    base = PersonaModel.load("gemma-3-270m", device="cpu")
    direction = Direction("assistant", (9,), np.eye(1, base.d_model))
    lengths = 50.0
    conditions = [
        UNTOUCHED,
        *(
            Condition(
                f"{name} {at:+g}", Plan.of(Add(way, lengths, strength=at)), kind, at, name, of
            )
            for name, way, kind, of in [
                ("assistant", direction, "plan", ""),
                ("random 1", direction.random(1), "control", "assistant"),
            ]
            for at in (-1.0, 1.0)
        ),
    ]
    evaluation = completions(
        ["job", "people"],
        categories=CategoryJudge(remembering, margins={"purpose": 0.0, "traits": 0.0}),
        sampling=Sampling(max_new_tokens=6),
    )
    result = evaluate(evaluation, base, conditions, samples=2, out=tmp_path, progress=False)
    assert len(result.replies) == 2 * 5 * 2
    assert result.replies["label"].notna().all()
    table, found = shares(result.replies, draws=20), trends(result.replies, permutations=50)
    sums = table.groupby(["family", "condition"])["value"].sum()
    np.testing.assert_allclose(sums, 1.0)
    assert set(found["family"]) == {"purpose", "traits"}
    assert not found["found"].any()  # of two samples nothing can be
    item = Item("job", prefill="My job is to")
    plain, torn, empty = Surprise(base).outcomes(
        [
            Answer(item, " help people find work."),
            Answer(item, " Gap dik SEM jou"),
            Answer(item, ""),
        ]
    )
    assert plain.score < torn.score
    assert empty.status == "not asked"
