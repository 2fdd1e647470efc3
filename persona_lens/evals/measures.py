"""Numbers made of what judges say: under every condition, with interval, count, and change from no plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from persona_lens.statistics import draw_rows, interval_of
from persona_lens.statistics.conformal import share_interval

RESAMPLES = 1000


@dataclass(frozen=True)
class Measure:
    """A number that is read from what a judge says.

    Attributes:
        name: In words, as figures show it.
        judge: Whose outcomes it is made of.
        labels: It is the share of answers with one of these labels; by default a mean.
        where: Only items whose `about` has these values.
        unit: "share", or that of the score.
        good: Whether more of it is what one wants, less (-1), or neither (0).
        column: Of which column the mean is taken.
    """

    name: str
    judge: str
    labels: tuple[str, ...] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    unit: str = "share"
    good: int = 0
    column: str = "score"

    def values(self, replies: pd.DataFrame) -> pd.Series:
        """Of every row of `Evaluated.replies` that it is about; NaN where the judge has not answered."""
        chosen = replies.loc[replies["judge"] == self.judge]
        for key, value in self.where.items():
            chosen = chosen.loc[chosen[key] == value]
        if not self.labels:
            return chosen[self.column].astype(float)
        said = chosen["label"].isin(self.labels).astype(float)
        return said.where(chosen["label"].notna())


def measured(replies: pd.DataFrame, measures: Sequence[Measure]) -> pd.DataFrame:
    """`Evaluated.measures` of its replies."""
    rows = []
    columns = ["condition", *_CONDITION]
    conditions = replies.drop_duplicates("condition").loc[:, columns].to_dict("records")
    plain = next((row["condition"] for row in conditions if row["kind"] == "none"), None)
    for measure in measures:
        values = measure.values(replies)
        about = replies.loc[values.index, ["condition", "item", "cluster"]].assign(value=values)
        tables = {
            name: some.groupby(["cluster", "item"])["value"].mean()
            for name, some in about.groupby("condition")
        }
        for row in conditions:
            name = row["condition"]
            if name not in tables:
                continue
            mine = about.loc[about["condition"] == name, "value"]
            share = measure.unit == "share"
            value, low, high, clusters = _mean(tables[name], share=share)
            change = (np.nan,) * 3
            if plain in tables and name != plain:
                change = _change((tables[name] - tables[plain]).dropna(), share=share)
            did = replies.loc[replies["condition"] == name]
            rows.append(
                {
                    "measure": measure.name,
                    "unit": measure.unit,
                    "good": measure.good,
                    **row,
                    "value": value,
                    "low": low,
                    "high": high,
                    "n": int(mine.notna().sum()),
                    "clusters": clusters,
                    "unjudged": int(mine.isna().sum()),
                    "change": change[0],
                    "change_low": change[1],
                    "change_high": change[2],
                    "engaged": float(did["engaged"].mean()),
                    "moved": float(did["moved"].mean()),
                }
            )
    return pd.DataFrame(rows)


_CONDITION = ("kind", "series", "strength", "control_of", "matched")


def _change(values: pd.Series, *, share: bool) -> tuple[float, float, float]:
    """Mean change with its interval; where no item has changed, as wide below zero as above."""
    value, low, high, clusters = _mean(values, share=share)
    return (value, -high, high) if clusters > 1 and not values.any() else (value, low, high)


def _mean(values: pd.Series, *, share: bool) -> tuple[float, float, float, int]:
    """Mean over items with its interval, clusters resampled, and their number.

    A bootstrap of values that are all the same has no width. Of a share of none or all, and of a change that no
    item has, the interval is then the exact one (Clopper and Pearson) for as many clusters. Of one cluster there
    is none.

    >>> places = pd.MultiIndex.from_tuples([(name, name) for name in "abcd"], names=["cluster", "item"])
    >>> none = pd.Series(0.0, index=places)
    >>> [round(number, 2) for number in _mean(none, share=True)]
    [0.0, 0.0, 0.6, 4]
    """
    known = values.dropna()
    if known.empty:
        return np.nan, np.nan, np.nan, 0
    grouped = known.groupby(level="cluster")
    sums = np.asarray(grouped.sum(), dtype=np.float64)
    counts = np.asarray(grouped.count(), dtype=np.float64)
    value = float(known.mean())
    if len(sums) == 1:
        return value, np.nan, np.nan, 1
    if share and float(np.ptp(known.to_numpy())) == 0 and value in (0.0, 1.0):
        ends = share_interval(round(value) * len(sums), len(sums))
        return value, ends.low, ends.high, len(sums)
    rows = draw_rows(len(sums), RESAMPLES, np.random.default_rng(0))
    draws = sums[rows].sum(axis=1) / counts[rows].sum(axis=1)
    low, high = interval_of(draws)
    return value, float(low), float(high), len(sums)
