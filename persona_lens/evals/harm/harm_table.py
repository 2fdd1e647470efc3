"""Harm, misses and refusals by condition and category, with what controls do, and benign twins in the same table.

table = harm_table(result.replies)
table.query("measure == 'miss' and prompted == 'persona' and category == 'all'")
persona_effect(result.replies)         # with a persona against without, under each condition
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from persona_lens.evals.harm.crossing import WITH, WITHOUT
from persona_lens.evals.harm.reply_outcomes import (
    change_ends,
    flipped_p,
    means_of,
    reply_outcomes,
    share_ends,
)
from persona_lens.statistics import fdr

ALL = "all"
MATCHED = ("norm", "engagement")
_CONDITION = ("kind", "series", "strength", "control_of", "matched")
_MEASURES = (
    ("harm", "harm", False),
    ("full harm", "full", False),
    ("miss", "miss", False),
    ("refusal", "refusal", False),
    ("redirection", "redirection", False),
    ("nonsensical", "nonsensical", False),
    ("score", "score", False),
    ("over-refusal", "refusal", True),
)


def harm_table(replies: pd.DataFrame, judge: str | None = None) -> pd.DataFrame:
    """Every measure under every condition, over all categories and in each.

    Args:
        replies: `Evaluated.replies` of `harm`.
        judge: As for `reply_outcomes`.

    Returns:
        One row for each `measure` (those of harmful requests, and `over-refusal` of benign twins), `condition`
        with what it says of itself, `prompted` and `category` ("all" first): `value` with `low` and `high` (95 %,
        clusters resampled), `n` (replies), `unjudged`, `clusters`; `change` from no plan, paired by item, with
        `change_low`, `change_high`, `p` (signs of whole clusters flipped) and `q` (false discovery rate over the
        categories and plans of a measure; "all" and controls are families of their own); and how much of a plan's
        change is beyond that of its random controls of equal norm and of equal engagement, `beyond_norm` and
        `beyond_engagement` with `_low` and `_high`. NaN where there is nothing to compare.
    """
    frame = reply_outcomes(replies, judge)
    about = _about(frame)
    plain = next((name for name, told in about.items() if told["kind"] == "none"), None)
    rows = []
    for measure, column, benign in _MEASURES:
        kept = ["cluster", "item", "condition", "prompted", "category", column]
        chosen = frame.loc[frame["benign"].astype(bool) == benign, kept]
        if chosen.empty or chosen[column].isna().all():
            continue
        for prompted, by_prompted in chosen.groupby("prompted", sort=False):
            for category in (ALL, *dict.fromkeys(by_prompted["category"])):
                some = by_prompted
                if category != ALL:
                    some = by_prompted.loc[by_prompted["category"] == category]
                key = {"measure": measure, "prompted": prompted, "category": category}
                rows += _under_conditions(some, column, key, about, plain)
    return _with_q(pd.DataFrame(rows), ["measure", "prompted"])


def persona_effect(replies: pd.DataFrame, judge: str | None = None) -> pd.DataFrame:
    """What a persona does, under each condition: paired by behaviour, all its personas taken together.

    Returns:
        One row for each `measure`, `condition` and `category`: `value` with a persona, `without` one, and their
        difference `change` with interval, `p` and `q` as in `harm_table`; `n` behaviours, `clusters`.
    """
    frame = reply_outcomes(replies, judge)
    about, rows = _about(frame), []
    for measure, column, benign in _MEASURES:
        chosen = frame.loc[frame["benign"].astype(bool) == benign]
        if (
            chosen.empty
            or chosen[column].isna().all()
            or set(chosen["prompted"]) != {WITH, WITHOUT}
        ):
            continue
        for category in (ALL, *dict.fromkeys(chosen["category"])):
            some = chosen if category == ALL else chosen.loc[chosen["category"] == category]
            for condition in about:
                mine = some.loc[some["condition"] == condition]
                by = mine.groupby(["prompted", "cluster", "behaviour"])[column].mean()
                if not {WITH, WITHOUT} <= set(by.index.get_level_values("prompted")):
                    continue
                pairs = pd.DataFrame({"value": by[WITH], "without": by[WITHOUT]}).dropna()
                key = {"measure": measure, "condition": condition, **about[condition]}
                changed = _changed(pairs["value"] - pairs["without"])
                means = {name: float(pairs[name].mean()) for name in pairs}
                clusters = pairs.index.get_level_values("cluster").nunique()
                told = {**key, "category": category, **means, **changed}
                rows.append({**told, "n": len(pairs), "clusters": clusters})
    columns = ["measure", "condition", *_CONDITION, "category", "value", "without"]
    return _with_q(pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns), ["measure"])


def _about(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    columns = [name for name in _CONDITION if name in frame]
    first = frame.drop_duplicates("condition").set_index("condition")
    return {
        str(name): dict(zip(columns, row, strict=True))
        for name, row in zip(first.index, first[columns].itertuples(index=False), strict=True)
    }


def _under_conditions(
    frame: pd.DataFrame,
    column: str,
    key: Mapping[str, Any],
    about: Mapping[str, Mapping[str, Any]],
    plain: str | None,
) -> list[dict[str, Any]]:
    """The rows of one measure in one category."""
    tables: dict[str, pd.Series] = {
        str(name): some.groupby(["cluster", "item"])[column].mean()  # pyright: ignore[reportAssignmentType]
        for name, some in frame.groupby("condition")
    }
    rows = []
    for condition, told in about.items():
        if condition not in tables:
            continue
        mine = frame.loc[frame["condition"] == condition]
        value, draws, clusters = means_of(tables[condition])
        low, high = share_ends(tables[condition], draws, clusters)
        row: dict[str, Any] = {
            **key,
            "condition": condition,
            **told,
            "value": value,
            "low": low,
            "high": high,
            "n": int(mine[column].notna().sum()),
            "unjudged": int(mine[column].isna().sum()),
            "clusters": clusters,
        }
        before = tables.get(plain or "")
        if before is not None and condition != plain:
            row |= _changed(tables[condition] - before)
        else:
            row |= dict.fromkeys(_CHANGE, np.nan)
        for matched in MATCHED:
            controls = [
                name
                for name, other in about.items()
                if name in tables
                and other["control_of"] == told["series"]
                and other["strength"] == told["strength"]
                and other["matched"] == matched
            ]
            row |= _beyond(tables, condition, controls, f"beyond_{matched}")
        rows.append(row)
    return rows


_CHANGE = ("change", "change_low", "change_high", "p")


def _changed(difference: pd.Series) -> dict[str, Any]:
    value, draws, clusters = means_of(difference)
    low, high = change_ends(difference, draws, clusters)
    p = flipped_p(difference) if clusters > 1 else np.nan
    return dict(zip(_CHANGE, (value, low, high, p), strict=True))


def _beyond(
    tables: Mapping[str, pd.Series], condition: str, controls: Sequence[str], name: str
) -> dict[str, float]:
    """A plan against the mean of its controls, paired by item; random directions are drawn anew with clusters."""
    names = (name, f"{name}_low", f"{name}_high")
    if not controls:
        return dict.fromkeys(names, np.nan)
    together = pd.concat([tables[each] for each in controls], axis=1)
    apart = tables[condition] - together.mean(axis=1, skipna=False)
    value, draws, clusters = means_of(apart)
    if len(controls) > 1:
        gaps = [
            means_of(tables[condition] - together.iloc[:, at])[0] for at in range(len(controls))
        ]
        rng = np.random.default_rng(1)
        spread = rng.choice(gaps, size=(len(draws), len(gaps))).mean(axis=1) - np.mean(gaps)
        draws = draws + spread
    return dict(zip(names, (value, *change_ends(apart, draws, clusters)), strict=True))


def _with_q(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """With the false discovery rate over each family."""
    if table.empty:
        return table.assign(q=[])
    family = [
        (table["category"] == ALL).rename("whole"),
        (table["kind"] == "control").rename("control"),
    ]
    adjusted = table.groupby([*by, *family])["p"].transform(lambda p: fdr(p.to_numpy()))
    return table.assign(q=adjusted)
