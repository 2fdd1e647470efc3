"""`paper` from the command line: the plan, and what is refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import tiny_module, tiny_tokenizer
from typer.testing import CliRunner

from persona_lens import PersonaModel, cli
from persona_lens.errors import EvaluationError
from persona_lens.evals.price.play import play
from persona_lens.evals.price.together import price
from persona_lens.evals.rules.asked import rules
from persona_lens.paper.planning import derived_pace, given_pace, known_pace, planned
from persona_lens.paper.presets import PRESETS, preset


def tiny() -> PersonaModel:
    module = tiny_module("llama")
    module.config.max_position_embeddings = 4096  # long prompts are a token a byte
    return PersonaModel.load(module, tokenizer=tiny_tokenizer())


def test_a_dry_run_of_a_large_model_loads_nothing_and_writes_nothing(tmp_path: Path) -> None:
    asked = ["paper", "-m", "no/such-model", "--preset", "paper", "--out", str(tmp_path / "paper")]
    priced = [
        "--dry-run",
        "--gpus",
        "8",
        "--gpu-price",
        "2",
        "--judge-model",
        "judge",
        "--judge-price",
        "1,2",
    ]
    done = CliRunner().invoke(cli.app, [*asked, *priced])
    assert done.exit_code == 0, done.output
    assert "331,200" in done.output
    assert "576,000" in done.output
    assert "derived, not measured" in done.output
    assert done.output.count("dollars") == 2
    assert not (tmp_path / "paper").exists()


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--judge-price", "1"], "cannot read --judge-price"),
        (["--other", "gemma"], "cannot read --other"),
        (["--tokens-per-second", "0"], "no such speed"),
        (["--judge-model-local", "x"], "here a server judges"),
    ],
)
def test_what_cannot_be_meant_is_refused(more: list[str], problem: str, tmp_path: Path) -> None:
    asked = ["paper", "--preset", "hours", "--dry-run", "--out", str(tmp_path / "paper")]
    done = CliRunner().invoke(cli.app, [*asked, *more])
    assert isinstance(done.exception, EvaluationError)
    assert problem in str(done.exception)


def test_the_plan_counts_what_the_stages_ask() -> None:
    chosen = PRESETS["hours"]
    plan = planned(chosen, shape=(32, 4096, 8e9), pace=given_pace(100, chosen.reply), given=True)
    replies = {row.stage: row.replies for row in plan.rows}
    assert replies["capping"] == len(play(tiny()).items) * chosen.conditions_capped
    assert replies["rules"] == len(rules().items) * chosen.conditions_capped
    assert replies["price"] == len(price().items) * chosen.conditions_capped
    assert "roles" not in replies
    twice = derived_pace(8e9, gpus=2, reply=128)
    assert twice.seconds == pytest.approx(derived_pace(8e9, gpus=1, reply=128).seconds / 2)


def test_a_pace_is_measured_once(tmp_path: Path) -> None:
    model = tiny()
    first = known_pace(model, PRESETS["minutes"], tmp_path)
    again = known_pace(model, PRESETS["minutes"], tmp_path)
    assert (first.seconds, first.how) == (again.seconds, "measured just now on 8 replies")
    assert again.how == "measured before, here"


def test_a_preset_that_is_not_there_is_named() -> None:
    with pytest.raises(EvaluationError, match="minutes"):
        preset("minuts")
