"""From what the stages left in a folder to the findings and the page of the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from persona_lens.files import whole_or_nothing
from persona_lens.pages.paper.page import Line, Report, Section, report_page
from persona_lens.paper.findings import Finding
from persona_lens.paper.published import Stated, claims
from persona_lens.paper.sections import PARTS, Part
from persona_lens.paper.stage import Outcome
from persona_lens.paper.stages import STAGES
from persona_lens.paper.study import Study
from persona_lens.paper.verdicts import FEWEST

FINDINGS = "findings.parquet"

RULE = (
    f"No interval, or fewer than {FEWEST} independent units (roles, items, users): too small to tell.",
    "Our 95 % interval lies outside what was published, from the lowest to the highest of its models: differs.",
    "It touches what was published, and also what chance or the controls give (our null): too small to tell.",
    "It touches what was published, and not our null: agrees.",
    "Where no change or a place within a range was published, there is no null to beat: an interval that lies "
    "within (for benchmarks, within 3 points around no change) agrees, one outside differs, one that reaches over "
    "an end is too small to tell.",
    "Agreeing is not being the same: a wide interval touches much. One of twenty such intervals misses by chance.",
)

_LEFT = {
    "chat_variance": "needs the replies of a public chat data set, which is no part of this package",
    "cap_knowledge": "needs MMLU-Pro: run it under the plan with lm-evaluation-harness "
    "(persona_lens.harnesses.lm_eval)",
    "cap_emotion": "needs EQ-Bench: as MMLU-Pro",
}
_CASES = {
    "Case studies (section 6)": "transcripts of their own models: replay yours with persona-lens trace and a plan"
}


def write_report(study: Study, outcomes: Mapping[str, Outcome], page: Path) -> list[Finding]:
    """Write the page, and the findings beside it.

    Args:
        study: What was studied.
        outcomes: What came of the stages.
        page: The file to write.

    Returns:
        The findings.
    """
    parts = [part(study, outcomes) for part in PARTS]
    findings = [finding for part in parts for finding in part.findings]
    report = Report(
        f"The paper, for {study.model.name}",
        _facts(study),
        RULE,
        [_section(part) for part in parts],
        [
            {
                "title": stage.title,
                "status": outcomes[stage.name].status,
                "told": outcomes[stage.name].told,
            }
            for stage in STAGES
        ],
        left_out(findings),
    )
    frame = pd.DataFrame([finding.row() for finding in findings])
    with whole_or_nothing(page.parent / FINDINGS) as partial:
        frame.to_parquet(partial, index=False)
    report_page(report, page)
    return findings


def left_out(findings: list[Finding]) -> dict[str, str]:
    """Published quantities that nothing was held against, with the reason."""
    there = {finding.claim.key for finding in findings}
    told = {
        f"{claim.quantity} (section {claim.section})": _LEFT.get(
            key, "its stage was not done, or did not tell it; see above"
        )
        for key, claim in claims().items()
        if key not in there
    }
    return {**told, **_CASES}


def _section(part: Part) -> Section:
    lines = [
        Line(finding.row(), [_stated(each) for each in finding.claim.values])
        for finding in part.findings
    ]
    return Section(part.title, part.about, lines, part.figures, part.tables, part.missing)


def _stated(stated: Stated) -> dict[str, Any]:
    ends = {name: getattr(stated, name) for name in ("low", "high")}
    finite = {name: None if abs(end) == float("inf") else end for name, end in ends.items()}
    return {"model": stated.model, **finite, "source": stated.source, "note": stated.note}


def _facts(study: Study) -> dict[str, str]:
    card = study.model.card()
    judge = "programs and likelihoods" if study.judge is None else study.judge.model
    return {
        "model": study.model.name,
        "dtype": str(card.get("dtype", "not known")),
        "preset": f"{study.preset.name}: {study.preset.about}",
        "space": "collected here" if study.given is None else f"given: {study.given.model_name}",
        "base model": "none" if study.base is None else study.base.name,
        "judged by": judge,
    }
