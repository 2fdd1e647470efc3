"""Labels that collide with nothing: a greedy placer in pixel space.

Every label tries places around its point, the nearest first; those farther off get a leader line. A place is out
of the question if the label would touch the border, a marker, another label or a leader, or its own leader would
cross one of these. Among the places left, the cheapest wins: near the point, off the drawn lines, not closer to
another point than to its own. Labels without any such place are dropped. No randomness: same input, same places.

Examples:
    >>> labels = [Label("pirate", x=100, y=50, radius=5), Label("ghost", x=102, y=50, radius=5)]
    >>> pirate, ghost = place_labels(labels, width=200, height=100)
    >>> overlap(pirate.box, ghost.box)
    False
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import isotonic_regression

from persona_lens.plots.parts import style
from persona_lens.plots.parts.collisions import (
    boxes_meet,
    boxes_meet_circles,
    boxes_meet_segments,
    segments_cross,
    segments_meet_circles,
)
from persona_lens.plots.parts.text import text_height, text_width

Box = tuple[float, float, float, float]

NEAR = 2.0
RINGS = np.array([13.0, 21.0, 30.0, 41.0, 54.0, 70.0, 88.0, 110.0, 135.0, 165.0, 200.0, 240.0])
RING_DIRECTIONS = 24
BORDER = 3.0
PADDING = 1.5
LINE_COST = 18.0
LEADER_COST = 8.0
PASSING_COST = 30.0
AMBIGUITY_COST = 9.0
AMBIGUITY_REACH = 5.0
CROWD_REACH = 60.0

# Right, left, above, below, then the corners: the order in which readers expect a point's label.
_SIDES = np.array(
    [(1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1)], dtype=float
)


@dataclass(frozen=True)
class Label:
    """A text that wants to stand beside the point (x, y), in pixels from the upper left corner.

    Attributes:
        text: May hold tags, which take no room.
        x, y: The point.
        radius: Of the point's marker.
        size: Font size.
        priority: Higher ones are placed first.
        reach: Longest leader line, about, in pixels.
        insistent: Its leader may pass over markers if there is no other way.
    """

    text: str
    x: float
    y: float
    radius: float = 0.0
    size: float = 11.0
    priority: int = 0
    reach: float = 90.0
    insistent: bool = False

    @property
    def half(self) -> Float[np.ndarray, " 2"]:
        """Half width and half height of the text with its padding."""
        size = np.array([text_width(self.text, self.size), text_height(self.text, self.size)])
        return size / 2 + PADDING


@dataclass(frozen=True)
class Placement:
    """Where a label's centre goes, relative to its point, in pixels (y downwards).

    Attributes:
        dx, dy: From the point to the centre of the text.
        box: Left, top, right, bottom of the text.
        leader: Whether it stands so far off that a line must lead to it.
    """

    dx: float
    dy: float
    box: Box
    leader: bool


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes share any area.

    Examples:
        >>> overlap((0, 0, 2, 2), (1, 1, 3, 3)), overlap((0, 0, 1, 1), (1, 0, 2, 1))
        (True, False)
    """
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def label_annotation(
    name: str, label: Label, spot: Placement, point: Sequence[float], color: str = style.INK
) -> dict[str, Any]:
    """A placed label as a plotly annotation: beside its point, or with a line to it.

    Args:
        name: Of the annotation.
        label: What stands there.
        spot: Where, in pixels from the point.
        point: In the units of the axes.
        color: Of the text.
    """
    look: dict[str, Any] = {
        "name": name,
        "text": label.text,
        "font": {"size": label.size, "color": color},
        **dict(zip("xyz", point, strict=False)),
        "borderpad": 0,
        "bgcolor": "rgba(255,255,255,0.65)",  # lines below stay visible, the text readable
        "showarrow": spot.leader,
    }
    if spot.leader:
        look |= {"arrowhead": 0, "arrowwidth": 0.8, "arrowcolor": style.FAINT}
        return look | {"ax": spot.dx, "ay": spot.dy, "standoff": label.radius}
    return look | {"xshift": spot.dx, "yshift": -spot.dy}


def place_labels(
    labels: Sequence[Label],
    *,
    width: float,
    height: float,
    markers: Float[np.ndarray, "marker 3"] | None = None,
    lines: Float[np.ndarray, "line 4"] | None = None,
) -> list[Placement | None]:
    """Find a place for each label in an area of `width` by `height` pixels.

    Args:
        labels: Their own markers are obstacles too and need not be repeated in `markers`.
        width, height: Of the area, whose upper left corner is (0, 0).
        markers: Further obstacles: centre and radius.
        lines: Drawn lines (x0, y0, x1, y1), which labels avoid if they can.

    Returns:
        In the order of `labels`; None where there is no room.
    """
    own = np.array([(label.x, label.y, label.radius) for label in labels]).reshape(-1, 3)
    scene = _Scene(
        width=width,
        height=height,
        markers=own if markers is None else np.concatenate([own, markers]),
        lines=np.empty((0, 4)) if lines is None else lines,
    )
    distances = np.linalg.norm(own[:, None, :2] - scene.markers[None, :, :2], axis=-1)
    crowd = (distances < CROWD_REACH).sum(axis=1)
    order = sorted(
        range(len(labels)), key=lambda index: (-labels[index].priority, -crowd[index], index)
    )
    placements: list[Placement | None] = [None] * len(labels)
    for index in order:
        placements[index] = scene.place(labels[index], index)
    return placements


def spread(
    wanted: Float[np.ndarray, " label"], *, gap: float, low: float, high: float
) -> Float[np.ndarray, " label"]:
    """Places on a line, at least `gap` apart, between `low` and `high`, close to the wanted ones.

    Where all have no room between the ends, they run over `high`.

    Examples:
        >>> spread(np.array([5.0, 1.0, 5.0]), gap=2.0, low=0.0, high=6.0)
        array([4., 1., 6.])
    """
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    # Less their steps, places need only be in order: the nearest ordered values are an isotonic regression.
    ordered = isotonic_regression(wanted[order] - steps).x
    places = np.empty(len(wanted))
    places[order] = np.maximum(np.minimum(ordered, high - steps[-1]), low) + steps
    return places


class _Scene:
    """What is on the canvas so far."""

    def __init__(
        self,
        *,
        width: float,
        height: float,
        markers: Float[np.ndarray, "marker 3"],
        lines: Float[np.ndarray, "line 4"],
    ) -> None:
        self.width, self.height = width, height
        self.markers, self.lines = markers, lines
        self.boxes = np.empty((0, 4))
        self.leaders = np.empty((0, 4))

    def place(self, label: Label, own: int) -> Placement | None:
        """Take the cheapest free place; `own` is the row of the label's own marker."""
        point = np.array([label.x, label.y])
        offsets, distances, leads = _candidates(label)
        centres = point + offsets
        boxes = np.concatenate([centres - label.half, centres + label.half], axis=1)
        # As plotly draws it: from the edge of the marker towards the centre of the text, as far as its box.
        inside = (label.half / np.maximum(np.abs(offsets), 1e-9)).min(axis=1, keepdims=True)
        start = label.radius / np.linalg.norm(offsets, axis=1, keepdims=True)
        leaders = np.concatenate([point + start * offsets, point + (1 - inside) * offsets], axis=1)

        others = np.delete(self.markers, own, axis=0)
        within = (
            np.abs(others[:, :2] - point)
            < (np.abs(boxes.reshape(-1, 2, 2) - point)).max((0, 1)) + others[:, 2:]
        )
        others = others[within.all(axis=1)]
        passed = leads * segments_meet_circles(leaders, others).sum(axis=1)
        free = self._free(boxes, leaders, leads, others) & ((passed == 0) | label.insistent)
        if not free.any():
            return None
        cost = distances + LEADER_COST * leads + PASSING_COST * passed
        cost += LINE_COST * boxes_meet_segments(boxes, self.lines).sum(axis=1)
        reach = others + np.array([0.0, 0.0, AMBIGUITY_REACH])
        cost += AMBIGUITY_COST * boxes_meet_circles(boxes, reach).any(axis=1)
        best = int(np.argmin(np.where(free, cost, np.inf)))
        self.boxes = np.vstack([self.boxes, boxes[best]])
        if leads[best]:
            self.leaders = np.vstack([self.leaders, leaders[best]])
        left, top, right, bottom = boxes[best].tolist()
        dx, dy = offsets[best].tolist()
        return Placement(dx, dy, (left, top, right, bottom), bool(leads[best]))

    def _free(
        self, boxes: np.ndarray, leaders: np.ndarray, leads: np.ndarray, others: np.ndarray
    ) -> Bool[np.ndarray, " candidate"]:
        inside = (boxes[:, :2] >= BORDER).all(axis=1)
        inside &= (boxes[:, 2] <= self.width - BORDER) & (boxes[:, 3] <= self.height - BORDER)
        blocked = boxes_meet_circles(boxes, others).any(axis=1)
        blocked |= boxes_meet(boxes, self.boxes).any(axis=1)
        blocked |= boxes_meet_segments(boxes, self.leaders).any(axis=1)
        crossing = boxes_meet_segments(self.boxes, leaders).any(axis=0)
        crossing |= segments_cross(leaders, self.leaders).any(axis=1)
        return inside & ~blocked & ~(leads & crossing)


def _candidates(
    label: Label,
) -> tuple[
    Float[np.ndarray, "candidate 2"],
    Float[np.ndarray, " candidate"],
    Bool[np.ndarray, " candidate"],
]:
    """Offsets of the text's centre, their cost in pixels, and whether they need a leader."""
    gap = label.radius + NEAR
    corner = np.abs(_SIDES).sum(axis=1) == 2  # at a corner the box is nearer than on a side
    near = _SIDES * (label.half + gap * np.where(corner, 0.7, 1.0)[:, None])
    angles = np.arange(RING_DIRECTIONS) * 2 * np.pi / RING_DIRECTIONS
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    reached = RINGS[label.reach >= RINGS]
    rings = [directions * (label.half + label.radius + ring) for ring in reached]
    offsets = np.concatenate([near, *rings])
    distances = np.concatenate(
        [np.arange(len(_SIDES)) * 0.75, *(np.full(RING_DIRECTIONS, ring) for ring in reached)]
    )
    return offsets, distances, np.arange(len(offsets)) >= len(near)
