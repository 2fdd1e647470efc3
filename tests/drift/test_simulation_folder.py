"""The folder of a simulation: killed and continued, bound to its inputs, and one writer at a time."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import shared_model

from persona_lens import Sampling
from persona_lens.conversations import read_conversations
from persona_lens.drift.simulation import (
    PlayedUser,
    ScriptedUser,
    Simulated,
    Simulation,
    SimulationFolder,
    User,
    simulate,
)
from persona_lens.errors import RunError
from persona_lens.frames import ResultKind
from persona_lens.interventions import Add, Direction, Plan
from persona_lens.runs.store.locking import held_for_writing

SAMPLING = Sampling(max_new_tokens=6, temperature=1.0)


def users() -> list[User]:
    model = shared_model("llama")
    scripts = {"a": ["1", "2"], "b": ["3"], "c": ["4", "5", "6"]}
    played = PlayedUser(model, "a nurse", "sleep", name="d", brief="{topic}", sampling=SAMPLING)
    return [*(ScriptedUser(script, name=name) for name, script in scripts.items()), played]


def run(out: Path | None, **options) -> Simulated:
    options = {"turns": 2, "sampling": SAMPLING, "layers": [1], "batch_size": 2, **options}
    return simulate(
        shared_model("llama"),
        options.pop("users", None) or users(),
        out=out,
        progress=False,
        **options,
    )


def assert_same(found: Simulated, expected: Simulated) -> None:
    pd.testing.assert_frame_equal(found.frame, expected.frame)
    pd.testing.assert_frame_equal(found.receipt, expected.receipt)
    np.testing.assert_array_equal(found.means, expected.means)
    assert found.conversations == expected.conversations
    assert found.layers == expected.layers


def plan() -> Plan:
    return Plan.of(Add(Direction("ghost", (1,), np.ones((1, 16)) / 4), lengths=9.0))


def test_what_is_kept_is_what_was_said(tmp_path: Path):
    held = run(None, plan=plan())
    kept = run(tmp_path / "sim", plan=plan())
    assert_same(kept, held)
    folder = SimulationFolder(tmp_path / "sim")
    assert_same(folder.simulated(), held)
    log = read_conversations(tmp_path / "sim" / "conversations.jsonl")
    assert tuple(log) == held.conversations
    assert log[3].about["simulator"] == shared_model("llama").name
    record = folder.conditions()
    assert record["sampling"]["temperature"] == 1.0
    assert record["plan"] is not None


class Killed(BaseException):
    """Stops everything, as a signal does."""


@pytest.mark.parametrize("stage", ["replies", "means", "card"])
def test_a_simulation_that_was_stopped_goes_on_with_the_same_replies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
):
    expected, out = run(None), tmp_path / "sim"
    run_batch, saved = [], ResultKind.save

    def save(kind, folder, card, **options):
        run_batch.append(folder.name)
        if folder.name != "0001":
            return saved(kind, folder, card, **options)
        if stage != "replies":
            monkeypatch.setattr(
                f"persona_lens.frames.write_{'tensors' if stage == 'means' else 'json'}", die
            )
            return saved(kind, folder, card, **options)
        raise Killed

    def die(*_args, **_options):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(ResultKind, "save", save)
        with pytest.raises(Killed):
            run(out)
    monkeypatch.undo()
    assert run_batch == ["0000", "0001"]
    assert not (out / "conversations.jsonl").exists()
    assert len(SimulationFolder(out).simulated().frame) < len(expected.frame)
    asked: list[int] = []
    generate = shared_model("llama").generate
    monkeypatch.setattr(
        shared_model("llama"),
        "generate",
        lambda prompts, *a, **k: asked.append(len(prompts)) or generate(prompts, *a, **k),
    )
    assert_same(run(out), expected)
    assert sum(asked) == 6  # the second batch alone: of each turn two replies, and what d says
    assert_same(run(out), expected)


def test_a_killed_process_loses_no_finished_batch(tmp_path: Path):
    out = tmp_path / "sim"
    code = (
        "import os, signal, sys; sys.path[:0] = ['tests', 'tests/drift']\n"
        "from pathlib import Path\n"
        "import test_simulation_folder as t\n"
        "from persona_lens.drift.simulation.simulation import Simulation\n"
        "play = Simulation.play\n"
        "def killed(self, number, **options):\n"
        "    if number == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return play(self, number, **options)\n"
        "Simulation.play = killed\n"
        "t.run(Path(sys.argv[1]))\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(out)], cwd=root, check=False)
    assert done.returncode == -9
    card = out / "batches" / "0000" / "batch.json"
    before = card.stat().st_mtime_ns
    assert_same(run(out), run(None))
    assert card.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"sampling": SAMPLING.model_copy(update={"seed": 1})},
            "sampling.seed: 0 here, 1 asked for",
        ),
        ({"turns": 1}, "turns: 2 here, 1 asked for"),
        ({"batch_size": 3}, "batch_size: 2 here, 3 asked for"),
        ({"layers": [2]}, "layers: .1. here, .2. asked for"),
        ({"system": "Be a ghost."}, "system: '' here"),
        ({"plan": plan(), "plan_name": ""}, "plan: None here"),
        ({"users": [ScriptedUser(["1", "3"], name="a")]}, "users.a.script"),
        ({"users": users()[::-1]}, "the order of the users"),
    ],
)
def test_other_inputs_are_refused(tmp_path: Path, change: dict, told: str):
    out = tmp_path / "sim"
    SimulationFolder(out).start(conditions())
    with pytest.raises(RunError, match=told) as refused:
        run(out, **change)
    assert "choose another folder" in str(refused.value)
    assert not (out / "batches").exists()


def conditions() -> dict:
    """Of `run`, without running."""
    model = shared_model("llama")
    return Simulation(
        model, users(), turns=2, sampling=SAMPLING, layers=(1,), batch_size=2
    ).conditions


def test_one_process_writes_a_folder(tmp_path: Path):
    out = tmp_path / "sim"
    with held_for_writing(out), pytest.raises(RunError, match="being written by another process"):
        run(out)


def test_a_folder_without_a_simulation_says_so(tmp_path: Path):
    with pytest.raises(RunError, match="no simulation in"):
        SimulationFolder(tmp_path).simulated()
    SimulationFolder(tmp_path).start(conditions())
    with pytest.raises(RunError, match="no batch of the simulation"):
        SimulationFolder(tmp_path).simulated()


def test_a_simulation_without_layers_has_no_means(tmp_path: Path):
    said = run(tmp_path / "sim", layers=None)
    assert said.means is None
    assert said.layers == ()
    assert len(said.frame) == 7


@pytest.mark.parametrize("name", ["replies.parquet", "means.safetensors", "batch.json"])
def test_a_damaged_batch_is_told_and_had_again(tmp_path: Path, name: str):
    expected = run(tmp_path / "sim")
    batch = tmp_path / "sim" / "batches" / "0001"
    (batch / name).write_bytes((batch / name).read_bytes()[:-20])
    with pytest.raises(RunError, match=r"0001 is damaged(.|\n)*remove it"):
        run(tmp_path / "sim")
    shutil.rmtree(batch)
    assert_same(run(tmp_path / "sim"), expected)
