"""`paper_report`: all stages of the paper on one model, and the report of what came of them.

    report = paper_report(model, "paper/", preset="minutes", space=PersonaSpace.load("smollm2-135m-instruct"))
    report.findings                 # one row a published number, with ours, null, interval, count and verdict
    report.page                     # paper/report.html

Killed at any point, the same call continues. A stage that fails leaves the others, and is tried again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console

from persona_lens.arrays import plain
from persona_lens.errors import RunError
from persona_lens.files import read_json, write_json
from persona_lens.paper.presets import Preset
from persona_lens.paper.presets import preset as preset_of
from persona_lens.paper.stage import Journal, Outcome, work_off
from persona_lens.paper.stages import STAGES
from persona_lens.paper.study import Study
from persona_lens.paper.writing import write_report
from persona_lens.runs.store.locking import held_for_writing

if TYPE_CHECKING:
    from persona_lens.endpoints import EndpointSettings
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.rollouts.serving import ServedSource
    from persona_lens.runs.engines.engine import Engine
    from persona_lens.space import Space

SETTINGS = "paper.json"
PAGE = "report.html"


@dataclass(frozen=True, eq=False)
class PaperReport:
    """What came of it.

    Attributes:
        page: The report.
        findings: One row a claim that could be held against this model; `persona_lens.paper.findings.Finding.row`
            says which columns. Also in `findings.parquet`.
        stages: What came of each stage.
    """

    page: Path
    findings: pd.DataFrame
    stages: Mapping[str, Outcome]

    @property
    def failed(self) -> tuple[str, ...]:
        """Stages that failed; the same call tries them again."""
        return tuple(name for name, each in self.stages.items() if each.status == "failed")

    def __repr__(self) -> str:
        counts = self.findings["verdict"].value_counts() if len(self.findings) else {}
        said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        return f"PaperReport({self.page}: {said or 'no findings'})"


def paper_report(
    model: PersonaModel,
    out: str | Path,
    space: Space | None = None,
    *,
    preset: str | Preset = "minutes",
    base: PersonaModel | None = None,
    others: Mapping[str, Space] | None = None,
    items: str | Path | None = None,
    judge: EndpointSettings | None = None,
    engine: Engine | None = None,
    served: ServedSource | None = None,
    progress: bool = True,
) -> PaperReport:
    """Do the paper's experiments on a model, and write the report.

    Args:
        model: Is studied.
        out: Folder of everything; the same call continues what is there.
        space: Of the model, if there is one already; then no roles and traits are collected.
        preset: `minutes`, `hours`, `paper`, or one of your own (`persona_lens.paper.presets`).
        base: Its base model, for appendix B.3 and section 3.2.2.
        others: Spaces of other models by name, for what the paper compares across models.
        items: Table of harmful requests, which are no part of this package; as for
            `persona_lens.evals.harm.brought`. House rules stand in for them without.
        judge: A language model behind a server that judges roles, who speaks, harm and completions.
        engine: Workers that answer and read in place of the model.
        served: A server that answers where nothing acts on the model.
        progress: Say what is done, with progress bars.

    Raises:
        RunError: Another process writes to the folder, or it holds a report of other settings.
        EvaluationError: No such preset.

    Source: "The Assistant Axis" (arXiv 2601.10387); nulls, intervals and the rule of verdicts are ours.
    """
    study = Study(
        model,
        preset_of(preset),
        Path(out),
        given=space,
        base=base,
        others=dict(others or {}),
        items=None if items is None else Path(items),
        judge=judge,
        engine=engine,
        served=served,
        progress=progress,
    )
    console = Console(stderr=True, quiet=not progress)
    with held_for_writing(study.out):
        check_settings(study)
        outcomes = work_off(STAGES, study, Journal(study.out), console)
        console.rule("Report", align="left")
        findings = write_report(study, outcomes, study.out / PAGE)
    frame = pd.DataFrame([each.row() for each in findings])
    return PaperReport(study.out / PAGE, frame, outcomes)


def check_settings(study: Study) -> None:
    """Keep what decides the results, or hold this call to what was kept.

    Raises:
        RunError: The folder holds a report of other settings.
    """
    file = study.out / SETTINGS
    wanted: Any = plain(study.settings())
    try:
        kept = read_json(file, RunError)
    except FileNotFoundError:
        write_json(file, wanted)
        return
    changed = [name for name in wanted if _as_json(kept.get(name)) != _as_json(wanted[name])]
    if changed:
        raise RunError(
            f"{study.out} holds a report of other settings",
            expected=f"the same {', '.join(changed)}",
            remedy="give the settings it was started with, or another --out",
        )


def _as_json(value: Any) -> Any:
    """Tuples are lists there."""
    if isinstance(value, Mapping):
        return {str(key): _as_json(each) for key, each in value.items()}
    return [_as_json(each) for each in value] if isinstance(value, list | tuple) else value
