"""`persona-lens simulate`: who is talked to, what is kept, and what is refused before a model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faulty_server import FaultyServer, ok
from tiny import shared_model
from typer.testing import CliRunner

from persona_lens import PersonaModel, cli
from persona_lens.conversations import Conversation, read_conversations, write_conversations
from persona_lens.drift.simulation import SimulationFolder
from persona_lens.errors import PersonaLensError
from persona_lens.interventions import Add, Direction, Plan

SHORT = ["--turns", "2", "--max-new-tokens", "4", "--temperature", "0", "--quiet"]


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that commands load; each gets a tiny one."""
    names: list[str] = []
    model = shared_model("llama")

    def load(source: str, **_: object) -> PersonaModel:
        names.append(source)
        return model

    monkeypatch.setattr(PersonaModel, "load", load)
    return names


def simulate(*arguments: object) -> str:
    line = ["simulate", "tiny", *map(str, arguments)]
    result = CliRunner().invoke(cli.app, line, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def log(tmp_path: Path) -> Path:
    chats = [
        Conversation.of([("user", "Hi"), ("assistant", "Hello."), ("user", "Who?")], id="who"),
        Conversation.of([("user", "Bye")], id="bye", domain="farewell"),
    ]
    return write_conversations(tmp_path / "log.jsonl", chats)


def test_a_simulation_is_kept_and_continued(tmp_path: Path, log: Path, loaded: list[str]):
    folder = tmp_path / "sim"
    told = simulate("--log", log, "--out", folder, *SHORT)
    assert "2 conversations with 3 replies" in told
    chats = read_conversations(folder / "conversations.jsonl")
    assert [chat.users for chat in chats] == [("Hi", "Who?"), ("Bye",)]
    assert chats[1].about["domain"] == "farewell"
    kept = SimulationFolder(folder).simulated()
    assert kept.layers == (0, 1, 2)
    before = (folder / "batches" / "0000" / "batch.json").stat().st_mtime_ns
    assert simulate("--log", log, "--out", folder, *SHORT) == told
    assert (folder / "batches" / "0000" / "batch.json").stat().st_mtime_ns == before
    assert loaded == ["tiny", "tiny"]


def test_a_plan_acts_and_options_reach_the_model(tmp_path: Path, log: Path):
    plan = Plan.of(Add(Direction("ghost", (1,), np.ones((1, 16))), lengths=np.array([9.0])))
    saved = plan.save(tmp_path / "plan")
    options = ["--plan", saved, "--plan-name", "pushed", "--system", "Be brief.", "--layers", "1"]
    simulate("--log", log, "--out", tmp_path / "sim", "--no-cache", *options, *SHORT)
    kept = SimulationFolder(tmp_path / "sim").simulated()
    chat = kept.conversations[0]
    assert chat.messages[0].content == "Be brief."
    assert chat.about["plan"] == "pushed"
    assert chat.about["cache"] == "not kept: asked for"
    assert kept.layers == (1,)
    assert int(kept.receipt["seen"].sum()) > 0


def test_a_dry_run_loads_nothing(loaded: list[str]):
    told = simulate("--scripts", "night_shift_nurse_coder", "--everyday", "cooking", "--dry-run")
    assert told.startswith("12 conversations, at most ")
    assert loaded == []


def test_a_model_here_plays_the_users(tmp_path: Path, loaded: list[str]):
    users = tmp_path / "users.json"
    users.write_text(
        '{"domain": "kitchen", "users": [{"id": "baker", "description": "You bake.", '
        '"topics": [{"id": "dough", "text": "It is wet."}, {"id": "oven", "text": "It is cold."}]}]}'
    )
    with pytest.warns(UserWarning, match="never began"):  # the brief fills the tiny context
        simulate(
            *("--users", users, "--topics", "1", "--user-model-local", "other"),
            *("--out", tmp_path / "sim", *SHORT),
        )
    assert loaded == ["other", "tiny"]


def test_a_server_plays_the_users(tmp_path: Path):
    folder = tmp_path / "sim"
    with FaultyServer(ok("Why is that?")) as server:
        simulate(
            *("--users", "night_shift_nurse_coder", "--topics", "2", "--user-server", server.url),
            *("--user-model", "m", "--user-temperature", "0.5", "--out", folder, *SHORT),
        )
        asked = server.requests
    assert len(asked) == 4
    assert {seen.body["temperature"] for seen in asked} == {0.5}
    chat = read_conversations(folder / "conversations.jsonl")[0]
    assert chat.users == ("Why is that?",) * 2
    assert chat.about["simulator"] == "m"
    assert chat.about["domain"] == "coding"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nobody to talk to"),
        (["--everyday", "cooking"], "needs a folder"),
        (["--users", "coding"], "no model plays the users"),
        (["--users", "coding", "--user-server", "http://127.0.0.1:9/v1"], "no model plays"),
        (["--user-model-local", "other"], "nobody for the model to play"),
        (["--scripts", "cooding"], "did you mean coding"),
        (["--everyday", "cooking", "--layers", "x"], "cannot read the layers"),
    ],
)
def test_what_is_refused_before_a_model_is_loaded(
    arguments: list[str], words: str, loaded: list[str]
):
    invoke: Callable = CliRunner().invoke
    with pytest.raises(PersonaLensError, match=words):
        invoke(cli.app, ["simulate", "tiny", *arguments], catch_exceptions=False)
    assert loaded == []
