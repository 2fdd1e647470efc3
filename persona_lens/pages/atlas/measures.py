"""All numbers of the atlas, layer by layer: projections, component scores, neighbours, cosines of traits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int8, Int16

from persona_lens.pages.atlas.units import Units
from persona_lens.pages.shared.inline import quantised
from persona_lens.space import Space

COMPONENTS = 8
NEIGHBOURS = 6


@dataclass(frozen=True, eq=False)
class Measures:
    """What the page draws, in the order of the units.

    Attributes:
        axis: Projection on the unit axis, Assistant positive; of traits, which are differences, the cosine.
        margins: Half-width of the 95 % interval of `axis` over folds, the axis (and the length of a trait's
            vector) taken as given; NaN where unknown.
        scores: Scores on the first components; of traits the cosines. Signs follow from layer to layer.
        signs: What the space's own components were multiplied with for that.
        near: Places of the nearest roles, then of the nearest traits; -1 where there are not so many.
        near_cosines: Their cosines, in steps of 0.01.
        trait_roles: Cosines of traits and roles of the axis, in steps of 0.01.
    """

    axis: Float[np.ndarray, "layer unit"]
    margins: Float[np.ndarray, "layer unit"]
    scores: Float[np.ndarray, "layer unit component"]
    signs: Float[np.ndarray, "layer component"]
    near: Int16[np.ndarray, "layer unit neighbour"]
    near_cosines: Int8[np.ndarray, "layer unit neighbour"]
    trait_roles: Int8[np.ndarray, "layer trait role"]


def measure(
    units: Units, anchor: int, on_layer: Callable[[int], None] = lambda layer: None
) -> Measures:
    """Compute everything the page shows, one layer after the other.

    Args:
        units: Of a fitted space.
        anchor: Place of the layer at which components keep the signs they have in the space.
        on_layer: Called with the number of layers done.
    """
    n_layers, n_kept = len(units.space.layers_), min(COMPONENTS, units.space.components_.shape[1])
    measures = Measures(
        axis=np.empty((n_layers, len(units)), np.float32),
        margins=np.empty((n_layers, len(units)), np.float32),
        scores=np.empty((n_layers, len(units), n_kept), np.float32),
        signs=np.ones((n_layers, n_kept), np.float32),
        near=np.full((n_layers, len(units), 2 * NEIGHBOURS), -1, np.int16),
        near_cosines=np.zeros((n_layers, len(units), 2 * NEIGHBOURS), np.int8),
        trait_roles=np.empty(
            (n_layers, len(units.places("trait")), len(units.places("role"))), np.int8
        ),
    )
    for layer in range(n_layers):
        _measure_layer(measures, units, layer)
        on_layer(layer + 1)
    _align(measures, units, anchor)
    return measures


def _measure_layer(measures: Measures, units: Units, place: int) -> None:
    traits, view = units.places("trait"), units.at(place)
    values, directions = units.values(place), units.directions(place)
    lengths = np.ones(len(units))
    lengths[traits] = np.maximum(np.linalg.norm(values[traits], axis=1), np.finfo(float).tiny)
    measures.axis[place] = values @ view.axis / lengths
    measures.margins[place] = units.space.projection_margins_[list(units.rows), place] / lengths
    kept = measures.scores.shape[2]
    scores = view.scores(values)[:, :kept]
    scores[traits] = view.loadings(values[traits])[:, :kept]
    measures.scores[place] = scores
    cosines = directions @ directions.T
    for number, kind in enumerate(("role", "trait")):
        columns = slice(number * NEIGHBOURS, (number + 1) * NEIGHBOURS)
        near = measures.near[place, :, columns], measures.near_cosines[place, :, columns]
        _find_neighbours(units, units.places(kind), cosines, near)
    measures.trait_roles[place] = quantised(cosines[np.ix_(traits, units.places("role"))])


def _find_neighbours(
    units: Units,
    places: list[int],
    cosines: Float[np.ndarray, "unit unit"],
    near: tuple[Int16[np.ndarray, "unit neighbour"], Int8[np.ndarray, "unit neighbour"]],
) -> None:
    """Write the nearest units among `places` and their cosines; as in `space.nearest`, a namesake is none."""
    names = np.array(units.space.table.names)[list(units.rows)]
    others = np.where(names[:, None] == names[places], -np.inf, cosines[:, places])
    best = np.argsort(-others, axis=1, kind="stable")[:, :NEIGHBOURS]
    found = np.take_along_axis(others, best, axis=1)
    known = np.isfinite(found)
    columns = slice(best.shape[1])
    near[0][:, columns] = np.where(known, np.array(places, dtype=int)[best], -1)
    near[1][:, columns] = quantised(np.where(known, found, 0.0))


def _align(measures: Measures, units: Units, anchor: int) -> None:
    """Turn components so that roles keep their sides from one layer to the next, outwards from the anchor."""
    n_layers = len(measures.scores)
    roles = [
        place for place, row in enumerate(units.rows) if units.space.table.kinds[row] == "role"
    ]
    outwards = [(layer, layer - 1) for layer in range(anchor + 1, n_layers)]
    outwards += [(layer, layer + 1) for layer in range(anchor - 1, -1, -1)]
    for layer, settled in outwards:
        own, guide = measures.scores[layer][roles], measures.scores[settled][roles]
        signs = np.where((own * guide).sum(axis=0) < 0, -1.0, 1.0).astype(np.float32)
        measures.signs[layer] = signs
        measures.scores[layer] *= signs


def anchor_layer(space: Space) -> int:
    """Place of the layer the page opens at: the recommended one."""
    return space.layer_index(space.recommend_layer().layer)
