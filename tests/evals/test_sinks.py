"""The sink, spared and touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from asked import explode

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.evals import sink_experiment
from persona_lens.plots import sinks as sink_figure


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
