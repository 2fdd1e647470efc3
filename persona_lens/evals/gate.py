"""The role-play gate: does this model play roles at all, before days are spent on a run?

Twelve probe roles answer a handful of questions, a judge labels the replies, and the shares come with intervals. A
small or plainly tuned model may answer everything as the Assistant; its role vectors are then noise (too few
replies "fully" in role is how small models fail).

    report = role_play_gate(model, run="runs/gate")
    print(report)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.console import Group
from rich.table import Table
from rich.text import Text

from persona_lens.catalog import load_questions
from persona_lens.judges.base import LABELS
from persona_lens.runs.collecting import collect_run
from persona_lens.runs.judging import judge_run
from persona_lens.runs.vectors import MIN_COUNT
from persona_lens.statistics import draw_rows, interval_of

if TYPE_CHECKING:
    from persona_lens.judges.base import Judge
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.rollouts.sampling import Sampling

PROBE_ROLES = (
    *("tutor", "reviewer", "consultant", "librarian"),
    *("pirate", "grandparent", "soldier", "comedian"),
    *("ghost", "oracle", "vampire", "tree"),
)
"""Four Assistant-like, four human and four fantastical roles of the catalogue."""

PLAYS, HARDLY = 0.5, 0.15
"""Shares of replies fully in role above which a model plays well, and below which it hardly plays."""


@dataclass(frozen=True, eq=False)
class GateReport:
    """How far a model plays the probe roles.

    Attributes:
        roles: One row a role: `name`, `group`, `replies`, and the share of each label.
        shares: Over all roles: `label`, `share`, `low`, `high` (95 % interval over roles), `replies`.
        judge: Key of the judge.
        default_rates: Share of default replies the judge's labels are given to by mistake, if it knows.
    """

    roles: pd.DataFrame
    shares: pd.DataFrame
    judge: str
    default_rates: dict[str, float]

    @property
    def verdict(self) -> str:
        """What the shares mean, in one sentence."""
        fully = self.share("fully")
        if fully >= PLAYS:
            return "This model plays roles: role vectors of replies fully in role will rest on plenty of them."
        if fully >= HARDLY:
            return "This model plays roles in part: label its replies, and plan for those that will be dropped."
        return (
            "This model hardly plays roles: compare vectors with and without labels, ask more questions, and "
            "trust no role that is short of replies."
        )

    def share(self, label: str) -> float:
        """Share of the replies with that label."""
        return float(self.shares.set_index("label").loc[label, "share"])  # pyright: ignore[reportArgumentType]

    def replies_needed(self, wanted: int = MIN_COUNT) -> int | None:
        """Replies to ask of each role so that nine roles in ten get `wanted` fully in role; None if never."""
        rate = float(np.quantile(self.roles["fully"], 0.1))
        return ceil(wanted / rate) if rate else None

    def advice(self) -> list[str]:
        """Settings for the run."""
        needed = self.replies_needed()
        if needed is None:
            counts = (
                "Some probe roles have no reply fully in role: choose roles this model can play, "
                "or lower --min-count and look at the counts."
            )
        else:
            counts = (
                f"Ask each role at least {needed} times (5 prompts x {ceil(needed / 5)} questions) "
                f"for {MIN_COUNT} replies fully in role from nine roles in ten."
            )
        return [
            counts,
            "Next: persona-lens collect --model MODEL --run RUN --roles full --questions full",
            "      persona-lens judge RUN",
        ]

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """As two tables, the verdict and the advice."""
        yield Group(self._totals(), self._by_role())
        yield Text(f"\n{self.verdict}", style="bold")
        for line in self.advice():
            yield Text(f"  {line}")

    def _totals(self) -> Table:
        table = Table(title=f"Twelve probe roles, labelled by {self.judge}", title_justify="left")
        for column in ("label", "share [95 % over roles]", "of default replies"):
            table.add_column(column, justify="left" if column == "label" else "right")
        for row in self.shares.to_dict("records"):
            mistaken = self.default_rates.get(row["label"])
            table.add_row(
                row["label"],
                f"{row['share']:.0%} [{row['low']:.0%}, {row['high']:.0%}]",
                "" if mistaken is None else f"{mistaken:.1%}",
            )
        return table

    def _by_role(self) -> Table:
        table = Table(title="By role", title_justify="left")
        for column in ("role", "group", "replies", *LABELS):
            table.add_column(column, justify="left" if column in ("role", "group") else "right")
        for row in self.roles.to_dict("records"):
            shares = (f"{row[label]:.0%}" for label in LABELS)
            table.add_row(row["name"], str(row["group"]), str(row["replies"]), *shares)
        return table


def role_play_gate(
    model: PersonaModel,
    run: str | Path,
    *,
    judge: Judge | None = None,
    questions: Any = None,
    prompts: int = 2,
    sampling: Sampling | None = None,
    progress: bool = True,
) -> GateReport:
    """Have `model` play twelve roles and tell how far it does; some minutes for a small model on two cores.

    Args:
        model: To be tried.
        run: Run folder for the replies; the same call continues it.
        judge: Labels the replies; the likelihood judge of `model` by default.
        questions: The first twelve of the core set by default.
        prompts: System prompts of each role.
        sampling: The paper's temperature and top-p by default, 64 tokens a reply.
        progress: Show progress bars.
    """
    from persona_lens.judges.likelihood_judge import LikelihoodJudge  # noqa: PLC0415
    from persona_lens.rollouts.sampling import Sampling  # noqa: PLC0415

    folder = collect_run(
        model,
        run,
        roles=list(PROBE_ROLES),
        traits=None,
        questions=load_questions()[:12] if questions is None else questions,
        prompts=prompts,
        default_samples=2,
        sampling=sampling or Sampling(max_new_tokens=64),
        layers=[model.n_layers // 2],
        progress=progress,
    )
    labels = judge_run(folder, judge or LikelihoodJudge(model), progress=progress)
    manifest = labels.run.manifest
    rows = [
        {"name": shard.name, "label": verdict.label or "none"}
        for shard in manifest.shards
        if shard.kind == "role"
        for verdict in labels.read(shard)
    ]
    frame = pd.DataFrame(rows)
    held_out = (labels.calibration() or {}).get("held_out", {})
    return GateReport(
        roles=_by_role(frame, manifest.about),
        shares=_shares(frame),
        judge=labels.key,
        default_rates=_exclusive({label: entry["rate"] for label, entry in held_out.items()}),
    )


def _exclusive(at_least: dict[str, float]) -> dict[str, float]:
    """From rates of a label or more to rates of each label."""
    if not at_least:
        return {}
    fully, somewhat = at_least["fully"], at_least["somewhat"]
    return {"not": 1 - somewhat, "somewhat": somewhat - fully, "fully": fully}


def _by_role(frame: pd.DataFrame, about: dict[str, dict[str, Any]]) -> pd.DataFrame:
    shares = pd.crosstab(frame["name"], frame["label"], normalize="index")
    shares = shares.reindex(columns=list(LABELS), fill_value=0.0).reindex(
        frame["name"].drop_duplicates()
    )
    found = shares.reset_index()
    found.insert(1, "group", [about[f"role-{name}"].get("group") for name in found["name"]])
    found.insert(2, "replies", frame["name"].value_counts().loc[found["name"]].tolist())
    return found


def _shares(frame: pd.DataFrame, n_resamples: int = 2000) -> pd.DataFrame:
    """Share of each label, with a percentile interval over roles: replies of one role resemble each other."""
    counts = pd.crosstab(frame["name"], frame["label"]).reindex(columns=list(LABELS), fill_value=0)
    table = counts.to_numpy(dtype=float)
    totals = np.array(frame["name"].value_counts().loc[counts.index].tolist(), dtype=float)
    drawn = draw_rows(len(table), n_resamples, np.random.default_rng(0))
    resampled = table[drawn].sum(axis=1) / totals[drawn].sum(axis=1)[:, None]
    shares = pd.DataFrame({"label": LABELS, "share": table.sum(axis=0) / totals.sum()})
    shares[["low", "high"]] = [interval_of(label) for label in resampled.T]
    return shares.assign(replies=int(totals.sum()))
