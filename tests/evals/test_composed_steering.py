"""Steering with compositions, on the embedded model: whole, continued, and scored as the judge scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from persona_lens import PersonaModel, PersonaSpace, Sampling
from persona_lens.errors import SpaceError
from persona_lens.evals import ComposedSteering, composed_steering
from persona_lens.evals.composed_steering import CONDITIONS, summary

ROLES = ("pirate", "ghost")
ASKED: dict[str, Any] = {
    "k": 1,
    "strengths": (0.1, 0.4),
    "questions": ("q11", "q14"),
    "controls": 1,
    "sampling": Sampling(max_new_tokens=5),
    "progress": False,
}


@pytest.fixture(scope="module")
def trait_space(smol: PersonaModel, small_run: Path) -> PersonaSpace:
    """Twelve roles and two traits, calibrated on a few tokens."""
    space = PersonaSpace.from_run(small_run, n_resamples=5).fit()
    return space.calibrate(smol, replies=4, progress=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("composed")


@pytest.fixture(scope="module")
def steered(smol: PersonaModel, trait_space: PersonaSpace, folder: Path) -> ComposedSteering:
    return composed_steering(smol, trait_space, ROLES, 15, out=folder, **ASKED)


@pytest.mark.embedded
def test_every_condition_answers_every_question_at_every_strength(
    steered: ComposedSteering,
) -> None:
    replies = steered.replies
    counts = replies.groupby(["role", "condition", "strength"]).size()
    for role in ROLES:
        assert counts[role, "none", 0.0] == 2
        for condition in CONDITIONS:
            assert counts[role, condition, 0.1] == counts[role, condition, 0.4] == 2
    assert len(replies) == 2 * 2 * (1 + 4 * 2)
    assert np.isfinite(replies["score"]).all()
    cosines = replies.groupby("condition")["cosine"].first()
    assert cosines["role vector"] == pytest.approx(1)
    assert 0 < cosines["traits"] < 1
    assert abs(cosines["random"]) < 0.2
    none = replies.loc[replies["condition"] == "none"].pivot_table(
        index="question_id", columns="role", values="text", aggfunc="sum"
    )
    assert (none["pirate"] == none["ghost"]).all()  # the same replies, scored as either
    strong = replies.loc[replies["strength"] == 0.4].groupby("condition")["text"].apply(tuple)
    assert len(set(strong)) >= 3


@pytest.mark.embedded
def test_effects_and_contrasts_are_differences_of_mean_scores(steered: ComposedSteering) -> None:
    grouped = steered.replies.groupby(["condition", "strength"])["score"]
    means = {key: some.mean() for key, some in grouped}
    effects = steered.effects
    assert len(effects) == len(CONDITIONS) * 2
    keys = list(zip(effects["condition"], effects["strength"], strict=True))
    expected = [means[key] - means["none", 0.0] for key in keys]
    np.testing.assert_allclose(effects["value"], expected)
    assert (effects["n"] == 4).all()
    assert (effects["low"] <= effects["value"] + 1e-12).all()
    assert (effects["value"] <= effects["high"] + 1e-12).all()
    value = dict(zip(keys, effects["value"], strict=True))
    contrasts = steered.contrasts
    led = zip(contrasts["condition"], contrasts["minus"], contrasts["strength"], strict=True)
    expected = [value[one, strength] - value[other, strength] for one, other, strength in led]
    np.testing.assert_allclose(contrasts["value"], expected)


@pytest.mark.embedded
def test_a_finished_evaluation_asks_nobody(
    smol: PersonaModel,
    trait_space: PersonaSpace,
    steered: ComposedSteering,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def explode(*_: object, **__: object) -> Any:
        raise AssertionError("the model was asked again")

    monkeypatch.setattr(PersonaModel, "generate", explode)
    again = composed_steering(smol, trait_space, ROLES, 15, out=folder, **ASKED)
    pd.testing.assert_frame_equal(again.replies, steered.replies)
    pd.testing.assert_frame_equal(again.effects, steered.effects)
    with pytest.raises(AssertionError, match="asked again"):
        composed_steering(smol, trait_space, ROLES, 15, out=folder, **{**ASKED, "k": 2})


@pytest.mark.embedded
def test_the_score_is_the_likelihood_ratio_of_the_reply(
    smol: PersonaModel, trait_space: PersonaSpace
) -> None:
    found = composed_steering(smol, trait_space, ROLES, 15, **{**ASKED, "prompts": 1})
    row = found.replies.query("role == 'pirate' and condition == 'none'").iloc[0]
    from persona_lens.catalog import load_questions, load_roles

    question = next(q.text for q in load_questions("full") if q.id == row["question_id"])
    system = load_roles(["pirate"])[0].prompts[0]
    ids = smol.tokenizer(row["text"], add_special_tokens=False)["input_ids"]
    prompts = [
        smol.encoder.prompt(smol.encoder.messages(question, system=text)) for text in (system, "")
    ]
    own, default = smol.log_probs(prompts, [ids, ids])
    assert row["score"] == pytest.approx(float((own - default).mean()), abs=0.02)


def test_what_cannot_be_compared_is_refused(smol: PersonaModel, small_space: PersonaSpace) -> None:
    with pytest.raises(SpaceError, match=r"(?s)another role.*at least 2 roles, given pirate"):
        composed_steering(smol, small_space, ["pirate"], 15)
    with pytest.raises(SpaceError, match="no role named 'soldier'"):
        composed_steering(smol, small_space, ["pirate", "soldier"], 15)


def test_an_effect_of_every_role_alike_is_no_lead_over_wrong_traits() -> None:
    rows = [
        (role, condition, strength, question, score)
        for role in ROLES
        for question in ("q11", "q14")
        for condition, strength, score in [
            ("none", 0.0, 0.5),
            ("traits", 0.2, 2.5),
            ("wrong traits", 0.2, 2.5),
        ]
    ]
    names = ["role", "condition", "strength", "question_id", "score"]
    effects, contrasts = summary(pd.DataFrame(rows, columns=names))
    assert effects["value"].tolist() == [2.0, 2.0]
    assert contrasts["value"].tolist() == [0.0]
