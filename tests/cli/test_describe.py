"""What `info` and `models` say: whole names, a packaged space beside its model, no label that is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from judged_run import StubJudge, guessing, judged_by, write_run
from rich.console import Console, RenderableType
from tiny import shared_model, shared_module, tiny_tokenizer
from typer.testing import CliRunner

from persona_lens import PersonaModel, cli
from persona_lens.cli import describe
from persona_lens.judges.base import Case, Verdict
from persona_lens.model.registry import EMBEDDED
from persona_lens.runs.judging import judge_run
from persona_lens.transcripts import TranscriptEncoder


def shown(what: RenderableType, width: int = 80) -> str:
    console = Console(width=width, record=True, file=None, quiet=False)
    with console.capture() as caught:
        console.print(what)
    return caught.get()


@pytest.mark.parametrize("width", [80, 72])
def test_names_of_models_are_whole(width: int) -> None:
    told = shown(describe.models(), width)
    for name in EMBEDDED:
        assert any(line.split()[:1] == [name] for line in told.splitlines())
    assert max(map(len, told.splitlines())) <= width


def test_a_judge_that_failed_has_labelled_nothing(tmp_path: Path) -> None:
    def failing(case: Case, rng: np.random.Generator) -> Verdict:
        return Verdict(status="failed", raw="no answer within 60 s")

    run = write_run(tmp_path / "run", n_roles=2, n_questions=3)
    failed = judged_by(run, "broken", failing)
    told = " ".join(shown(describe.run(run.path), 200).split())
    assert f"labelled by no judge; {failed} failed at 12" in told

    def at_times(case: Case, rng: np.random.Generator) -> Verdict:
        return guessing(case, rng) if case.index else failing(case, rng)

    some = judged_by(run, "some", at_times)
    whole = judged_by(run, "whole", guessing)
    part = judge_run(run, StubJudge("part", guessing), kinds=["trait"], progress=False).key
    told = " ".join(shown(describe.run(run.path), 200).split())
    assert f"labelled by {some} (8 of 12 replies, failed at 4), {whole};" in told
    assert f"{failed} failed at 12; {part} has not begun" in told


def test_a_missing_template_is_said() -> None:
    tokenizer = tiny_tokenizer()
    given = tokenizer.chat_template
    assert isinstance(given, str)
    assert TranscriptEncoder(tokenizer).has_template
    tokenizer.chat_template = None
    assert not TranscriptEncoder(tokenizer).has_template
    assert TranscriptEncoder(tokenizer, chat_template=given).has_template
    module = shared_module("llama")
    model = PersonaModel.load(module, tokenizer=tokenizer)
    assert repr(model).endswith(", no chat template)")
    assert "chat template none: plain turns" in " ".join(shown(describe.model("x", model)).split())
    assert "no chat template" not in repr(shared_model("llama"))


def test_a_packaged_space_is_shown_beside_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PersonaModel, "load", lambda source, **_: shared_model("llama"))
    told = CliRunner().invoke(cli.app, ["info", "smollm2-135m-instruct"]).output
    assert "275 role, 240 trait" in told
    assert "Model smollm2-135m-instruct" in told
    told = CliRunner().invoke(cli.app, ["info", "gemma-3-270m"]).output
    assert "275 role" not in told
