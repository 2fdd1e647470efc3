"""How large a share of completions each category has, as labelled and corrected for the errors of the labels.

    table = shares(result.replies, labelling_error(CategoryJudge()))

Two questions, two intervals. Completions of one prefill are alike, and so may be those of one sample, which are
drawn with the same random numbers. `low` and `high` draw both anew, prefills and samples: what other beginnings of
the kind would give. `same_low` and `same_high` draw samples anew: what the same beginnings would give again.

A judge that takes one category for another shifts shares. From how often it says what of each category, the shares
under which its labels are likeliest are found by expectation maximisation (`corrected`); their interval draws
prefills and the rates of the judge anew, both, so it holds how little the labelled sample says of those.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.errors import EvaluationError
from persona_lens.statistics import draw_counts, interval_of
from persona_lens.statistics.resampling import widened

if TYPE_CHECKING:
    from persona_lens.evals.labelling_error import LabellingError

DRAWS = 500
_STEPS = 200

CONDITION = ["condition", "kind", "series", "strength", "control_of"]


def shares(
    replies: pd.DataFrame, error: LabellingError | None = None, *, draws: int = DRAWS, seed: int = 0
) -> pd.DataFrame:
    """Share of each category under each condition.

    Args:
        replies: `Evaluated.replies` of `completions`, or rows with `family`, `cluster`, `sample`, `judge`, `label`
            and the columns of conditions.
        error: Of the judge that gave the labels, for `corrected`; left out, that is NaN.
        draws: Bootstrap samples.
        seed: Of the draws.

    Returns:
        One row for each judge, family, category and condition: `value`, the share of the labelled completions,
        with `low`, `high` (prefills and samples drawn anew, widened as few prefills need; NaN of a single one),
        `same_low`, `same_high` (samples drawn anew); `corrected` with `corrected_low`, `corrected_high`;
        `n` completions, `prefills`, `unjudged`.

    Raises:
        EvaluationError: Columns are missing, or the judge said what it did not say of the labelled sample.
    """
    check_replies(replies)
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    labelling = replies.loc[replies["label"].notna(), "judge"].unique()  # others give scores
    replies = replies.loc[replies["judge"].isin(labelling)]
    families = replies.drop_duplicates(["judge", "family"]).to_dict("records")
    conditions = replies.drop_duplicates("condition").loc[:, CONDITION].to_dict("records")
    for told in families:
        judge, family = str(told["judge"]), str(told["family"])
        some = replies.loc[(replies["judge"] == judge) & (replies["family"] == family)]
        measured = error if error is not None and error.judge == judge else None
        if measured is not None and family not in set(measured.summary["family"]):
            measured = None
        names = _names(some, measured.said(family) if measured is not None else [])
        corrector = None
        if measured is not None:
            corrector = _Corrector(measured, family, names, draws, seed)
        for about in conditions:
            cell = some.loc[some["condition"] == about["condition"]]
            if cell.empty:
                continue
            shared = {"judge": judge, "family": family, **{str(k): v for k, v in about.items()}}
            unjudged = int(cell["label"].isna().sum())
            found = _rows(_counts(cell, names), names, corrector, draws, rng)
            rows += [{**shared, **row, "unjudged": unjudged} for row in found]
    return pd.DataFrame(rows)


def _counts(cell: pd.DataFrame, names: list[str]) -> Float[np.ndarray, "prefill sample said"]:
    """Whether each sample of each prefill got each label."""
    known = cell.dropna(subset=["label"])
    places, prefills = pd.factorize(known["cluster"])
    samples, drawn = pd.factorize(known["sample"])
    counts = np.zeros((len(prefills), len(drawn), len(names)))
    np.add.at(counts, (places, samples, pd.Categorical(known["label"], names).codes), 1.0)
    return counts


def corrected_shares(
    counts: Float[np.ndarray, "draw said"], rates: Float[np.ndarray, "draw label said"]
) -> Float[np.ndarray, "draw label"]:
    """The shares of the labels that make what was said likeliest.

    Args:
        counts: How often each thing was said.
        rates: How often it is said of completions of each label; rows sum to one.

    Examples:
        >>> rates = np.array([[[0.8, 0.2], [0.1, 0.9]]])
        >>> corrected_shares(np.array([[0.5 * 0.8 + 0.5 * 0.1, 0.5 * 0.2 + 0.5 * 0.9]]), rates).round(2)
        array([[0.5, 0.5]])
    """
    said = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
    found = np.full(rates.shape[:2], 1 / rates.shape[1])
    for _ in range(_STEPS):
        expected = np.einsum("dl,dls->ds", found, rates)
        found = found * np.einsum("ds,dls->dl", said / np.maximum(expected, 1e-12), rates)
        found /= np.maximum(found.sum(axis=1, keepdims=True), 1e-12)
    return np.where(counts.sum(axis=1, keepdims=True) > 0, found, np.nan)


class _Corrector:
    """Shares as they would be without the errors of a judge, for one family."""

    def __init__(
        self, error: LabellingError, family: str, names: list[str], draws: int, seed: int
    ) -> None:
        self.labels, said = error.labels(family), error.said(family)
        unknown = [name for name in names if name not in said]
        if unknown:
            raise EvaluationError(
                f"judge {error.judge!r} said what it never said of the labelled sample",
                expected=", ".join(said),
                given=", ".join(unknown),
                remedy="measure the judge that gave these labels, on the same categories",
            )
        self._places = [names.index(name) for name in said]
        self._rates = error.rates(family)
        self._drawn = error.rates(family, draws, seed)

    def of(self, counts: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The shares, and those of draws."""
        whole = corrected_shares(counts[None, self._places], self._rates)[0]
        return whole, corrected_shares(drawn[:, self._places], self._drawn)


def _rows(
    counts: np.ndarray,
    names: list[str],
    corrector: _Corrector | None,
    draws: int,
    rng: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    n, prefills = float(counts.sum()), len(counts)
    value = counts.sum(axis=(0, 1)) / n if n else np.full(len(names), np.nan)
    of_samples = draw_counts(max(counts.shape[1], 1), draws, rng)[:, : counts.shape[1]]
    each = np.tensordot(of_samples, counts, axes=(1, 1))  # draw, prefill, said
    again = each.sum(axis=1)
    others = np.einsum("dp,dps->ds", draw_counts(max(prefills, 1), draws, rng)[:, :prefills], each)
    between = widened(_shares(others), prefills) if prefills > 1 else np.full_like(others, np.nan)
    within = _shares(again)
    fixed: tuple[np.ndarray, np.ndarray] | None = None
    if corrector is not None and n:
        whole, drawn = corrector.of(counts.sum(axis=(0, 1)), others if prefills > 1 else again)
        fixed = whole, widened(drawn, prefills)
    for place, name in enumerate(names):
        low, high = np.clip(interval_of(between[:, place]), 0, 1)
        same_low, same_high = interval_of(within[:, place])
        corrected = (np.nan,) * 3
        if fixed is not None and corrector is not None and name in corrector.labels:
            at = corrector.labels.index(name)
            ends = np.clip(interval_of(fixed[1][:, at]), 0, 1)
            corrected = (float(fixed[0][at]), float(ends[0]), float(ends[1]))
        yield {
            "category": name,
            "value": float(value[place]),
            "low": float(low),
            "high": float(high),
            "same_low": same_low,
            "same_high": same_high,
            "corrected": corrected[0],
            "corrected_low": corrected[1],
            "corrected_high": corrected[2],
            "n": int(n),
            "prefills": prefills,
        }


def _shares(counts: np.ndarray) -> np.ndarray:
    totals = counts.sum(axis=1, keepdims=True)
    return np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)


def _names(some: pd.DataFrame, said: list[str]) -> list[str]:
    """Everything that was or may be said, in the order of the evaluation where it is known."""
    found = [str(label) for label in some["label"].dropna().unique()]
    return [*said, *sorted(name for name in found if name not in said)]


def check_replies(replies: pd.DataFrame) -> None:
    """Refuse what `completions` does not give.

    Raises:
        EvaluationError: Columns are missing.
    """
    needed = ["family", "cluster", "sample", "judge", "label", *CONDITION]
    missing = [column for column in needed if column not in replies]
    if missing:
        raise EvaluationError(
            "these are not replies to `completions`",
            expected=", ".join(needed),
            given="no " + ", ".join(missing),
        )
