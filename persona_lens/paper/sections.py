"""The parts of a report, each made of what its stages left in the folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from persona_lens.analysis.comparison import Comparison
from persona_lens.analysis.sweep import Sweep
from persona_lens.drift.forecast import Forecaster
from persona_lens.errors import PersonaLensError, first_line
from persona_lens.evals.evaluation import Evaluated
from persona_lens.pages.paper.page import Table
from persona_lens.paper import behaviour, conversations, geometry
from persona_lens.paper.drift_stages import CAPPED, PLAIN, traced
from persona_lens.paper.findings import Finding
from persona_lens.paper.published import models, protocol
from persona_lens.paper.space_stages import beside
from persona_lens.paper.stage import Outcome
from persona_lens.paper.study import Study
from persona_lens.plots import (
    axis_ranking,
    drift_curves,
    forecast_scores,
    persona_map,
    variance,
)
from persona_lens.plots.completions import completions as completions_figure
from persona_lens.plots.evaluation import evaluation as measures_figure
from persona_lens.plots.susceptibility import susceptibility as susceptibility_figure
from persona_lens.plots.tradeoff import tradeoff as tradeoff_figure

if TYPE_CHECKING:
    import plotly.graph_objects as go

RANKED = 12
SWEPT = ("axis_pc1", "participation_ratio", "identity", "reliability")


@dataclass(eq=False)
class Part:
    """A part that is being written.

    Attributes:
        title: Its own.
        about: What the paper asked there.
        findings, figures, tables, missing: What there is so far.
    """

    title: str
    about: str
    findings: list[Finding] = field(default_factory=list)
    figures: list[go.Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def find(self, what: str, made: Callable[[], Iterable[Finding]]) -> None:
        """Findings; where they cannot be made, why."""
        self._attempt(what, lambda: self.findings.extend(made()))

    def draw(self, what: str, made: Callable[[], go.Figure]) -> None:
        """A figure; where it cannot be drawn, why."""
        self._attempt(what, lambda: self.figures.append(made()))

    def _attempt(self, what: str, attempt: Callable[[], None]) -> None:
        try:
            attempt()
        except (PersonaLensError, ValueError, KeyError, LookupError) as error:
            self.missing.append(f"{what}: {first_line(error)}")

    def needs(self, outcomes: Mapping[str, Outcome], stage: str, what: str) -> bool:
        """Whether a stage is done; if not, its reason is told."""
        outcome = outcomes[stage]
        if outcome.status != "done":
            self.missing.append(f"{what}: {outcome.told}")
        return outcome.status == "done"


Outcomes = Mapping[str, Outcome]


def asked(study: Study, outcomes: Outcomes) -> Part:
    """What was asked of the paper's models and of this one."""
    part = Part(
        "What was asked",
        "The protocol: roles and traits are asked shared questions under several system prompts, a judge keeps "
        "the replies in role, and means over the reply tokens of the residual stream are the vectors.",
    )
    if part.needs(outcomes, "spaces", "The space"):
        table = study.space.table
        card, names = table.card, table.names
        prompts = card.get("prompts", {})
        ours = {
            "roles": len({names[row] for row in table.indices(kind="role")}),
            "system prompts of each role": prompts.get("role"),
            "questions": card.get("questions"),
            "replies in roles": int(table.counts[list(table.indices(kind="role"))].sum()) or None,
            "replies of traits": int(table.counts[list(table.trait_rows())].sum()) or None,
            "role vectors in PCA": len(table.indices(kind="role")),
            "traits": len(table.trait_rows()),
            "layers": len(study.space.layers_),
            "layer of the figures": study.layer,
        }
        rows = [
            [
                line.what,
                *(f"{line.values[model]:,}" for model in models()),
                "not known" if ours.get(line.what) is None else f"{ours[line.what]:,}",
                f"section {line.section}",
            ]
            for line in protocol()
        ]
        part.tables.append(
            Table("The protocol", ["", *models(), "this model", "source"], rows, _labels(study))
        )
    return part


def _labels(study: Study) -> str:
    """Which replies the vectors are made of."""
    card = study.space.table.card
    judge = card.get("judge")
    if judge:
        key, least = judge["key"], card["min_count"]
        return f"Vectors of replies in role, as {key} labelled them; at least {least} a label."
    return (
        "Vectors of this model are of all replies, played or not; the paper has one of those fully in role and "
        "one of those somewhat in role."
    )


def axis(study: Study, outcomes: Outcomes) -> Part:
    """Sections 2 and 3.1."""
    part = Part(
        "The persona space and the Assistant Axis",
        "Sections 2 and 3.1: the role vectors have few dimensions, the first of them runs from the Assistant to "
        "role-play, and the default Assistant lies at its end.",
    )
    if not part.needs(outcomes, "spaces", "The space"):
        return part
    space, layer = study.space, study.layer
    part.find("Geometry", lambda: geometry.geometry_findings(space, layer))
    part.draw("The map", lambda: persona_map(space, layer, traits=False))
    part.draw("The ranking", lambda: axis_ranking(space, layer, top=RANKED))
    part.draw("Variance by layer", lambda: variance(space))
    if part.needs(outcomes, "sweep", "Layer by layer"):
        part.draw("Layer by layer", lambda: _swept(Sweep.load(study.out / "sweep")))
    part.tables += _extremes(geometry.extremes(space, layer))
    return part


def _swept(found: Sweep) -> go.Figure:
    there = set(found.frame["metric"])
    return found.plot(metrics=[name for name in SWEPT if name in there])


_ENDS = {
    "pc1": ("Ends of PC1 (Table 1)", "Assistant-like", "role-playing"),
    "pc2": ("Ends of PC2 (Table 1)", "plus", "minus"),
    "pc3": ("Ends of PC3 (Table 1)", "plus", "minus"),
    "roles": ("Roles by likeness to the default Assistant (Table 2)", "nearest", "farthest"),
    "traits": ("Traits along the axis (Table 2)", "Assistant-like", "other end"),
}


def _extremes(frame: pd.DataFrame) -> list[Table]:
    found = []
    for what, rows in frame.groupby("what", sort=False):
        title, plus, minus = _ENDS[str(what)]
        table = [
            [row["whose"], *(_listed(row[end]) for end in ("plus", "minus"))]
            for row in rows.to_dict("records")
        ]
        note = (
            "The sign of a component is arbitrary beyond PC1, and each model has its own."
            if str(what) in ("pc2", "pc3")
            else ""
        )
        found.append(Table(title, ["", plus, minus], table, note))
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names)


def across(study: Study, outcomes: Outcomes) -> Part:
    """Sections 2.1.3, appendix B.3."""
    part = Part(
        "Across models",
        "Section 2.1.3 and appendix B.3: other models arrange the roles alike along the first component, and the "
        "base model has the same directions.",
    )
    if part.needs(outcomes, "others", "Other models"):
        for name in study.others:
            found = Comparison.load(beside(study.out, name))
            part.find(
                name, lambda name=name, found=found: conversations.other_findings(name, found)
            )
            part.draw(name, lambda found=found: _beside(found))
    if part.needs(outcomes, "comparison", "The base model"):
        found = Comparison.load(study.out / "comparison")
        own = study.base_space
        if own is not None:
            part.find(
                "The base model",
                lambda: conversations.base_findings(study.space, own, found, study.layer),
            )
        part.draw("The base model", lambda: _beside(found))
    return part


def _beside(found: Comparison) -> go.Figure:
    return found.scatter()


def steering(study: Study, outcomes: Outcomes) -> Part:
    """Section 3.2.1."""
    part = Part(
        "Steering: who speaks",
        "Section 3.2.1: roles near the Assistant are asked who they are while a push acts along the axis. Away "
        "from the Assistant the models take personas on; far out they turn mystical.",
    )
    if part.needs(outcomes, "steering", "Steering"):
        from persona_lens.evals.susceptibility import WORDS  # noqa: PLC0415
        from persona_lens.evals.susceptibility_shares import shares  # noqa: PLC0415

        found = Evaluated.load(study.out / "steering")
        part.find("Steering", lambda: behaviour.steering_findings(found))
        part.draw(
            "Steering",
            lambda: susceptibility_figure(
                shares(found.replies), names=WORDS, source=_source(study)
            ),
        )
    return part


def drift(study: Study, outcomes: Outcomes) -> Part:
    """Section 4."""
    part = Part(
        "Drift",
        "Section 4: bounded tasks keep a model at the Assistant, therapy-like talk and talk about what it is lead "
        "it away; where a reply lies can be told from the user's message.",
    )
    if part.needs(outcomes, "drift", "Drift"):
        plain = traced(study, PLAIN)
        part.find("Drift", lambda: conversations.drift_findings(plain))
        part.draw("Drift", lambda: _curves(study))
    if part.needs(outcomes, "forecast", "The forecast"):
        forecaster = Forecaster.load(study.out / "forecast")
        part.find("The forecast", lambda: conversations.forecast_findings(forecaster))
        part.draw(
            "The forecast", lambda: forecast_scores(forecaster.scores_, source=_source(study))
        )
        if forecaster.notes_:
            rows = [[note] for note in forecaster.notes_]
            part.tables.append(Table("What to know of the forecast", ["note"], rows))
    return part


def _curves(study: Study) -> go.Figure:
    curves = [
        traced(study, name).curves("domain").assign(condition=said)
        for name, said in ((PLAIN, "no cap"), (CAPPED, "floor"))
    ]
    source = f"{_source(study)}; read with nothing acting"
    return drift_curves(pd.concat(curves, ignore_index=True), source=source)


def capping(study: Study, outcomes: Outcomes) -> Part:
    """Sections 3.2.1 (harm) and 5."""
    part = Part(
        "Capping: what it holds, and its price",
        "Section 5: a floor under the axis at several layers cuts harmful replies by half and costs no benchmark. "
        f"The recommended cap here: layers {_layers(study)}, the {study.preset.percentiles[0]:g}th percentile of "
        "all reply means (the released files count from the other end and call it the 25th).",
    )
    harm_done = outcomes["harm"].status == "done"
    if part.needs(outcomes, "harm", "Harmful requests"):
        found = Evaluated.load(study.out / "harm")
        part.find("Harmful requests", lambda: behaviour.harm_findings(found))
        part.draw("Harmful requests", found.figure)
    priced = part.needs(outcomes, "price", "The price")
    if part.needs(outcomes, "rules", "Rules under a persona"):
        kept = Evaluated.load(study.out / "rules")
        part.find("Rules", lambda: behaviour.rule_findings(kept, in_place_of_harm=not harm_done))
        part.draw("Rules", lambda: _measures(kept, study))
    if priced:
        paid = Evaluated.load(study.out / "price")
        part.find("The price", lambda: behaviour.price_findings(paid))
        part.draw("The price", lambda: _measures(paid, study))
    if priced and outcomes["rules"].status == "done":
        part.draw("What caps buy", lambda: _tradeoff(study))
    if part.needs(outcomes, "capping", "Personas under caps"):
        part.draw(
            "Personas under caps", lambda: _measures(Evaluated.load(study.out / "capping"), study)
        )
    return part


def _measures(found: Evaluated, study: Study) -> go.Figure:
    return measures_figure(found.measures, title=str(found.card["title"]), source=_source(study))


def _tradeoff(study: Study) -> go.Figure:
    from persona_lens.evals.price.together import price  # noqa: PLC0415
    from persona_lens.evals.tradeoff import tradeoff  # noqa: PLC0415

    gain = behaviour.BROKEN
    cost = next(each for each in price(first=1).measures if each.good)
    table = tradeoff(
        Evaluated.load(study.out / "rules").replies,
        gain,
        Evaluated.load(study.out / "price").replies,
        cost,
    )
    return tradeoff_figure(
        table,
        gain=f"fewer: {gain.name}",
        price=f"fewer: {cost.name}",
        units=(gain.unit, cost.unit),
        source=_source(study),
    )


def base(study: Study, outcomes: Outcomes) -> Part:
    """Section 3.2.2."""
    part = Part(
        "The base model, pushed along the axis",
        "Section 3.2.2: a base model goes on with “My job is to” and the like. Toward the Assistant it speaks "
        "more of supporting work and less of religion.",
    )
    if part.needs(outcomes, "completions", "Completions"):
        from persona_lens.evals.completion_shares import shares  # noqa: PLC0415
        from persona_lens.evals.completion_trends import trends  # noqa: PLC0415

        found = Evaluated.load(study.out / "completions")
        part.find("Completions", lambda: conversations.completion_findings(found))
        for family in dict.fromkeys(found.replies["family"]):
            part.draw(
                str(family),
                lambda family=family: completions_figure(
                    shares(found.replies),
                    trends(found.replies),
                    family=str(family),
                    judge=str(found.replies["judge"].iloc[0]),
                    source=study.base.name if study.base else "",
                ),
            )
    return part


PARTS = (asked, axis, across, steering, drift, capping, base)


def _source(study: Study) -> str:
    return f"{study.model.name}, residual stream after block {study.layer}"


def _layers(study: Study) -> str:
    first = study.capped_layers[0]
    return f"{first[0]} to {first[-1]} of {study.model.n_layers}"
