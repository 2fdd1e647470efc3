"""The gate: twelve roles, shares with intervals, and advice that follows from them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from persona_lens import PersonaModel, Sampling
from persona_lens.evals.gate import PROBE_ROLES, GateReport, role_play_gate


def report(fully: list[float]) -> GateReport:
    roles = pd.DataFrame(
        {
            "name": [f"role_{index}" for index in range(len(fully))],
            "group": "human",
            "replies": 24,
            "not": [1 - share for share in fully],
            "somewhat": 0.0,
            "fully": fully,
        }
    )
    mean = roles["fully"].mean()
    shares = pd.DataFrame(
        {
            "label": ["not", "somewhat", "fully"],
            "share": [1 - mean, 0.0, mean],
            "low": 0.0,
            "high": 1.0,
            "replies": 24 * len(fully),
        }
    )
    return GateReport(roles, shares, "stub", {})


def test_the_advice_follows_from_the_shares() -> None:
    plays = report([0.9] * 12)
    assert "plays roles: role vectors" in plays.verdict
    assert plays.replies_needed() == 12
    partly = report([0.2] * 6 + [0.6] * 6)
    assert "in part" in partly.verdict
    assert partly.replies_needed() == 50
    hardly = report([0.0] * 11 + [0.5])
    assert "hardly plays" in hardly.verdict
    assert hardly.replies_needed() is None
    assert "no reply fully in role" in hardly.advice()[0]


@pytest.mark.embedded
def test_the_gate_of_the_real_model(smol_auto: PersonaModel, tmp_path: Path) -> None:
    found = role_play_gate(
        smol_auto,
        tmp_path / "gate",
        questions=["q01", "q05", "q06"],
        prompts=1,
        sampling=Sampling(max_new_tokens=16),
        progress=False,
    )
    assert found.roles["name"].tolist() == list(PROBE_ROLES)
    assert found.shares["share"].sum() == pytest.approx(1)
    assert (found.shares["low"] <= found.shares["share"]).all()
    assert (found.shares["share"] <= found.shares["high"]).all()
    assert found.share("fully") > 0.2
    console = Console(record=True, width=100)
    console.print(found)
    text = console.export_text()
    assert "pirate" in text
    assert found.verdict[:30] in text
