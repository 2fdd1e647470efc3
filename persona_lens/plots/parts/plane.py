"""The persona map in two dimensions, with labels that keep their distance when the reader zooms."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from persona_lens.plots.parts import marks, style
from persona_lens.plots.parts.canvas import Canvas, line_through
from persona_lens.plots.parts.labels import place_labels
from persona_lens.plots.parts.text import joined
from persona_lens.plots.parts.view import MapView

RIGHT, LEFT = 194, 72
STAR_SIZE, STAR_RADIUS = 24, 12.5
ARROW_HEAD, ARROW_WIDTH = 10, 1.3
REACH, CROWDED_REACH = 90.0, 35.0  # among hundreds of points, long leader lines are a thicket


def draw_plane(view: MapView) -> go.Figure:
    """Draw a view of two dimensions."""
    shown_points = np.concatenate([view.points, view.star[None], np.zeros((1, 2))])
    canvas = Canvas.around(shown_points, style.WIDTH - LEFT - RIGHT, equal=view.equal)
    crowded = len(view.points) > marks.CROWDED
    tips = canvas.arrows(view.cosines)
    axis = line_through(view.star, canvas.low, canvas.high)
    fig = style.figure(
        [
            marks.axis_line(go.Scatter, axis, 1.3),
            *_arrows(view, tips),
            *marks.role_traces(view, go.Scatter, 8 if crowded else 10),
            marks.default_trace(view, go.Scatter, _star_marker(STAR_SIZE)),
            *marks.group_legend(view, go.Scatter),
            marks.legend_entry(
                view, go.Scatter, "default Assistant", 20, mode="markers", marker=_star_marker(15)
            ),
            *([_arrow_entry(view)] if len(tips) else []),
        ],
        title=view.title,
        topic=view.topic,
        subtitle=view.subtitle,
        right=RIGHT,
        left=LEFT,
    )
    named = _add_labels(fig, view, canvas, tips, axis)
    style.add_caption(fig, _caption(view, named))
    style.set_plot_height(fig, canvas.size[1])
    titles = [each.title for each in view.dimensions]
    fig.update_layout(
        style.map_axes(titles, canvas.low.tolist(), canvas.high.tolist()),
        legend=marks.legend_layout(view),
        coloraxis=view.color_axis(x=1.02, y=0, yanchor="bottom", len=260),
    )
    if view.equal:
        fig.update_yaxes(scaleanchor="x")
    return fig


def _add_labels(
    fig: go.Figure,
    view: MapView,
    canvas: Canvas,
    tips: Float[np.ndarray, "trait 2"],
    axis: Float[np.ndarray, "2 2"],
) -> int:
    """Add the labels there is room for; return how many roles are named."""
    crowded = len(view.points) > marks.CROWDED
    radius = 4.5 if crowded else 5.5
    wanted = marks.texts(
        view,
        canvas.pixels,
        tips,
        size=style.LABEL_SIZE - crowded,
        star_radius=STAR_RADIUS,
        role_radius=radius,
        role_reach=CROWDED_REACH if crowded else REACH,
    )
    shafts = np.stack([np.zeros_like(tips), tips], axis=1)
    placements = place_labels(
        [text.label for text in wanted],
        width=canvas.size[0],
        height=canvas.size[1],
        markers=marks.unnamed_markers(view, canvas.pixels(view.points), radius),
        lines=canvas.pixels(np.concatenate([axis[None], shafts])).reshape(-1, 4),
    )
    placed = [
        (text, place) for text, place in zip(wanted, placements, strict=True) if place is not None
    ]
    style.add_notes(fig, [text.annotation(place) for text, place in placed])
    return sum(text.name.startswith("role:") for text, _ in placed)


def _arrows(view: MapView, tips: Float[np.ndarray, "trait 2"]) -> list[go.Scatter]:
    return marks.arrow_traces(
        view,
        go.Scatter,
        tips,
        line={"color": style.TRAIT_COLOUR, "width": ARROW_WIDTH},
        marker={
            "color": style.TRAIT_COLOUR,
            "symbol": "arrow",
            "angleref": "previous",
            "size": [0, ARROW_HEAD, 0] * len(tips),
            "opacity": 1,
        },
        opacity=0.75,
        name="traits",
        showlegend=False,
    )


def _arrow_entry(view: MapView) -> go.Scatter:
    return marks.legend_entry(
        view,
        go.Scatter,
        "trait (cosine)",
        40,
        mode="lines+markers",
        line={"color": style.TRAIT_COLOUR, "width": ARROW_WIDTH},
        marker={"color": style.TRAIT_COLOUR, "symbol": "arrow-right", "size": 9},
    )


def _star_marker(size: float) -> dict:
    outline = {"color": style.INK, "width": 1.6 if size == STAR_SIZE else 1.1}
    return {"symbol": "star", "size": size, "color": style.DEFAULT_COLOUR, "line": outline}


def _caption(view: MapView, named: int) -> str:
    unnamed = len(view.points) - named
    return joined(
        "Origin: mean of the roles. Dashed: the Assistant Axis, from there through the default.",
        "Bars: 95 % t intervals over folds of the questions." if view.margins is not None else "",
        view.arrow_note("plane"),
        f"For want of room {unnamed} of {len(view.points)} roles are not named."
        if view.labels == "all" and unnamed and not view.highlight
        else "",
        view.shortage,
        by=" ",
    )
