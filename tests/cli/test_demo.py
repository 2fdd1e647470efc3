"""The main job, small: it runs, reports its numbers with their nulls, and continues from what is there."""

from __future__ import annotations

from functools import partialmethod
from pathlib import Path

import pytest
from brief import shorten_neutral_texts
from typer.testing import CliRunner

from persona_lens import PersonaModel, PersonaSpace, Sampling, cli, load_questions
from persona_lens.cli import demo
from persona_lens.cli.demo import run_demo
from persona_lens.rollouts.plan import n_requests
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
    monkeypatch.setattr(PersonaSpace, "calibrate", partialmethod(PersonaSpace.calibrate, replies=8))
    shorten_neutral_texts(monkeypatch)
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


def test_quick_asks_everybody_a_quarter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[Path, CollectionPlan]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        demo, "run_demo", lambda folder, *, plan=demo.PLAN, **_: asked.append((folder, plan))
    )
    for line in (["demo"], ["demo", "--quick"], ["demo", "--quick", "--out", "here"]):
        assert CliRunner().invoke(cli.app, line).exit_code == 0
    assert [folder.name for folder, _ in asked] == ["demo", "demo-quick", "here"]
    whole, quick = (plan.shards("me") for _, plan in asked[:2])
    assert {shard.name for shard in whole} == {shard.name for shard in quick}
    assert n_requests(quick) < 0.3 * n_requests(whole)
