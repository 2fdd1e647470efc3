"""The units of one kind, at every matched pair of layers: all measures that need no common residual stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from persona_lens.analysis.comparison.estimates import Estimate
from persona_lens.analysis.comparison.matching import SharedUnits
from persona_lens.analysis.comparison.pairs import pair_correlations, pair_estimate
from persona_lens.analysis.comparison.places import loading_correlations, rank_correlation
from persona_lens.analysis.comparison.procrustes import N_FOLDS, held_out_r2
from persona_lens.analysis.comparison.views import View
from persona_lens.space import Space
from persona_lens.statistics import draw_counts, permutation_p


@dataclass(frozen=True, eq=False)
class LayerPairs:
    """Which layers are compared.

    Attributes:
        layers_a: Blocks of the first space; those of the second are all.
        places: Place in `layers_a`, and place among the layers of the second space, of each matched pair.
        depth: Relative depth of each pair.
    """

    layers_a: tuple[int, ...]
    layers_b: tuple[int, ...]
    places: Int[np.ndarray, "pair 2"]
    depth: Float[np.ndarray, " pair"]

    def labels(self, pair: int) -> dict[str, Any]:
        """The columns that name a pair."""
        a, b = self.places[pair]
        return {
            "depth": self.depth[pair],
            "layer_a": self.layers_a[a],
            "layer_b": self.layers_b[b],
        }


@dataclass(frozen=True)
class Resampling:
    """How many bootstrap samples and permutations there are, and what they are drawn from."""

    n_draws: int
    n_permutations: int
    rng: np.random.Generator


def row_of(measure: str, estimate: Estimate, n: int, *parts: int) -> dict[str, Any]:
    """An estimate as a row; `parts` are the component and its partner, counted from zero."""
    component, partner = (part + 1 for part in parts) if parts else (None, None)
    return {
        "measure": measure,
        "component": component,
        "partner": partner,
        "value": estimate.value,
        "low": estimate.interval.low,
        "high": estimate.interval.high,
        "null_mean": float(np.mean(estimate.null)),
        "null_95": float(np.quantile(estimate.null, 0.95)),
        "p": float(permutation_p(estimate.value, estimate.null)),
        "n": n,
    }


def compare_arrangements(
    spaces: tuple[Space, Space],
    shared: SharedUnits,
    pairs: LayerPairs,
    *,
    n_components: int,
    resampling: Resampling,
    advance: Callable[[int], None],
) -> tuple[list[dict[str, Any]], pd.DataFrame, pd.DataFrame]:
    """All measures of one kind of unit.

    Bootstrap samples and permutations are the same at every layer, so that layers can be compared.

    Returns:
        Rows of `Comparison.frame`, and the frames `similarity` and `roles`.
    """
    n, rng = len(shared), resampling.rng
    counts = draw_counts(n, resampling.n_draws, rng)
    orders = rng.permuted(np.tile(np.arange(n), (resampling.n_permutations, 1)), axis=1)
    folds = rng.permutation(np.arange(n) % N_FOLDS)
    a, b = (
        View.of(
            space, shared.kind, rows, [space.layer_index(layer) for layer in layers], n_components
        )
        for space, rows, layers in zip(
            spaces, (shared.rows_a, shared.rows_b), (pairs.layers_a, pairs.layers_b), strict=True
        )
    )
    similarity, similarity_null = pair_correlations(a.cosines, b.cosines, orders)
    _, cka_null = pair_correlations(a.grams, b.grams, orders)
    k = min(a.loadings.shape[2], b.loadings.shape[2])

    rows, places = [], []
    for pair, (i, j) in enumerate(pairs.places):
        one_by_one, matched, partner = loading_correlations(
            a.loadings[i, :, :k], b.loadings[j, :, :k], counts, orders
        )
        ranks = rank_correlation(a.places[i], b.places[j], counts, orders)
        alike = pair_estimate(a.cosines[i], b.cosines[j], counts, similarity_null[:, i, j])
        cka = pair_estimate(a.grams[i], b.grams[j], counts, cka_null[:, i, j])
        turned = held_out_r2(a.scores[i], b.scores[j], counts, orders, folds)
        found = [
            *(row_of("pc_loadings", one, n, c, c) for c, one in enumerate(one_by_one)),
            *(row_of("pc_matched", one, n, c, int(partner[c])) for c, one in enumerate(matched)),
            row_of("axis_ranks", ranks, n),
            row_of("similarity", alike, n),
            row_of("cka", cka, n),
            row_of("procrustes", turned, n),
        ]
        rows += [{**pairs.labels(pair), "kind": shared.kind, **row} for row in found]
        places.append(_places(spaces[0], shared, a.places[i], b.places[j], pairs.labels(pair)))
        advance(1)
    grid = np.indices(similarity.shape).reshape(2, -1)
    return (
        rows,
        pd.DataFrame(
            {
                "layer_a": np.array(pairs.layers_a)[grid[0]],
                "layer_b": np.array(pairs.layers_b)[grid[1]],
                "kind": shared.kind,
                "value": similarity.ravel(),
                "null_95": np.quantile(similarity_null, 0.95, axis=0).ravel(),
            }
        ),
        pd.concat(places, ignore_index=True),
    )


def _places(
    space: Space, shared: SharedUnits, a: np.ndarray, b: np.ndarray, labels: dict[str, Any]
) -> pd.DataFrame:
    def z(places: np.ndarray) -> np.ndarray:
        return (places - places.mean()) / places.std(ddof=1)

    return pd.DataFrame(
        {
            **labels,
            "kind": shared.kind,
            "name": shared.names,
            "group": [space.table.about[row].get("group") for row in shared.rows_a],
            "projection_a": a,
            "projection_b": b,
            "z_a": z(a),
            "z_b": z(b),
        }
    )
