"""Intervals cover, null p-values are uniform, the false discovery rate is kept."""

from __future__ import annotations

import numpy as np
import pytest

from persona_lens.statistics import crossed_means, draw_counts, fdr, interval_of, permutation_p


def test_crossed_interval_covers_the_mean_where_one_of_cells_does_not() -> None:
    rng = np.random.default_rng(0)
    covered = {"crossed": 0, "cells": 0}
    for trial in range(200):
        scores = rng.normal(size=(40, 1)) + rng.normal(size=(1, 12)) + rng.normal(size=(40, 12))
        low, high = interval_of(crossed_means(scores, seed=trial))
        covered["crossed"] += low <= 0 <= high
        cells = draw_counts(scores.size, 200, rng) @ scores.ravel() / scores.size
        low, high = interval_of(cells)
        covered["cells"] += low <= 0 <= high
    assert (
        covered["crossed"] >= 170
    )  # 95 % nominal; percentiles over twelve questions give about 92 %
    assert covered["cells"] < 100


def test_crossed_means_leave_out_unknown_scores() -> None:
    scores = np.full((6, 4, 2), 2.0)
    scores[:3, :2] = np.nan
    scores[..., 1] = np.nan
    draws = crossed_means(scores, n_draws=50)
    known = draws[np.isfinite(draws[:, 0]), 0]
    np.testing.assert_allclose(known, 2.0)
    assert len(known) > 45
    assert np.isnan(draws[:, 1]).all()
    assert np.isnan(interval_of(draws[:, 1])).all()


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_p_values_of_nothing_are_uniform(alternative: str) -> None:
    rng = np.random.default_rng(1)
    p = permutation_p(rng.normal(size=2000), rng.normal(size=(199, 2000)), alternative)  # pyright: ignore
    assert abs((p <= 0.1).mean() - 0.1) < 0.03
    assert p.min() > 0


def test_false_discoveries_stay_few() -> None:
    rng = np.random.default_rng(2)
    shares = []
    for _ in range(100):
        values = np.concatenate([rng.normal(4, 1, 20), rng.normal(0, 1, 80)])
        found = fdr(permutation_p(values, rng.normal(size=(999, 100)))) < 0.05
        shares.append(found[20:].sum() / max(found.sum(), 1))
        assert found[:20].sum() > 5
    assert np.mean(shares) < 0.07
