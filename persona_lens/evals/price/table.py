"""The price of interventions in one table: every measure against no plan, item by item, beside its controls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from persona_lens.evals.measures import Measure, measured
from persona_lens.statistics import fdr

_HAIR = 1e-9
"""Below this a value has not changed."""


def price_table(replies: pd.DataFrame, measures: Sequence[Measure]) -> pd.DataFrame:
    """Whether items changed under each condition more often one way than the other.

    Args:
        replies: `Evaluated.replies`, with a condition without a plan, which all others are compared to.
        measures: Of the evaluation.

    Returns:
        As `Evaluated.measures`, and: `fell` and `rose`, items whose value did (samples of an item are averaged);
        `p`, of as lopsided a split by chance (a sign test, which is McNemar's exact test where values are 0 or 1;
        1 where nothing changed); `q`, after control of the false discovery rate over the whole table. All NaN in
        rows without a plan. The test takes items for independent; where clusters have several, trust the interval
        of the change, which does not.

    Examples:
        >>> from persona_lens.evals.conditions import Condition
        >>> cap = {"condition": "cap", **Condition("cap", kind="plan").about()}
        >>> none = {"condition": "none", **Condition("none").about()}
        >>> same = {"judge": "right", "label": None, "engaged": 0.0, "moved": 0.0}
        >>> rows = [{"item": item, "cluster": item, "score": float(about is none or item > 7), **same, **about}
        ...         for item in range(20) for about in (none, cap)]
        >>> table = price_table(pd.DataFrame(rows), [Measure("right", "right")])
        >>> table.loc[table["condition"] == "cap", ["change", "fell", "rose", "p"]].round(3).values.tolist()
        [[-0.4, 8.0, 0.0, 0.008]]
    """
    table = measured(replies, measures)
    plain = next(iter(table.loc[table["kind"] == "none", "condition"]), None)
    found = []
    for measure in measures:
        values = measure.values(replies)
        about = replies.loc[values.index, ["condition", "item"]].assign(value=values)
        means = about.groupby(["condition", "item"])["value"].mean()
        known = set(about["condition"])
        for condition in table.loc[table["measure"] == measure.name, "condition"]:
            if plain not in known or condition == plain:
                found.append((np.nan,) * 3)
            else:
                found.append(split((means[condition] - means[plain]).dropna()))
    table[["fell", "rose", "p"]] = np.array(found, dtype=float).reshape(-1, 3)
    return table.assign(q=fdr(table["p"].to_numpy()))


def split(changes: pd.Series) -> tuple[int, int, float]:
    """How many changes go down and up, and the chance of as lopsided a split.

    Examples:
        >>> split(pd.Series([0.0, -1.0, 1.0, 1.0]))
        (1, 2, 1.0)
    """
    fell, rose = int((changes < -_HAIR).sum()), int((changes > _HAIR).sum())
    p = float(binomtest(fell, fell + rose).pvalue) if fell + rose else 1.0
    return fell, rose, p
