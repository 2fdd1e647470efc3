"""At which depth roles, and traits, become known on average: half of the maximum of the mean curve of a kind.

Every unit counts, also those that do not beat their null one by one; so the two kinds are compared on all of their
units, where `emergence_by_kind` compares the medians of those that have a depth at all. It takes 19 shuffles for a
p of 0.05.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.analysis.sweep.emergence import KINDS, LEVEL, about, first_passage, kinds_of
from persona_lens.statistics import draw_counts, known_mean, permutation_p, widened

if TYPE_CHECKING:
    from persona_lens.separability import Separability


def emergence_of_mean(
    found: Separability,
    metric: str,
    *,
    threshold: float = 0.5,
    n_draws: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Depth of the mean curve of each kind, and the difference; see `Sweep.emergence_of_mean`."""
    layers = np.array(found.layers, dtype=float)
    ends, rng = (layers.min(), layers.max()), np.random.default_rng(seed)
    n_folds = max(found.scores[metric, kind].shape[1] for kind in kinds_of(found, metric))
    folds = draw_counts(n_folds, n_draws, rng)  # the kinds share their questions
    depths, samples, rows = {}, {}, []
    for kind in kinds_of(found, metric):
        scores = found.scores[metric, kind].astype(np.float64)
        shuffled = found.shuffled[metric, kind].astype(np.float64)
        chance = found.chance.get(metric)
        base = known_mean(shuffled, axis=(0, 1)) if chance is None else chance
        null = known_mean(shuffled, axis=1) - base
        curve = known_mean(known_mean(scores, axis=1), axis=0) - base
        p = float(permutation_p(curve.max(), null.max(axis=1)[:, None])[0])
        units = draw_counts(len(scores), n_draws, rng)
        drawn = first_passage(_drawn_means(scores, units, folds) - base, layers, threshold)
        samples[kind] = widened(drawn[:, None], scores.shape[1])[:, 0]
        dated = first_passage(curve, layers, threshold) if p <= LEVEL else np.nan
        depths[kind] = float(dated)
        low, high = about(depths[kind], samples[kind], ends)
        rows.append(
            {"kind": kind, "depth": depths[kind], "low": low, "high": high}
            | {"relative": depths[kind] / max(ends[1], 1), "n": len(scores), "p": p}
        )
    if len(depths) == len(KINDS):
        role, trait = KINDS
        difference = depths[role] - depths[trait]
        low, high = about(difference, samples[role] - samples[trait], (-np.inf, np.inf))
        rows.append(
            {"kind": "role minus trait", "depth": difference, "low": low, "high": high}
            | {"relative": difference / max(ends[1], 1), "n": sum(row["n"] for row in rows)}
            | {"p": np.nan}
        )
    return pd.DataFrame(rows)


def _drawn_means(
    scores: Float[np.ndarray, "unit fold layer"],
    units: Float[np.ndarray, "draw unit"],
    folds: Float[np.ndarray, "draw fold"],
) -> Float[np.ndarray, "draw layer"]:
    """Mean of each draw of units and question folds; a metric without folds has units drawn only."""
    if scores.shape[1] == 1:
        folds = np.ones((len(units), 1))
    known = np.isfinite(scores)

    def total(values: np.ndarray) -> np.ndarray:
        return np.einsum("du,ufl,df->dl", units, values, folds, optimize=True)

    weights = total(known.astype(float))
    return total(np.where(known, scores, 0.0)) / np.where(weights > 0, weights, np.nan)
