"""The placer on its own: nothing it places touches anything else."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from persona_lens.plots.parts.collisions import (
    boxes_meet_circles,
    boxes_meet_segments,
    segments_cross,
)
from persona_lens.plots.parts.labels import Label, Placement, overlap, place_labels, spread
from persona_lens.plots.parts.text import text_width, wrap

WIDTH, HEIGHT = 600.0, 400.0


def crowd(n: int, seed: int = 0, spread_px: float = 90.0) -> list[Label]:
    rng = np.random.default_rng(seed)
    points = np.clip(rng.normal([300, 200], spread_px, size=(n, 2)), 10, [WIDTH - 10, HEIGHT - 10])
    return [
        Label(f"name {i}", x, y, radius=5, priority=i % 3)
        for i, (x, y) in enumerate(points.tolist())
    ]


def placed(labels: list[Label], **options) -> list[tuple[Label, Placement]]:
    places = place_labels(labels, width=WIDTH, height=HEIGHT, **options)
    return [(label, place) for label, place in zip(labels, places, strict=True) if place]


@pytest.mark.parametrize(("n", "seed"), [(20, 0), (80, 1), (250, 2)])
def test_nothing_touches_anything(n: int, seed: int) -> None:
    labels = crowd(n, seed)
    found = placed(labels)
    assert len(found) >= min(n, 35)
    boxes = np.array([place.box for _, place in found])
    for a, b in combinations(range(len(found)), 2):
        assert not overlap(found[a][1].box, found[b][1].box)
    circles = np.array([(label.x, label.y, label.radius) for label in labels])
    assert not boxes_meet_circles(boxes, circles).any()
    assert boxes[:, :2].min() >= 0
    assert (boxes[:, 2:] <= [WIDTH, HEIGHT]).all()


def test_leaders_cross_neither_labels_nor_each_other() -> None:
    found = placed(crowd(120))
    led = [(label, place) for label, place in found if place.leader]
    assert led, "the crowd is too thin to test leaders"
    centres = {id(place): (label.x + place.dx, label.y + place.dy) for label, place in led}
    # The leader proper ends at the box of its text; up to there is 0.0 to `share` of the way to the centre.
    segments = []
    for label, place in led:
        x, y = centres[id(place)]
        half = np.array([place.box[2] - place.box[0], place.box[3] - place.box[1]]) / 2
        share = 1 - (half / np.maximum(np.abs([place.dx, place.dy]), 1e-9)).min()
        segments.append(
            (label.x, label.y, label.x + share * (x - label.x), label.y + share * (y - label.y))
        )
    lines = np.array(segments)
    assert not np.triu(segments_cross(lines, lines), 1).any()
    hits = boxes_meet_segments(np.array([place.box for _, place in found]), lines)
    own = [[place is other for _, other in led] for _, place in found]
    assert not (hits & ~np.array(own)).any()


def test_box_is_where_the_offset_says_and_as_large_as_the_text() -> None:
    label = Label("some name", 100, 100, radius=5, size=12)
    [(_, place)] = placed([label])
    left, top, right, bottom = place.box
    assert (left + right) / 2 == pytest.approx(label.x + place.dx)
    assert (top + bottom) / 2 == pytest.approx(label.y + place.dy)
    assert right - left >= text_width("some name", 12)
    assert not place.leader
    assert left > 105


def test_same_input_same_places() -> None:
    assert place_labels(crowd(90), width=WIDTH, height=HEIGHT) == place_labels(
        crowd(90), width=WIDTH, height=HEIGHT
    )


def test_full_canvas_drops_labels_and_keeps_the_important_one() -> None:
    labels = [Label("a long label", 60, 30, radius=4, priority=int(i == 5)) for i in range(9)]
    places = place_labels(labels, width=120, height=60)
    assert places[5] is not None
    assert places.count(None) > 0


def test_a_further_marker_and_a_line_push_the_label_away() -> None:
    label = Label("name", 300, 200, radius=5)
    [(_, free)] = placed([label])
    blocked = np.array([[325.0, 200.0, 8.0]])
    [(_, pushed)] = placed([label], markers=blocked)
    assert free.dx > 0
    assert not boxes_meet_circles(np.array([pushed.box]), blocked).any()
    line = np.array([[300.0, 200.0, 600.0, 200.0]])
    [(_, beside)] = placed([label], lines=line)
    assert not boxes_meet_segments(np.array([beside.box]), line).any()


def test_an_insistent_label_gets_out_of_a_thicket_that_holds_another_back() -> None:
    ring = np.array(
        [(300 + 14 * np.cos(a), 200 + 14 * np.sin(a), 6.0) for a in np.linspace(0, 2 * np.pi, 16)]
    )
    held = place_labels([Label("name", 300, 200, 5)], width=WIDTH, height=HEIGHT, markers=ring)
    assert held == [None]
    [(_, place)] = placed([Label("name", 300, 200, 5, insistent=True)], markers=ring)
    assert place.leader
    assert not boxes_meet_circles(np.array([place.box]), ring).any()


def test_spread_keeps_distance_and_order() -> None:
    places = spread(np.array([50.0, 52.0, 51.0, 10.0]), gap=15, low=0, high=60)
    assert np.diff(np.sort(places)).min() >= 15 - 1e-9
    assert list(np.argsort(places)) == [3, 0, 2, 1]
    assert places.max() <= 60


def test_wrap_keeps_to_the_width() -> None:
    lines = wrap("several words that must be broken into lines", 90, 12).split("<br>")
    assert len(lines) > 2
    assert all(text_width(line, 12) <= 90 for line in lines)
    assert " ".join(lines) == "several words that must be broken into lines"
