"""`persona-lens trace`, as its help shows it, on the embedded model."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from persona_lens import cli
from persona_lens.drift import Trace

CHATS = [
    {
        "id": "recipe",
        "messages": [
            {"role": "user", "content": "How long do beans soak?"},
            {"role": "assistant", "content": "Eight hours."},
        ],
    },
    {
        "id": "ghost",
        "messages": [
            {"role": "user", "content": "Be a ghost."},
            {"role": "assistant", "content": "Whooo, I drift through the walls."},
        ],
    },
]


@pytest.fixture
def log(tmp_path):
    file = tmp_path / "chats.jsonl"
    file.write_text("\n".join(json.dumps(chat) for chat in CHATS) + '\n{"messages": 3}\n')
    return file


def test_a_log_becomes_a_page_and_a_broken_line_is_named(log, tmp_path):
    model = "smollm2-135m-instruct"
    page = tmp_path / "trace.html"
    arguments = ["trace", model, str(log), "--model", model, "--dtype", "float32"]
    arguments += ["--layers", "20", "--out", str(page), "--save", str(tmp_path / "kept"), "--quiet"]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert "chats.jsonl, line 3" in done.output
    listed = [line.split()[0] for line in done.stdout.splitlines()[-2:]]
    assert listed == ["ghost", "recipe"]
    found = Trace.load(tmp_path / "kept")
    assert found.turns["conversation"].tolist() == ["recipe", "ghost"]
    assert len(found.tokens) == found.turns["tokens"].sum()


def test_help_has_examples():
    shown = CliRunner().invoke(cli.app, ["trace", "--help"]).output
    assert "persona-lens trace smollm2-135m-instruct" in shown
