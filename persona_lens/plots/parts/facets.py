"""Small multiples of curves: panels in columns, curves named at their ends, bands, nulls and lines of chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from persona_lens.plots.parts import style
from persona_lens.plots.parts.facet_traces import Facet, band_trace, chance_trace, curve_trace
from persona_lens.plots.parts.grid import axes_of, within
from persona_lens.plots.parts.labels import spread
from persona_lens.plots.parts.text import LINE_HEIGHT, text_height, text_width, wrap

LEFT, RIGHT_ROOM = 58, 14
GAP, TICKS = 62, 26
TITLE_SIZE, NOTE_SIZE, NAME_SIZE = 13, 11, 11.5
HEAD_ROOM, ROW_GAP = 8, 18
NAME_SHIFT = 8


@dataclass(frozen=True, eq=False)
class _Frame:
    """Where panels stand, in pixels of the plot area."""

    across: int
    height: float
    names: float
    heads: Sequence[float]

    @property
    def full(self) -> float:
        return style.WIDTH - LEFT - self.names

    @property
    def width(self) -> float:
        return (self.full - (self.across - 1) * (GAP + self.names)) / self.across

    @property
    def total(self) -> float:
        return sum(self.heads) + len(self.heads) * (self.height + TICKS + ROW_GAP) - TICKS - ROW_GAP

    def box(self, place: int) -> tuple[list[float], list[float]]:
        """Domains of a panel, as shares of the plot area."""
        row, column = divmod(place, self.across)
        left = column * (self.width + GAP + self.names)
        top = sum(self.heads[: row + 1]) + row * (self.height + TICKS + ROW_GAP)
        return (
            within(left / self.full, (left + self.width) / self.full),
            within(1 - (top + self.height) / self.total, 1 - top / self.total),
        )


def draw_facets(
    facets: Sequence[Facet],
    *,
    title: str,
    subtitle: str,
    topic: str = "",
    x_title: str,
    x_axis: dict[str, Any] | None = None,
    across: int = 2,
    height: float = 170.0,
) -> go.Figure:
    """Draw panels in rows of `across`, all over the same horizontal axis.

    Args:
        facets: At least one.
        title, subtitle, topic: Of the figure.
        x_title: Below the last panel of each column.
        x_axis: Further options of the horizontal axes.
        across: Panels a row at most.
        height: Of a panel, in pixels.

    Examples:
        >>> from persona_lens.plots.parts.facet_traces import Curve
        >>> x = np.arange(3)
        >>> facet = Facet("Share", [Curve("roles", x, np.array([0.1, 0.5, 0.9]), "#0072B2")], chance=0.5)
        >>> fig = draw_facets([facet], title="Shares", subtitle="", x_title="layer")
        >>> [trace.name for trace in fig.data]
        ['chance', 'roles']
    """
    across = min(across, len(facets))
    frame = _layout(facets, across, height)
    curves = [(curve, place) for place, facet in enumerate(facets) for curve in facet.curves]
    every = np.concatenate([np.asarray(curve.x, float) for curve, _ in curves])
    low, high = float(every.min()), float(every.max())
    room = 0.02 * (high - low) or 0.5
    x_span = low - room, high + room
    fig = style.figure(
        # Bands first and chance next, so that nothing lies over a curve.
        [
            *(band_trace(curve, place) for curve, place in curves if curve.low is not None),
            *(
                chance_trace(facet.chance, x_span, place)
                for place, facet in enumerate(facets)
                if facet.chance is not None
            ),
            *(curve_trace(curve, place) for curve, place in curves),
        ],
        title=title,
        subtitle=subtitle,
        topic=topic,
        left=LEFT,
        right=round(frame.names),
    )
    style.set_plot_height(fig, frame.total)
    for place, facet in enumerate(facets):
        across_box, up = frame.box(place)
        bottom = place + across >= len(facets)
        x_look = {"range": x_span, "title": x_title if bottom else "", **(x_axis or {})}
        _add_axes(fig, facet, place, box=(across_box, up), x_look=x_look)
        _add_head(fig, facet, (across_box[0], up[1]), frame, row=place // across)
        _add_names(fig, facet, place, frame.height)
    fig.update_layout(showlegend=False)
    return fig


def _layout(facets: Sequence[Facet], across: int, height: float) -> _Frame:
    texts = [curve.name for facet in facets for curve in facet.curves if curve.named]
    names = max((text_width(text, NAME_SIZE) for text in texts), default=0.0)
    frame = _Frame(across, height, RIGHT_ROOM + names, [])
    rows = [facets[start : start + across] for start in range(0, len(facets), across)]
    heads = [
        TITLE_SIZE * LINE_HEIGHT
        + max(text_height(note, NOTE_SIZE) if (note := _note(f, frame)) else 0.0 for f in row)
        + HEAD_ROOM
        for row in rows
    ]
    return _Frame(across, height, frame.names, heads)


def _note(facet: Facet, frame: _Frame) -> str:
    return wrap(facet.note, frame.width + frame.names, NOTE_SIZE) if facet.note else ""


def _add_axes(
    fig: go.Figure,
    facet: Facet,
    place: int,
    *,
    box: tuple[list[float], list[float]],
    x_look: dict[str, Any],
) -> None:
    look, axes = style.axis_look(), axes_of(place)
    across = {**look, **x_look, "domain": box[0], "anchor": axes["yaxis"]}
    across["title"] = {**look["title"], "text": x_look["title"]}
    up = {**look, "domain": box[1], "anchor": axes["xaxis"]}
    up |= {"range": facet.limits(), "nticks": 5}
    if facet.form:
        up["tickformat"] = facet.form
    fig.update_layout({f"xaxis{place + 1}": across, f"yaxis{place + 1}": up})


def _add_head(
    fig: go.Figure, facet: Facet, corner: tuple[float, float], frame: _Frame, *, row: int
) -> None:
    """Title and note; titles of a row are level."""
    note = _note(facet, frame)
    small = f"<br><span style='font-size:{NOTE_SIZE}px;color:{style.QUIET}'>"
    text = f"<b>{facet.title}</b>" + (
        "".join(f"{small}{line}</span>" for line in note.split("<br>")) if note else ""
    )
    above = {"align": "left", "yanchor": "top", "yshift": frame.heads[row]}
    style.write(fig, text, *corner, size=TITLE_SIZE, name=facet.title, **above)


def _add_names(fig: go.Figure, facet: Facet, place: int, height: float) -> None:
    """Names at the right edge of the panel, level with the last points, moved where they would collide."""
    curves = [c for c in facet.curves if c.named and np.isfinite(c.y).any()]
    if not curves:
        return
    axes = axes_of(place)
    low, high = facet.limits()
    last = np.array([curve.y[np.isfinite(curve.y)][-1] for curve in curves])
    wanted = (high - last) / (high - low) * height
    places = spread(wanted, gap=NAME_SIZE * LINE_HEIGHT, low=0.0, high=height)
    for curve, at, y, wish in zip(curves, last, places, wanted, strict=True):
        style.write(
            fig,
            curve.name,
            1,
            float(at),
            size=NAME_SIZE,
            color=curve.color,
            name=f"curve:{curve.name}",
            xref=f"{axes['xaxis']} domain",
            yref=axes["yaxis"],
            yanchor="middle",
            xshift=NAME_SHIFT,
            yshift=float(wish - y),
        )
