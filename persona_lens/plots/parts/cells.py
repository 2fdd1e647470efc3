"""What heat maps share: colours, a bar that explains them, names of rows and columns, and their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import pdist

from persona_lens.plots.parts import style

BAR_ROOM = 96
FEW = 3  # rows that need no clustering
LETTER = 11.0
NAME_SIZES = (11, 9)
# Cells touch, so that the middle may be paler than for points on white.
DIVERGING = (
    (0.0, "#6b2c00"),
    (0.2, "#d55e00"),
    (0.38, "#f3bf95"),
    (0.5, "#f4f4f2"),
    (0.62, "#a3cbe8"),
    (0.8, "#0072b2"),
    (1.0, "#042a50"),
)
SEQUENTIAL = ((0.0, "#f4f4f2"), (0.35, "#a3cbe8"), (0.7, "#0072b2"), (1.0, "#042a50"))


def name_ticks(names: Sequence[str], pitch: float) -> dict[str, Any]:
    """Every name where there is room, else every nth."""
    every = int(np.ceil(LETTER / pitch))
    kept = list(names)[::every]
    return {
        "type": "category",
        "tickvals": kept,
        "ticktext": kept,
        "ticks": "",
        "showgrid": False,
        "showline": False,
        "tickfont": {"size": NAME_SIZES[0 if pitch * every >= 13 else 1], "color": style.INK},
    }


def color_bar(title: str, length: float, x: float, full: float) -> dict[str, Any]:
    """A colour bar `length` pixels long beside `x`, a share of the `full` pixels of the plot area."""
    return {
        "title": {"text": title, "font": {"size": 12}},
        "thickness": 13,
        "lenmode": "pixels",
        "len": length,
        "x": x + 16 / full,
        "xanchor": "left",
        "y": 1,
        "yanchor": "top",
        "xpad": 0,
        "ypad": 0,
        "outlinewidth": 0,
        "tickfont": {"size": 11},
        "nticks": 5,
    }


def cluster_order(rows: Float[np.ndarray, "row column"]) -> Int[np.ndarray, " row"]:
    """Places of rows so that those that are alike stand together.

    Average linkage of Euclidean distances, leaves ordered so that the sum of distances between neighbours is least
    (Bar-Joseph et al. 2001). The end with the larger mean comes first. Unknown values count as zero.

    Examples:
        >>> cluster_order(np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, 0.9], [-1.0, -0.9]])).tolist()
        [0, 2, 3, 1]
    """
    known = np.nan_to_num(rows)
    if len(known) < FEW:
        order = np.arange(len(known))
    else:
        distances = pdist(known)
        order = leaves_list(optimal_leaf_ordering(linkage(distances, "average"), distances))
    means = known.mean(axis=1)[order]
    half = len(order) // 2
    return order[::-1] if means[:half].sum() < means[len(order) - half :].sum() else order
