"""Rows and columns of heat maps so that what is alike stands together, the same at every layer."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from persona_lens.pages.atlas.units import Units


def clustered(units: Units, places: list[int]) -> list[int]:
    """Places of units in the order of the leaves of average linkage, on 1 minus the cosine averaged over layers.

    One order for all layers, so that a row stays where it is while the reader changes the layer. The end with the
    larger mean cosine with the axis comes first.

    Args:
        units: Of a fitted space.
        places: Which of them.
    """
    if len(places) < 3:
        return places
    n_layers = len(units.space.layers_)
    likeness, along = np.zeros((len(places), len(places))), np.zeros(len(places))
    for place in range(n_layers):
        directions = units.directions(place)[places]
        likeness += directions @ directions.T / n_layers
        along += directions @ units.at(place).axis
    order = _leaves(likeness)
    half = len(order) // 2
    if along[order[:half]].mean() < along[order[-half:]].mean():
        order = order[::-1]
    return [places[number] for number in order]


def _leaves(likeness: Float[np.ndarray, "unit unit"]) -> list[int]:
    distances = np.clip(1 - (likeness + likeness.T) / 2, 0.0, None)
    np.fill_diagonal(distances, 0.0)
    tree = linkage(squareform(distances, checks=False), "average", optimal_ordering=True)
    return leaves_list(tree).tolist()
