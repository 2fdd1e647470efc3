"""What steering, capping, harm and price say of the paper's sections 3.2 and 5."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.evals.evaluation import Evaluated
from persona_lens.evals.harm.crossing import WITH, WITHOUT
from persona_lens.evals.harm.rubrics import FULL
from persona_lens.evals.measures import Measure
from persona_lens.evals.rules.asked import MEASURES as RULE_MEASURES
from persona_lens.evals.susceptibility_shares import PERSONA, trends
from persona_lens.paper.findings import Finding
from persona_lens.statistics import draw_rows, interval_of

DRAWS = 2000
BROKEN = RULE_MEASURES[0]
"""Rules broken under the persona."""

_PRICE = {
    "cap_instructions": ("all instructions followed", "our 150 checked instructions, for IFEval"),
    "cap_arithmetic": ("arithmetic right", "our word problems, for GSM8k"),
}


def steering_findings(result: Evaluated) -> list[Finding]:
    """Section 3.2.1: whether a push away from the Assistant makes the model take personas on."""
    table = trends(result.replies)
    chosen = table.loc[~table["control"] & (table["label"] == PERSONA)]
    judge = str(result.replies["judge"].iloc[0])
    return [
        Finding.of(
            "steering_personas",
            row["excess"],
            (row["excess_low"], row["excess_high"]),
            row["roles"],
            "roles",
            null=(0.0, 0.0),
            null_is=f"random directions of the same length, {row['slope'] - row['excess']:+.2f}",
            how=f"{row['strengths']} strengths, judged by {judge}; the axis alone {row['slope']:+.2f}",
        )
        for row in chosen.to_dict("records")
    ]


def rule_findings(result: Evaluated, *, in_place_of_harm: bool) -> list[Finding]:
    """House rules in place of harmful requests: what a cap changes, and who breaks them.

    Args:
        result: Of the stage `rules`.
        in_place_of_harm: Whether nothing harmful was asked, so that rules stand in for it.
    """
    if not in_place_of_harm:
        return []
    stands_in = "house rules broken under a persona, in place of harmful requests"
    found = [relative_change(result, BROKEN, stands_in)]
    related = _related(result)
    return [*found, *related]


def harm_findings(result: Evaluated) -> list[Finding]:
    """Sections 3.2.1 and 5.2 on the requests that were brought."""
    judge = str(result.replies["judge"].iloc[0])
    measures = result.measures.loc[result.measures["kind"] == "none"].set_index("measure")
    found = []
    told = f"full harm, judged by {judge}"
    for key, prompted in (("jailbreak_with", WITH), ("jailbreak_without", WITHOUT)):
        name = f"full harm, {prompted}"
        if name not in measures.index:
            continue
        row = measures.loc[name]
        found.append(
            Finding.of(
                key,
                row["value"],
                (row["low"], row["high"]),
                row["clusters"],
                "requests",
                null=_ends(measures, f"full harm, {WITHOUT}") if prompted == WITH else None,
                null_is="the same requests without a persona",
                how=told,
            )
        )
    if f"full harm, {WITH}" in measures.index:
        of_harm = Measure("full harm", judge, (FULL,), {"benign": False, "prompted": WITH})
        found.append(relative_change(result, of_harm, ""))
    return found


def price_findings(result: Evaluated) -> list[Finding]:
    """Section 5.2: what the recommended cap costs."""
    caps = result.measures.loc[result.measures["kind"] == "plan"]
    if caps.empty:
        return []
    chosen = caps.loc[caps["condition"] == caps["condition"].iloc[0]].set_index("measure")
    found = []
    for key, (name, stands_in) in _PRICE.items():
        row = chosen.loc[name]
        found.append(
            Finding.of(
                key,
                row["change"],
                (row["change_low"], row["change_high"]),
                row["clusters"],
                "items",
                how=f"{row['condition']}; {row['engaged']:.0%} of tokens moved",
                stands_in=stands_in,
            )
        )
    return found


def relative_change(result: Evaluated, measure: Measure, stands_in: str) -> Finding:
    """By how much the first cap changes a share, relative to no plan, beside its controls.

    Args:
        result: Replies under nothing, a cap and its controls.
        measure: A share.
        stands_in: What is measured in place of harm.
    """
    replies = result.replies
    values = measure.values(replies)
    table = replies.loc[values.index, ["condition", "item", "cluster"]].assign(value=values)
    about = replies.drop_duplicates("condition").set_index("condition")
    plain = str(about.index[about["kind"] == "none"][0])
    cap = str(about.index[about["kind"] == "plan"][0])
    controls = about.index[about["control_of"] == about.loc[cap, "series"]].tolist()
    by_cluster = table.pivot_table(
        index="cluster", columns="condition", values="value", aggfunc="mean"
    ).dropna(subset=[plain, cap, *controls])
    drawn = draw_rows(len(by_cluster), DRAWS, np.random.default_rng(0))
    before = by_cluster[plain].to_numpy()
    value, draws = _relative(before, by_cluster[cap].to_numpy(), drawn)
    null, null_draws = _relative(before, by_cluster[controls].mean(axis=1).to_numpy(), drawn)
    ends = interval_of(null_draws)
    return Finding.of(
        "cap_harm",
        value,
        interval_of(draws),
        len(by_cluster),
        "items",
        null=(min(ends[0], 0.0), max(ends[1], 0.0)) if controls else None,
        null_is=f"none, or as its {len(controls)} controls, {null:+.0%}",
        how=f"{cap}; {before.mean():.0%} before",
        stands_in=stands_in,
    )


def _relative(
    before: Float[np.ndarray, " cluster"], after: Float[np.ndarray, " cluster"], drawn: np.ndarray
) -> tuple[float, Float[np.ndarray, " draw"]]:
    """(after - before) / before, of all and of resamples; NaN where nothing was there before."""

    def change(one: Any, other: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(one > 0, (other - one) / one, np.nan)

    return float(change(before.mean(), after.mean())), change(
        before[drawn].mean(axis=1), after[drawn].mean(axis=1)
    )


def _related(result: Evaluated) -> list[Finding]:
    from persona_lens.evals.rules.effects import projection_relation  # noqa: PLC0415

    plain = result.replies.loc[result.replies["kind"] == "none"]
    if plain["projection"].notna().sum() == 0:
        return []
    row = projection_relation(plain).set_index("scope").loc["all replies"]
    return [
        Finding.of(
            "drift_harm",
            row["correlation"],
            (row["low"], row["high"]),
            row["pairs"],
            "rules",
            null=(0.0, 0.0),
            null_is="no correlation",
            how="all replies without a plan; positive: replies further toward the Assistant break more",
            stands_in="house rules broken, and the place of the very reply",
        )
    ]


def _ends(measures: pd.DataFrame, name: str) -> tuple[float, float] | None:
    if name not in measures.index:
        return None
    return float(measures.loc[name, "low"]), float(measures.loc[name, "high"])
