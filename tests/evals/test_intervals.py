"""Statistics of the evaluations: clusters, sigmoids, and what is not known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from persona_lens.evals.intervals import means_by_strength, sigmoid_fit


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
