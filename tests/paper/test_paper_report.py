"""The whole report: on the embedded model with its packaged space, on a tiny one with a run and a base model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from page_driver import Opened
from tiny import tiny_module, tiny_tokenizer

from persona_lens import PersonaModel, PersonaSpace, Sampling
from persona_lens.errors import RunError
from persona_lens.paper import reporting, stage
from persona_lens.paper.presets import PRESETS, Preset
from persona_lens.paper.reporting import PaperReport, paper_report
from persona_lens.paper.stages import STAGES
from persona_lens.runs.planning import CollectionPlan

ROLES = ["assistant", "analyst", "reviewer", "tutor", "editor", "pirate", "ghost", "bard", "hermit", "jester",
         "wraith", "prophet"]  # fmt: skip

SMALLEST = replace(
    PRESETS["minutes"],
    draws=20,
    every=30,
    roles=2,
    questions=1,
    depths=((0.7, 0.9),),
    personas=1,
    rules=2,
    price=1,
    scripts=2,
    turns=2,
    completions=2,
    reply=8,
    long_reply=8,
    permutations=4,
)


@pytest.fixture(scope="module")
def embedded(
    smol_auto: PersonaModel, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PaperReport, Path]:
    out = tmp_path_factory.mktemp("paper") / "embedded"
    space = PersonaSpace.load("smollm2-135m-instruct")
    return space.paper(smol_auto, out, preset=SMALLEST, progress=False), out


def test_every_stage_of_the_embedded_model_is_done_or_has_its_reason(
    embedded: tuple[PaperReport, Path],
) -> None:
    report, _ = embedded
    came_to = {name: each.status for name, each in report.stages.items()}
    impossible = {"comparison", "others", "harm", "completions"}
    assert list(came_to) == [each.name for each in STAGES]
    assert {name for name, status in came_to.items() if status == "not possible"} == impossible
    assert not report.failed, report.stages
    assert "--base" in report.stages["completions"].told


def test_a_number_has_an_interval_a_count_and_a_verdict_that_few_units_do_not_get(
    embedded: tuple[PaperReport, Path],
) -> None:
    report, out = embedded
    found = report.findings.set_index("claim")
    assert found.loc["order_pc1", "verdict"] == "agrees"  # the packaged space is whole
    assert found.loc["pc1_share", "verdict"] == "differs"
    few = found.loc[found["n"] < 10]
    assert {"steering_personas", "cap_instructions", "drift_therapy"} <= set(few.index)
    assert set(few["verdict"]) == {"too small to tell"}
    assert (found["n"] > 0).all()
    assert (
        pd.read_parquet(out / "findings.parquet")["verdict"].tolist() == found["verdict"].tolist()
    )


def test_the_page_opens_without_a_network_and_fits(
    embedded: tuple[PaperReport, Path], browse: Callable[..., Opened]
) -> None:
    page = browse(embedded[0].page)
    assert page.complaints == []
    assert page.ask("document.querySelectorAll('.finding').length") == len(embedded[0].findings)
    assert page.ask("document.querySelectorAll('.finding svg.strip').length") == len(
        embedded[0].findings
    )
    assert page.ask("document.querySelectorAll('.drawn .main-svg').length") > 10
    assert page.ask("document.documentElement.scrollWidth <= window.innerWidth")
    inside = (
        "f.getBoundingClientRect().right <= f.closest('.drawn').getBoundingClientRect().right + 1"
    )
    assert page.ask(
        f"[...document.querySelectorAll('.drawn .plotly-graph-div')].every(f => {inside})"
    )
    assert "Not done: Harmful requests" in page.ask("document.body.innerText")
    assert page.ask("performance.getEntriesByType('resource').length") == 0


def tiny(seed: int) -> PersonaModel:
    module = tiny_module("llama", seed=seed)
    module.config.max_position_embeddings = 4096  # long prompts are a token a byte
    return PersonaModel.load(module, tokenizer=tiny_tokenizer())


TINY: Preset = replace(
    SMALLEST,
    collection=CollectionPlan(
        roles=ROLES,
        traits=["methodical", "dramatic", "calm"],
        questions=["q01", "q02", "q03", "q04"],
        prompts=2,
        default_samples=2,
        sampling=Sampling(max_new_tokens=4),
    ),
    min_count=1,
    every=1,
    depths=((0.3, 1.0),),
    reply=4,
    long_reply=4,
)


class Killed(BaseException):
    """Ends a report where nothing can be written any more, as SIGKILL does."""


def test_a_killed_report_goes_on_and_asks_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, base, asked = tiny(0), tiny(1), []
    generate = PersonaModel.generate
    monkeypatch.setattr(
        PersonaModel, "generate", lambda self, *a, **k: asked.append(1) or generate(self, *a, **k)
    )

    def report(progress: bool = False) -> PaperReport:
        return paper_report(model, tmp_path / "paper", preset=TINY, base=base, progress=progress)

    def killed(study: object) -> str:
        raise Killed

    def falls(study: object) -> str:
        raise RuntimeError("a cable was pulled\nhere")

    def changed(name: str, work: Callable[..., str]) -> None:
        stages = [replace(each, work=work) if each.name == name else each for each in STAGES]
        monkeypatch.setattr(reporting, "STAGES", tuple(stages))

    changed("drift", killed)
    with pytest.raises(Killed):
        report()
    kept = {file.stem for file in (tmp_path / "paper/stages").glob("*.json")}
    assert kept == {each.name for each in STAGES[: [each.name for each in STAGES].index("drift")]}

    before = len(asked)
    changed("drift", falls)
    found = report(progress=True)
    said = capsys.readouterr().err
    assert found.failed == ("drift",)
    assert found.stages["drift"].told == "a cable was pulled"
    assert found.stages["forecast"].status == "not possible"
    assert "Steering: who speaks: done, kept" in said
    assert len(asked) > before  # what came after
    assert found.page.is_file()

    monkeypatch.setattr(reporting, "STAGES", STAGES)
    whole = report()
    assert {"done", "not possible"} == {each.status for each in whole.stages.values()}, whole.stages
    replies = pd.read_parquet(tmp_path / "paper/rules/replies.parquet")
    assert set(replies["kind"]) == {"none", "plan", "control"}
    assert whole.stages["comparison"].status == whole.stages["completions"].status == "done"
    assert {"base_roles", "base_pc1"} <= set(whole.findings["claim"])
    before = len(asked)
    again = report()
    assert len(asked) == before
    assert again.findings.equals(whole.findings)

    with pytest.raises(RunError, match="report of other settings"):
        paper_report(
            model, tmp_path / "paper", preset=replace(TINY, rules=3), base=base, progress=False
        )


def test_a_damaged_note_of_a_stage_is_named(tmp_path: Path) -> None:
    journal = stage.Journal(tmp_path)
    journal.note("sweep", stage.Outcome("done", "told"))
    file = next((tmp_path / "stages").glob("sweep.json"))
    assert json.loads(file.read_text())["status"] == "done"
    file.write_text("{")
    with pytest.raises(RunError, match=r"sweep\.json"):
        journal.of("sweep")
