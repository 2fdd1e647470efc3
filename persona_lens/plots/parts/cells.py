"""What heat maps share: colours, a bar that explains them, and names of rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from persona_lens.plots.parts import style

BAR_ROOM = 96
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
