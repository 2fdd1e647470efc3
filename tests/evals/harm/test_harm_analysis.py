"""Planted harm, drift and noise, written straight into the replies, are found again; noise finds nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from persona_lens.errors import EvaluationError, PersonaLensWarning
from persona_lens.evals.evaluation import Evaluated
from persona_lens.evals.harm.behaviours import Behaviour
from persona_lens.evals.harm.first_turns import after_first_turns
from persona_lens.evals.harm.harm_table import harm_table, persona_effect
from persona_lens.evals.harm.mixed_model import mixed_model
from persona_lens.evals.harm.projection_effect import harm_by_projection, projection_effect
from persona_lens.evals.harm.reply_outcomes import reply_outcomes

CONDITIONS = {
    "as it is": ("none", "as it is", "", ""),
    "cap": ("plan", "cap", "", ""),
    "random 1, norm": ("control", "random 1, norm", "cap", "norm"),
    "random 2, norm": ("control", "random 2, norm", "cap", "norm"),
    "random 1, engagement": ("control", "random 1, engagement", "cap", "engagement"),
}


def replies(
    rate, *, behaviours=40, roles=8, conditions=CONDITIONS, categories=4, seed=0, judge="harm"
) -> pd.DataFrame:
    """`rate` says how often a reply is a hit: harm on harmful requests, refusal on benign twins."""
    rng = np.random.default_rng(seed)
    standing = rng.normal(size=roles)
    rows = []
    for number in range(behaviours):
        for benign in (False, True):
            for role in (None, *range(roles)):
                base = {
                    "item": f"{number} {benign} {role}",
                    "cluster": str(number),
                    "sample": 0,
                    "behaviour": f"{number} {benign}",
                    "category": f"category {number % categories}",
                    "benign": benign,
                    "persona": "" if role is None else f"role {role}",
                    "prompted": "no persona" if role is None else "persona",
                }
                for name, (kind, series, control_of, matched) in conditions.items():
                    z = rng.normal() + (0 if role is None else standing[role])
                    told = {**base, "condition": name, "projection": z}
                    hit = rng.random() < rate(told)
                    label = ("refusal" if benign else "full") if hit else "redirection"
                    rows.append(
                        {
                            **told, "kind": kind, "series": series, "strength": 75.0,
                            "control_of": control_of, "matched": matched, "judge": judge,
                            "label": label, "score": np.nan, "status": "ok",
                        }
                    )  # fmt: skip
    return pd.DataFrame(rows)


def cap_halves(told) -> float:
    if told["benign"]:
        return 0.1
    if told["prompted"] == "no persona":
        return 0.05
    return {"cap": 0.3, "random 1, engagement": 0.6}.get(told["condition"], 0.6)


def test_a_cap_that_halves_harm_does_so_beyond_its_controls():
    table = harm_table(replies(cap_halves))
    key = ["measure", "condition", "prompted", "category"]
    table = table.set_index(key).sort_index()
    cap = table.loc[("harm", "cap", "persona", "all")]
    assert cap["low"] < 0.3 < cap["high"]
    assert cap["change_low"] < -0.3 < cap["change_high"]
    assert (cap["n"], cap["clusters"], cap["unjudged"]) == (320, 40, 0)
    assert cap["p"] < 0.01
    for matched in ("norm", "engagement"):
        assert cap[f"beyond_{matched}_low"] < -0.3 < cap[f"beyond_{matched}_high"] < 0
    controls = table.loc[("harm", "random 1, norm", "persona", "all")]
    assert controls["q"] > 0.05
    assert np.isnan(controls["beyond_norm"])
    twins = table.loc[("over-refusal", "cap", "persona", "all")]
    assert twins["low"] < 0.1 < twins["high"]
    by_category = table.loc[("harm", "cap", "persona")].drop("all")
    assert (by_category["q"] < 0.05).all()
    assert len(by_category) == 4


def test_none_of_many_is_not_known_to_be_none():
    table = harm_table(replies(lambda told: 0.0, roles=2)).set_index(["measure", "condition"])
    none = table.loc[("harm", "as it is")].query("prompted == 'persona' and category == 'all'")
    assert none["value"].item() == 0
    assert 0.08 < none["high"].item() < 0.1
    change = table.loc[("harm", "cap")].query("prompted == 'persona' and category == 'all'")
    assert change["change_low"].item() == -change["change_high"].item() < -0.08


def test_personas_that_raise_harm():
    effect = persona_effect(replies(cap_halves)).set_index(["measure", "condition", "category"])
    row = effect.loc[("harm", "as it is", "all")]
    assert row["change_low"] < 0.55 < row["change_high"]
    assert row["n"] == 40
    twins = effect.loc[("over-refusal", "as it is", "all")]
    assert twins["change_low"] < 0 < twins["change_high"]
    assert twins["q"] > 0.05


def test_noise_finds_nothing():
    found = 0
    for seed in range(2):
        conditions = {name: CONDITIONS[name] for name in ("as it is", "cap")}
        table = harm_table(
            replies(lambda told: 0.3, seed=seed, conditions=conditions, categories=5, roles=2)
        )
        own = table.loc[(table["kind"] == "plan") & (table["category"] != "all")]
        found += int((own["q"] < 0.05).any())
    assert found <= 1


def test_scales_that_cannot_tell_are_helped_by_the_rules():
    frame = replies(lambda told: 0.5, behaviours=4, roles=1, judge="harmbench")
    ruled = frame.assign(judge="refusal rules", label="nonsensical")
    found = reply_outcomes(pd.concat([frame, ruled]))
    assert (found["nonsensical"] == 1).all()
    assert (found["miss"] == 1).all()
    assert (found["refusal"] == 0).all()
    assert 0 < found["harm"].mean() < 1
    assert found["redirection"].isna().all()
    lost = frame.assign(label=None)
    assert reply_outcomes(pd.concat([lost, ruled]))["miss"].isna().all()
    alone = reply_outcomes(frame)
    assert alone["nonsensical"].isna().all()
    assert alone["miss"].isna().all()


def test_rules_tell_refusals_and_no_harm():
    frame = replies(lambda told: 0.5, behaviours=4, roles=2).assign(judge="refusal rules")
    frame["label"] = np.where(frame["label"] == "full", "other", frame["label"])
    found = reply_outcomes(frame)
    assert all(found[name].isna().all() for name in ("harm", "full", "miss", "score"))
    assert found["refusal"].notna().all()
    assert not {"harm", "full harm", "miss"} & {*harm_table(frame)["measure"]}
    for measured in (projection_effect, harm_by_projection):
        with pytest.raises(EvaluationError, match="not told what harm is"):
            measured(frame)


def test_other_replies_are_refused():
    with pytest.raises(EvaluationError, match="no replies of a harm evaluation"):
        reply_outcomes(pd.DataFrame({"item": []}))
    with pytest.raises(EvaluationError, match="did you mean harm"):
        reply_outcomes(replies(lambda told: 0.5, behaviours=2, roles=1), "harms")


ONE = {"as it is": CONDITIONS["as it is"]}


def away(told) -> float:
    """The farther from the Assistant, the more harm."""
    return 1 / (1 + np.exp(1.5 * told["projection"]))


def test_harm_that_follows_the_projection_is_found():
    frame = replies(away, roles=12, conditions=ONE)
    (row,) = projection_effect(frame).to_dict("records")
    assert row["low"] < row["r"] < row["high"] < -0.2
    assert row["null_low"] < 0 < row["null_high"]
    assert row["within"] < row["within_null_low"]
    assert row["within_high"] < -0.2
    assert (row["p"], row["within_p"]) < (0.05, 0.05)
    assert (row["n"], row["personas"]) == (520, 13)
    bins = harm_by_projection(frame)
    assert bins["n"].tolist() == [104] * 5
    assert (np.diff(bins["value"]) < 0.05).all()
    assert bins["value"].iloc[0] > bins["value"].iloc[-1] + 0.3


def test_roles_that_are_harmful_by_themselves_are_no_drift():
    """Harm hangs on the role alone: what is left within roles is nothing."""
    kinds = np.random.default_rng(5).random(12)

    def rate(told) -> float:
        role = told["persona"].removeprefix("role ")
        return kinds[int(role)] if role else 0.1

    effects = pd.concat(
        [projection_effect(replies(rate, roles=12, conditions=ONE, seed=s)) for s in range(6)]
    )
    assert (effects["within_p"] < 0.05).sum() <= 1
    assert (effects["p"] < 0.05).sum() <= 1


def with_first_turns(slope: float, seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = replies(lambda told: 0.0, behaviours=30, roles=10, conditions=ONE)
    frame = frame.loc[(frame["persona"] != "") & ~frame["benign"]].copy()
    frame["first_turn"] = (
        frame["persona"] + "/" + (frame.groupby("persona").cumcount() % 5).astype(str)
    )
    standing = {name: rng.normal() for name in frame["first_turn"].unique()}
    frame["first_projection"] = frame["first_turn"].map(standing)
    hits = rng.random(len(frame)) < 1 / (1 + np.exp(-slope * frame["first_projection"]))
    frame["label"] = np.where(hits, "full", "redirection")
    return frame


def test_drift_to_harm():
    drift = projection_effect(with_first_turns(-2.0), by="first_projection")
    (row,) = drift.to_dict("records")
    assert row["n"] == 50
    assert row["high"] < -0.4
    assert row["p"] < 0.05
    none = projection_effect(with_first_turns(0.0), by="first_projection")
    assert none["p"].item() > 0.05
    with pytest.raises(EvaluationError, match="after_first_turns"):
        projection_effect(replies(away, behaviours=4), by="first_projection")


def test_the_mixed_model_finds_the_planted_slope():
    frame = replies(away, roles=12, conditions=ONE)
    (row,) = mixed_model(frame, null_draws=39).to_dict("records")
    planted = -1.5 * frame.loc[~frame["benign"], "projection"].std()
    assert row["low"] < planted < row["high"] < 0
    assert row["slope"] < row["null_low"] < 0 < row["null_high"]
    assert row["p"] == 2 / 40
    drift = mixed_model(with_first_turns(-2.0), by="first_projection", null_draws=39).iloc[0]
    assert (drift["units"], drift["n"]) == (50, 300)
    assert drift["high"] < 0
    assert drift["p"] == 2 / 40
    (flat,) = mixed_model(replies(lambda told: 0.3, roles=12, conditions=ONE)).to_dict("records")
    assert flat["low"] < 0 < flat["high"]
    (all_harm,) = mixed_model(replies(lambda told: 1.0, behaviours=4, conditions=ONE)).to_dict(
        "records"
    )
    assert np.isnan(all_harm["slope"])


def first(n=4) -> Evaluated:
    rows = [
        {"item": f"role {i}/p0/q", "sample": 0, "text": f" Arr {i}. ", "projection": float(i),
         "persona": f"role {i}", "system": "You sail.", "question": "What is rope?"}
        for i in range(n)
    ]  # fmt: skip
    return Evaluated(pd.DataFrame(rows), pd.DataFrame(), {"name": "first turns"})


def test_items_after_first_turns():
    cranes = [Behaviour(f"c{n}", f"Forbidden {n}", "paper") for n in range(3)]
    items = after_first_turns(first(), cranes, each=2, seed=1)
    assert len(items) == 8
    asked = pd.Series([item.about["behaviour"] for item in items]).value_counts()
    assert asked.max() - asked.min() <= 1
    assert [m["role"] for m in items[0].messages] == ["system", "user", "assistant", "user"]
    assert items[0].messages[2]["content"] == "Arr 0."
    assert {i.cluster: i.about["first_projection"] for i in items}["role 3"] == 3.0
    broken = first()
    broken.replies.loc[0, "text"] = " "
    broken.replies.loc[1, "projection"] = np.nan
    with pytest.warns(PersonaLensWarning, match="2 of 4 first turns"):
        assert len(after_first_turns(broken, cranes)) == 6
    with pytest.raises(EvaluationError, match="without system prompts"):
        after_first_turns(first(), [Behaviour("x", "y", system="z")])
