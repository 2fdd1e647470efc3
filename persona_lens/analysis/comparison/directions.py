"""Directions side by side: cosines of the axes and of the components of two spaces of one model.

Only where both are in the same residual stream does a cosine between them mean anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from persona_lens.analysis.comparison.arrangement import LayerPairs, Resampling, row_of
from persona_lens.analysis.comparison.estimates import Estimate
from persona_lens.analysis.comparison.places import matched
from persona_lens.space import Space
from persona_lens.statistics import Interval, draw_counts
from persona_lens.statistics.correlations import fisher_interval
from persona_lens.statistics.pca import unit

Side = tuple[Space, int]
"""A space and the place of a layer in its arrays."""

MOST_BASIS = 32
"""Leading components in whose span those of resamples are looked for."""


@dataclass(frozen=True, eq=False)
class PairedRoles:
    """Bootstrap samples of the roles that either space has, so that a shared role is drawn in both or in neither.

    Attributes:
        counts: How often each role is drawn.
        names: Place of each role in `counts`.
    """

    counts: Float[np.ndarray, "draw role"]
    names: dict[str, int]

    @classmethod
    def draw(cls, a: Space, b: Space, n_draws: int, rng: np.random.Generator) -> PairedRoles:
        """Draw them."""
        tables = (a.table, b.table)
        found = dict.fromkeys(t.names[row] for t in tables for row in t.indices(kind="role"))
        return cls(draw_counts(len(found), n_draws, rng), {name: i for i, name in enumerate(found)})

    def weights(self, space: Space, rows: list[int]) -> Float[np.ndarray, "draw row"]:
        """How much each row of a space weighs in each sample; they sum to one."""
        counts = self.counts[:, [self.names[space.table.names[row]] for row in rows]]
        # That none of a space's roles is drawn happens once in ten thousands; its axis is then the default.
        return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)


def compare_directions(
    spaces: tuple[Space, Space],
    pairs: LayerPairs,
    *,
    n_components: int,
    resampling: Resampling,
    advance: Callable[[int], None],
) -> list[dict[str, Any]]:
    """Rows of `Comparison.frame` for the cosines of axes and components.

    Components are compared where both spaces found them in plain centred coordinates; others have coordinates
    of their own.
    """
    rng = resampling.rng
    roles = PairedRoles.draw(*spaces, resampling.n_draws, rng)
    plain = all(space.scaling == "center" for space in spaces)
    rows = []
    for pair, (i, j) in enumerate(pairs.places):
        a = spaces[0], spaces[0].layer_index(pairs.layers_a[i])
        b = spaces[1], spaces[1].layer_index(pairs.layers_b[j])
        axis = axis_cosine(a, b, roles, n_null=resampling.n_permutations, rng=rng)
        found = [row_of("axis_cosine", axis, len(roles.names))]
        if plain:
            cosines, partner = component_cosines(
                a,
                b,
                roles,
                n_components=n_components,
                n_null=resampling.n_permutations,
                rng=rng,
            )
            found += [
                row_of("pc_cosine", one, len(roles.names), c, int(partner[c]))
                for c, one in enumerate(cosines)
            ]
        rows += [{**pairs.labels(pair), "kind": "role", **row} for row in found]
        advance(1)
    return rows


def axis_cosine(
    a: Side,
    b: Side,
    roles: PairedRoles,
    *,
    n_null: int,
    rng: np.random.Generator,
) -> Estimate:
    """Cosine of the two axes; both point to the Assistant, so the sign counts.

    The null is the axis of `a` with axes of `b` in which a role plays the default Assistant.
    """
    vectors = [
        space.table.values[space.table.axis_rows(), place].astype(np.float64)
        for space, place in (a, b)
    ]
    axes = [
        unit(space.assistant_end_[place] - roles.weights(space, space.table.axis_rows()) @ its)
        for (space, place), its in zip((a, b), vectors, strict=True)
    ]
    draws = (axes[0] * axes[1]).sum(axis=1)
    axis_a, axis_b = (unit(space.axis_[place]) for space, place in (a, b))
    value = float(axis_a @ axis_b)
    # A role minus the mean of the others points as it does from the mean of all.
    pretenders = unit(vectors[1] - vectors[1].mean(axis=0)) @ axis_a
    return Estimate(value, fisher_interval(value, draws), rng.permutation(pretenders)[:n_null])


def component_cosines(
    a: Side,
    b: Side,
    roles: PairedRoles,
    *,
    n_components: int,
    n_null: int,
    rng: np.random.Generator,
) -> tuple[list[Estimate], Int[np.ndarray, " component"]]:
    """|cosine| of each component of `a` with the one of `b` matched with it, and which that is.

    The null draws directions at random from the spread of the roles of `b`, orthogonal to each other, and
    matches anew: two spaces of one model share its wide dimensions, whatever the roles do. It is a hard null for a
    first component that holds most of the variance, which such directions resemble.
    """
    found = [space.components_[place, :MOST_BASIS].astype(np.float64) for space, place in (a, b)]
    between = found[0] @ found[1].T
    k = min(n_components, *between.shape)
    partner = matched(between[:k, :k])
    places = np.arange(k)
    values = np.abs(between[places, partner])

    turned = [
        _resampled(space, place, basis, roles)
        for (space, place), basis in zip((a, b), found, strict=True)
    ]
    draws = np.abs(
        np.einsum(
            "djk,jl,dlk->dk", turned[0][..., :k], between, turned[1][..., partner], optimize=True
        )
    )

    centred = _centred(*b)
    mixtures = rng.normal(size=(n_null, k, len(centred))) @ centred
    orthogonal = np.linalg.qr(mixtures.transpose(0, 2, 1))[0]
    by_chance = np.abs(found[0][:k] @ orthogonal)
    null = np.stack([chance[places, matched(chance)] for chance in by_chance])
    return [
        Estimate(float(value), _sign_free_interval(value, draws[:, j]), null[:, j])
        for j, value in enumerate(values)
    ], partner


def _sign_free_interval(value: float, draws: Float[np.ndarray, " draw"]) -> Interval:
    interval = fisher_interval(value, draws)
    return interval._replace(low=max(interval.low, 0.0))


def _resampled(
    space: Space,
    place: int,
    basis: Float[np.ndarray, "basis d_model"],
    roles: PairedRoles,
) -> Float[np.ndarray, "draw basis component"]:
    """The components of every sample, leading first, as combinations of the components that the space keeps."""
    rows = space.table.indices(kind="role")
    scores = _centred(space, place) @ basis.T
    weights = roles.weights(space, rows)
    means = weights @ scores
    squares = np.einsum("rj,rk->rjk", scores, scores).reshape(len(rows), -1)
    covariances = (weights @ squares).reshape(len(weights), len(basis), -1)
    covariances -= means[:, :, None] * means[:, None, :]
    return np.linalg.eigh(covariances).eigenvectors[..., ::-1]


def _centred(space: Space, place: int) -> Float[np.ndarray, "row d_model"]:
    values = space.table.values[space.table.indices(kind="role"), place].astype(np.float64)
    return values - values.mean(axis=0)
