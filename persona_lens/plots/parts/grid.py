"""Small panels side by side, in pixels: at most three a row, and every row fills the width."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from persona_lens.plots.parts import style

ACROSS = 3
LEFT, RIGHT, GAP = 66, 30, 52
FULL = style.WIDTH - LEFT - RIGHT
HEIGHT, ALONE_HEIGHT, TICKS = 210, 300, 26


def within(low: float, high: float) -> list[float]:
    """Part of the plot area that an axis takes; plotly refuses what rounding puts outside.

    Examples:
        >>> within(-1e-17, 0.5)
        [0.0, 0.5]
    """
    return [max(0.0, low), min(1.0, high)]


def axis_end(place: int) -> str:
    """How plotly numbers the axes of a panel: x, x2, x3, ...

    Examples:
        >>> "x" + axis_end(0), "x" + axis_end(2)
        ('x', 'x3')
    """
    return "" if place == 0 else str(place + 1)


def axes_of(place: int) -> dict[str, str]:
    """The axes of a panel, as a trace names them."""
    return {"xaxis": f"x{axis_end(place)}", "yaxis": f"y{axis_end(place)}"}


@dataclass(frozen=True)
class Grid:
    """Where panels stand.

    Attributes:
        panels: How many.
        head: Pixels above each for its title.

    Examples:
        >>> Grid(5).rows
        [[0, 1, 2], [3, 4]]
    """

    panels: int
    head: float = 0.0

    @property
    def rows(self) -> list[list[int]]:
        """The panels of each row, by number."""
        places = np.array_split(np.arange(self.panels), -(-self.panels // ACROSS))
        return [row.tolist() for row in places]

    @property
    def panel_height(self) -> float:
        """Of every panel; a single row has more."""
        return HEIGHT if len(self.rows) > 1 else ALONE_HEIGHT

    @property
    def height(self) -> float:
        """Of all rows with their titles, and with the tick labels between them."""
        return len(self.rows) * self._pitch - TICKS

    def width(self, row: int) -> float:
        """Of each panel in a row."""
        panels = len(self.rows[row])
        return (FULL - (panels - 1) * GAP) / panels

    def box(self, place: int) -> tuple[list[float], list[float]]:
        """Horizontal and vertical domain of a panel, as shares of the plot area."""
        row, across = next((n, row.index(place)) for n, row in enumerate(self.rows) if place in row)
        left = across * (self.width(row) + GAP)
        bottom = (row + 1) * self._pitch - TICKS
        return (
            within(left / FULL, (left + self.width(row)) / FULL),
            within(1 - bottom / self.height, 1 - (bottom - self.panel_height) / self.height),
        )

    @property
    def _pitch(self) -> float:
        return self.head + self.panel_height + TICKS
