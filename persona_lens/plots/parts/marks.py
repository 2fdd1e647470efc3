"""What maps of two and of three dimensions share: markers, legend entries, labels as annotations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from persona_lens.plots.parts import style
from persona_lens.plots.parts.labels import Label, Placement, label_annotation
from persona_lens.plots.parts.text import shown
from persona_lens.plots.parts.view import MapView

Trace = TypeVar("Trace", go.Scatter, go.Scatter3d)

CROWDED = 100
OUTLINE = {"color": style.INK, "width": 0.7}
TIP_RADIUS = 5.0
FAR, ANYWHERE = 140.0, 300.0
OPEN = "-open"
FAINT = 0.18


def coordinates(points: Float[np.ndarray, "point dim"]) -> dict[str, np.ndarray]:
    """Columns as the x, y and z of a trace."""
    return dict(zip("xyz", points.T, strict=False))


def role_traces(view: MapView, kind: type[Trace], size: float) -> list[Trace]:
    """One trace a group."""
    groups = view.roles["group"].to_numpy()
    traces = []
    for place, group in enumerate(view.looks):
        rows = np.flatnonzero(groups == group)
        traces.append(
            kind(
                **coordinates(view.points[rows]),
                mode="markers",
                marker={
                    "symbol": [
                        symbol(view, group) + (OPEN if somewhat else "")
                        for somewhat in view.somewhat[rows]
                    ],
                    "size": size,
                    "line": OUTLINE,
                    **view.marker(group, rows),
                    **faded(view, rows),
                },
                **error_bars(view, rows),
                name=group,
                uid=f"roles-{place}",
                legendgroup=group,
                showlegend=False,
                customdata=view.roles["name"].to_numpy()[rows],
                hovertext=view.roles["hover"].to_numpy()[rows],
                hoverinfo="text",
            )
        )
    return traces


def faded(view: MapView, rows: np.ndarray) -> dict[str, Any]:
    """Where roles are highlighted, the others are faint; in three dimensions opacity is a trace's, so small."""
    if not view.highlight:
        return {}
    chosen = view.chosen[rows]
    if len(view.dimensions) == 3:
        return {"size": np.where(chosen, 9.0, 3.0)}
    return {"opacity": np.where(chosen, 1.0, FAINT)}


def error_bars(view: MapView, rows: np.ndarray) -> dict[str, Any]:
    """Intervals of each place, if they are asked for."""
    if view.margins is None:
        return {}
    look = {"type": "data", "thickness": 0.8, "width": 0, "color": style.FAINT}
    return {
        f"error_{letter}": {**look, "array": column}
        for letter, column in zip("xy", view.margins[rows].T, strict=True)
    }


def symbol(view: MapView, group: str) -> str:
    """The group's symbol; fewer exist in three dimensions."""
    look = view.looks[group]
    return look.symbol if len(view.dimensions) == 2 else look.symbol_3d


def default_trace(view: MapView, kind: type[Trace], marker: dict[str, Any]) -> Trace:
    """The default Assistant."""
    return kind(
        **coordinates(view.star[None]),
        mode="markers",
        marker=marker,
        name="default Assistant",
        uid="default",
        showlegend=False,
        hovertext=view.default["hover"],
        hoverinfo="text",
    )


def group_legend(view: MapView, kind: type[Trace]) -> list[Trace]:
    """Legend entries of the groups, without data: those of coloured traces would take the colour of one point."""
    groups = [
        legend_entry(
            view,
            kind,
            group,
            10,
            legendgroup=group,
            mode="markers",
            marker={
                "symbol": symbol(view, group),
                "color": look.colour if view.colors is None else "#d0d4d9",
                "line": OUTLINE,
                "size": 10,
            },
        )
        for group, look in view.looks.items()
    ]
    if not view.somewhat.any():
        return groups
    open_marker = {"symbol": f"circle{OPEN}", "color": style.FAINT, "size": 10}
    return [
        *groups,
        legend_entry(view, kind, "only somewhat in role", 15, mode="markers", marker=open_marker),
    ]


def legend_layout(view: MapView) -> dict[str, Any]:
    """The legend, beside the plot area and without switches: labels are not part of a trace and would stay."""
    title = "roles by group" if len(view.looks) > 1 else ""
    return {
        "x": 1.02,
        "y": 1,
        "title": {"text": title},
        "itemclick": False,
        "itemdoubleclick": False,
    }


def legend_entry(view: MapView, kind: type[Trace], name: str, rank: int, **look: Any) -> Trace:
    """A trace that shows in the legend only; entries of lower rank come first."""
    nowhere = {letter: [None] for letter, _ in zip("xyz", view.dimensions, strict=False)}
    return kind(**nowhere, name=shown(name), legendrank=rank, hoverinfo="skip", **look)


@dataclass(frozen=True, eq=False)
class Text:
    """A label with what its annotation needs besides: a name to find it by, its point in data, its colour."""

    label: Label
    name: str
    point: Float[np.ndarray, " dim"]
    color: str

    def annotation(self, placement: Placement) -> dict[str, Any]:
        """The placed label as plotly writes it: at a fixed distance in pixels from its point."""
        point = self.point.tolist()
        look = label_annotation(self.name, self.label, placement, point, self.color)
        return {**look, "xanchor": "center", "yanchor": "middle"}


def axis_line(kind: type[Trace], ends: Float[np.ndarray, "2 dim"], width: float) -> Trace:
    """The Assistant Axis."""
    return kind(
        **coordinates(ends),
        mode="lines",
        line={"color": style.QUIET, "width": width, "dash": "dash"},
        name="Assistant Axis",
        uid="axis",
        hoverinfo="skip",
        legendrank=30,
    )


def arrow_traces(
    view: MapView, kind: type[Trace], tips: Float[np.ndarray, "trait dim"], **look: Any
) -> list[Trace]:
    """The traits that are drawn, if any, as one trace: origin, tip, gap, origin, tip, ..."""
    if not len(tips):
        return []
    path = np.full((len(tips), 3, tips.shape[1]), np.nan)
    path[:, 0], path[:, 1] = 0.0, tips
    return [
        kind(
            **coordinates(path.reshape(-1, tips.shape[1])),
            mode="lines+markers",
            uid="traits",
            hovertext=[text for hover in view.traits["hover"] for text in ("", hover, "")],
            hoverinfo=["skip", "text", "skip"] * len(tips),
            **look,
        )
    ]


def texts(
    view: MapView,
    pixels: Callable[[Float[np.ndarray, "*point dim"]], Float[np.ndarray, "*point 2"]],
    tips: Float[np.ndarray, "trait dim"],
    *,
    size: float,
    star_radius: float,
    role_radius: float,
    role_reach: float,
) -> list[Text]:
    """Every text that wants a place: the default's, those of the drawn traits, those of the roles to name.

    Args:
        view: What is shown.
        pixels: Where points of the view are on the canvas.
        tips: Of the drawn traits.
        size: Font size of roles and traits.
        star_radius, role_radius: Of the markers, in pixels.
        role_reach: Longest leader line of a role that is not an extreme.
    """

    def text(name: str, words: str, point: np.ndarray, color: str, **options: Any) -> Text:
        x, y = pixels(point).tolist()
        label = Label(words, x, y, **{"size": size, "reach": FAR, **options})
        return Text(label, name, point, color)

    found = [
        text(
            "default",
            "<b>default Assistant</b>",
            view.star,
            style.INK,
            radius=star_radius,
            priority=3,
            reach=ANYWHERE,
            insistent=True,
            size=size + 1,
        )
    ]
    for name, tip in zip(view.traits["name"], tips, strict=True):
        words = f"<i>{shown(name)}</i>"
        found.append(
            text(f"trait:{name}", words, tip, style.TRAIT_COLOUR, radius=TIP_RADIUS, priority=2)
        )
    extremes, names = view.extremes(), view.roles["name"].tolist()
    for row in view.named():
        name = names[row]
        words = f"<b>{shown(name)}</b>" if name in view.highlight else shown(name)
        reach = (
            {"priority": 1}
            if row in extremes or view.highlight
            else {"priority": 0, "reach": role_reach}
        )
        point = view.points[row]
        found.append(text(f"role:{name}", words, point, style.INK, radius=role_radius, **reach))
    return found


def unnamed_markers(
    view: MapView, pixels: Float[np.ndarray, "role 2"], radius: float
) -> Float[np.ndarray, "marker 3"]:
    """Markers of the roles that do not ask for a label but are in the way of labels."""
    rest = np.delete(pixels, view.named(), axis=0)
    return np.concatenate([rest, np.full((len(rest), 1), radius)], axis=1)
