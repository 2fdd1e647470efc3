"""The metrics of single replies, as a sweep shows them; `persona_lens.separability` measures them.

A value is the mean over units and question folds, its interval the crossed bootstrap over both, and chance
comes in two kinds: labels shuffled between shards, and random directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from persona_lens.analysis.sweep.draws import null_columns
from persona_lens.analysis.sweep.registry import RANDOM, REPLY_METRICS
from persona_lens.statistics import crossed_means, interval_of, known_mean

if TYPE_CHECKING:
    from persona_lens.separability import Separability

LABELS = "shuffled labels"


def reply_rows(
    found: Separability,
    metrics: Sequence[str],
    layers: Sequence[int],
    *,
    n_draws: int,
    seed: int,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of `Sweep.frame` and of `Sweep.units` for the metrics of replies.

    Args:
        found: Scores of every unit, question fold and layer, and their nulls.
        metrics: Among `REPLY_METRICS`; those it does not hold are left out.
        layers: Blocks.
        n_draws: Bootstrap samples.
        seed: Of the samples.
    """
    rows: list[dict[str, Any]] = []
    of_units: list[dict[str, Any]] = []
    for (metric, kind), held in found.scores.items():
        if metric not in metrics or metric not in REPLY_METRICS:
            continue
        scores = held.astype(np.float64)
        means = known_mean(scores, axis=1)
        draws = crossed_means(scores, n_draws=n_draws, seed=seed)
        for place, layer in enumerate(found.layers):
            known = np.isfinite(means[:, place])
            if layer not in layers or not known.any():
                continue
            interval = interval_of(draws[:, place])
            row = {
                "layer": layer,
                "metric": metric,
                "kind": kind,
                "value": float(known_mean(scores[:, :, place].reshape(1, -1), axis=1)[0]),
                "low": interval.low,
                "high": interval.high,
            }
            nulls = [
                null_columns(
                    name, [known_mean(given[metric, kind][:, :, place].astype(np.float64), axis=1)]
                )
                for name, given in ((LABELS, found.shuffled), (RANDOM, found.random))
                if (metric, kind) in given
            ]
            rows += [
                {**row, **null, "n": int(known.sum())} for null in nulls or [null_columns(None, [])]
            ]
            names = found.names[kind]
            of_units += [
                {"kind": kind, "name": names[unit], "metric": metric, "layer": layer}
                | {"value": float(means[unit, place])}
                for unit in np.flatnonzero(known)
            ]
    return rows, of_units
