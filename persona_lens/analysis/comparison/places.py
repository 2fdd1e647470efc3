"""Measures of places: how the units lie along the components and along the axis of each space."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from persona_lens.analysis.comparison.estimates import Estimate, sign_free
from persona_lens.statistics import interval_of
from persona_lens.statistics.correlations import standardised, weighted_correlations


def loading_correlations(
    a: Float[np.ndarray, "unit component"],
    b: Float[np.ndarray, "unit component"],
    counts: Float[np.ndarray, "draw unit"],
    orders: Int[np.ndarray, "permutation unit"],
) -> tuple[list[Estimate], list[Estimate], Int[np.ndarray, " component"]]:
    """Correlation of the loadings of two spaces, component by component, whatever its sign.

    The paper finds 0.92 to 0.94 for the first components of roles of its three models, and much less agreement
    after that (section 3; release `mean_cross_model_loadings`).

    Args:
        a, b: Loadings of the same units.
        counts: Bootstrap samples of the units.
        orders: Permutations of the units.

    Returns:
        Component k of `a` against component k of `b`; component k of `a` against the one that is matched with it;
        and which that is. The matching maximises the sum of |r|, and is made anew in every permutation, so that
        chance has the same freedom; in the bootstrap samples it stays.
    """
    correlations = standardised(a).T @ standardised(b)
    permuted = np.einsum("uj,puk->pjk", standardised(a), standardised(b)[orders], optimize=True)
    components = np.arange(a.shape[1])
    partner = matched(correlations)
    by_chance = np.stack([permuted[p, components, matched(r)] for p, r in enumerate(permuted)])

    def estimates(to: np.ndarray, null: np.ndarray) -> list[Estimate]:
        draws = weighted_correlations(a, b[:, to], counts)
        return [
            sign_free(float(correlations[k, to[k]]), draws[:, k], null[:, k]) for k in components
        ]

    return (
        estimates(components, permuted[:, components, components]),
        estimates(partner, by_chance),
        partner,
    )


def matched(similarity: Float[np.ndarray, "component component"]) -> Int[np.ndarray, " component"]:
    """The partner of each row in the one-to-one matching with the largest sum of sizes.

    Examples:
        >>> matched(np.array([[0.1, -0.9], [0.8, 0.7]])).tolist()
        [1, 0]
    """
    return linear_sum_assignment(-np.abs(similarity))[1]


def rank_correlation(
    a: Float[np.ndarray, " unit"],
    b: Float[np.ndarray, " unit"],
    counts: Float[np.ndarray, "draw unit"],
    orders: Int[np.ndarray, "permutation unit"],
) -> Estimate:
    """Spearman correlation of the places of the units on the two axes; both are oriented, so the sign counts.

    Args:
        a, b: Places of the same units.
        counts: Bootstrap samples of the units; ranks are taken anew in each.
        orders: Permutations of the units.
    """
    ranks_a, ranks_b = standardised(rankdata(a)), standardised(rankdata(b))
    drawn = np.stack([np.repeat(np.arange(len(a)), row.astype(int)) for row in counts])
    resampled = [standardised(rankdata(places[drawn], axis=1).T) for places in (a, b)]
    draws = (resampled[0] * resampled[1]).sum(axis=0)
    return Estimate(float(ranks_a @ ranks_b), interval_of(draws), ranks_b[orders] @ ranks_a)
