"""`persona-lens eval`: what is listed, sized, run, resumed and refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faulty_server import FaultyServer, ok
from tiny import shared_model, tiny_folder
from typer.testing import CliRunner

from persona_lens import PersonaModel, cli
from persona_lens.errors import PersonaLensError
from persona_lens.evals.evaluation import Evaluated
from persona_lens.evals.registry import entries
from persona_lens.interventions import Add, Direction, Plan

SHORT = ["--max-new-tokens", "6", "--temperature", "0", "--quiet"]


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> PersonaModel:
    """The tiny model that commands load."""
    model = shared_model("llama")
    monkeypatch.setattr(PersonaModel, "load", lambda *_, **__: model)
    return model


def said(*arguments: object) -> str:
    line = ["eval", *map(str, arguments)]
    result = CliRunner().invoke(cli.app, line, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_all_are_listed_with_their_options():
    listed = said("list")
    assert all(each.name in listed for each in entries())
    assert "first" in listed


PACKAGED = [entry for entry in entries() if not entry.needed()]


@pytest.mark.parametrize("entry", PACKAGED, ids=lambda entry: entry.name)
def test_each_can_be_made_by_name(entry, loaded):
    needs = {"model": loaded} if "model" in entry.options() else {}
    evaluation = entry.make(**needs)
    assert evaluation.name == entry.name
    assert len(evaluation.items) >= 20


def test_a_dry_run_says_how_much_it_would_be():
    assert "2 items x 1 conditions x 3 samples = 6 replies" in said(
        "formats", "--with", "first=2", "--samples", 3, "--dry-run"
    )


def test_a_run_is_kept_with_its_figures_and_continues(tmp_path: Path, loaded: PersonaModel):
    push = Plan.of(Add(Direction("up", (1,), np.ones((1, loaded.d_model))), lengths=40.0))
    push.save(tmp_path / "pushed")
    line = ("formats", "--with", "first=2", "--plan", tmp_path / "pushed", *SHORT)
    table = said(*line, "--out", tmp_path / "out")
    assert "as it is" in table
    assert "pushed" in table
    result = Evaluated.load(tmp_path / "out")
    assert set(result.replies["condition"]) == {"as it is", "pushed"}
    assert (tmp_path / "out" / "measures.html").is_file()
    pieces = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/pieces").iterdir()}
    said(*line, "--out", tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in pieces} == pieces


def test_a_server_may_answer_where_nothing_acts(tmp_path: Path, monkeypatch, tiny_llama: Path):
    monkeypatch.setenv("SERVED_KEY", "none")
    with FaultyServer(lambda _: ok("served")) as server:
        line = (
            "formats",
            "--with",
            "first=2",
            "--model",
            tiny_llama,
            "--base-url",
            server.url,
            *SHORT,
        )
        said(*line, "--served-key-env", "SERVED_KEY", "--out", tmp_path / "out")
    assert set(Evaluated.load(tmp_path / "out").replies["text"]) == {"served"}


def test_workers_need_an_engine():
    result = CliRunner().invoke(
        cli.app, ["eval", "formats", "--with", "first=2", "--workers", "2", *SHORT]
    )
    assert "--engine ray" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["formatz"], "did you mean formats"),
        (["formats", "--with", "firts=2"], "did you mean first"),
        (["formats", "--with", "first"], "cannot read --with"),
        (["formats", "--floor", "75"], "need a space"),
        (["formats", "--space", "smollm2-135m-instruct", "--floor", "high"], "such as 50,75"),
    ],
)
def test_what_cannot_be_done_is_refused(arguments: list[str], problem: str):
    with pytest.raises(PersonaLensError, match=problem):
        said(*arguments, *SHORT)


_STOPS = """
import sys, time
from persona_lens import cli
from persona_lens.evals.experiment import Experiment

keep, kept = Experiment._keep, []

def keep_and_stop(self, cell, rows):
    keep(self, cell, rows)
    kept.append(cell)
    if len(kept) == 3:
        print("reached", flush=True)
        time.sleep(600)

Experiment._keep = keep_and_stop
cli.app(sys.argv[1:])
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_command_that_is_killed_continues_and_does_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = tiny_folder(tmp_path / "model", "llama")
    line = ["eval", "formats", "-m", str(model), "--with", "first=4", "--batch-size", "1", "--device", "cpu",
            "--dtype", "float32", "--max-new-tokens", "6", "--temperature", "1", "--quiet"]  # fmt: skip
    killed = [*line, "--out", str(tmp_path / "killed")]
    with subprocess.Popen(
        [sys.executable, "-c", _STOPS, *killed], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reached\n"
        process.send_signal(signal.SIGKILL)
    pieces = tmp_path / "killed" / "pieces"
    before = {path: path.stat().st_mtime_ns for path in pieces.iterdir()}
    assert len(before) == 3
    monkeypatch.undo()  # the real model, no shared one
    for arguments in (killed, [*line, "--out", str(tmp_path / "whole")]):
        result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert {path: path.stat().st_mtime_ns for path in before} == before
    continued, whole = (Evaluated.load(tmp_path / name) for name in ("killed", "whole"))
    pd.testing.assert_frame_equal(continued.replies, whole.replies)
    assert len(list(pieces.iterdir())) == len(list((tmp_path / "whole/pieces").iterdir()))
