"""Depth of emergence: planted depths come back, noise has none, and the order of kinds is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sweep_data import scores_of

from persona_lens.analysis.sweep import Sweep
from persona_lens.analysis.sweep.emergence import first_passage
from persona_lens.analysis.sweep.result import COLUMNS, UNIT_COLUMNS
from persona_lens.errors import SpaceError
from persona_lens.separability import Separability


def swept(scores: Separability) -> Sweep:
    empty = pd.DataFrame(columns=list(COLUMNS)), pd.DataFrame(columns=list(UNIT_COLUMNS))
    return Sweep(*empty, separability=scores)


def test_first_passage_is_linear_between_layers_and_skips_what_is_unknown() -> None:
    layers = np.array([0.0, 1.0, 2.0, 4.0])
    curves = np.array(
        [
            [0.0, 0.2, 0.8, 1.0],
            [1.0, 1.0, 1.0, 1.0],
            [0.0, np.nan, 1.0, 0.9],
            [0.0, 0.0, 0.0, 1.0],
            [-1.0, 0.0, -0.5, 0.0],
            [np.nan, 0.9, 1.0, 1.0],
        ]
    )
    np.testing.assert_allclose(
        first_passage(curves, layers, 0.5), [1.5, 0.0, 1.0, 3.0, np.nan, 1.0]
    )


def test_planted_depths_are_found_within_their_intervals() -> None:
    truth = np.linspace(2, 9, 40)
    found = swept(scores_of({"role": truth})).emergence()
    assert found["q"].max() < 0.05
    assert found["depth"].to_numpy() == pytest.approx(truth, abs=0.3)
    inside = (found["low"] <= truth) & (truth <= found["high"])
    assert inside.mean() > 0.8
    assert found["relative"].tolist() == pytest.approx((found["depth"] / 11).tolist())
    assert set(found["folds"]) == {6}


def test_noise_has_no_depth() -> None:
    onsets = {"role": np.full(60, np.nan)}
    depths = [
        swept(scores_of(onsets, noise=0.1, seed=seed)).emergence()["depth"].notna().sum()
        for seed in range(5)
    ]
    assert sum(depths) <= 3, "of 300, and five per cent of the runs may find one"
    mixed = np.r_[np.full(30, 5.0), np.full(30, np.nan)]
    found = swept(scores_of({"role": mixed})).emergence()
    assert found["depth"][:30].notna().all()
    assert found["depth"][30:].notna().sum() <= 4


def test_p_values_of_noise_are_even() -> None:
    p = np.concatenate(
        [
            swept(scores_of({"role": np.full(50, np.nan)}, noise=0.1, seed=seed)).emergence()["p"]
            for seed in range(6)
        ]
    )
    assert 0.42 < p.mean() < 0.58
    assert 0.02 < (p < 0.05).mean() < 0.1


def test_the_mean_curve_counts_units_that_cannot_be_dated_alone() -> None:
    rng = np.random.default_rng(1)
    onsets = {"role": np.full(60, 7.0), "trait": np.full(60, 4.0)}
    loud = scores_of(onsets, noise=0.02)
    found = swept(loud).emergence_of_mean().set_index("kind")
    assert found.loc["role", "depth"] == pytest.approx(7, abs=0.3)
    assert found.loc["trait", "depth"] == pytest.approx(4, abs=0.3)
    both = found.loc["role minus trait"]
    assert 2 < both["low"] <= both["depth"] <= both["high"] < 4
    assert found.loc[["role", "trait"], "p"].max() < 0.06
    # Noise that hides every unit by itself averages out over sixty of them.
    quiet = scores_of(onsets, noise=0.02, seed=2)
    noisy = {
        key: values + 0.4 * rng.normal(size=values.shape) for key, values in quiet.scores.items()
    }
    nulls = {
        key: values + 0.4 * rng.normal(size=values.shape) / np.sqrt(6)
        for key, values in quiet.shuffled.items()
    }
    hidden = swept(replace(quiet, scores=noisy, shuffled=nulls))
    assert hidden.emergence()["depth"].notna().mean() < 0.9
    depths = hidden.emergence_of_mean().set_index("kind")["depth"]
    assert depths["role"] == pytest.approx(7, abs=1)
    assert depths["trait"] == pytest.approx(4, abs=1)


def test_the_mean_of_noise_has_no_depth() -> None:
    onsets = {"role": np.full(60, np.nan), "trait": np.full(60, np.nan)}
    known = [
        swept(scores_of(onsets, noise=0.1, seed=seed)).emergence_of_mean()["depth"].notna().sum()
        for seed in range(10)
    ]
    assert sum(known) <= 5


def test_what_comes_first() -> None:
    rng = np.random.default_rng(0)
    onsets = {"role": 7 + rng.normal(size=40), "trait": 4 + rng.normal(size=30)}
    by_kind = swept(scores_of(onsets)).emergence_by_kind().set_index("kind")
    for kind, truth in (("role", 7), ("trait", 4), ("role minus trait", 3)):
        row = by_kind.loc[kind]
        assert row["low"] <= truth <= row["high"]
        assert row["low"] <= row["depth"] <= row["high"]
        assert row["high"] - row["low"] < 2.5
    assert by_kind.loc["role minus trait", "p"] < 0.01
    assert by_kind.loc["role minus trait", "n"] == 70


def test_no_order_is_found_where_there_is_none() -> None:
    rng = np.random.default_rng(1)
    onsets = {"role": 6 + rng.normal(size=40), "trait": 6 + rng.normal(size=30)}
    row = swept(scores_of(onsets)).emergence_by_kind().set_index("kind").loc["role minus trait"]
    assert row["low"] <= 0 <= row["high"]
    assert row["p"] > 0.05


def test_a_kind_that_never_emerges_leaves_the_difference_open() -> None:
    onsets = {"role": np.full(20, 5.0), "trait": np.full(20, np.nan)}
    by_kind = swept(scores_of(onsets, noise=0.05)).emergence_by_kind().set_index("kind")
    assert by_kind.loc["role", "depth"] == pytest.approx(5, abs=0.3)
    assert by_kind.loc["trait", "n"] <= 1
    assert np.isnan(by_kind.loc["role minus trait", "p"])


def test_one_fold_gives_depths_without_intervals() -> None:
    found = swept(scores_of({"role": np.full(20, 5.0)}, n_folds=1)).emergence()
    assert found["depth"].notna().all()
    assert found["low"].isna().all()


def test_scores_that_are_not_there_are_errors() -> None:
    sweep = swept(scores_of({"role": np.full(20, 5.0)}))
    with pytest.raises(SpaceError, match="expected identity"):
        sweep.emergence("auc")
    scores = sweep.separability
    assert scores is not None
    bare = Separability(**{**vars(scores), "shuffled": {}})
    with pytest.raises(SpaceError, match="n_shuffles"):
        swept(bare).emergence()
