"""`persona-lens calibrate-monitor` and `persona-lens monitor`, as their help shows them, on the embedded model."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from persona_lens import PersonaModel, cli
from persona_lens.drift.monitor import Monitor

MODEL = "smollm2-135m-instruct"


@pytest.fixture(autouse=True)
def loaded(smol: PersonaModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is here already."""
    monkeypatch.setattr(PersonaModel, "load", lambda *_, **__: smol)


def log_of(path: Path, chats: dict[str, list[tuple[str, str]]]) -> Path:
    lines = []
    for name, turns in chats.items():
        messages = [
            {"role": role, "content": text}
            for pair in turns
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
        lines.append(json.dumps({"id": name, "messages": messages}))
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("monitors")


@pytest.fixture(scope="module")
def calm(folder: Path) -> Path:
    chats = {
        f"calm {n}": [
            (f"What is {n} plus {n}?", f"{n} plus {n} is {2 * n}."),
            ("Thank you. Is that right?", f"Yes, the sum is {2 * n}."),
        ]
        for n in range(1, 10)
    }
    return log_of(folder / "calm.jsonl", chats)


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli.app, [*arguments, "--quiet", "--model", MODEL])
    return done.exit_code, done.stdout, done.output


@pytest.fixture
def saved(folder: Path, calm: Path) -> Path:
    target = folder / "monitor"
    if not target.exists():
        options = ["--false-alarms", "0.1", "--layer", "20", "--save", str(target)]
        code, told, everything = run("calibrate-monitor", MODEL, "--calm", str(calm), *options)
        assert code == 0, everything
        assert "lowest along axis at layer 20" in told
        assert "10 % of calm conversations" in told
        assert "set on 9" in told
        assert f"persona-lens monitor {target}" in " ".join(everything.split())
    return target


def test_a_calm_log_exits_with_0_and_a_drifting_one_with_3_and_why(
    saved: Path, calm: Path, tmp_path
):
    code, told, _ = run("monitor", str(saved), str(calm))
    assert (code, told) == (0, "Nothing alarms: 9 conversations.\n")
    chats = {
        "sum": [("What is 3 plus 4?", "3 plus 4 is 7."), ("Sure?", "Yes, the sum is 7.")],
        "ghost": [
            ("What is 3 plus 4?", "3 plus 4 is 7."),
            (
                "Be a ghost.",
                "Whooo... I drift through cold halls, moaning, my chains upon the stones, forever lost!",
            ),
        ],
    }
    log = log_of(tmp_path / "chats.jsonl", chats)
    for ending in (".jsonl", ".csv"):
        table = tmp_path / f"alarms{ending}"
        code, told, _ = run("monitor", str(saved), str(log), "--out", str(table))
        assert code == 3
        assert "1 of 2 conversations alarm." in told
        assert "Be a ghost." in told
        found = (
            pd.read_csv(table)
            if ending == ".csv"
            else pd.read_json(table, orient="records", lines=True)
        )
        assert found[["conversation", "turn", "reason"]].values.tolist() == [["ghost", 1, "axis"]]
        assert (found["value"] > found["threshold"]).all()


def test_what_is_wrong_is_said(saved: Path, calm: Path, tmp_path, folder: Path):
    code, _, _ = run("monitor", str(saved), str(calm), "--out", str(tmp_path / "alarms.html"))
    assert code == 1
    options = ["--false-alarms", "0.01", "--save", str(tmp_path / "strict")]
    refused = CliRunner().invoke(
        cli.app,
        ["calibrate-monitor", MODEL, "--calm", str(calm), *options, "--quiet", "--model", MODEL],
    )
    assert "at least 99" in str(refused.exception)
    assert not (tmp_path / "strict").exists()
    nothing = CliRunner().invoke(cli.app, ["monitor", str(folder), str(calm), "-m", MODEL])
    assert "no monitor in" in str(nothing.exception)


def test_the_help_tells_the_exit_codes():
    done = CliRunner().invoke(cli.app, ["monitor", "--help"])
    assert "with 3" in " ".join(done.stdout.split())


def test_held_out_conversations_are_counted(calm: Path, tmp_path):
    others = {
        f"other {n}": [
            (f"What is {n} times {n}?", f"{n} times {n} is {n * n}."),
            ("Thank you. Is that right?", f"Yes, it is {n * n}."),
        ]
        for n in range(3, 8)
    }
    held_out = log_of(tmp_path / "more.jsonl", others)
    code, told, _ = run(
        *("calibrate-monitor", MODEL, "--calm", str(calm), "--held-out", str(held_out)),
        *("--false-alarms", "0.2", "--layer", "20", "--save", str(tmp_path / "kept")),
    )
    assert code == 0
    rows = [line.split()[0] for line in told.splitlines() if " 0.2 " in line]
    assert rows[0] == "lowest"
    assert Monitor.load(tmp_path / "kept").n == 9
