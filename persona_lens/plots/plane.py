"""The persona map in two dimensions, with labels that keep their distance when the reader zooms."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from persona_lens.plots import style
from persona_lens.plots.canvas import Canvas
from persona_lens.plots.labels import Label, Placement, place_labels
from persona_lens.plots.text import shown
from persona_lens.plots.view import MapView, group_rows

RIGHT, LEFT = 196, 66
CROWDED = 100
STAR_SIZE, STAR_RADIUS = 24, 12.5
ARROW_HEAD = 10


def draw_plane(view: MapView) -> go.Figure:
    """Draw a view of two dimensions."""
    across, up = view.dimensions
    everything = np.concatenate([view.points, view.star[None], np.zeros((1, 2))])
    canvas = Canvas.around(
        everything, style.WIDTH - LEFT - RIGHT, equal=across.component == up.component
    )
    crowded = len(view.points) > CROWDED
    tips = canvas.arrows(view.cosines)
    axis = canvas.through(view.star)

    fig = style.figure(
        [
            _axis_line(axis),
            *([_arrows(view, tips)] if len(tips) else []),
            *_roles(view, 8 if crowded else 10),
            _star(view),
            *_legend(view),
        ],
        title=view.title,
        subtitle=view.subtitle,
        right=RIGHT,
        left=LEFT,
    )
    texts = _labels(view, canvas, tips, crowded)
    placements = place_labels(
        [label for label, _ in texts],
        width=canvas.size[0],
        height=canvas.size[1],
        markers=_unnamed_markers(view, canvas, crowded),
        lines=np.concatenate([_segments(canvas, axis[None]), _segments(canvas, _shafts(tips))]),
    )
    named = 0
    for (label, options), placement in zip(texts, placements, strict=True):
        if placement is None:
            continue
        named += options["name"].startswith("role:")
        fig.add_annotation(_annotation(label, placement), **options)

    style.add_caption(fig, _caption(view, named))
    style.set_plot_height(fig, canvas.size[1])
    fig.update_layout(
        xaxis={"title": {"text": across.title}, "range": [canvas.low[0], canvas.high[0]]},
        yaxis={"title": {"text": up.title}, "range": [canvas.low[1], canvas.high[1]]},
        legend={
            "x": 1.02,
            "y": 1,
            "title": {"text": "roles by group" if len(view.looks) > 1 else ""},
            "itemclick": False,  # labels are not part of a trace and would stay behind
            "itemdoubleclick": False,
        },
        coloraxis=view.color_axis(
            x=1.02, xanchor="left", y=0, yanchor="bottom", lenmode="pixels", len=270, xpad=0, ypad=0
        ),
    )
    for axes in (fig.layout.xaxis, fig.layout.yaxis):
        axes.update(zeroline=True, zerolinecolor="#d5dae0", zerolinewidth=1)
    if across.component == up.component:
        fig.layout.yaxis.scaleanchor = "x"
    return fig


def _axis_line(ends: Float[np.ndarray, "2 2"]) -> go.Scatter:
    return go.Scatter(
        x=ends[:, 0],
        y=ends[:, 1],
        mode="lines",
        line={"color": style.QUIET, "width": 1.3, "dash": "dash"},
        name="Assistant Axis",
        uid="axis",
        hoverinfo="skip",
        legendrank=30,
    )


def _arrows(view: MapView, tips: Float[np.ndarray, "trait 2"]) -> go.Scatter:
    """All arrows as one trace: origin, tip, gap, origin, tip, ..."""
    path = np.full((len(tips), 3, 2), np.nan)
    path[:, 0], path[:, 1] = 0.0, tips
    x, y = path.reshape(-1, 2).T
    return go.Scatter(
        x=x,
        y=y,
        mode="lines+markers",
        line={"color": style.TRAIT_COLOUR, "width": 1.3},
        marker={
            "color": style.TRAIT_COLOUR,
            "symbol": "arrow",
            "angleref": "previous",
            "size": [0, ARROW_HEAD, 0] * len(tips),
            "opacity": 1,
        },
        opacity=0.75,
        name="trait",
        uid="traits",
        showlegend=False,
        hovertext=[text for hover in view.traits["hover"] for text in ("", hover, "")],
        hoverinfo=["skip", "text", "skip"] * len(tips),
    )


def _roles(view: MapView, size: float) -> list[go.Scatter]:
    return [
        go.Scatter(
            x=view.points[rows, 0],
            y=view.points[rows, 1],
            mode="markers",
            marker={
                "symbol": view.looks[group].symbol,
                "size": size,
                "line": {"color": style.INK, "width": 0.7},
                **view.marker(group, rows),
            },
            name=group,
            uid=f"roles-{place}",
            legendgroup=group,
            showlegend=False,
            customdata=view.roles["name"].to_numpy()[rows],
            hovertext=view.roles["hover"].to_numpy()[rows],
            hoverinfo="text",
        )
        for place, (group, rows) in enumerate(group_rows(view))
    ]


def _star(view: MapView) -> go.Scatter:
    return go.Scatter(
        x=view.star[:1],
        y=view.star[1:],
        mode="markers",
        marker={
            "symbol": "star",
            "size": STAR_SIZE,
            "color": style.DEFAULT_COLOUR,
            "line": {"color": style.INK, "width": 1.6},
        },
        name="default Assistant",
        uid="default",
        showlegend=False,
        hovertext=view.default["hover"],
        hoverinfo="text",
    )


def _legend(view: MapView) -> list[go.Scatter]:
    """Entries without data, since those of coloured traces would take the colour of one point."""

    def entry(name: str, rank: int, **look: Any) -> go.Scatter:
        return go.Scatter(x=[None], y=[None], name=shown(name), legendrank=rank, hoverinfo="skip", **look)

    outline = {"line": {"color": style.INK, "width": 0.7}, "size": 10}
    entries = [
        entry(
            group,
            10,
            mode="markers",
            marker={
                "symbol": look.symbol,
                "color": "#d0d4d9" if view.colors is not None else look.colour,
                **outline,
            },
        )
        for group, look in view.looks.items()
    ]
    star = {"symbol": "star", "color": style.DEFAULT_COLOUR, "size": 15}
    star["line"] = {"color": style.INK, "width": 1.2}
    entries.append(entry("default Assistant", 20, mode="markers", marker=star))
    if len(view.traits):
        arrow = {"symbol": "arrow-right", "color": style.TRAIT_COLOUR, "size": 9}
        line = {"color": style.TRAIT_COLOUR, "width": 1.3}
        entries.append(entry("trait (cosine)", 40, mode="lines+markers", marker=arrow, line=line))
    return entries


def _labels(
    view: MapView, canvas: Canvas, tips: Float[np.ndarray, "trait 2"], crowded: bool
) -> list[tuple[Label, dict[str, Any]]]:
    """Every text that wants a place, with what its annotation needs besides."""
    size = style.LABEL_SIZE - 1 if crowded else style.LABEL_SIZE

    def label(
        kind: str, name: str, point: np.ndarray, radius: float, priority: int, color: str, text: str
    ) -> tuple[Label, dict[str, Any]]:
        x, y = canvas.pixels(point).tolist()
        font_size = size + 1 if kind == "default" else size
        options = {"name": f"{kind}:{name}", "x": point[0], "y": point[1], "font": {"color": color}}
        return Label(text, x, y, radius, font_size, priority), options

    star = label(
        "default", "default", view.star, STAR_RADIUS, 3, style.INK, "<b>default Assistant</b>"
    )
    traits = [
        label("trait", name, tip, 5.0, 2, style.TRAIT_COLOUR, f"<i>{shown(name)}</i>")
        for name, tip in zip(view.traits["name"], tips, strict=True)
    ]
    extremes = view.extremes()
    names = view.roles["name"].tolist()
    radius = _radius(crowded)
    roles = [
        label("role", names[row], view.points[row], radius, int(row in extremes), style.INK, shown(names[row]))
        for row in sorted(_wanted(view))
    ]
    return [star, *traits, *roles]


def _annotation(label: Label, placement: Placement) -> dict[str, Any]:
    look: dict[str, Any] = {
        "text": label.text,
        "font": {"size": label.size},
        "xanchor": "center",
        "yanchor": "middle",
        "borderpad": 0,
        "bgcolor": "rgba(255,255,255,0.65)",  # lines below stay visible, the text readable
    }
    if placement.leader:
        return look | {
            "showarrow": True,
            "arrowhead": 0,
            "arrowwidth": 0.8,
            "arrowcolor": style.FAINT,
            "ax": placement.dx,
            "ay": placement.dy,
            "standoff": label.radius,
        }
    return look | {"showarrow": False, "xshift": placement.dx, "yshift": -placement.dy}


def _unnamed_markers(
    view: MapView, canvas: Canvas, crowded: bool
) -> Float[np.ndarray, "role 3"]:
    """Markers of the roles that do not ask for a label but are in the way of labels."""
    rows = sorted(set(range(len(view.points))) - _wanted(view))
    return np.array([(*canvas.pixels(view.points[row]), _radius(crowded)) for row in rows]).reshape(-1, 3)


def _wanted(view: MapView) -> set[int]:
    """Rows of the roles to name."""
    if view.labels == "none":
        return set()
    return view.extremes() if view.labels == "extremes" else set(range(len(view.points)))


def _radius(crowded: bool) -> float:
    return 4.5 if crowded else 5.5


def _shafts(tips: Float[np.ndarray, "trait 2"]) -> Float[np.ndarray, "trait 2 2"]:
    return np.stack([np.zeros_like(tips), tips], axis=1)


def _segments(
    canvas: Canvas, ends: Float[np.ndarray, "line 2 2"]
) -> Float[np.ndarray, "line 4"]:
    return canvas.pixels(ends).reshape(-1, 4)


def _caption(view: MapView, named: int) -> str:
    parts = ["Origin: mean of the roles. Dashed: the Assistant Axis, from there through the default."]
    parts.append(view.arrow_note("plane"))
    if view.labels == "all" and named < len(view.points):
        parts.append(
            f"{len(view.points) - named} of {len(view.points)} roles are not named for want of room; "
            "point at them."
        )
    return " ".join(part for part in parts if part)
