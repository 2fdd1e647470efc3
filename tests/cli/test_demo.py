"""The main job, small: it runs, reports its numbers with their nulls, and continues from what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from persona_lens import PersonaModel, PersonaSpace, Sampling, load_questions
from persona_lens.cli.demo import run_demo
from persona_lens.runs import CollectionPlan

PLAN = CollectionPlan(
    roles=["assistant", "analyst", "reviewer", "pirate", "ghost", "jester"],
    traits=["dramatic"],
    questions=load_questions()[:3],
    prompts=1,
    default_samples=1,
    sampling=Sampling(max_new_tokens=12),
)


@pytest.mark.embedded
def test_the_demo_draws_reports_and_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_demo(tmp_path, layer=20, plan=PLAN, min_count=1)
    printed = capsys.readouterr().out
    for expected in (
        "Assistant-like above",
        "pirate",
        "null:",
        "default Assistant: ",
        "rho =",
        "Labels by likelihood-",
        "The axis of replies fully in role",
        "p =",
        "Next",
    ):
        assert expected in printed
    for name in ("persona_map", "axis_ranking", "variance"):
        assert "pirate" in (tmp_path / f"{name}.html").read_text("utf-8") or name == "variance"
    opened = PersonaSpace.load(tmp_path / "space")
    assert (opened.axis_ == first.axis_).all()

    monkeypatch.setattr(PersonaModel, "generate", lambda *_a, **_k: pytest.fail("sampled again"))
    again = run_demo(tmp_path, layer=12, plan=PLAN, min_count=1)
    assert (again.axis_ == first.axis_).all()
    assert "The axis at layer 12" in capsys.readouterr().out
