"""Capping on the embedded model, with its price and its controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from asked import ASKED, explode

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.evals import capping_sweep
from persona_lens.evals.answering import Answerer
from persona_lens.plots import pareto as pareto_figure


@pytest.mark.embedded
@pytest.mark.usefixtures("short_neutral_texts")
def test_capping_costs_something_and_comes_with_controls(
    smol_auto: PersonaModel,
    judged_space: PersonaSpace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("persona_lens.evals.capping.NEUTRAL_TEXTS", 1)
    options: dict[str, Any] = {
        "depths": [(0.7, 0.8)],
        "percentiles": [75.0],
        "out": tmp_path / "caps",
        **{**ASKED, "questions": ["q11"]},
    }
    frame = capping_sweep(smol_auto, judged_space, **options)
    matched = ["random 1, equal engagement", "random 1, equal norm"]
    assert frame["direction"].tolist() == ["no cap", "Assistant Axis", *matched]
    assert frame["control"].tolist() == [False, False, True, True]
    assert frame["layers"].tolist() == ["", *["21-23"] * 3]
    np.testing.assert_allclose(frame["depth"], [np.nan, *[22 / 30] * 3])
    np.testing.assert_allclose(frame["percentile"], [np.nan, 75, 75, 75])
    assert (frame["n"] == 2).all()
    assert frame["adoption"].between(frame["adoption_low"], frame["adoption_high"]).all()
    bare, capped, engaging, pushing = (frame.iloc[row] for row in range(4))
    assert engaging["engagement"] == pytest.approx(capped["engagement"], abs=0.25)
    assert pushing["engagement"] == 1
    assert (bare["kl"], bare["engagement"], bare["perplexity_ratio"]) == (0, 0, 1)
    assert 0 < capped["engagement"] < 1
    assert capped["kl"] > 0
    assert capped["kl_low"] <= capped["kl"] <= capped["kl_high"]
    assert capped["perplexity_ratio"] != 1
    monkeypatch.setattr(Answerer, "answered", explode)
    pd.testing.assert_frame_equal(capping_sweep(smol_auto, judged_space, **options), frame)
    names = {trace.name for trace in pareto_figure(frame).data}  # pyright: ignore[reportAttributeAccessIssue]
    assert {"Assistant Axis", "controls", "no intervention"} <= names
