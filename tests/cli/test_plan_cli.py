"""`persona-lens plan`: options to a file of a format, and `steer --plan` that reads it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from persona_lens import PersonaModel, cli
from persona_lens.interop import read_plan
from persona_lens.interventions import Direction, Floor, Plan


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    axis = Direction("assistant", (15,), np.random.default_rng(0).normal(size=(1, 576)))
    return Plan.of(Floor(axis, thresholds=2.0)).save(tmp_path_factory.mktemp("plans") / "mine")


def test_a_plan_is_written_for_another_engine(saved: Path, tmp_path: Path) -> None:
    file = tmp_path / "cap.json"
    arguments = ["plan", "--plan", str(saved), "--where", "generated", "--to", "vllm-steering"]
    result = CliRunner().invoke(cli.app, [*arguments, "--out", str(file)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "floor 'assistant'; at layers 15; tokens generated" in " ".join(result.output.split())
    assert json.loads(file.read_text())["decode_clamps"]["post_block"]["bounds"] == [[2.0, None]]
    [step] = read_plan(file).steps
    assert isinstance(step.operation, Floor)


def test_a_plan_is_saved_as_a_folder_by_default(saved: Path, tmp_path: Path) -> None:
    arguments = ["plan", "--plan", str(saved), "--out", str(tmp_path / "again")]
    result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert repr(Plan.load(tmp_path / "again")) == repr(Plan.load(saved))


def test_a_plan_of_a_space_needs_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> PersonaModel:
        raise AssertionError("no model is needed")

    monkeypatch.setattr(PersonaModel, "load", load)
    file = tmp_path / "axis.json"
    arguments = [
        "plan",
        "smollm2-135m-instruct",
        "--ablate",
        "assistant",
        "--layers",
        "15",
        "--sinks",
    ]
    arguments += ["--to", "interp-engine", "--out", str(file)]
    result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert read_plan(file).layers == (15,)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--to", "interp-engine"], "leaves attention sinks alone"),
        (["--to", "onnx"], "unknown format"),
        (["--to", "control-vector"], r"ends in .gguf"),
    ],
)
def test_what_cannot_be_written_is_refused(
    *,
    options: list[str],
    why: str,
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "cap.json"
    line = ["persona-lens", "plan", "--plan", str(saved), "--out", str(file), *options]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit):
        cli.main()
    assert why in capsys.readouterr().err
    assert not file.exists()


@pytest.mark.embedded
def test_steer_takes_a_file_of_another_engine(
    saved: Path, smol: PersonaModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PersonaModel, "load", lambda *_, **__: smol)
    file = tmp_path / "cap.json"
    arguments = [
        "plan",
        "--plan",
        str(saved),
        "--sinks",
        "--to",
        "interp-engine",
        "--out",
        str(file),
    ]
    CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    options = ["--max-new-tokens", "3", "--temperature", "0", "-m", "smollm2-135m-instruct"]
    result = CliRunner().invoke(
        cli.app, ["steer", "Hi", "--plan", str(file), *options], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert "floor" in result.output
