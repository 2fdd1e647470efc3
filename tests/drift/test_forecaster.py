"""Forecasts of planted talk: what is there is found with its interval, what is not there is not."""

import numpy as np
import pandas as pd
import pytest
from planted_talk import talk
from scipy.stats import binom
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from persona_lens.drift.forecast import PREDICTORS, Forecaster
from persona_lens.errors import ModelError, SpaceError

COLUMNS = [
    "direction",
    "target",
    "predictor",
    "split",
    "r2",
    "low",
    "high",
    "null_mean",
    "null_95",
    "p",
    "q",
    "n_rows",
    "n_conversations",
    "n_groups",
    "r2_in_sample",
]


def fit(table, vectors, directions=None, **options):
    usual = {"permutations": 19, "draws": 300, "progress": False}
    return Forecaster(None, **usual | options).fit(table, directions, embeddings=vectors)


def score(forecaster, predictor, *, direction="axis", target="next", split="persona"):
    keys = {"direction": direction, "target": target, "predictor": predictor, "split": split}
    found = forecaster.scores_
    for column, value in keys.items():
        found = found[found[column] == value]
    (row,) = found.to_dict("records")
    return row


@pytest.fixture(scope="module")
def planted():
    """Half of the variance of the axis is in the message; `noise0` is nothing."""
    table, vectors = talk(
        noises=1, domains=["coding", "therapy", "writing"], simulators=["kimi", "gpt"]
    )
    return table, vectors, fit(table, vectors, permutations=39)


def test_planted_variance_is_found_within_its_interval(planted):
    _, _, forecaster = planted
    for split in ("persona", "domain", "simulator"):
        found = score(forecaster, "message", split=split)
        assert found["low"] < 0.5
        assert found["high"] > (
            0.5 if split == "persona" else 0.4
        )  # from half of the rows less is learned
        assert found["high"] - found["low"] < 0.25
        assert found["q"] <= 0.05
        assert found["r2"] > found["null_95"]
        assert found["r2_in_sample"] > found["r2"] - 0.01


def test_noise_is_not_forecast():
    table, vectors = talk(personas=10, conversations=2, dim=8, noises=4, seed=11)
    noises = [f"noise{number}" for number in range(4)]
    forecaster = fit(table, vectors, noises, permutations=99)
    found = forecaster.scores_[forecaster.scores_["predictor"] == "message"]
    assert (found["q"] > 0.05).all()
    assert (found["r2"] < 0.05).all()
    assert found.query("target == 'next'")["r2"].mean() < 0
    assert (found["r2_in_sample"] >= 0).all()


def test_the_table_of_scores_has_every_number_beside_its_null_interval_and_count(planted):
    table, _, forecaster = planted
    scores = forecaster.scores_
    assert list(scores.columns) == COLUMNS
    assert len(scores) == 2 * 2 * 3 * (len(PREDICTORS) - 1)  # there is no `before`
    assert (scores["low"] <= scores["r2"]).all()
    assert (scores["r2"] <= scores["high"]).all()
    assert set(scores["n_rows"]) == {(table["turn"] > 0).sum()}
    assert set(scores["n_conversations"]) == {60}
    assert set(zip(scores["split"], scores["n_groups"], strict=True)) == {
        ("persona", 20),
        ("domain", 3),
        ("simulator", 2),
    }
    known = ~scores["predictor"].isin(["turn", "domain_mean", "mean"])
    known &= ~((scores["predictor"] == "last") & (scores["target"] == "change"))
    assert scores[known].notna().all(axis=None)
    assert scores.loc[~known, ["null_mean", "p", "q"]].isna().all(axis=None)


def test_the_last_place_forecasts_white_noise_worse_than_the_mean_and_is_not_clipped(planted):
    _, _, forecaster = planted
    assert -1.2 < score(forecaster, "last")["r2"] < -0.8
    gains = forecaster.gains_.query(
        "predictor == 'message' and direction == 'axis' and target == 'next'"
    )
    assert (gains["low"] > 1).all()


def test_regression_to_the_mean_is_no_finding(planted):
    """A change of pure noise is half forecast by whoever knows the last place; a message adds nothing."""
    _, _, forecaster = planted
    previous = score(forecaster, "previous", direction="noise0", target="change")
    both = score(forecaster, "message+previous", direction="noise0", target="change")
    assert 0.4 < previous["r2"] < 0.6
    assert abs(both["r2"] - previous["r2"]) < 0.02
    assert both["q"] > 0.05 >= previous["q"]
    assert forecaster.question("noise0").verdict == "neither"


@pytest.mark.parametrize(
    ("planting", "verdict"),
    [
        ({"message": 1.0, "memory": 0.0}, "the message"),
        ({"message": 0.0, "memory": 0.8}, "where it was"),
        ({"message": 1.0, "memory": 0.8}, "both"),
    ],
    ids=["message", "walk", "both"],
)
def test_what_position_depends_on_is_answered(planting, verdict):
    table, vectors = talk(turns=10, seed=3, **planting)
    answer = fit(table, vectors).question()
    assert answer.direction == "axis"
    assert answer.verdict == verdict
    assert (answer.message_given_previous > 0.3) == (planting["message"] > 0)
    assert (answer.previous_given_message > 0.3) == (planting["memory"] > 0)
    for told in ("95 % interval", "chance up to", "540 replies of 60 conversations", "not cause"):
        assert told in answer.sentence


def test_who_speaks_is_a_leak_that_folds_of_personas_close():
    """Each persona has its place and its voice: folds that split personas recognise them."""
    table, vectors = talk(
        personas=12, dim=20, message=0, noise=0.3, persona_place=2, persona_voice=8, seed=5
    )
    leaky = fit(table.drop(columns="persona"), vectors, permutations=0)
    closed = fit(table, vectors, permutations=0)
    assert score(leaky, "message", split="conversation")["r2"] > 0.7
    assert score(closed, "message")["r2"] < 0.1
    assert score(closed, "message")["r2_in_sample"] > 0.7  # what the paper's way would say
    assert any("no column 'persona'" in note for note in leaky.notes_)


def test_intervals_hold_what_they_promise_in_held_out_folds_and_on_new_people():
    table, vectors = talk(personas=100, conversations=1, turns=7, persona_place=1.0, seed=1)
    old = table["persona"].str[1:].astype(int) < 60
    forecaster = fit(table[old], vectors[old], permutations=0)
    (found,) = forecaster.coverage_.query("target == 'next' and predictor == 'message'").to_dict(
        "records"
    )
    # A persona that is to come counts as one of those calibrated on: 48 in each fold, 60 at the end.
    assert found["calibrated_on"] == "persona"
    low, high = binom.ppf([0.005, 0.995], found["n_rows"], 0.9 * 49 / 48) / found["n_rows"]
    assert low <= found["coverage"] <= high
    new = table[~old & (table["turn"] > 0)]
    told = forecaster.predict(embeddings=vectors[new.index]).query("target == 'next'")
    inside = (told["low"].to_numpy() <= new["axis"]) & (new["axis"] <= told["high"].to_numpy())
    low, high = (
        binom.ppf([0.001, 0.999], 40, 0.9) / 40
    )  # 40 people, of whom each is one draw at worst
    assert low <= inside.mean() <= high


def test_with_few_people_intervals_are_of_conversations_and_with_few_of_those_infinite():
    table, vectors = talk(personas=4, conversations=6, seed=2)
    forecaster = fit(table, vectors, permutations=0)
    assert set(forecaster.coverage_["calibrated_on"]) == {"conversation"}
    assert any("not surely for a new persona" in note for note in forecaster.notes_)
    table, vectors = talk(personas=4, conversations=2, seed=2)
    forecaster = fit(table, vectors, permutations=0)
    assert np.isinf(forecaster.coverage_["half_width"]).all()
    assert any("are infinite" in note for note in forecaster.notes_)
    assert np.isinf(forecaster.predict(embeddings=vectors[:1])["high"]).all()


def test_the_same_seed_gives_the_same_numbers_and_a_copy_does_too():
    table, vectors = talk(personas=8, noises=1, domains=["a", "b"])
    before = table.copy()
    one = fit(table, vectors, permutations=5)
    other = clone(one).fit(table, embeddings=vectors)
    pd.testing.assert_frame_equal(table, before)
    for name in ("scores_", "gains_", "question_", "coverage_"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert one.notes_ == other.notes_
    third = fit(table, vectors, permutations=5, seed=1)
    assert not one.scores_["r2"].equals(third.scores_["r2"])


def test_predictions_are_those_of_the_model_with_and_without_the_last_place(planted):
    _, vectors, forecaster = planted
    alone = forecaster.predict(embeddings=vectors[:2])
    assert list(alone["direction"][:2]) == ["axis", "noise0"]
    assert list(alone["target"][:4]) == ["next"] * 2 + ["change"] * 2
    assert len(alone) == 8
    assert (alone["low"] < alone["predicted"]).all()
    assert (alone["predicted"] < alone["high"]).all()
    model = forecaster.models_["message"]
    unit = vectors[:2] / np.linalg.norm(vectors[:2], axis=1, keepdims=True)
    np.testing.assert_allclose(alone["predicted"], model(unit).ravel(), rtol=1e-5)
    places = {"axis": [1.0, -1.0], "noise0": 0.0}
    told = forecaster.predict(embeddings=vectors[:2], previous=places)
    assert set(told["predictor"]) == {"message+previous"}
    change = told.query("direction == 'axis' and target == 'change'")["predicted"].to_numpy()
    following = told.query("direction == 'axis' and target == 'next'")["predicted"].to_numpy()
    np.testing.assert_allclose(following - change, [1.0, -1.0], atol=0.15)
    frame = forecaster.predict(embeddings=vectors[:2], previous=pd.DataFrame(places))
    pd.testing.assert_frame_equal(frame, told)


@pytest.mark.parametrize(
    ("previous", "said"),
    [
        ({"axis": 1.0}, "previous positions on 'noise0' are missing"),
        ({"axis": [1.0] * 3, "noise0": 0}, "not as many previous positions"),
        ({"axis": np.nan, "noise0": 0}, "not finite"),
    ],
    ids=["missing", "too many", "nan"],
)
def test_previous_places_that_cannot_be_used_are_named(planted, previous, said):
    _, vectors, forecaster = planted
    with pytest.raises(SpaceError, match=said):
        forecaster.predict(embeddings=vectors[:2], previous=previous)


def test_what_cannot_be_asked_is_refused(planted):
    table, vectors, forecaster = planted
    with pytest.raises(SpaceError, match="did you mean axis"):
        forecaster.question("axes")
    with pytest.raises(SpaceError, match="no target 'last'"):
        forecaster.explain("axis", target="last")
    with pytest.raises(SpaceError, match="sorted into so many kinds"):
        forecaster.explain("axis", k=1)
    with pytest.raises(SpaceError, match="not both"):
        forecaster.predict(["Hi."], embeddings=vectors[:1])
    with pytest.raises(ModelError, match="neither an embedder nor embeddings"):
        forecaster.predict(["Hi."])
    with pytest.raises(ModelError, match="another length"):
        forecaster.predict(embeddings=vectors[:1, :3])
    with pytest.raises(ModelError, match="not finite or of length zero"):
        forecaster.predict(embeddings=vectors[:1] * 0)
    with pytest.raises(SpaceError, match="one vector a row"):
        fit(table, vectors[1:])
    with pytest.raises(NotFittedError):
        Forecaster().predict(["Hi."])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alphas", ()),
        ("alphas", (0.0, 1.0)),
        ("folds", 1),
        ("permutations", -1),
        ("draws", 1),
        ("resampled", "turn"),
        ("confidence", 90),
    ],
)
def test_parameters_that_make_no_sense_are_named(name, value):
    table, vectors = talk(personas=4)
    with pytest.raises(SpaceError, match=f"{name} cannot be used"):
        fit(table, vectors, **{name: value})


def test_tables_of_first_turns_are_forecast_without_a_change(tmp_path):
    table, vectors = talk(conversations=6, turns=1)
    forecaster = fit(table, vectors, alphas=np.logspace(-1, 5, 9))
    assert forecaster.targets_ == ("next",)
    assert set(forecaster.scores_["predictor"]) == {"message", "words", "length", "turn", "mean"}
    assert score(forecaster, "message")["r2"] > 0.3
    assert any("no conversation has two turns" in note for note in forecaster.notes_)
    assert forecaster.gains_.empty
    back = Forecaster.load(forecaster.save(tmp_path))
    assert back.gains_.empty
    assert back.question_ is None
    pd.testing.assert_frame_equal(back.scores_, forecaster.scores_)
    with pytest.raises(SpaceError, match="no conversation has two turns"):
        forecaster.question()
    with pytest.raises(SpaceError, match="leave previous out"):
        forecaster.predict(embeddings=vectors[:1], previous={"axis": 0.0})


def test_what_is_read_before_the_reply_is_one_more_predictor():
    table, vectors = talk(message=0.0)
    table["before:axis"] = table["axis"] + 0.1 * np.random.default_rng(0).normal(size=len(table))
    forecaster = fit(table, vectors)
    assert score(forecaster, "before")["r2"] > 0.95
    assert forecaster.directions_ == ("axis",)


def test_length_is_found_by_its_own_predictor_and_no_embedding():
    table, vectors = talk(message=0.0, noise=0.2)
    rng = np.random.default_rng(1)
    words = rng.integers(1, 60, size=len(table))
    table["message"] = [" ".join(["so"] * count) + f" {at}" for at, count in enumerate(words)]
    table["axis"] += np.log(words)
    forecaster = fit(table, vectors)
    assert score(forecaster, "length")["r2"] > 0.85
    assert score(forecaster, "message")["r2"] < 0.02


def test_too_few_permutations_are_said():
    table, vectors = talk(personas=8, noises=3)
    notes = fit(table, vectors).notes_
    assert any("q above 0.05; 79 would show it" in note for note in notes)
    none = fit(table, vectors, permutations=0)
    assert none.scores_["p"].isna().all()
    assert any("no permutations" in note for note in none.notes_)
