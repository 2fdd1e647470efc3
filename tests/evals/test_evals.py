"""Evaluations on the embedded model: small, whole, continued, and with statistics that hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from persona_lens import PersonaModel, PersonaSpace, Sampling, load_questions
from persona_lens.errors import SpaceError
from persona_lens.evals import DoseResponse, capping_sweep, dose_response, sink_experiment
from persona_lens.evals.asking import Asker, calibrated_judge, distinct_pairs
from persona_lens.evals.dose_response import FITTED, MEASURES
from persona_lens.evals.intervals import means_by_strength, sigmoid_fit
from persona_lens.plots import dose_response as dose_figure
from persona_lens.plots import pareto as pareto_figure
from persona_lens.plots import sinks as sink_figure

ONE_QUESTION = ("Who are you?",)
STRENGTHS = (-0.3, 0.0, 0.3)
ASKED: dict[str, Any] = {
    "roles": ["pirate", "ghost"],
    "questions": ["q11", "q14"],
    "sampling": Sampling(max_new_tokens=5),
    "controls": 1,
    "progress": False,
}


def explode(*_: object, **__: object) -> Any:
    raise AssertionError("the model was asked again")


# Dose-response --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evals")


@pytest.fixture(scope="module")
def dose(smol: PersonaModel, judged_space: PersonaSpace, folder: Path) -> DoseResponse:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("persona_lens.evals.asking.IDENTITY_QUESTIONS", ONE_QUESTION)
        return dose_response(
            smol, judged_space, strengths=STRENGTHS, identity_samples=1, out=folder, **ASKED
        )


@pytest.mark.embedded
def test_every_question_is_asked_at_every_strength(dose: DoseResponse) -> None:
    assert not {"q11", "q14"} & {question.id for question in load_questions()[:3]}
    counts = dose.replies.groupby(["direction", "kind", "name", "strength"]).size()
    for direction in ("Assistant Axis", "random 1"):
        for strength in STRENGTHS:
            assert counts[direction, "role", "pirate", strength] == 2
            assert counts[direction, "role", "ghost", strength] == 2
            assert counts[direction, "default", "default", strength] == 1
    assert len(dose.replies) == 2 * 3 * (2 * 2 + 1)
    assert dose.replies["control"].tolist() == (dose.replies["direction"] == "random 1").tolist()
    roles = dose.replies["kind"] == "role"
    assert dose.replies.loc[~roles, ["persona", "persona_rules"]].isna().all(axis=None)
    assert dose.replies.loc[roles, "persona"].isin([0, 1]).all()
    assert (dose.replies["nats"] > 0).all()
    assert np.isfinite(dose.replies["position"]).all()


@pytest.mark.embedded
def test_strength_zero_changes_nothing_and_others_do(dose: DoseResponse) -> None:
    texts = dose.replies.pivot_table(
        index=["name", "question_id"],
        columns=["direction", "strength"],
        values="text",
        aggfunc="sum",
    )
    assert (texts["Assistant Axis", 0.0] == texts["random 1", 0.0]).all()
    for strength in (-0.3, 0.3):
        assert (texts["Assistant Axis", strength] != texts["random 1", strength]).any()
        assert (texts["Assistant Axis", strength] != texts["Assistant Axis", 0.0]).any()


@pytest.mark.embedded
def test_measures_and_curves_have_all_their_columns(dose: DoseResponse) -> None:
    wanted = ["direction", "control", "measure", "unit", "strength", "value", "low", "high", "n"]
    assert set(dose.measures.columns) == set(wanted)
    assert len(dose.measures) == 2 * len(MEASURES) * len(STRENGTHS)
    assert set(dose.measures["measure"]) == set(MEASURES)
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
    smol: PersonaModel,
    judged_space: PersonaSpace,
    dose: DoseResponse,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Asker, "ask", explode)
    monkeypatch.setattr("persona_lens.evals.asking.IDENTITY_QUESTIONS", ONE_QUESTION)
    options: dict[str, Any] = {"identity_samples": 1, "out": folder, **ASKED}
    again = dose_response(smol, judged_space, strengths=STRENGTHS, **options)
    for name in ("replies", "measures", "curves", "fits"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(dose, name))
    with pytest.raises(AssertionError, match="asked again"):  # under other conditions
        dose_response(smol, judged_space, strengths=(0.0, 0.1), **options)


@pytest.mark.embedded
def test_what_cannot_be_judged_is_refused_before_anything_is_asked(
    smol: PersonaModel,
    judged_space: PersonaSpace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Asker, "ask", explode)
    with pytest.raises(SpaceError, match=r"(?s)run does not hold.*pirate.*given soldier"):
        dose_response(smol, judged_space, **{**ASKED, "roles": ["pirate", "soldier"]})
    bare = PersonaSpace(judged_space.table, n_resamples=5).fit()
    with pytest.raises(SpaceError, match=r"(?s)no run.*keep the run"):
        dose_response(smol, bare, **ASKED)


@pytest.mark.embedded
def test_the_judge_is_set_as_when_it_labelled_the_run(
    smol: PersonaModel, judged_space: PersonaSpace
) -> None:
    assert calibrated_judge(smol, judged_space).max_tokens == 7


# Statistics -----------------------------------------------------------------------------------------


def outcomes(chance: Any, *, clusters: int = 80, seed: int = 0) -> pd.DataFrame:
    """A yes or no of each cluster at nine strengths."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        [
            {
                "kind": "role",
                "name": f"role {cluster % 4}",
                "question_id": f"q{cluster // 4}",
                "sample": 0,
                "strength": strength,
                "yes": float(rng.random() < chance(strength)),
            }
            for cluster in range(clusters)
            for strength in np.linspace(-0.4, 0.4, 9)
        ]
    )


@pytest.mark.parametrize(("slope", "midpoint"), [(-12.0, 0.1), (8.0, -0.05), (20.0, 0.2)])
def test_a_sigmoid_is_recovered(slope: float, midpoint: float) -> None:
    frame = outcomes(lambda strength: 1 / (1 + np.exp(-slope * (strength - midpoint))))
    fit, curve = sigmoid_fit(frame, "yes")
    assert fit["slope_low"] < slope < fit["slope_high"]
    assert fit["midpoint_low"] < midpoint < fit["midpoint_high"]
    assert fit["slope_low"] < fit["slope"] < fit["slope_high"]
    assert fit["midpoint_high"] - fit["midpoint_low"] < 0.15
    assert fit["n"] == 720
    truth = 1 / (1 + np.exp(-slope * (curve["strength"] - midpoint)))
    assert abs(curve["value"] - truth).max() < 0.1
    assert (curve["low"] <= curve["value"]).all()
    assert (curve["value"] <= curve["high"]).all()


@pytest.mark.parametrize("chance", [0.5, 0.0, 1.0])
def test_without_an_effect_there_is_no_midpoint(chance: float) -> None:
    fit, curve = sigmoid_fit(outcomes(lambda _: chance), "yes")
    assert np.isnan([fit["midpoint"], fit["midpoint_low"], fit["midpoint_high"]]).all()
    assert fit["slope_low"] <= 1e-6
    assert fit["slope_high"] >= -1e-6
    assert abs(curve["value"] - chance).max() < 0.15


def test_outcomes_that_are_always_told_apart_stay_finite() -> None:
    fit, curve = sigmoid_fit(outcomes(lambda strength: float(strength > 0.15)), "yes")
    assert fit["midpoint"] == pytest.approx(0.15, abs=0.01)
    assert np.isfinite([*fit.values(), *curve.to_numpy().ravel()]).all()


def test_means_have_the_interval_of_their_clusters() -> None:
    frame = outcomes(lambda strength: 0.5 + strength, clusters=200)
    found = means_by_strength(frame, "yes").set_index("strength")
    plain = frame.pivot_table(index=["name", "question_id"], columns="strength", values="yes")
    np.testing.assert_allclose(found["value"], plain.to_numpy().mean(axis=0))
    assert (found["n"] == 200).all()
    half = 1.96 * plain.to_numpy().std(axis=0) / np.sqrt(200)
    np.testing.assert_allclose(found["high"] - found["value"], half, atol=0.012)
    np.testing.assert_allclose(found["value"] - found["low"], half, atol=0.012)


def test_strengths_where_little_or_nothing_is_known() -> None:
    frame = outcomes(lambda _: 0.5, clusters=20)
    frame.loc[frame["strength"] == -0.4, "yes"] = np.nan
    rare = frame["strength"] == 0.4
    frame.loc[rare & (frame["question_id"] != "q0"), "yes"] = np.nan
    found = means_by_strength(frame, "yes").set_index("strength")
    assert found["n"].tolist() == [0, *[20] * 7, 4]
    assert np.isnan(found.loc[-0.4, ["value", "low", "high"]].to_numpy(float)).all()
    assert found.loc[0.4, "low"] <= found.loc[0.4, "value"] <= found.loc[0.4, "high"]
    nothing = means_by_strength(frame.assign(yes=np.nan), "yes")
    assert nothing["n"].tolist() == [0] * 9
    assert nothing["value"].isna().all()
    fit, curve = sigmoid_fit(frame.assign(yes=np.nan), "yes")
    assert fit["n"] == 0
    assert np.isnan(fit["slope"])
    assert curve.empty


def test_distinct_pairs() -> None:
    assert distinct_pairs("The sea, the sea, THE sea!") == pytest.approx(2 / 5)
    assert distinct_pairs("one two three four") == 1.0
    assert np.isnan(distinct_pairs("one"))
    assert np.isnan(distinct_pairs(""))


# Capping --------------------------------------------------------------------------------------------


@pytest.mark.embedded
@pytest.mark.usefixtures("short_neutral_texts")
def test_capping_costs_something_and_comes_with_controls(
    smol: PersonaModel, judged_space: PersonaSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persona_lens.evals.capping.NEUTRAL_TEXTS", 1)
    options: dict[str, Any] = {
        "depths": [(0.7, 0.8)],
        "percentiles": [75.0],
        "out": tmp_path / "caps",
        **{**ASKED, "questions": ["q11"]},
    }
    frame = capping_sweep(smol, judged_space, **options)
    assert frame["direction"].tolist() == ["no cap", "Assistant Axis", "random 1"]
    assert frame["control"].tolist() == [False, False, True]
    assert frame["layers"].tolist() == ["", "21-23", "21-23"]
    np.testing.assert_allclose(frame["depth"], [np.nan, 22 / 30, 22 / 30])
    np.testing.assert_allclose(frame["percentile"], [np.nan, 75, 75])
    assert (frame["n"] == 2).all()
    assert frame["adoption"].between(frame["adoption_low"], frame["adoption_high"]).all()
    bare, capped = frame.iloc[0], frame.iloc[1]
    assert (bare["kl"], bare["engagement"], bare["perplexity_ratio"]) == (0, 0, 1)
    assert 0 < capped["engagement"] < 1
    assert capped["kl"] > 0
    assert capped["kl_low"] <= capped["kl"] <= capped["kl_high"]
    assert capped["perplexity_ratio"] != 1
    monkeypatch.setattr(Asker, "ask", explode)
    pd.testing.assert_frame_equal(capping_sweep(smol, judged_space, **options), frame)
    names = {trace.name for trace in pareto_figure(frame).data}  # pyright: ignore[reportAttributeAccessIssue]
    assert {"Assistant Axis", "controls", "no intervention"} <= names


# The sink -------------------------------------------------------------------------------------------


@pytest.mark.embedded
@pytest.mark.usefixtures("short_neutral_texts")
def test_a_ceiling_that_reaches_the_sink_costs_far_more(
    smol: PersonaModel, judged_space: PersonaSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sink lies far above any percentile: a floor leaves it alone, and a ceiling pulls it down."""
    options: dict[str, Any] = {
        "layers": [15],
        "directions": ["assistant"],
        "controls": 0,
        "texts": 2,
        "out": tmp_path,
        "progress": False,
    }
    frame = sink_experiment(smol, judged_space, **options)
    assert frame["direction"].tolist() == ["Assistant Axis"] * 3
    assert (frame["layer"] == 15).all()
    assert (frame["n"] == 2).all()
    rows = frame.set_index("operation")
    assert rows.index.tolist() == ["floor", "ceil", "ablate"]
    assert rows.loc["ceil", "kl_touched"] > 5 * rows.loc["ceil", "kl_spared"]
    assert rows.loc["floor", "ratio"] == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(rows["ratio"], rows["kl_touched"] / rows["kl_spared"])
    for side in ("spared", "touched"):
        assert (rows[f"kl_{side}_low"] <= rows[f"kl_{side}"]).all()
        assert (rows[f"kl_{side}"] <= rows[f"kl_{side}_high"]).all()
    monkeypatch.setattr(smol, "kl", explode)
    pd.testing.assert_frame_equal(sink_experiment(smol, judged_space, **options), frame)
    assert len(sink_figure(frame).layout.yaxis.ticktext) == 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.embedded
def test_the_dose_response_figure_takes_its_frames(dose: DoseResponse) -> None:
    fig: Any = dose_figure(dose.measures, dose.curves)
    titles = " ".join(each.text for each in fig.layout.annotations)
    assert all(measure in titles for measure in MEASURES)
