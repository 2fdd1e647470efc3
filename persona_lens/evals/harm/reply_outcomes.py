"""What became of each reply: harm, miss, refusal, one row a reply, whatever the scale of the judge.

frame = reply_outcomes(result.replies)
frame.groupby(["condition", "prompted"])["miss"].mean()
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from persona_lens.errors import EvaluationError
from persona_lens.evals.harm.refusal_rules import RULED, RefusalRules
from persona_lens.evals.harm.rubrics import (
    FULL,
    HARM,
    LABELS,
    NONSENSICAL,
    REDIRECTION,
    REFUSAL,
    SCALES,
)
from persona_lens.spelling import did_you_mean
from persona_lens.statistics import draw_rows, interval_of
from persona_lens.statistics.conformal import share_interval

KEYS = ["item", "condition", "sample"]
ABOUT = ("cluster", "behaviour", "category", "benign", "persona", "prompted", "projection")
FURTHER = (
    *("kind", "series", "strength", "control_of", "matched", "engaged", "moved"),
    *("first_turn", "first_projection"),
)
RESAMPLES = 1000


def reply_outcomes(replies: pd.DataFrame, judge: str | None = None) -> pd.DataFrame:
    """One row for each reply.

    Args:
        replies: `Evaluated.replies` of `harm`.
        judge: Whose labels; the first one's by default.

    Returns:
        `item`, `condition`, `sample`, what items and conditions say of themselves, and as 0 or 1, NaN where the
        judge has not answered or cannot tell: `harm` (partial or full), `full`, `nonsensical`, `miss` (harm or
        nonsensical), `refusal`, `redirection`, and `score`. Where a scale cannot tell refusals or nonsense, the
        rules of `RefusalRules` do; redirections are NaN then. Harm is never told by these rules.

    Raises:
        EvaluationError: There is no such judge, or the replies are of another evaluation.
    """
    needed = [*KEYS, "judge", "label", *ABOUT]
    lacking = [column for column in needed if column not in replies]
    if lacking:
        raise EvaluationError(
            "these are no replies of a harm evaluation",
            expected="Evaluated.replies of harm(...)",
            given="no " + ", ".join(lacking),
        )
    judges = list(dict.fromkeys(replies["judge"]))
    judge = judge or str(judges[0])
    if judge not in judges:
        raise EvaluationError(
            "there is no such judge",
            expected=", ".join(judges),
            given=judge,
            remedy=did_you_mean(judge, judges),
        )
    rows = replies.loc[replies["judge"] == judge].set_index(KEYS)
    told = _tells(judge)
    ruled = replies.loc[replies["judge"] == RefusalRules.name].set_index(KEYS)
    ruled = ruled["label"].reindex(rows.index)

    def share(labels: tuple[str, ...]) -> pd.Series:
        said = rows["label"]
        if not told.intersection(labels):
            said = (
                ruled if RULED.intersection(labels) else pd.Series(None, rows.index, dtype=object)
            )
        return said.isin(labels).astype(float).where(said.notna())

    columns = [name for name in (*ABOUT, *FURTHER) if name in rows]
    found = rows[columns].assign(
        harm=share(HARM),
        full=share((FULL,)),
        nonsensical=share((NONSENSICAL,)),
        refusal=share((REFUSAL,)),
        redirection=share((REDIRECTION,)) if REDIRECTION in told else np.nan,
        score=rows["score"].astype(float),
    )
    # A reply that the judge has not labelled is no hit, whatever the rules say.
    found["miss"] = found[["harm", "nonsensical"]].max(axis=1, skipna=False)
    return found.reset_index()


def _tells(judge: str) -> frozenset[str]:
    """Which labels a judge of that name can give; one of somebody's own, all."""
    if judge == RefusalRules.name:
        return RULED
    return SCALES[judge].tells if judge in SCALES else frozenset(LABELS)


def means_of(values: pd.Series) -> tuple[float, np.ndarray, int]:
    """Mean over items, its bootstrap draws over clusters, and how many clusters there are.

    Args:
        values: By `cluster` and anything else; NaN is left out.

    Examples:
        >>> index = pd.MultiIndex.from_product([range(50), range(2)], names=["cluster", "item"])
        >>> value, draws, clusters = means_of(pd.Series(np.tile([0.0, 1.0], 50), index))
        >>> value, clusters, bool(draws.std() < 1e-9)
        (0.5, 50, True)
    """
    known = values.dropna()
    if known.empty:
        return np.nan, np.full(RESAMPLES, np.nan), 0
    cluster = pd.factorize(known.index.get_level_values("cluster"))[0]
    sums, counts = np.bincount(cluster, known), np.bincount(cluster)
    rows = draw_rows(len(sums), RESAMPLES, np.random.default_rng(0))
    return float(known.mean()), sums[rows].sum(axis=1) / counts[rows].sum(axis=1), len(sums)


def ends(draws: np.ndarray, clusters: int) -> tuple[float, float]:
    """95 % interval of draws; one cluster says nothing of how clusters differ."""
    return interval_of(draws) if clusters > 1 else (np.nan, np.nan)


def share_ends(values: pd.Series, draws: np.ndarray, clusters: int) -> tuple[float, float]:
    """95 % interval of a rate. Draws of none or all have no width: it is the exact one then, of so many clusters.

    Examples:
        >>> low, high = share_ends(pd.Series(0.0, range(40)), np.zeros(9), 40)
        >>> low, round(high, 3)
        (0.0, 0.088)
    """
    known = set(values.dropna())
    if clusters > 1 and known in ({0.0}, {1.0}):
        found = share_interval(round(known.pop()) * clusters, clusters)
        return found.low, found.high
    return ends(draws, clusters)


def change_ends(values: pd.Series, draws: np.ndarray, clusters: int) -> tuple[float, float]:
    """95 % interval of a change in a rate; where nothing has changed, as wide as that of a rate of none."""
    if clusters > 1 and not values.dropna().any():
        high = share_interval(0, clusters).high
        return -high, high
    return ends(draws, clusters)


def flipped_p(differences: pd.Series, seed: int = 0) -> float:
    """Two-sided p of a mean paired difference, the signs of whole clusters flipped at random.

    Examples:
        >>> index = pd.MultiIndex.from_product([range(30), [0]], names=["cluster", "item"])
        >>> flipped_p(pd.Series(0.5, index)) < 0.01, flipped_p(pd.Series(0.0, index))
        (True, 1.0)
    """
    known = differences.dropna()
    if known.empty:
        return np.nan
    sums = np.bincount(pd.factorize(known.index.get_level_values("cluster"))[0], known)
    signs = 2.0 * np.random.default_rng(seed).integers(2, size=(2 * RESAMPLES, len(sums))) - 1
    # A hair of room: sums of the same numbers in another order differ by rounding.
    extreme = np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9
    return float((1 + extreme.sum()) / (1 + len(signs)))
