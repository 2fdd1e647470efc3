"""Agreement of two judges from tables of counts: share of equal labels and kappa, with intervals and a null.

A table counts replies by the first judge's label (rows) and the second's (columns), and there is one a role: all
that resampling needs, whether there are a hundred replies or a million.

    tables = np.array([[[8, 2], [1, 9]], [[5, 5], [4, 6]]])       # two roles, two labels
    found = label_agreement(tables, ("not", "fully"), n_resamples=1000, rng=np.random.default_rng(0))
    found.kappa                                                   # Measure(value=0.4, ...)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import random_table

from persona_lens.statistics.resampling import draw_counts

_LEVELS = (2.5, 97.5)


@dataclass(frozen=True)
class Measure:
    """A number with its 95 % interval, and mean and 95 % range of the same number under a null.

    NaN stands for what is not known.
    """

    value: float
    low: float
    high: float
    null: float = np.nan
    null_low: float = np.nan
    null_high: float = np.nan

    @classmethod
    def of(
        cls,
        value: float,
        resampled: Float[np.ndarray, " resample"],
        null: Float[np.ndarray, " draw"] | None = None,
    ) -> Measure:
        """A value with the percentiles of its resamples, and mean and percentiles of the null.

        Examples:
            >>> found = Measure.of(0.5, np.array([0.4, np.nan, 0.6]))
            >>> round(found.low, 3), round(found.high, 3), found.null
            (0.405, 0.595, nan)
        """
        drawn = _known(np.empty(0) if null is None else null)
        mean = float(drawn.mean()) if len(drawn) else np.nan
        return cls(float(value), *percentiles(resampled), mean, *percentiles(drawn))

    def __str__(self) -> str:
        """Value and interval, and the range of the null if there is one.

        Examples:
            >>> str(Measure(0.5, 0.4, 0.6, 0.02, -0.01, 0.05)), str(Measure(np.nan, np.nan, np.nan))
            ('0.50 [0.40, 0.60], null -0.01 to 0.05', '-')
        """
        if np.isnan(self.value):
            return "-"
        null = "" if np.isnan(self.null) else f", null {self.null_low:.2f} to {self.null_high:.2f}"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]{null}"


@dataclass(frozen=True, eq=False)
class LabelAgreement:
    """How far two judges give the same labels.

    Attributes:
        count: Replies that both have labelled.
        n_groups: Roles (or traits) with such a reply.
        confusion: Replies by the first judge's label (rows) and the second's (columns).
        equal: Share with equal labels.
        kappa: Cohen's kappa.
        weighted_kappa: The same with a disagreement counted by how many labels lie in between, plus one.
    """

    count: int
    n_groups: int
    confusion: pd.DataFrame
    equal: Measure
    kappa: Measure
    weighted_kappa: Measure


def label_agreement(
    tables: Int[np.ndarray, "group label label"],
    labels: Sequence[str],
    *,
    n_resamples: int,
    rng: np.random.Generator,
    null: Int[np.ndarray, "draw label label"] | None = None,
) -> LabelAgreement:
    """Agreement over all groups.

    Args:
        tables: Counts of each group.
        labels: What rows and columns stand for, in order.
        n_resamples: Bootstrap samples of the groups, and draws of the null.
        rng: Draws both.
        null: Tables under the null, if they have been drawn; else the labels are shuffled within each group.
    """
    known = tables[tables.sum(axis=(1, 2)) > 0]
    drawn = shuffled(known, n_resamples, rng).sum(axis=0) if null is None else null
    total, anew = known.sum(axis=0), drawn_anew(known, n_resamples, rng)

    def measured(statistic: Callable[[np.ndarray], np.ndarray]) -> Measure:
        return Measure.of(float(statistic(total)), statistic(anew), statistic(drawn))

    return LabelAgreement(
        count=int(total.sum()),
        n_groups=len(known),
        confusion=pd.DataFrame(total, index=list(labels), columns=list(labels)),
        equal=measured(equal_share),
        kappa=measured(kappa),
        weighted_kappa=measured(partial(kappa, linear=True)),
    )


def kappa(
    tables: Float[np.ndarray, "*batch label label"], *, linear: bool = False
) -> Float[np.ndarray, "*batch"]:
    """Cohen's kappa of each table, as `sklearn.metrics.cohen_kappa_score` has it, many tables at once.

    NaN where a judge gives one label only, and scikit-learn says 0 or NaN: whether it can tell replies apart
    cannot be seen then.

    Args:
        tables: Counts or weights.
        linear: Count a disagreement by its distance, instead of all alike.

    Examples:
        >>> kappa(np.array([[[40, 10], [20, 30]], [[5, 0], [5, 0]]]))
        array([0.4, nan])
    """
    places = np.arange(tables.shape[-1])
    distance = np.abs(places[:, None] - places)
    penalty = distance if linear else distance > 0
    first, second = tables.sum(axis=-1), tables.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        chance = first[..., :, None] * second[..., None, :] / first.sum(axis=-1)[..., None, None]
        found = 1 - (penalty * tables).sum(axis=(-2, -1)) / (penalty * chance).sum(axis=(-2, -1))
    several = ((first > 0).sum(axis=-1) > 1) & ((second > 0).sum(axis=-1) > 1)
    return np.where(several, found, np.nan)


def equal_share(tables: Float[np.ndarray, "*batch label label"]) -> Float[np.ndarray, "*batch"]:
    """Share of each table on its diagonal; NaN where it is empty.

    Examples:
        >>> equal_share(np.array([[40, 10], [20, 30]])).item()
        0.7
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.trace(tables, axis1=-2, axis2=-1) / tables.sum(axis=(-2, -1))


def drawn_anew(
    tables: Float[np.ndarray, "group ..."], n_resamples: int, rng: np.random.Generator
) -> Float[np.ndarray, "resample ..."]:
    """Sums over as many groups as there are, drawn with replacement: whole groups, with all of their replies.

    A single group says nothing of how groups differ: its sums are empty, and what is computed from them is NaN.

    Examples:
        >>> drawn_anew(np.array([[1, 0], [0, 1]]), 3, np.random.default_rng(0)).sum(axis=1)
        array([2., 2., 2.])
    """
    n_groups = len(tables)
    if n_groups < 2:
        return np.zeros((n_resamples, *tables.shape[1:]))
    sums = draw_counts(n_groups, n_resamples, rng) @ tables.reshape(n_groups, -1)
    return sums.reshape(n_resamples, *tables.shape[1:])


def shuffled(
    tables: Int[np.ndarray, "group label label"], n_draws: int, rng: np.random.Generator
) -> Int[np.ndarray, "group draw label label"]:
    """Tables of each group when the second judge's labels are dealt out at random among its replies.

    Either judge keeps its counts in every group, so what is left of the agreement comes of knowing the group.

    Examples:
        >>> shuffled(np.array([[[2, 0], [0, 2]]]), 5, np.random.default_rng(0)).sum(axis=(0, 2)).tolist()
        [[2, 2], [2, 2], [2, 2], [2, 2], [2, 2]]
    """
    drawn = np.empty((len(tables), n_draws, *tables.shape[1:]), dtype=np.int64)
    for group, table in enumerate(tables):
        margins = random_table(table.sum(axis=1), table.sum(axis=0))
        drawn[group] = margins.rvs(size=n_draws, random_state=rng)
    return drawn


def percentiles(values: Float[np.ndarray, " value"]) -> tuple[float, float]:
    """The 2.5th and the 97.5th of the values that are known; NaN if none is.

    Examples:
        >>> percentiles(np.array([np.nan]))
        (nan, nan)
    """
    known = _known(values)
    if not len(known):
        return np.nan, np.nan
    low, high = np.percentile(known, _LEVELS)
    return float(low), float(high)


def _known(values: Float[np.ndarray, " value"]) -> Float[np.ndarray, " known"]:
    return values[np.isfinite(values)]
