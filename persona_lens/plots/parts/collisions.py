"""Which boxes, circles and segments meet: arrays against arrays, in pixels.

Boxes are (left, top, right, bottom), circles (x, y, radius), segments (x0, y0, x1, y1). Every function returns a
truth value for each pair.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float


def boxes_meet(a: Float[np.ndarray, "a 4"], b: Float[np.ndarray, "b 4"]) -> Bool[np.ndarray, "a b"]:
    """Whether boxes share area.

    Examples:
        >>> boxes_meet(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 1, 3, 3], [2.0, 0, 3, 1]]))
        array([[ True, False]])
    """
    first, second = a[:, None], b[None]
    return np.all(first[..., :2] < second[..., 2:], -1) & np.all(
        second[..., :2] < first[..., 2:], -1
    )


def boxes_meet_circles(
    boxes: Float[np.ndarray, "box 4"], circles: Float[np.ndarray, "circle 3"]
) -> Bool[np.ndarray, "box circle"]:
    """Whether a circle reaches into a box.

    Examples:
        >>> boxes_meet_circles(np.array([[0.0, 0, 2, 2]]), np.array([[3.0, 1, 1.5], [3.0, 3, 1.0]]))
        array([[ True, False]])
    """
    centres = circles[None, :, :2]
    nearest = np.clip(centres, boxes[:, None, :2], boxes[:, None, 2:])
    return np.linalg.norm(centres - nearest, axis=-1) < circles[None, :, 2]


def boxes_meet_segments(
    boxes: Float[np.ndarray, "box 4"], segments: Float[np.ndarray, "segment 4"]
) -> Bool[np.ndarray, "box segment"]:
    """Whether a segment runs through a box: no axis separates the two.

    Examples:
        >>> boxes_meet_segments(np.array([[0.0, 0, 2, 2]]), np.array([[-1.0, 1, 3, 1], [4.0, 0, 0, 4.5]]))
        array([[ True, False]])
    """
    start, end = segments[None, :, :2], segments[None, :, 2:]
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    apart = ((np.maximum(start, end) <= low) | (np.minimum(start, end) >= high)).any(-1)
    run = end - start
    normal = np.stack([-run[..., 1], run[..., 0]], axis=-1)
    distance = ((start - (low + high) / 2) * normal).sum(-1)
    reach = (np.abs(normal) * (high - low) / 2).sum(-1)
    return ~apart & (np.abs(distance) < reach)


def segments_meet_circles(
    segments: Float[np.ndarray, "segment 4"], circles: Float[np.ndarray, "circle 3"]
) -> Bool[np.ndarray, "segment circle"]:
    """Whether a segment enters a circle.

    Examples:
        >>> segments_meet_circles(np.array([[0.0, 0, 4, 0]]), np.array([[2.0, 1, 1.5], [6.0, 0, 1.0]]))
        array([[ True, False]])
    """
    start, run = segments[:, None, :2], segments[:, None, 2:] - segments[:, None, :2]
    offset = circles[None, :, :2] - start
    squared = np.maximum((run**2).sum(-1), 1e-12)
    along = np.clip((offset * run).sum(-1) / squared, 0.0, 1.0)
    return np.linalg.norm(offset - along[..., None] * run, axis=-1) < circles[None, :, 2]


def segments_cross(
    a: Float[np.ndarray, "a 4"], b: Float[np.ndarray, "b 4"]
) -> Bool[np.ndarray, "a b"]:
    """Whether segments cross: the ends of each lie on different sides of the other.

    Examples:
        >>> segments_cross(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 2, 2, 0], [0.0, 3, 3, 3]]))
        array([[ True, False]])
    """

    def side(line: np.ndarray, point: np.ndarray) -> np.ndarray:
        run, offset = line[..., 2:] - line[..., :2], point - line[..., :2]
        return run[..., 0] * offset[..., 1] - run[..., 1] * offset[..., 0]

    first, second = a[:, None], b[None]
    return (side(first, second[..., :2]) * side(first, second[..., 2:]) < 0) & (
        side(second, first[..., :2]) * side(second, first[..., 2:]) < 0
    )
