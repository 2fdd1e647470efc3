"""Persona maps: what is drawn equals what the space says, and labels keep clear of everything."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from persona_lens.errors import FigureError, SpaceError
from persona_lens.persona_space import PersonaSpace
from persona_lens.plots import persona_map
from persona_lens.plots.parts.collisions import boxes_meet_circles
from persona_lens.plots.parts.labels import Box, overlap
from persona_lens.plots.parts.scene import project
from persona_lens.plots.parts.text import text_height, text_width

LAYER = 2


def traces(fig: Any) -> dict[str, Any]:
    return {trace.uid: trace for trace in fig.data if trace.uid}


def role_points(fig: Any) -> dict[str, tuple]:
    """Coordinates and colour of every role."""
    points = {}
    for uid, trace in traces(fig).items():
        if uid.startswith("roles-"):
            letters = "xyz" if trace.type == "scatter3d" else "xy"
            columns = [getattr(trace, letter) for letter in letters] + [trace.marker.color]
            points |= dict(zip(trace.customdata, zip(*columns, strict=True), strict=True))
    return points


@pytest.mark.parametrize("dims", [2, 3])
def test_roles_lie_at_their_scores_and_take_their_colour_from_the_axis(
    space: PersonaSpace, dims: Any
) -> None:
    points = role_points(persona_map(space, LAYER, dims=dims))
    names = space.table.select(kind="role").names
    assert set(points) == set(names)
    drawn = np.array([points[name] for name in names])
    np.testing.assert_allclose(drawn[:, :dims], space.transform(names, LAYER)[:, :dims])
    projections = space.project(names, LAYER)
    np.testing.assert_allclose(drawn[:, dims], projections - projections.mean())


def test_symbols_follow_groups(space: PersonaSpace) -> None:
    found = {
        trace.name: trace
        for uid, trace in traces(persona_map(space, LAYER)).items()
        if "roles" in uid
    }
    assert set(found) == {"assistant", "human", "fantastical", "no group"}
    assert len({trace.marker.symbol for trace in found.values()}) == 4
    frame = space.table.select(kind="role").frame()
    assert set(found["human"].customdata) == set(frame.name[frame.group == "human"])


def test_colour_scale_is_symmetric_about_the_mean_of_roles(space: PersonaSpace) -> None:
    scale = persona_map(space, LAYER).layout.coloraxis
    colors = [point[-1] for point in role_points(persona_map(space, LAYER)).values()]
    assert scale.cmin == -scale.cmax
    assert scale.cmax == pytest.approx(np.abs(colors).max())
    assert "Assistant" in scale.colorbar.title.text


def test_default_is_a_star_on_the_axis_line(space: PersonaSpace) -> None:
    found = traces(persona_map(space, LAYER))
    star = space.transform(["default"], LAYER)[0, :2]
    np.testing.assert_allclose([found["default"].x[0], found["default"].y[0]], star)
    assert found["default"].marker.symbol == "star"
    ends = np.stack([found["axis"].x, found["axis"].y], axis=1)
    np.testing.assert_allclose(ends[:, 0] * star[1], ends[:, 1] * star[0], atol=1e-6)
    assert ends[1] @ star > 0 > ends[0] @ star


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("scaling", ["center", "zscore"])
def test_arrows_are_the_cosines_of_the_traits(make_space: Any, scaling: Any, dims: Any) -> None:
    space = make_space(48)
    space.scaling = scaling
    space.fit()
    table = space.table
    roles = table.values[table.indices(kind="role"), LAYER].astype(float)
    directions = table.values[table.indices(kind="trait"), LAYER].astype(float)
    if scaling == "zscore":
        directions /= roles.std(axis=0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    cosines = dict(
        zip(
            table.select(kind="trait").names,
            directions @ space.components_[LAYER, :dims].T,
            strict=True,
        )
    )
    fig = persona_map(space, LAYER, dims=dims)
    arrows = traces(fig)["traits"]
    path = np.stack([getattr(arrows, letter) for letter in "xyz"[:dims]], axis=1).reshape(
        -1, 3, dims
    )
    np.testing.assert_array_equal(path[:, 0], 0.0)
    names = [
        hover.split("</b>")[0].removeprefix("<b>").replace(" ", "_")
        for hover in arrows.hovertext[1::3]
    ]
    expected = np.array([cosines[name] for name in names])
    lengths = np.linalg.norm(expected, axis=1)
    assert (lengths >= 0.5).all()
    assert len(names) == min(10, sum(np.linalg.norm(list(cosines.values()), axis=1) >= 0.5))
    ratio = path[:, 1] / expected
    if dims == 2:
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-4)
    else:  # a flat box is drawn deeper than it is, and the arrows with it
        np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0], ratio.shape), rtol=1e-4)
    assert (ratio > 0).all()


def test_arrow_note_counts_what_is_left_out(space: PersonaSpace) -> None:
    fig = persona_map(space, LAYER)
    drawn = len(traces(fig)["traits"].hovertext) // 3
    caption = next(a.text for a in fig.layout.annotations if a.name == "caption").replace(
        "<br>", " "
    )
    assert f"{drawn} of 16 traits" in caption
    assert "not a distance" in caption
    bare = persona_map(space, LAYER, traits=False)
    assert "traits" not in traces(bare)
    assert "trait" not in next(a.text for a in bare.layout.annotations if a.name == "caption")


def boxes_on_canvas(fig: Any) -> tuple[dict[str, Box], np.ndarray, tuple[float, float]]:
    """Text boxes by name, all markers as circles, and the size of the plot area, in pixels."""
    layout = fig.layout
    size = (
        layout.width - layout.margin.l - layout.margin.r,
        layout.height - layout.margin.t - layout.margin.b,
    )

    def pixel(x: float, y: float) -> tuple[float, float]:
        (x0, x1), (y0, y1) = layout.xaxis.range, layout.yaxis.range
        return (x - x0) / (x1 - x0) * size[0], (y1 - y) / (y1 - y0) * size[1]

    boxes = {}
    for note in layout.annotations:
        if note.name in ("caption", "subtitle"):
            continue
        x, y = pixel(note.x, note.y)
        dx, dy = (note.ax, note.ay) if note.showarrow else (note.xshift, -note.yshift)
        width, height = (
            text_width(note.text, note.font.size),
            text_height(note.text, note.font.size),
        )
        centre = x + dx, y + dy
        boxes[note.name] = (
            centre[0] - width / 2,
            centre[1] - height / 2,
            centre[0] + width / 2,
            centre[1] + height / 2,
        )
    circles = []
    for uid, trace in traces(fig).items():
        if uid == "default" or uid.startswith("roles"):
            radius = trace.marker.size / 2 * (1.0 if uid == "default" else 0.9)
            circles += [(*pixel(x, y), radius) for x, y in zip(trace.x, trace.y, strict=True)]
    return boxes, np.array(circles), size


@pytest.mark.parametrize(
    ("fixture", "least", "layer"),
    [*(("space", 42, layer) for layer in range(4)), ("large_space", 75, 0), ("large_space", 75, 1)],
)
def test_labels_overlap_neither_each_other_nor_markers_nor_borders(
    request: pytest.FixtureRequest, fixture: str, least: int, layer: int
) -> None:
    fig = persona_map(request.getfixturevalue(fixture), layer)
    boxes, circles, size = boxes_on_canvas(fig)
    assert "default" in boxes
    assert sum(name.startswith("role:") for name in boxes) >= least
    for (first, a), (second, b) in combinations(boxes.items(), 2):
        assert not overlap(a, b), f"{first} overlaps {second}"
    corners = np.array(list(boxes.values()))
    assert not boxes_meet_circles(corners, circles).any()
    assert corners[:, :2].min() >= 0
    assert (corners[:, 2:] <= np.array(size) + 1e-6).all()


@pytest.mark.parametrize("fixture", ["space", "large_space"])
def test_labels_in_three_dimensions_are_apart_when_the_map_opens(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    layout: Any = persona_map(request.getfixturevalue(fixture), 1, dims=3).layout
    width = layout.width - layout.margin.l - layout.margin.r
    height = layout.height - layout.margin.t - layout.margin.b
    scene = layout.scene
    boxes = {}
    for note in scene.annotations:
        place = []
        for letter in "xyz":
            low, high = scene[f"{letter}axis"].range
            place.append(
                (note[letter] - (low + high) / 2) / (high - low) * scene.aspectratio[letter]
            )
        x, y = project(np.array(place), width, height)
        dx, dy = (note.ax, note.ay) if note.showarrow else (note.xshift, -note.yshift)
        half = text_width(note.text, note.font.size) / 2, text_height(note.text, note.font.size) / 2
        boxes[note.name] = (x + dx - half[0], y + dy - half[1], x + dx + half[0], y + dy + half[1])
    assert "default" in boxes
    assert 8 <= sum(name.startswith("role:") for name in boxes) <= 24
    assert not any(overlap(a, b) for a, b in combinations(boxes.values(), 2))


def test_map_is_deterministic_and_undistorted(space: PersonaSpace) -> None:
    fig = persona_map(space, LAYER)
    assert fig == persona_map(space, LAYER)
    _, _, size = boxes_on_canvas(fig)
    units = [np.ptp(fig.layout.xaxis.range) / size[0], np.ptp(fig.layout.yaxis.range) / size[1]]
    assert units[0] == pytest.approx(units[1], rel=2e-3)  # the height is a whole number of pixels
    assert fig.layout.yaxis.scaleanchor == "x"


def test_labels_can_be_few_or_none(space: PersonaSpace) -> None:
    def named(labels: Any) -> set[str]:
        notes = persona_map(space, LAYER, labels=labels).layout.annotations
        return {note.name for note in notes if note.name.startswith("role:")}

    assert named("none") == set()
    scores = space.transform(space.table.select(kind="role").names, LAYER)[:, 0]
    names = space.table.select(kind="role").names
    assert {f"role:{names[scores.argmax()]}", f"role:{names[scores.argmin()]}"} <= named("extremes")
    assert len(named("extremes")) < 25 < len(named("all"))


def test_hover_says_who_and_where(space: PersonaSpace) -> None:
    found = traces(persona_map(space, LAYER))
    trace = found["roles-1"]
    name, hover = trace.customdata[0], trace.hovertext[0]
    assert hover.startswith(f"<b>{name.replace('_', ' ')}</b><br>role · human · 20 replies")
    assert "&lt;likes&gt;" in hover
    row = space.ranking(LAYER).set_index("name").loc[name]
    assert f"on the Assistant Axis {row.projection:.4g}".replace("-", "−") in hover
    assert f"z = {row.z_roles:+.2f}".replace("-", "−") in hover
    for kind in ("role", "trait"):
        near = space.nearest(name, LAYER, k=3, kind=kind)
        expected = ", ".join(
            f"{other.replace('_', ' ')} ({cosine:.2f})".replace("-", "−")
            for other, cosine in zip(near.name, near.cosine, strict=True)
        )
        assert f"nearest {kind}s: {expected}" in hover
    assert found["default"].hovertext[0].startswith("<b>default Assistant</b><br>20 replies")
    everything = "".join(
        text for trace in found.values() if trace.hovertext is not None for text in trace.hovertext
    )
    assert "%{" not in everything
    assert " nan" not in everything


def test_subtitle_gives_the_cosine_with_interval_and_null(space: PersonaSpace) -> None:
    subtitle = next(
        a.text for a in persona_map(space, -1).layout.annotations if a.name == "subtitle"
    )
    row = space.stability_.iloc[-1]
    assert f"cos(PC1, axis) = {row.cosine:.2f}" in subtitle
    assert f"{row.cosine_low:.2f} to {row.cosine_high:.2f}" in subtitle
    assert f"below {row.shuffled_95:.2f}" in subtitle
    assert "48 roles (960 replies)" in subtitle


def test_other_directions_and_colours(space: PersonaSpace) -> None:
    fig = persona_map(space, LAYER, x="axis", y="trait_3", color="pc2")
    names = space.table.select(kind="role").names
    drawn = np.array([role_points(fig)[name] for name in names])
    for column, onto in enumerate(("axis", "trait_3", "pc2")):
        expected = space.project(names, LAYER, onto=onto)
        np.testing.assert_allclose(drawn[:, column], expected - expected.mean(), atol=1e-6)
    grouped = traces(persona_map(space, LAYER, color="group"))
    assert isinstance(grouped["roles-0"].marker.color, str)


def test_title_and_layer(space: PersonaSpace) -> None:
    fig = persona_map(space, -1)
    row = space.stability_.iloc[-1]
    beats = row.cosine > row.shuffled_95
    assert fig.layout.title.text.startswith("PC1 lies along" if beats else "PC1 lies no closer")
    assert (
        f"{row.cosine:.2f} ({row.cosine_low:.2f} to {row.cosine_high:.2f})" in fig.layout.title.text
    )
    assert "Persona map at layer 3" in notes(fig)["subtitle"]
    assert persona_map(space, 0, title="Mine").layout.title.text == "Mine"


def notes(fig: Any) -> dict[str, str]:
    return {note.name: note.text for note in fig.layout.annotations}


def test_without_a_layer_it_is_the_recommended_one_and_says_so(space: PersonaSpace) -> None:
    subtitle = notes(persona_map(space))["subtitle"]
    layer = space.recommend_layer().layer
    assert f"Persona map at layer {layer}" in subtitle
    assert f"Layer {layer} is the recommended one" in subtitle
    assert "recommended" not in notes(persona_map(space, 0))["subtitle"]


def test_highlighted_roles_are_named_and_all_others_faint(space: PersonaSpace) -> None:
    name = space.ranking(0)["name"].iloc[7]
    fig = persona_map(space, 0, highlight=[name])
    labels = [each for each in notes(fig) if each.startswith("role:")]
    assert labels == [f"role:{name}"]
    strong = [
        role
        for trace in fig.data
        if str(trace.uid).startswith("roles-")
        for role, opacity in zip(trace.customdata, trace.marker.opacity, strict=True)
        if opacity == 1
    ]
    assert strong == [name]
    with pytest.raises(SpaceError, match="nobody"):
        persona_map(space, 0, highlight=["nobody_of_that_name"])


def test_intervals_on_request_are_those_of_the_ranking(space: PersonaSpace) -> None:
    assert all(
        trace.error_x.array is None
        for trace in persona_map(space, 0).data
        if trace.type == "scatter"
    )
    fig = persona_map(space, 0, x="axis", intervals=True)
    drawn = {
        name: margin
        for trace in fig.data
        if str(trace.uid).startswith("roles-")
        for name, margin in zip(trace.customdata, trace.error_x.array, strict=True)
    }
    ranking = space.ranking(0).set_index("name")
    wanted = ranking["high"] - ranking["projection"]
    for name, margin in drawn.items():
        assert margin == pytest.approx(wanted[name], rel=1e-3)
    with pytest.raises(FigureError, match="in the plane"):
        persona_map(space, 0, dims=3, intervals=True)


def test_errors_name_the_remedy(space: PersonaSpace) -> None:
    rng = np.random.default_rng(0)
    roles = {f"r{i}": rng.normal(size=(1, 6)) for i in range(3)}
    small = PersonaSpace.from_vectors(roles, np.ones((1, 6)))
    with pytest.raises(FigureError, match=r"space\.fit\(\)"):
        persona_map(small, 0)
    with pytest.raises(FigureError, match="pc1 to pc2"):
        persona_map(small.fit(), 0, dims=3)
    with pytest.raises(SpaceError, match="0 to 3"):
        persona_map(space, 99)
    with pytest.raises(FigureError, match="2 or 3"):
        persona_map(space, 0, dims=4)  # type: ignore[arg-type]
    with pytest.raises(FigureError, match="extremes"):
        persona_map(space, 0, labels="some")  # type: ignore[arg-type]
    assert len(persona_map(small, 0).data) > 3
