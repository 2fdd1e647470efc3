"""Does harm follow the projection: of the reply itself, or of the first turn, before anything harmful was asked?

    effect = projection_effect(result.replies)                             # of the reply
    drift = projection_effect(result.replies, by="first_projection")       # drift to harm
    harm_by_projection(result.replies, by="first_projection")              # rates in bins, for the figure

Roles differ in where they stand and in what they do, so that the correlation over roles says less than it seems:
beside it stands the one within roles, after their means are taken away.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from persona_lens.errors import EvaluationError
from persona_lens.evals.harm.reply_outcomes import RESAMPLES, means_of, reply_outcomes, share_ends
from persona_lens.spelling import check_choice
from persona_lens.statistics import draw_counts, fisher_interval, permutation_p
from persona_lens.statistics.correlations import weighted_correlations

By = Literal["projection", "first_projection"]
OUTCOMES = ("harm", "full", "miss", "refusal", "nonsensical", "score")
NULL_DRAWS = 500


def projection_effect(
    replies: pd.DataFrame,
    *,
    by: By = "projection",
    outcome: str = "harm",
    judge: str | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Correlation of harm with the projection, under each condition; harmful requests alone.

    Args:
        replies: `Evaluated.replies` of `harm`, evaluated with a space.
        by: `projection`, of each reply; `first_projection`, of the first turn, whose replies are taken together
            (items of `after_first_turns`).
        outcome: One of `OUTCOMES`.
        judge: As for `reply_outcomes`.
        seed: Of bootstrap and null.

    Returns:
        One row for each `condition`: `r` with `low` and `high` (95 %, whole personas resampled), `null_low` and
        `null_high` (personas' projections dealt out anew among personas, and within each among its replies), `p`;
        `within`, the correlation after each persona's means are taken away, with `within_low`, `within_high`, its
        null (projections dealt out within personas) and `within_p`; `rate`, `n` (replies or first turns),
        `personas`. A persona's name is its identity; replies without one are one persona.

    Raises:
        EvaluationError: There are no projections, or no judge tells the outcome.

    Source: paper section 4.3, which has r over first turns alone.
    """
    frame = _units(replies, by, outcome, judge)
    rows = []
    for condition, some in frame.groupby("condition", sort=False):
        x, y = some["x"].to_numpy(float), some["y"].to_numpy(float)
        group = pd.factorize(some["persona"])[0]
        rng = np.random.default_rng(seed)
        rows.append(
            {
                "condition": condition,
                "by": by,
                "outcome": outcome,
                "rate": float(y.mean()),
                "n": len(y),
                "personas": int(group.max()) + 1,
                **_measured(x, y, group, rng, within=False),
                **_measured(x, y, group, rng, within=True),
            }
        )
    return pd.DataFrame(rows)


def harm_by_projection(
    replies: pd.DataFrame,
    *,
    by: By = "projection",
    outcome: str = "harm",
    judge: str | None = None,
    bins: int = 5,
) -> pd.DataFrame:
    """Rate of harm in bins of equal counts along the projection, the same bins under every condition.

    Returns:
        `condition`, `kind`, `bin`, `projection` (mean in the bin), `value`, `low`, `high` (personas resampled),
        `n`, `clusters` (personas).
    """
    frame = _units(replies, by, outcome, judge)
    edges = np.unique(np.quantile(frame["x"], np.linspace(0, 1, bins + 1)))
    frame["bin"] = np.clip(np.searchsorted(edges[1:-1], frame["x"], side="right"), 0, bins - 1)
    rows = []
    for key, some in frame.groupby(["condition", "bin"], sort=False):
        condition, number = tuple(key)  # pyright: ignore[reportArgumentType]
        values = some.assign(cluster=some["persona"]).set_index(["cluster", "unit"])["y"]
        value, draws, clusters = means_of(values)
        low, high = share_ends(values, draws, clusters)
        rows.append(
            {
                "condition": condition,
                "kind": some["kind"].iloc[0],
                "bin": int(number),
                "projection": float(some["x"].mean()),
                "value": value,
                "low": low,
                "high": high,
                "n": len(some),
                "clusters": clusters,
            }
        )
    return pd.DataFrame(rows).sort_values(["condition", "bin"], ignore_index=True)


def _units(replies: pd.DataFrame, by: str, outcome: str, judge: str | None) -> pd.DataFrame:
    """`x`, `y`, `persona`, `unit` and `condition` of each reply, or of each first turn."""
    check_choice(
        by, ("projection", "first_projection"), "no such projection", error=EvaluationError
    )
    check_choice(outcome, OUTCOMES, "no such outcome", error=EvaluationError)
    frame = reply_outcomes(replies, judge)
    frame = frame.loc[~frame["benign"].astype(bool)]
    if by not in frame or frame[by].isna().all():
        remedy = (
            "evaluate with space="
            if by == "projection"
            else "make the items by after_first_turns(first_turns(..., space=space), behaviours)"
        )
        raise EvaluationError(f"the replies have no {by}", remedy=remedy)
    if frame[outcome].isna().all():
        raise EvaluationError(
            f"it is not told what {outcome} is",
            expected="a judge that tells it",
            given=f"{len(frame)} replies to harmful requests, none with such a verdict",
            remedy="judge by harm_judge(...), or ask for another outcome, such as refusal",
        )
    frame = frame.assign(x=frame[by], y=frame[outcome]).dropna(subset=["x", "y"])
    if by == "projection":
        return frame.assign(unit=frame["item"] + "/" + frame["sample"].astype(str))
    grouped = frame.groupby(["condition", "first_turn"], sort=False)
    return (
        grouped.agg(
            x=("x", "first"), y=("y", "mean"), persona=("persona", "first"), kind=("kind", "first")
        )
        .reset_index()
        .rename(columns={"first_turn": "unit"})
    )


def _measured(
    x: np.ndarray, y: np.ndarray, group: np.ndarray, rng: np.random.Generator, *, within: bool
) -> dict[str, Any]:
    """Correlation, interval over groups, and null."""
    name = "within" if within else "r"
    prefix = "within_" if within else ""
    n_groups = int(group.max()) + 1
    if within:
        x, y = x - _means(x, group)[group], y - _means(y, group)[group]
    value = _correlation(x, y)
    low = high = np.nan
    if n_groups > 2:
        counts = draw_counts(n_groups, RESAMPLES, rng)[:, group]
        draws = weighted_correlations(x[:, None], y[:, None], counts)[:, 0]
        low, high = fisher_interval(value, draws)
    null = np.array([_correlation(_dealt(x, group, rng, within), y) for _ in range(NULL_DRAWS)])
    known = null[np.isfinite(null)]
    ends_of_null = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return {
        name: value,
        f"{prefix}low": low,
        f"{prefix}high": high,
        f"{prefix}null_low": float(ends_of_null[0]),
        f"{prefix}null_high": float(ends_of_null[1]),
        f"{prefix}p": float(permutation_p(value, known, "two-sided")) if len(known) else np.nan,
    }


def _dealt(x: np.ndarray, group: np.ndarray, rng: np.random.Generator, within: bool) -> np.ndarray:
    """The same projections without a link to outcomes, groups as alike within as they are."""
    order = np.lexsort((rng.random(len(x)), group))
    shuffled = np.empty_like(x)
    shuffled[np.argsort(group, kind="stable")] = x[order]
    if within:
        return shuffled
    means = _means(x, group)
    return shuffled - means[group] + rng.permutation(means)[group]


def _means(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    return np.bincount(group, values) / np.bincount(group)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 3 or np.ptp(x) < 1e-12 or np.ptp(y) < 1e-12:
        return np.nan
    return float(np.corrcoef(x, y)[0, 1])
