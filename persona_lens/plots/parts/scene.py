"""The persona map in three dimensions, to be turned with the mouse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from persona_lens.plots.parts import marks, style
from persona_lens.plots.parts.canvas import arrow_tips, line_through
from persona_lens.plots.parts.labels import place_labels
from persona_lens.plots.parts.view import MapView

RIGHT, LEFT, HEIGHT = 194, 30, 620
EYE, CENTRE = np.array([0.55, -1.62, 0.62]), np.array([0.02, 0.0, -0.13])
REACH = 45.0
TICK_SAMPLES, TICK_RADIUS = 25, 14.0
FIELD = np.tan(np.pi / 8)  # plotly's camera opens 45 degrees upwards
MARGIN = 0.08
ARROW_LENGTH = 0.45  # the box is about one wide
DEFAULT_SIZE, DEFAULT_RADIUS = 15, 10.0
DEFAULT_MARKER = {
    "symbol": "circle",
    "color": style.DEFAULT_COLOUR,
    "size": 13,
    "line": {"color": style.INK, "width": 2},
}


def draw_scene(view: MapView) -> go.Figure:
    """Draw a view of three dimensions, with names for the extremes."""
    crowded = len(view.points) > marks.CROWDED
    everything = np.concatenate([view.points, view.star[None], np.zeros((1, 3))])
    low, high = everything.min(axis=0), everything.max(axis=0)
    low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
    shape = _shape(high - low, equal=view.equal)
    tips = arrow_tips(view.cosines, low, high, (high - low) / shape, ARROW_LENGTH)
    fig = style.figure(
        [
            marks.axis_line(go.Scatter3d, line_through(view.star, low, high), 3),
            *_arrows(view, tips),
            *marks.role_traces(view, go.Scatter3d, 4 if crowded else 5.5),
            marks.default_trace(view, go.Scatter3d, {**DEFAULT_MARKER, "size": DEFAULT_SIZE}),
            *marks.group_legend(view, go.Scatter3d),
            marks.legend_entry(
                view, go.Scatter3d, "default Assistant", 20, mode="markers", marker=DEFAULT_MARKER
            ),
        ],
        title=view.title,
        topic=view.topic,
        subtitle=view.subtitle,
        right=RIGHT,
        left=LEFT,
    )
    width = style.WIDTH - LEFT - RIGHT

    def pixels(points: Float[np.ndarray, "*point 3"]) -> Float[np.ndarray, "*point 2"]:
        return project((points - (low + high) / 2) / (high - low) * shape, width, HEIGHT)

    radius = 7.0
    wanted = marks.texts(
        view,
        pixels,
        tips,
        size=style.LABEL_SIZE,
        star_radius=DEFAULT_RADIUS,
        role_radius=radius,
        role_reach=REACH,
    )
    placements = place_labels(
        [text.label for text in wanted],
        width=width,
        height=HEIGHT,
        markers=np.concatenate(
            [
                marks.unnamed_markers(view, pixels(view.points), radius),
                _tick_labels(low, high, pixels),
            ]
        ),
    )
    fig.update_layout(
        scene={
            **{
                f"{letter}axis": {
                    "title": {"text": each.brief},
                    "range": [start, end],
                    "showspikes": False,
                }
                for letter, each, start, end in zip("xyz", view.dimensions, low, high, strict=True)
            },
            "aspectmode": "manual",
            "aspectratio": _xyz(shape),
            "camera": {"eye": _xyz(EYE), "center": _xyz(CENTRE)},
            "annotations": [
                text.annotation(placement)
                for text, placement in zip(wanted, placements, strict=True)
                if placement is not None
            ],
        },
        legend=marks.legend_layout(view),
        coloraxis=view.color_axis(x=1.02, y=0, yanchor="bottom", len=260),
    )
    caption = "Origin: mean of the roles. Dashed: the Assistant Axis. Only extremes are named; drag to turn. "
    style.add_caption(fig, f"{caption}{view.arrow_note('view')} {view.shortage}".rstrip(" "))
    style.set_plot_height(fig, HEIGHT)
    return fig


def _arrows(view: MapView, tips: Float[np.ndarray, "trait 3"]) -> list[go.Scatter3d]:
    return marks.arrow_traces(
        view,
        go.Scatter3d,
        tips,
        line={"color": style.TRAIT_COLOUR, "width": 3},
        marker={"color": style.TRAIT_COLOUR, "symbol": "diamond", "size": [0, 4, 0] * len(tips)},
        name="trait (cosine)",
        legendrank=40,
    )


def project(
    points: Float[np.ndarray, "*point 3"], width: float, height: float
) -> Float[np.ndarray, "*point 2"]:
    """Pixels of points of the scene as the opening camera sees them.

    Examples:
        >>> project(CENTRE, 800, 600)
        array([400., 300.])
    """
    ahead = (CENTRE - EYE) / np.linalg.norm(CENTRE - EYE)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, ahead)
    away = points - EYE
    scale = height / 2 / FIELD / (away @ ahead)
    return np.stack([width / 2 + away @ right * scale, height / 2 - away @ up * scale], axis=-1)


def _tick_labels(
    low: Float[np.ndarray, " 3"],
    high: Float[np.ndarray, " 3"],
    pixels: Callable[[Float[np.ndarray, "*point 3"]], Float[np.ndarray, "*point 2"]],
) -> Float[np.ndarray, "marker 3"]:
    """About where plotly writes the numbers of the axes, outside three edges of the box: no place for labels."""
    near, right = low, np.array([high[0], low[1], low[2]])
    ends = [(near, right), (right, np.array([high[0], high[1], low[2]]))]
    ends.append((near, np.array([low[0], low[1], high[2]])))
    steps = np.linspace(0, 1, TICK_SAMPLES)[:, None]
    edges = pixels(np.concatenate([start + steps * (end - start) for start, end in ends]))
    outwards = edges - pixels((low + high) / 2)
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    radii = np.full((len(edges), 1), TICK_RADIUS)
    return np.concatenate([edges + TICK_RADIUS * outwards, radii], axis=1)


def _xyz(values: Float[np.ndarray, " 3"]) -> dict[str, float]:
    return dict(zip("xyz", values.tolist(), strict=True))


def _shape(extent: Float[np.ndarray, " 3"], *, equal: bool) -> Float[np.ndarray, " 3"]:
    """Sides of the box that is drawn; equal units get equal length unless the box would be a sheet."""
    return np.clip(extent / extent.max(), 0.4, 1.0) * 1.15 if equal else np.ones(3)
