"""What conversations and base models say of the paper's sections 3.2.2 and 4, and appendix B.3."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.analysis.comparison import Comparison
from persona_lens.drift.curves import FEWEST
from persona_lens.drift.forecast import Forecaster
from persona_lens.drift.trace import Trace
from persona_lens.evals.completion_trends import trends
from persona_lens.evals.evaluation import Evaluated
from persona_lens.paper.findings import Finding
from persona_lens.space import Space
from persona_lens.statistics import draw_rows, interval_of

DRAWS = 2000
BOUNDED = "coding"
DRIFTING = ("therapy", "philosophy")
_BASE = {"base_religious": "religious_spiritual", "base_support": "mental_health_support"}


def drift_findings(found: Trace) -> list[Finding]:
    """Section 4.1: how far below coding the last replies of other conversations lie."""
    last, unit = last_places(found)
    results = []
    for domain in DRIFTING:
        here, there = (last.loc[last["domain"] == each, "place"] for each in (domain, BOUNDED))
        if here.empty or there.empty:
            continue
        value, interval, null = difference(here.to_numpy(), there.to_numpy())
        results.append(
            Finding.of(
                f"drift_{domain}",
                value,
                interval,
                min(len(here), len(there)),
                "conversations of each",
                null=null,
                null_is="conversations dealt out anew to the two domains",
                how=f"reply {int(last['turn'].max()) + 1}, {unit}",
            )
        )
    return results


def last_places(found: Trace) -> tuple[pd.DataFrame, str]:
    """The place of the last reply that enough conversations of every domain have.

    Returns:
        `conversation`, `domain`, `turn`, `place`; and what the place is in.
    """
    rows = found.at(direction="axis")
    known = rows["z_default"].notna().all()
    told = found.turns[["conversation", "turn", "domain"]]
    table = rows.assign(place=rows["z_default" if known else "projection"]).merge(
        told, on=["conversation", "turn"]
    )
    held = table.groupby(["turn", "domain"])["conversation"].nunique().unstack(fill_value=0)
    least = held.to_numpy(dtype=int).min(axis=1)
    enough = held.index.to_numpy()[least >= min(FEWEST, int(np.max(least)))]
    unit = (
        "in standard deviations of default replies" if known else "in units of the residual stream"
    )
    chosen = table.loc[table["turn"] == enough.max(), ["conversation", "domain", "turn", "place"]]
    return chosen, unit


def difference(
    one: Float[np.ndarray, " a"], other: Float[np.ndarray, " b"], seed: int = 0
) -> tuple[float, tuple[float, float], tuple[float, float]]:
    """Difference of two means, its 95 % interval, and where it lies when the two are dealt out anew.

    Examples:
        >>> value, interval, null = difference(np.arange(12.0), np.arange(12.0) + 30)
        >>> value, interval[1] < null[0]
        (-30.0, True)
    """
    rng = np.random.default_rng(seed)
    drawn = [each[draw_rows(len(each), DRAWS, rng)].mean(axis=1) for each in (one, other)]
    together = np.concatenate([one, other])
    dealt = rng.permuted(np.broadcast_to(together, (DRAWS, len(together))), axis=1)
    null = dealt[:, : len(one)].mean(axis=1) - dealt[:, len(one) :].mean(axis=1)
    low, high = interval_of(drawn[0] - drawn[1])
    null_low, null_high = interval_of(null)
    return float(one.mean() - other.mean()), (low, high), (null_low, null_high)


def forecast_findings(forecaster: Forecaster) -> list[Finding]:
    """Section 4.2: R² held out by user, beside the paper's in the sample."""
    scores = forecaster.scores_
    main = scores["split"].iloc[0]
    chosen = scores.loc[(scores["predictor"] == "message") & (scores["split"] == main)]
    found = []
    for row in chosen.to_dict("records"):
        found.append(
            Finding.of(
                f"forecast_{row['target']}",
                row["r2"],
                (row["low"], row["high"]),
                row["n_groups"],
                "users",
                null=(min(row["null_mean"], row["null_95"]), row["null_95"]),
                null_is="messages of other conversations of the same domain, fitted anew",
                how=f"held out by {main}, {row['n_rows']:,} replies; in the sample {row['r2_in_sample']:.2f}",
            )
        )
    return found


def base_findings(space: Space, own: Space, found: Comparison, layer: int) -> list[Finding]:
    """Appendix B.3: role vectors and components in the base model."""
    if space.table.d_model != own.table.d_model:
        return []
    results = [_same_roles(space, own, layer)]
    frame = found.frame.loc[found.frame["measure"] == "pc_cosine"]
    for row in frame.to_dict("records"):
        key = f"base_pc{int(row['component'])}"
        results.append(
            Finding.of(
                key,
                row["value"],
                (row["low"], row["high"]),
                row["n"],
                "roles",
                null=(0.0, row["null_95"]),
                null_is="random directions from the spread of the base model's roles",
                how=f"layer {row['layer_a']}, matched with PC{int(row['partner'])}",
            )
        )
    return results


def other_findings(name: str, found: Comparison) -> list[Finding]:
    """Section 2.1.3: how alike the roles' loadings are in another model."""
    frame = found.frame.loc[
        (found.frame["measure"] == "pc_loadings") & (found.frame["kind"] == "role")
    ]
    return [
        Finding.of(
            f"loadings_pc{int(row['component'])}",
            row["value"],
            (row["low"], row["high"]),
            row["n"],
            "roles",
            null=(0.0, row["null_95"]),
            null_is="names permuted",
            how=f"beside {name}, layer {row['layer_a']} with {row['layer_b']}",
        )
        for row in frame.to_dict("records")
    ]


def completion_findings(result: Evaluated) -> list[Finding]:
    """Section 3.2.2: which purposes a push moves."""
    table = trends(result.replies)
    chosen = table.loc[table["family"] == "purpose"].drop_duplicates("category")
    chosen = chosen.set_index("category")
    found = []
    for key, category in _BASE.items():
        if category not in chosen.index:
            continue
        row = chosen.loc[category]
        control = float(np.nan_to_num(row["control_slope"]))
        found.append(
            Finding.of(
                key,
                row["slope"],
                (row["low"], row["high"]),
                int(row["n"] / max(row["prefills"], 1)),
                "completions of each beginning",
                null=(min(control, 0.0), max(control, 0.0)),
                null_is=f"none, or that of {row['controls']} random directions, {control:+.2f}",
                how=f"{row['prefills']} beginnings, {row['strengths']} strengths",
            )
        )
    return found


def _same_roles(space: Space, own: Space, layer: int) -> Finding:
    """Cosine of the raw vectors of one role, against that of different roles."""
    one, other = space.at(layer), own.at(layer)
    rows = {space.table.names[row]: row for row in space.table.axis_rows()}
    theirs = {own.table.names[row]: row for row in own.table.axis_rows()}
    names = [name for name in rows if name in theirs]
    a, b = (
        one.values([rows[name] for name in names]),
        other.values([theirs[name] for name in names]),
    )
    cosines = (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (
        b / np.linalg.norm(b, axis=1, keepdims=True)
    ).T
    same = np.diag(cosines)
    drawn = same[draw_rows(len(same), DRAWS, np.random.default_rng(0))].mean(axis=1)
    return Finding.of(
        "base_roles",
        same.mean(),
        interval_of(drawn),
        len(same),
        "roles",
        null=interval_of(cosines[~np.eye(len(same), dtype=bool)]),
        null_is="different roles: raw vectors are all alike",
        how=f"layer {layer}, not centred",
    )
