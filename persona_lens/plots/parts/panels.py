"""Stacked panels over layers or turns: curves with bands, named at their ends instead of in a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from persona_lens.plots.parts import style
from persona_lens.plots.parts.labels import spread
from persona_lens.plots.parts.subjects import number
from persona_lens.plots.parts.text import LINE_HEIGHT

LEFT, RIGHT = 66, 216
PANEL_HEAD, FIRST_HEAD = 52, 26
NAME_SIZE = 12
BAND_OPACITY = 0.15


@dataclass(frozen=True, eq=False)
class Line:
    """A curve over layers, with a band if `low` and `high` are given."""

    name: str
    values: Float[np.ndarray, " layer"]
    color: str
    dash: str = "solid"
    low: Float[np.ndarray, " layer"] | None = None
    high: Float[np.ndarray, " layer"] | None = None


@dataclass(frozen=True, eq=False)
class Panel:
    """Curves that share a vertical axis from `span[0]` to `span[1]`, `height` pixels high.

    `note` stands beside the title; `form` is how values are written.
    """

    title: str
    note: str
    lines: Sequence[Line]
    height: int
    span: tuple[float, float]
    form: str = ".2f"


def draw_panels(
    panels: Sequence[Panel],
    layers: Sequence[int],
    *,
    title: str,
    subtitle: str,
    topic: str = "",
    caption: str = "",
    across: str = "layer",
    across_title: str = "Layer (residual stream after the block)",
) -> go.Figure:
    """Draw panels below each other over the same layers, and a caption if there is something to say.

    `across` says what they are if they are no layers.
    """
    heads = [FIRST_HEAD, *[PANEL_HEAD] * (len(panels) - 1)]
    ends = list(accumulate(p.height + head for p, head in zip(panels, heads, strict=True)))
    curves = [
        (row, panel, line) for row, panel in enumerate(panels, start=1) for line in panel.lines
    ]
    fig = style.figure(
        # Bands first, so that no band lies over a curve.
        [_band(line, layers, row) for row, _, line in curves if line.low is not None]
        + [_curve(line, layers, panel.form, row, across) for row, panel, line in curves],
        title=title,
        subtitle=subtitle,
        topic=topic,
        right=RIGHT,
        left=LEFT,
    )
    if caption:
        style.add_caption(fig, caption)
    style.set_plot_height(fig, ends[-1])
    axis = style.axis_look()
    for row, (panel, end) in enumerate(zip(panels, ends, strict=True), start=1):
        bottom = 1 - end / ends[-1]
        top = bottom + panel.height / ends[-1]
        look = {"domain": [bottom, top], "range": panel.span, "anchor": "x", "nticks": 6}
        if panel.form.endswith("%"):
            look["tickformat"] = panel.form
        fig.update_layout({f"yaxis{row}": {**axis, **look}})
        _add_head(fig, panel, top)
        _add_names(fig, panel, layers[-1], row)
    room = 0.015 * (layers[-1] - layers[0]) or 0.5
    fig.update_layout(
        showlegend=False,
        xaxis={
            "title": {"text": across_title},
            "range": [layers[0] - room, layers[-1] + room],
            "anchor": f"y{len(panels)}",
            "dtick": 1 if len(layers) <= 12 else None,
        },
    )
    return fig


def _curve(line: Line, layers: Sequence[int], form: str, row: int, across: str) -> go.Scatter:
    return go.Scatter(
        x=layers,
        y=line.values,
        yaxis=f"y{row}",
        mode="lines+markers",
        line={"color": line.color, "width": 2, "dash": line.dash},
        marker={"size": 4 if line.dash == "solid" else 0.1},
        name=line.name,
        hovertext=[
            _hover(line, place, f"{across} {layer}", form) for place, layer in enumerate(layers)
        ],
        hoverinfo="text",
    )


def _band(line: Line, layers: Sequence[int], row: int) -> go.Scatter:
    assert line.low is not None
    assert line.high is not None
    return style.area(
        [*layers, *reversed(layers)],
        [*line.high, *line.low[::-1]],
        color=line.color,
        opacity=BAND_OPACITY,
        yaxis=f"y{row}",
        name=f"{line.name}, band",
    )


def _hover(line: Line, place: int, where: str, form: str) -> str:
    value = number(line.values[place], form)
    if line.low is not None and line.high is not None:
        value += f" ({number(line.low[place], form)} to {number(line.high[place], form)})"
    return f"<b>{where}</b><br>{line.name}: {value}"


def _add_head(fig: go.Figure, panel: Panel, top: float) -> None:
    note = f"   <span style='font-size:11.5px;color:{style.QUIET}'>{panel.note}</span>"
    text = f"<b>{panel.title}</b>" + (note if panel.note else "")
    style.write(fig, text, 0, top, size=13, name=panel.title, yshift=5)


def _add_names(fig: go.Figure, panel: Panel, layer: int, row: int) -> None:
    """Name every curve at its end, moved up or down where names would collide."""
    low, high = panel.span
    ends = [np.flatnonzero(np.isfinite(line.values)) for line in panel.lines]
    last = np.array(
        [
            line.values[end[-1]] if len(end) else np.nan
            for line, end in zip(panel.lines, ends, strict=True)
        ]
    )
    wanted = (high - last) / (high - low) * panel.height
    places = spread(wanted, gap=NAME_SIZE * LINE_HEIGHT, low=0.0, high=float(panel.height))
    for line, at, place, wish in zip(panel.lines, last, places, wanted, strict=True):
        style.write(
            fig,
            line.name,
            layer,
            at,
            size=NAME_SIZE,
            color=line.color,
            name=f"curve:{line.name}",
            xref=None,
            yref=f"y{row}",
            yanchor="middle",
            xshift=14,
            yshift=wish - place,
        )
