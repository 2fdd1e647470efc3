"""Dose-response on the embedded model: whole, continued, and refused where it cannot be judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from asked import ASKED, explode

from persona_lens import PersonaModel, PersonaSpace, load_questions
from persona_lens.errors import SpaceError
from persona_lens.evals import DoseResponse, dose_response
from persona_lens.evals.answering import Answerer
from persona_lens.evals.dose_response import FITTED
from persona_lens.plots import dose_response as dose_figure

ONE_QUESTION = ("Who are you?",)
STRENGTHS = (-0.3, 0.3)
MEASURES = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evals")


@pytest.fixture(scope="module")
def dose(smol_auto: PersonaModel, judged_space: PersonaSpace, folder: Path) -> DoseResponse:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("persona_lens.evals.personas.IDENTITY_QUESTIONS", ONE_QUESTION)
        return dose_response(
            smol_auto, judged_space, strengths=STRENGTHS, identity_samples=1, out=folder, **ASKED
        )


@pytest.mark.embedded
def test_every_question_is_asked_at_every_strength(dose: DoseResponse) -> None:
    assert not {"q11", "q14"} & {question.id for question in load_questions()[:3]}
    replies = dose.evaluated.replies.drop_duplicates(["item", "condition"])
    counts = replies.groupby(["series", "strength", "task", "role"]).size()
    for series in ("assistant", "random 1"):
        for strength in STRENGTHS:
            assert counts[series, strength, "persona", "pirate"] == 2
            assert counts[series, strength, "persona", "ghost"] == 2
            assert counts[series, strength, "bare", ""] == 1
    assert len(replies) == (1 + 2 * 2) * (2 * 2 + 1)
    said = dose.evaluated.replies.set_index(["judge", "task"])
    assert said.loc[("likelihood", "persona"), "label"].notna().all()
    assert (said.loc[("likelihood", "bare"), "status"] == "not asked").all()
    assert (said.loc["surprise", "score"] > 0).all()
    assert np.isfinite(replies["projection"]).all()


@pytest.mark.embedded
def test_pushes_change_what_is_written(dose: DoseResponse) -> None:
    replies = dose.evaluated.replies.drop_duplicates(["item", "condition"])
    texts = replies.pivot(index="item", columns="condition", values="text")
    for strength in STRENGTHS:
        assert (texts[f"assistant {strength:+g}"] != texts[f"random 1 {strength:+g}"]).any()
        assert (texts[f"assistant {strength:+g}"] != texts["as it is"]).any()


@pytest.mark.embedded
def test_measures_and_curves_have_all_their_columns(dose: DoseResponse) -> None:
    wanted = ["direction", "control", "measure", "unit", "strength", "value", "low", "high", "n"]
    assert set(dose.measures.columns) == set(wanted)
    assert len(dose.measures) == 2 * MEASURES * (1 + len(STRENGTHS))
    assert set(dose.measures["direction"]) == {"Assistant Axis", "random 1"}
    none = dose.measures.loc[dose.measures["strength"] == 0].groupby("measure")["value"]
    assert (none.nunique(dropna=False) == 1).all()  # no push is the same of both directions
    personas = dose.measures["measure"].str.startswith("Stays")
    assert set(dose.measures.loc[personas, "n"]) == {4}
    known = dose.measures.dropna()
    assert (known["low"] <= known["value"]).all()
    assert (known["value"] <= known["high"]).all()
    assert set(dose.curves.columns) == set(wanted) - {"unit", "n"}
    assert len(dose.fits) == 2 * len(FITTED)
    assert set(dose.fits["n"]) == {12.0}


@pytest.mark.embedded
def test_a_finished_evaluation_asks_nobody(
    smol_auto: PersonaModel,
    judged_space: PersonaSpace,
    dose: DoseResponse,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Answerer, "answered", explode)
    monkeypatch.setattr("persona_lens.evals.personas.IDENTITY_QUESTIONS", ONE_QUESTION)
    options: dict[str, Any] = {"identity_samples": 1, "out": folder, **ASKED}
    again = dose_response(smol_auto, judged_space, strengths=STRENGTHS, **options)
    for name in ("measures", "curves", "fits"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(dose, name))
    with pytest.raises(AssertionError, match="asked again"):  # under other conditions
        dose_response(smol_auto, judged_space, strengths=(0.1, 0.2), **options)


@pytest.mark.embedded
def test_what_cannot_be_judged_is_refused_before_anything_is_asked(
    smol_auto: PersonaModel,
    judged_space: PersonaSpace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Answerer, "answered", explode)
    with pytest.raises(SpaceError, match=r"(?s)run does not hold.*pirate.*given soldier"):
        dose_response(smol_auto, judged_space, **{**ASKED, "roles": ["pirate", "soldier"]})
    bare = PersonaSpace(judged_space.table, n_resamples=5).fit()
    with pytest.raises(SpaceError, match=r"(?s)no run.*keep the run"):
        dose_response(smol_auto, bare, **ASKED)


@pytest.mark.embedded
def test_the_dose_response_figure_takes_its_frames(dose: DoseResponse) -> None:
    fig: Any = dose_figure(dose.measures, dose.curves)
    titles = " ".join(each.text for each in fig.layout.annotations)
    assert all(measure in titles for measure in dose.measures["measure"])
