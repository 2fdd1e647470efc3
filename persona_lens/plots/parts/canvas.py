"""From data to pixels: the plot area of a map, fixed before it is drawn so that labels can be placed in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

ROOM_X, ROOM_Y = 62.0, 34.0
MIN_HEIGHT, MAX_HEIGHT = 500.0, 680.0
ARROW_SHARE = 0.42
ARROW_ROOM = 40.0


@dataclass(frozen=True, eq=False)
class Canvas:
    """A plot area: data ranges and size in pixels.

    Attributes:
        low, high: Data at the lower left and the upper right corner.
        size: Width and height in pixels.
    """

    low: Float[np.ndarray, " 2"]
    high: Float[np.ndarray, " 2"]
    size: Float[np.ndarray, " 2"]

    @classmethod
    def around(cls, points: Float[np.ndarray, "point 2"], width: float, *, equal: bool) -> Canvas:
        """The plot area of a given width that shows all points with room for labels around them.

        Args:
            points: All that must be visible.
            width: In pixels.
            equal: Whether a unit must be as long upwards as sideways, as angles and distances ask for.

        Examples:
            >>> canvas = Canvas.around(np.array([[0.0, 0.0], [4.0, 2.0]]), 800, equal=True)
            >>> bool(np.ptp(canvas.size / (canvas.high - canvas.low)) < 1e-9)
            True
        """
        low, high = points.min(axis=0), points.max(axis=0)
        spread = np.where(high > low, high - low, 1.0)
        room = 2 * np.array([ROOM_X, ROOM_Y])
        scale = (np.array([width, MAX_HEIGHT]) - room) / spread
        if equal:
            scale = np.full(2, scale.min())
        height = float(np.clip(spread[1] * scale[1] + room[1], MIN_HEIGHT, MAX_HEIGHT))
        size = np.array([width, height])
        centre, reach = (low + high) / 2, size / scale / 2
        return cls(centre - reach, centre + reach, size)

    def pixels(self, points: Float[np.ndarray, "*point 2"]) -> Float[np.ndarray, "*point 2"]:
        """Where data lie, from the upper left corner, y downwards."""
        share = (points - self.low) / (self.high - self.low)
        return np.stack([share[..., 0], 1 - share[..., 1]], axis=-1) * self.size

    def arrows(self, cosines: Float[np.ndarray, "arrow 2"]) -> Float[np.ndarray, "arrow 2"]:
        """Tips, in data units, of arrows from the origin, in pixels proportional to `cosines`."""
        unit = (self.high - self.low) / self.size
        return arrow_tips(
            cosines,
            self.low + ARROW_ROOM * unit,
            self.high - ARROW_ROOM * unit,
            unit,
            ARROW_SHARE * float(self.size.min()),
        )


def arrow_tips(
    cosines: Float[np.ndarray, "arrow dim"],
    low: Float[np.ndarray, " dim"],
    high: Float[np.ndarray, " dim"],
    unit: Float[np.ndarray, " dim"],
    length: float,
) -> Float[np.ndarray, "arrow dim"]:
    """Tips of arrows from the origin, proportional to `cosines` on the canvas.

    Args:
        cosines: Of each arrow with each direction.
        low, high: Corners of the box that must hold them.
        unit: Data units to a unit of the canvas, along each direction.
        length: Of the longest arrow in units of the canvas, if the box allows.
    """
    if not len(cosines):
        return cosines
    with np.errstate(divide="ignore"):
        limits = np.where(cosines > 0, high, low) / (cosines * unit)
    limit = np.where(cosines == 0, np.inf, limits).min()
    return cosines * unit * min(length / np.linalg.norm(cosines, axis=1).max(), limit)


def line_through(
    point: Float[np.ndarray, " dim"],
    low: Float[np.ndarray, " dim"],
    high: Float[np.ndarray, " dim"],
) -> Float[np.ndarray, "2 dim"]:
    """Ends of the line through the origin and `point`, where it leaves the box; the point's side last.

    Examples:
        >>> line_through(np.array([1.0, 1.0]), np.array([-2.0, -4.0]), np.array([3.0, 5.0]))
        array([[-2., -2.],
               [ 3.,  3.]])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings = np.stack([low, high]) / point
    backwards = np.max(np.where(crossings < 0, crossings, -np.inf))
    forwards = np.min(np.where(crossings > 0, crossings, np.inf))
    return np.stack([point * backwards, point * forwards])
