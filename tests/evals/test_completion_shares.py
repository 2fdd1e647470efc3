"""Shares of completions: planted rates are measured at them, noise finds nothing, errors of labels come out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from planted_completions import Remembering, answers, frame

from persona_lens.catalog.prefills import load_labelled
from persona_lens.errors import EvaluationError
from persona_lens.evals.category_labels import CategoryJudge
from persona_lens.evals.completion_shares import corrected_shares, shares
from persona_lens.evals.completion_trends import trends
from persona_lens.evals.labelling_error import labelling_error
from persona_lens.evals.outcomes import Exact, Outcome

EVEN = {
    "medical_clinical": 0.25,
    "religious_spiritual": 0.25,
    "service_trades": 0.25,
    "other": 0.25,
}
FEWER = {"medical_clinical": 0.4, "religious_spiritual": 0.1, "service_trades": 0.25, "other": 0.25}
MORE = {"medical_clinical": 0.1, "religious_spiritual": 0.4, "service_trades": 0.25, "other": 0.25}


@pytest.fixture(scope="module")
def judge(remembering: Remembering) -> CategoryJudge:
    return CategoryJudge(remembering)


def test_planted_rates_are_within_their_intervals_in_nineteen_of_twenty_worlds():
    inside = {"between": [], "within": []}
    for seed in range(40):
        table = shares(frame({"": FEWER}, controls=0, samples=30, seed=seed), draws=200)
        row = table.loc[(table["condition"] == "as it is")].set_index("category")
        for label, rate in FEWER.items():
            inside["between"].append(row.loc[label, "low"] <= rate <= row.loc[label, "high"])
            inside["within"].append(
                row.loc[label, "same_low"] <= rate <= row.loc[label, "same_high"]
            )
    assert np.mean(inside["between"]) >= 0.9
    assert 0.9 <= np.mean(inside["within"]) <= 0.99


def test_prefills_that_differ_widen_the_interval_over_prefills_alone():
    alike, apart = (
        shares(frame({"": EVEN}, spread=spread, controls=0))
        .set_index(["condition", "category"])
        .loc["as it is"]
        for spread in (0.0, 1.5)
    )
    width = {
        name: (table["high"] - table["low"]).mean()
        for name, table in [("alike", alike), ("apart", apart)]
    }
    within = (apart["same_high"] - apart["same_low"]).mean()
    assert width["apart"] > 1.5 * width["alike"]
    assert width["apart"] > 2 * within


def test_a_planted_trend_is_found_and_what_stays_is_not():
    rates = {"": EVEN, "assistant -0.2": MORE, "assistant +0.2": FEWER}
    still, slopes = [], []
    for seed in range(20):
        found = trends(frame(rates, seed=seed), permutations=200).set_index("category")
        moved = found.loc[["medical_clinical", "religious_spiritual"]]
        assert moved["found"].all()
        assert moved["as_steep"].tolist() == [0, 0]
        assert found["strengths"].tolist() == [3] * 4
        still += found.loc[["other", "service_trades"], "found"].tolist()
        # From 0.40 to 0.10 over 0.4 residual norms.
        row = found.loc["religious_spiritual"]
        slopes.append(row["low"] <= -0.75 <= row["high"])
    assert np.mean(still) < 0.1
    assert np.mean(slopes) >= 0.9


def test_what_every_push_does_is_not_held_to_be_the_axis_doing():
    steep = {"-0.2": MORE, "+0.2": FEWER}
    names = ["assistant", "random 0", "random 1"]
    rates = {f"{name} {at}": some for name in names for at, some in steep.items()}
    worlds = [trends(frame({"": EVEN, **rates}, seed=seed), permutations=200) for seed in range(20)]
    assert all(world["p_fdr"].min() < 0.05 for world in worlds)
    assert sum(bool(world["found"].any()) for world in worlds) <= 2


def test_one_strength_beside_none_is_a_trend_that_controls_can_speak_against():
    replies = frame({"": EVEN, "assistant +0.2": FEWER})
    found = trends(replies.loc[replies["strength"] >= 0], permutations=500).set_index("category")
    assert found.loc["religious_spiritual", "found"]
    assert found["strengths"].tolist() == [2] * 4


def test_noise_finds_nothing_after_false_discovery_control():
    found = [
        trends(frame({"": EVEN}, spread=0.7, samples=20, seed=seed), permutations=200)
        for seed in range(40)
    ]
    # Any finding at all in a world: at most one world in twenty on average.
    worlds = [bool(each["p_fdr"].lt(0.05).any()) for each in found]
    assert sum(worlds) <= 5
    assert sum(bool(each["found"].any()) for each in found) <= 2
    p = np.concatenate([each["p"] for each in found])
    assert 0.01 < (p < 0.05).mean() < 0.09


def test_completions_that_share_their_random_numbers_find_nothing_either():
    """The same sample says the same of every prefill, as where each prefill is a batch of one seed."""
    p, worlds, widths = [], [], []
    for seed in range(40):
        replies = frame({"": EVEN}, samples=20, seed=seed)
        one = replies.loc[replies["item"] == replies["item"].iloc[0]]
        said = one.set_index(["condition", "sample"])["label"]
        replies["label"] = said.loc[
            list(zip(replies["condition"], replies["sample"], strict=True))
        ].tolist()
        found = trends(replies, permutations=200)
        p += [*found["p"], *found["p_controls"]]
        worlds.append(bool(found["p_fdr"].lt(0.05).any()))
        row = shares(replies, draws=100).query("condition == 'as it is' and category == 'other'")
        widths.append(float((row["same_high"] - row["same_low"]).item()))
    assert np.mean(np.array(p) < 0.05) < 0.09
    assert sum(worlds) <= 5
    assert np.mean(widths) > 0.3  # of twenty samples; of 160 completions it would be 0.13


def test_texts_of_categories_at_known_rates_are_measured_at_them(judge):
    """Texts of some hand-labelled completions, at planted rates; the error is measured on the others."""
    rates = {"religious_spiritual": 0.45, "business_legal_finance": 0.3, "education_research": 0.25}
    texts = load_labelled("purpose")
    said = {
        each.text: outcome.label
        for each, outcome in zip(texts, judge.outcomes(answers(texts)), strict=True)
    }
    known = Exact("category", lambda answer: Outcome(said[answer.text.strip(" ")]))
    inside, off = [], []
    for seed in range(15):
        rng = np.random.default_rng(seed)
        mine = rng.random(len(texts)) < 0.5
        error = labelling_error(known, [each for each, use in zip(texts, mine, strict=True) if use])
        pool = [each for each, use in zip(texts, mine, strict=True) if not use]
        replies = frame({"": rates}, controls=0, seed=seed)
        replies = replies.loc[replies["condition"] == "as it is"]
        written = {label: [one.text for one in pool if one.label == label] for label in rates}
        replies["label"] = [said[rng.choice(written[label])] for label in replies["label"]]
        row = shares(replies, error, draws=200).set_index("category")
        for label, rate in rates.items():
            found = row.loc[label]
            inside.append(found["corrected_low"] <= rate <= found["corrected_high"])
            off.append(abs(found["corrected"] - rate))
    assert np.mean(inside) >= 0.9
    assert np.mean(off) < 0.08


def test_correction_takes_the_errors_of_labels_out():
    rates = np.array([[[0.9, 0.1, 0.0], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8]]])
    true = np.array([0.2, 0.5, 0.3])
    assert np.allclose(corrected_shares(1000 * true @ rates, rates)[0], true, atol=0.01)


def test_labels_that_were_never_measured_are_refused(judge):
    error = labelling_error(judge, load_labelled("purpose")[::8])
    replies = frame({"": {"astronomy": 1.0}}, controls=0)
    with pytest.raises(EvaluationError, match="never said"):
        shares(replies, error)
    assert shares(replies)["corrected"].isna().all()


def test_frames_of_something_else_are_refused():
    with pytest.raises(EvaluationError, match="not replies to `completions`"):
        shares(pd.DataFrame({"label": ["a"]}))
    with pytest.raises(EvaluationError, match="no direction"):
        trends(frame({"": EVEN}, controls=0).query("kind == 'none'"))
