"""The front and the recommended plan, on replies with a planted gain and price."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from persona_lens.errors import EvaluationError
from persona_lens.evals.conditions import Condition
from persona_lens.evals.measures import Measure
from persona_lens.evals.tradeoff import recommend, tradeoff

BROKEN = Measure("broken", "judge", good=-1)
RIGHT = Measure("right", "judge", good=1)
# broken, right
RATES = {"none": (0.6, 0.8), "light": (0.4, 0.78), "heavy": (0.1, 0.4), "waste": (0.5, 0.3)}


def planted(column: int, seed: int, rates=RATES) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for name, both in rates.items():
        kind = "none" if name == "none" else "control" if name == "random" else "plan"
        about = Condition(name, kind=kind).about()
        for item in range(400):
            score = float(rng.random() < both[column])
            rows.append(
                {"item": str(item), "cluster": str(item), "condition": name, "judge": "judge",
                 "label": None, "score": score, "engaged": 0.4, "moved": 0.1, **about}
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_the_front_is_what_nothing_beats():
    table = tradeoff(planted(0, 1), BROKEN, planted(1, 2), RIGHT).set_index("condition")
    assert table["front"].to_dict() == {"none": True, "light": True, "heavy": True, "waste": False}
    assert table.loc["heavy", "gain_low"] < 0.5 < table.loc["heavy", "gain_high"]
    assert table.loc["heavy", "price_low"] < 0.4 < table.loc["heavy", "price_high"]


@pytest.mark.parametrize(("budget", "wanted"), [(0.15, "light"), (0.6, "heavy"), (-0.1, None)])
def test_the_plan_is_the_best_within_the_budget(budget, wanted):
    arguments = (planted(0, 3), BROKEN, planted(1, 4), RIGHT)
    if wanted is None:
        with pytest.raises(EvaluationError, match="no plan, and not even none"):
            recommend(*arguments, budget=budget)
        return
    advice = recommend(*arguments, budget=budget)
    assert advice.condition == wanted
    assert "on items it was not chosen on" in str(advice)
    items = {"chosen": advice.chosen_on["gain_n"], "told": advice.table["gain_n"]}
    assert [set(count) for count in items.values()] == [{200}, {200}]


def test_the_half_that_chooses_does_not_report():
    """Of twenty plans that do nothing, the best looks good where it was chosen and not where it is told."""
    rates = {"none": (0.5, 0.5), **{f"plan {number}": (0.5, 0.5) for number in range(20)}}
    chosen, told = [], []
    for seed in range(6):
        found = recommend(
            planted(0, 10 + seed, rates), BROKEN, planted(1, 50 + seed, rates), RIGHT, budget=1.0
        )
        chosen.append(found.chosen_on.set_index("condition").loc[found.condition, "gain"])
        told.append(found.table.set_index("condition").loc[found.condition, "gain"])
    assert np.mean(chosen) > 0.05
    assert abs(np.mean(told)) < 0.05


def test_controls_are_neither_on_the_front_nor_recommended():
    rates = {**RATES, "random": (0.0, 1.0)}
    arguments = (planted(0, 5, rates), BROKEN, planted(1, 6, rates), RIGHT)
    table = tradeoff(*arguments).set_index("condition")
    assert not table.loc["random", "front"]
    assert recommend(*arguments, budget=1.0).condition == "heavy"


def test_what_cannot_be_weighed_is_refused():
    replies = planted(0, 1)
    with pytest.raises(EvaluationError, match="neither more nor less"):
        tradeoff(replies, Measure("words", "judge"), replies, RIGHT)
    other = replies.assign(condition=replies["condition"] + " of another")
    with pytest.raises(EvaluationError, match="no plan in common"):
        tradeoff(replies, BROKEN, other, RIGHT)
    few = replies.loc[replies["item"].isin(["1", "2"])]
    with pytest.raises(EvaluationError, match="at least 4"):
        recommend(few, BROKEN, few, RIGHT, budget=1.0)
