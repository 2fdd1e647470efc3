"""Susceptibility: planted rates come out, noise finds nothing, what breaks along every direction is no finding."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from faulty_server import FaultyServer, ok
from waiting import PATIENCE

from persona_lens import PersonaSpace, Sampling
from persona_lens.endpoints import EndpointSettings
from persona_lens.errors import CatalogError, EvaluationError
from persona_lens.evals.conditions import UNTOUCHED, Condition, steered
from persona_lens.evals.evaluation import evaluate
from persona_lens.evals.identity_likelihood import SpeakerLikelihood
from persona_lens.evals.outcomes import Answer
from persona_lens.evals.susceptibility import LABELS, nearest_roles, susceptibility
from persona_lens.evals.susceptibility_shares import (
    PERSONA,
    adoption_fits,
    figures,
    shares,
    trends,
)

STRENGTHS = (-0.4, -0.2, 0.2, 0.4)


def planted(rate, *, roles: int = 30, items: int = 8, seed: int = 0) -> pd.DataFrame:
    """Replies that are human at `rate(series, strength)`, the Assistant else; roles differ among themselves."""
    rng = np.random.default_rng(seed)
    own = [Condition(f"axis {at:+g}", None, "plan", at, "axis") for at in STRENGTHS]
    random = [
        Condition(f"{name} {at:+g}", None, "control", at, name, "axis", "norm")
        for name in ("random 1", "random 2")
        for at in STRENGTHS
    ]
    rows = []
    for role in range(roles):
        bent = rng.normal(0, 0.05)
        for condition in (UNTOUCHED, *own, *random):
            about = condition.about()
            chance = np.clip(rate(about["series"], about["strength"]) + bent, 0, 1)
            for item in range(items):
                rows.append(
                    {
                        "item": f"{role}/{item}",
                        "cluster": str(role),
                        "condition": condition.name,
                        "judge": "rules",
                        "label": "human" if rng.random() < chance else "assistant",
                        "score": np.nan,
                        "engaged": 1.0,
                        "moved": 0.1,
                        **about,
                    }
                )
    return pd.DataFrame(rows)


def along_the_axis(series: str, strength: float) -> float:
    return 0.4 - (0.7 * strength if series == "axis" else 0.0)


def test_planted_rates_lie_in_their_intervals():
    held = 0
    for seed in range(6):
        table = shares(planted(along_the_axis, seed=seed))
        table = table.set_index(["direction", "label", "strength"])
        for strength in (*STRENGTHS, 0.0):
            row = table.loc[("axis", "human", strength)]
            held += row["low"] < 0.4 - 0.7 * strength < row["high"]
            assert row["share"] == pytest.approx(0.4 - 0.7 * strength, abs=0.08)
            assert (row["roles"], row["n"]) == (30, 240)
    assert held >= 23  # of 30; they hold 91 % over many seeds, roles being few
    assert table["share"].groupby(["direction", "strength"]).sum().to_numpy() == pytest.approx(1)
    assert table.loc[("axis", "mystical", 0.2), "share"] == 0


def test_a_planted_slope_is_found_and_the_controls_have_none():
    table = trends(planted(along_the_axis), draws=400).set_index(["direction", "label"])
    human = table.loc[("axis", "human")]
    assert human["low"] < -0.7 < human["high"]
    assert human["excess_low"] < -0.7 < human["excess_high"]
    assert human["tau"] == pytest.approx(-1)
    assert max(human["q"], human["q_excess"]) < 0.02
    assert table.loc[("axis", PERSONA), "slope"] == pytest.approx(human["slope"])
    assert table.loc[("axis", "assistant"), "slope"] == pytest.approx(-human["slope"])
    assert table.loc[("axis", "mystical"), ["slope", "p", "p_excess"]].tolist() == [0, 1, 1]
    assert np.isnan(table.loc[("random 1", "human"), "q"])
    assert table.loc[("random 1", "human"), "low"] < 0 < table.loc[("random 1", "human"), "high"]
    fits = adoption_fits(planted(along_the_axis)).set_index("direction")
    assert fits.loc["axis", "slope_high"] < 0
    assert fits.loc["axis", "midpoint_low"] < -0.1 / 0.7 < fits.loc["axis", "midpoint_high"]
    assert np.isnan(fits.loc["random 1", "midpoint"])


def test_noise_finds_nothing_as_often_as_it_should():
    found = 0
    for seed in range(40):
        table = trends(planted(lambda *_: 0.4, roles=12, items=4, seed=seed), draws=200)
        own = table.loc[~table["control"]]
        found += bool((own["q"] < 0.05).any() or (own["q_excess"] < 0.05).any())
    assert found <= 6  # of two families at 5 % each, four are expected


def test_what_happens_along_every_direction_is_a_trend_and_no_excess():
    table = trends(planted(lambda _, at: 0.4 - 0.7 * at), draws=400)
    row = table.set_index(["direction", "label"]).loc[("axis", "human")]
    assert row["q"] < 0.05 < row["q_excess"]


def test_answers_without_a_label_are_counted_and_left_out():
    replies = planted(along_the_axis)
    lost = (replies["condition"] == "axis -0.4") & (replies["item"].str.endswith("/0"))
    replies.loc[lost, "label"] = None
    table = shares(replies).set_index(["direction", "label", "strength"])
    row = table.loc[("axis", "human", -0.4)]
    assert (row["n"], row["unjudged"]) == (210, 30)


def test_what_cannot_be_told_is_refused():
    replies = planted(along_the_axis, roles=3)
    with pytest.raises(EvaluationError, match="nothing is steered"):
        shares(replies.loc[replies["kind"] == "none"])
    with pytest.raises(EvaluationError, match="a single strength"):
        trends(replies.loc[replies["condition"] == "axis -0.4"])
    with pytest.raises(EvaluationError, match="no such judge"):
        trends(replies, "mine")


def test_items_are_roles_prompts_and_questions():
    whole = susceptibility()
    assert len(whole.items) == 1000
    assert len({item.system for item in whole.items}) == 200
    own = {"name": "keeper", "prompts": ["You keep a lighthouse."]}
    small = susceptibility(["tutor", own], prompts=1, questions=["who", "What is it like?"])
    assert [item.id for item in small.items][2] == "keeper/1/who"
    assert {item.cluster for item in small.items} == {"tutor", "keeper"}
    assert len(susceptibility(first=3).items) == 60
    with pytest.raises(EvaluationError, match="fewer of keeper"):
        susceptibility([own], prompts=2)
    with pytest.raises(CatalogError, match="did you mean tutor"):
        susceptibility(["tutr"])


def test_roles_are_chosen_by_their_cosine_to_the_axis():
    space = PersonaSpace.load("smollm2-135m-instruct")
    held = {space.table.names[row] for row in space.table.axis_rows()}
    names = nearest_roles(space, 5)
    assert len(set(names)) == 5
    assert set(names) <= held
    ranked = nearest_roles(space, 6, layer=15)
    axis = space.at(15).axis
    values = {
        space.table.names[row]: space.at(15).values([row])[0] for row in space.table.axis_rows()
    }
    mean = np.mean(list(values.values()), axis=0)
    cosines = [
        (values[name] - mean) @ axis / np.linalg.norm(values[name] - mean) for name in ranked
    ]
    assert cosines == sorted(cosines, reverse=True)
    with pytest.raises(EvaluationError, match="not hold as many"):
        nearest_roles(space, 51)


def test_a_server_is_asked_by_the_rubric():
    settings = EndpointSettings(model="m", base_url="http://127.0.0.1:9/v1", timeout=PATIENCE)
    with FaultyServer(ok('{"label": "mystical"}')) as server:
        settings = settings.model_copy(update={"base_url": server.url})
        evaluation = susceptibility(["tutor"], 1, ["who"], judge=[settings])
        (judge,) = evaluation.judges
        said = judge.outcomes([Answer(evaluation.items[0], text) for text in ("I am dusk.", "")])
        asked = json.dumps(server.requests[0].body)
    assert [outcome.label for outcome in said] == ["mystical", "nonsensical"]
    assert all(label in asked for label in LABELS)
    assert evaluation.items[0].system[:40] not in asked


def test_the_whole_way_on_the_embedded_model(smol_auto, tmp_path):
    space = PersonaSpace.load("smollm2-135m-instruct")
    evaluation = susceptibility(["auditor", "tutor"], 1, ["who", "name"])
    likelihood = SpeakerLikelihood(smol_auto, max_tokens=8)
    evaluation = susceptibility(["auditor", "tutor"], 1, ["who"], [*evaluation.judges, likelihood])
    conditions = [UNTOUCHED, *steered(space, strengths=(-0.3,), layers=15, controls=1)]
    sampling = Sampling(temperature=0, max_new_tokens=8)
    result = evaluate(
        evaluation, smol_auto, conditions, sampling=sampling, out=tmp_path, progress=False
    )
    assert set(result.replies["judge"]) == {"rules", "likelihood"}
    assert set(result.replies["label"]) <= set(LABELS)
    assert len(shares(result.replies, "likelihood")) == 2 * 2 * len(LABELS)
    assert list(figures(result)) == ["shares"]


def test_a_reply_is_given_to_the_speaker_who_would_have_said_it(smol_auto):
    item = susceptibility(["tutor"], 1, ["who"]).items[0]
    texts = {
        "nonhuman": "I am an old oak at the edge of the schoolyard.",
        "mystical": "I am eternal, the keeper of the ancient flame, and the stars themselves are my ledger.",
        "nonsensical": "so so so so so so so so so so so so",
    }
    said = SpeakerLikelihood(smol_auto).outcomes([Answer(item, text) for text in texts.values()])
    assert [outcome.label for outcome in said] == list(texts)
    assert said[0].score > 0
    assert said[2].score is None
