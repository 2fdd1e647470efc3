"""Sweeps as the atlas draws them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from persona_lens.pages.atlas.sweeps import sweep_panels


def test_a_sweep_may_be_a_frame_an_object_or_a_folder(
    sweep_frame: pd.DataFrame, tmp_path: Path
) -> None:
    class Sweep:
        frame = sweep_frame

    sweep_frame.to_parquet(tmp_path / "sweep.parquet")
    sweep_frame[["layer"]].to_parquet(tmp_path / "another.parquet")
    panels = sweep_panels(sweep_frame)
    assert sweep_panels(Sweep()) == panels == sweep_panels(tmp_path)
    assert panels[0]["metric"] == "identity"
    assert "held out" in panels[0]["title"]
    role, trait = panels[0]["lines"]
    assert role["layer"] == [0, 2, 4, 6, 8]
    assert role["value"] == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])
    assert trait["low"] == [None] * 5
    assert (role["n"], trait["nulls"]) == ([30, 30], [])
    assert [null["name"] for null in role["nulls"]] == ["shuffled labels", "random directions"]
    assert role["nulls"][1]["layer"] == role["layer"]
    assert role["nulls"][1]["high"] == pytest.approx([0.65] * 5)
    assert sweep_panels(None) == []
