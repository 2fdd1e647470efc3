"""Statistics of the evaluations: clusters, sigmoids, and what is not known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from persona_lens.evals.intervals import sigmoid_fit


def outcomes(chance: Any, *, clusters: int = 80, seed: int = 0) -> pd.DataFrame:
    """A yes or no of each cluster at nine strengths."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        [
            {
                "cluster": f"item {cluster}",
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


def test_where_nothing_is_known_there_is_no_fit() -> None:
    fit, curve = sigmoid_fit(outcomes(lambda _: 0.5, clusters=20).assign(yes=np.nan), "yes")
    assert fit["n"] == 0
    assert np.isnan(fit["slope"])
    assert curve.empty


def test_items_of_one_cluster_say_no_more_than_one_of_them() -> None:
    frame = outcomes(lambda strength: 1 / (1 + np.exp(12 * strength)), clusters=20)
    one, _ = sigmoid_fit(frame, "yes")
    four, _ = sigmoid_fit(pd.concat([frame] * 4), "yes")
    assert four["slope_high"] - four["slope_low"] == pytest.approx(
        one["slope_high"] - one["slope_low"]
    )
    assert (one["n"], four["n"]) == (180, 720)
