"""Which categories of completions become rarer or more frequent with the strength of steering.

    found = trends(result.replies)
    found.loc[found["found"]]          # after false discovery control, and against the controls

Two tests a category. `p`: strengths are dealt out anew among the samples. `p_controls`: at each strength it is
dealt out anew which samples were steered along the direction and which along a random one, so that what any push
of that length does is not held to be the axis's doing. A sample keeps its completions of all prefills: completions
of several prefills may be drawn with the same random numbers, and then are alike. Both tests are exact all the
same, for these prefills; p-values are adjusted over all categories of all families of a direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from persona_lens.errors import EvaluationError
from persona_lens.evals.completion_shares import check_replies
from persona_lens.statistics import draw_counts, fdr, interval_of, permutation_p
from persona_lens.statistics.resampling import widened

PERMUTATIONS = 2000
LEVEL = 0.05
_DRAWS = 500
_PIECE = 200
"""Permutations at once: a weight for each of them and each sample is held."""


def trends(
    replies: pd.DataFrame, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> pd.DataFrame:
    """Slope of every category's share over the strength, with tests.

    Args:
        replies: `Evaluated.replies` of `completions`. The condition without a plan counts as strength 0.
        permutations: Draws of each null; they bound how small a p-value can be.
        seed: Of the draws.

    Returns:
        One row for each judge, direction, family and category: `slope`, change of the share for one unit of
        strength, mean over prefills, with `low`, `high` (prefills and samples drawn anew; NaN of one prefill);
        `p`, `p_fdr`; `controls`, their number, `control_slope`, their mean slope, `as_steep`, how many of them are
        at least as steep either way; `p_controls`, `p_controls_fdr` (NaN without controls); `found`: both adjusted
        p-values are below 0.05, or the first alone where there are no controls; `n`, completions, `prefills`,
        `strengths`.

    Raises:
        EvaluationError: No direction has two strengths.
    """
    check_replies(replies)
    rows = []
    for judge, some in replies.dropna(subset=["label"]).groupby("judge", sort=False):
        plain = some.loc[some["kind"] == "none"]
        for series, steered in some.loc[some["kind"] == "plan"].groupby("series", sort=False):
            controls = some.loc[some["control_of"] == series]
            tested = [
                _family(
                    _Replies(
                        *(part.loc[part["family"] == family] for part in (plain, own, controls))
                    ),
                    permutations,
                    np.random.default_rng([seed, place]),
                )
                for place, (family, own) in enumerate(steered.groupby("family", sort=False))
            ]
            found = pd.concat(tested, ignore_index=True)
            found["p_fdr"] = fdr(found["p"].to_numpy())
            found["p_controls_fdr"] = fdr(found["p_controls"].to_numpy())
            against = found["p_controls_fdr"].lt(LEVEL) | found["controls"].eq(0)
            found["found"] = found["p_fdr"].lt(LEVEL) & against
            rows.append(found.assign(judge=judge, series=series))
    if not rows:
        raise EvaluationError(
            "there is no direction whose strengths could be compared",
            expected="replies under plans of several strengths",
            given=", ".join(dict.fromkeys(replies["condition"])) or "no replies",
        )
    first = ["judge", "series", "family", "category"]
    frame = pd.concat(rows, ignore_index=True)
    return frame.reindex(columns=[*first, *(name for name in frame.columns if name not in first)])


class _Replies(NamedTuple):
    """Replies of one family, without a plan, under a direction, and under its controls."""

    plain: pd.DataFrame
    steered: pd.DataFrame
    controls: pd.DataFrame


@dataclass(frozen=True, eq=False)
class _Samples:
    """Completions by sample: one row is one sample under one condition, with its completion of every prefill.

    Attributes:
        values: One where the completion is of the category, less the mean of its prefill; zero if not known.
        strengths: Of each row.
        conditions: Number of the condition of each row.
    """

    values: Float[np.ndarray, "row prefill category"]
    strengths: Float[np.ndarray, " row"]
    conditions: Int[np.ndarray, " row"]

    @classmethod
    def of(cls, replies: pd.DataFrame, names: list[str], prefills: list[str]) -> _Samples:
        """Replies of one family, in the order of conditions and samples."""
        keys = list(zip(replies["condition"], replies["sample"], strict=True))
        first = list(dict.fromkeys(keys))
        numbers = {key: number for number, key in enumerate(first)}
        rows = np.array([numbers[key] for key in keys])
        places = pd.Categorical(replies["cluster"], categories=prefills).codes
        said = (replies["label"].to_numpy()[:, None] == np.array(names)[None]).astype(np.float64)
        sums = np.zeros((len(first), len(prefills), len(names)))
        counts = np.zeros((len(first), len(prefills), 1))
        np.add.at(sums, (rows, places), said)
        np.add.at(counts, (rows, places), 1.0)
        values = sums / np.maximum(counts, 1)
        means = values.sum(axis=0) / np.maximum((counts > 0).sum(axis=0), 1)
        strengths = np.zeros(len(first))
        strengths[rows] = replies["strength"].to_numpy(dtype=np.float64)
        conditions = np.unique([condition for condition, _ in first], return_inverse=True)[1]
        return cls(np.where(counts > 0, values - means, 0.0), strengths, conditions)

    @property
    def weights(self) -> Float[np.ndarray, " row"]:
        """Weights whose sum over a column is its least-squares slope over the strengths."""
        centred = self.strengths - self.strengths.mean()
        return centred / max(float(centred @ centred), 1e-12)

    @property
    def slopes(self) -> Float[np.ndarray, " category"]:
        """Mean over prefills."""
        return _rounded(self.weights @ self.values.mean(axis=1))

    def drawn_slopes(self, rng: np.random.Generator) -> Float[np.ndarray, "draw category"]:
        """Slopes with prefills drawn anew, and the samples of each condition."""
        prefills = self.values.shape[1]
        rows = np.zeros((_DRAWS, len(self.values)))
        for condition in np.unique(self.conditions):
            mine = self.conditions == condition
            rows[:, mine] = draw_counts(int(mine.sum()), _DRAWS, rng)
        weighted = np.tensordot(rows * self.weights, self.values, axes=1)
        drawn = draw_counts(prefills, _DRAWS, rng) / prefills
        found = np.einsum("dp,dpc->dc", drawn, weighted)
        return widened(found, prefills) if prefills > 1 else np.full_like(found, np.nan)


def _family(replies: _Replies, permutations: int, rng: np.random.Generator) -> pd.DataFrame:
    """The categories of one family."""
    plain, steered, controls = replies
    own = pd.concat([plain, steered])
    family = str(steered["family"].iloc[0])
    if own["strength"].nunique() < 2:
        raise EvaluationError(
            "a trend needs two strengths at least, of which no plan may be one",
            given=f"{sorted(own['strength'].unique())} for {family}",
        )
    names = sorted({*own["label"], *controls["label"]})
    prefills = list(dict.fromkeys(own["cluster"]))
    samples = _Samples.of(own, names, prefills)
    whole = np.zeros(len(samples.values), dtype=int)
    p = _permuted_p(samples.values.mean(axis=1), samples.weights, whole, permutations, rng)
    ends = np.array([interval_of(column) for column in samples.drawn_slopes(rng).T])
    rest = _against_controls(replies, names, prefills, permutations, rng)
    return pd.DataFrame(
        {
            "family": family,
            "category": names,
            "slope": samples.slopes,
            "low": ends[:, 0],
            "high": ends[:, 1],
            "p": p,
            **rest,
            "n": len(own),
            "prefills": len(prefills),
            "strengths": own["strength"].nunique(),
        }
    )


def _against_controls(
    replies: _Replies,
    names: list[str],
    prefills: list[str],
    permutations: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    plain, steered, controls = replies
    series = list(dict.fromkeys(controls["series"]))
    if not series:
        unknown = np.full(len(names), np.nan)
        return {"controls": 0, "control_slope": unknown, "as_steep": 0, "p_controls": unknown}
    parts = [steered, *(controls.loc[controls["series"] == name] for name in series)]
    each = [_Samples.of(pd.concat([plain, part]), names, prefills) for part in parts]
    # Completions of no plan are in both slopes and cancel; the others are exchanged at their strength.
    both = _Samples.of(pd.concat(parts), names, prefills)
    lengths = [len(part[["condition", "sample"]].drop_duplicates()) for part in parts]
    weights = np.concatenate(
        [
            samples.weights[-length:] * (1.0 if place == 0 else -1 / len(series))
            for place, (samples, length) in enumerate(zip(each, lengths, strict=True))
        ]
    )
    levels = np.unique(both.strengths, return_inverse=True)[1]
    slopes = np.stack([samples.slopes for samples in each])
    return {
        "controls": len(series),
        "control_slope": slopes[1:].mean(axis=0),
        "as_steep": (np.abs(slopes[1:]) >= np.abs(slopes[0])).sum(axis=0),
        "p_controls": _permuted_p(both.values.mean(axis=1), weights, levels, permutations, rng),
    }


def _permuted_p(
    values: Float[np.ndarray, "row category"],
    weights: Float[np.ndarray, " row"],
    blocks: Int[np.ndarray, " row"],
    permutations: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, " category"]:
    """Two-sided p of the weighted sums, weights dealt out anew within blocks."""
    null = np.zeros((permutations, values.shape[1]))
    for block in np.unique(blocks):
        rows = np.flatnonzero(blocks == block)
        for start in range(0, permutations, _PIECE):
            count = min(_PIECE, permutations - start)
            dealt = rng.permuted(np.tile(weights[rows], (count, 1)), axis=1)
            null[start : start + count] += dealt @ values[rows]
    return permutation_p(_rounded(weights @ values), _rounded(null), "two-sided")


def _rounded(values: np.ndarray) -> np.ndarray:
    """Without the last digits, in which sums of the same numbers in another order differ."""
    return np.round(values, 9) + 0.0
