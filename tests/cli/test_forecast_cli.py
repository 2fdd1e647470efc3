"""`persona-lens forecast` on a saved trace, with the packaged embedder."""

from __future__ import annotations

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from persona_lens import cli
from persona_lens.catalog import load_scripts
from persona_lens.drift import Trace
from persona_lens.drift.forecast import Forecaster

PERSONAS, TURNS = 10, 4


def made() -> Trace:
    """Scripts of ten people, whose replies lie where the number of words of the message puts them."""
    rng = np.random.default_rng(0)
    scripts = {script.user: script for script in load_scripts()}
    rows = [
        {
            "conversation": script.id,
            "turn": turn,
            "persona": user,
            "domain": script.domain,
            "message": message,
            "projection": len(message.split()) + rng.normal(),
        }
        for user, script in list(scripts.items())[::2][:PERSONAS]
        for turn, message in enumerate(script.messages[:TURNS])
    ]
    table = pd.DataFrame(rows)
    frame = table[["conversation", "turn", "projection"]].assign(
        reading="clean", layer=3, direction="axis", start=0.0, tokens=5
    )
    turns = table.drop(columns="projection").assign(since=0, tokens=5, reply="Yes.")
    card = {"model": {"model": "tiny"}, "space": "tiny", "layers": [3], "directions": ["axis"]}
    card |= {"readings": ["clean"], "plan": None}
    refused = pd.DataFrame({"conversation": [], "reason": []})
    return Trace(frame, turns, refused, card, pd.DataFrame({"place": []}))


def test_a_trace_becomes_a_forecaster_with_tables_and_figures(tmp_path):
    made().save(tmp_path / "trace")
    arguments = ["forecast", str(tmp_path / "trace"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(cli.app, [*arguments, "--permutations", "3", "--quiet"])
    assert done.exit_code == 0, done.output
    for name in ("scores.html", "truth.html", "kinds.html", "messages.csv", "kinds.csv"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert set(scores["split"]) >= {"persona", "domain"}
    length = scores.query("predictor == 'length' and split == 'persona' and target == 'next'")
    assert length["r2"].iloc[0] > 0.5  # what was planted, and found by the baseline that can
    assert Forecaster.load(tmp_path / "out" / "forecaster").directions_ == ("axis",)


def test_no_trace_there_says_how_to_make_one(tmp_path):
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(
        cli.app, ["forecast", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]
    )
    assert done.exit_code != 0
    assert "trace --save" in str(done.exception)
