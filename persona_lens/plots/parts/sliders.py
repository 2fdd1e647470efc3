"""One figure for many layers: a slider below the plot area, and a button that plays the layers in turn.

Figures of single layers are drawn as always; what differs between them becomes frames, stored once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from persona_lens.errors import FigureError
from persona_lens.plots.parts import style

ROOM = 66
BUTTONS = 116  # pixels of the two buttons
FRAME_MS = 450
NOTE: dict[str, Any] = {
    "name": "",
    "visible": True,
    "showarrow": False,
    "x": 0,
    "y": 0,
    "xref": "x",
    "yref": "y",
    "xanchor": "auto",
    "yanchor": "auto",
    "xshift": 0,
    "yshift": 0,
    "ax": 0,
    "ay": 0,
    "standoff": 0,
    "arrowhead": 0,
    "arrowwidth": 0.8,
    "arrowcolor": style.FAINT,
    "align": "center",
    "bgcolor": "rgba(0,0,0,0)",
    "borderpad": 0,
}
"""Every property that annotations of this package give, as plotly takes it where none is given."""
_LAYOUT = ("annotations", "title", "xaxis", "yaxis", "xaxis2", "yaxis2", "coloraxis")


def layer_slider(figures: Mapping[int, go.Figure], start: int) -> go.Figure:
    """Join figures of single layers into one with a slider.

    Args:
        figures: By layer, all with the same traces in the same order and with captions of the same length.
        start: The layer that is shown first, and in pictures.

    Returns:
        The figure itself where there is only one.

    Raises:
        FigureError: `start` is not among the layers, or traces differ in number or name.

    Examples:
        >>> draw = lambda y: style.figure([go.Scatter(y=[y], name="a")], title="", subtitle="", left=9, right=9)
        >>> fig = layer_slider({0: draw(1.0), 1: draw(2.0)}, start=1)
        >>> [step.label for step in fig.layout.sliders[0].steps], fig.frames[0].data[0].y
        (['0', '1'], (1.0,))
    """
    if start not in figures:
        raise FigureError(
            "no such layer in this figure",
            expected=", ".join(map(str, figures)),
            given=start,
        )
    if len(figures) == 1:
        return figures[start]
    figures = _with_equal_notes(figures)
    shown = figures[start]
    drawn: list[Any] = [fig.data for fig in figures.values()]
    names = [[trace.name for trace in each] for each in drawn]
    if any(each != names[0] for each in names):
        raise FigureError("figures of several layers have different traces", given=str(names))
    # Not of the whole figure, which would encode its arrays.
    versions = [[trace.to_plotly_json() for trace in each] for each in drawn]
    traces = list(zip(*versions, strict=True))
    moving = [place for place, each in enumerate(traces) if _differ(each)]
    changes = {place: _changes(traces[place]) for place in moving}
    plain: list[Any] = [fig.layout for fig in figures.values()]
    layouts = _changes(
        [
            {key: value for key, value in each.to_plotly_json().items() if key in _LAYOUT}
            for each in plain
        ]
    )
    joined = go.Figure(shown)
    joined.frames = [
        go.Frame(
            name=str(layer),
            data=[
                {"type": traces[place][number]["type"], **changes[place][number]}
                for place in moving
            ],
            traces=moving,
            layout=layouts[number],
        )
        for number, layer in enumerate(figures)
    ]
    _add_controls(joined, list(figures), start)
    return joined


def _with_equal_notes(figures: Mapping[int, go.Figure]) -> dict[int, go.Figure]:
    """The same figures with as many annotations each, every property given.

    A frame is merged into what is drawn: annotations beyond those of the first frame would never show, those that
    are missing would stay, and a property that is left out keeps the value of another layer's annotation.
    """
    layouts: list[Any] = [fig.layout for fig in figures.values()]
    most = max(len(each.annotations) for each in layouts)
    equal = {}
    for layer, layout in zip(figures, layouts, strict=True):
        notes = [{**NOTE, **each.to_plotly_json()} for each in layout.annotations]
        notes += [{**NOTE, "visible": False, "text": ""}] * (most - len(notes))
        equal[layer] = go.Figure(figures[layer])
        equal[layer].layout["annotations"] = notes  # `update_layout` would not add any
    return equal


def _differ(versions: Sequence[Any]) -> bool:
    return any(not _same(versions[0], other) for other in versions[1:])


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(np.asarray(one), np.asarray(other))
    return type(one) is type(other) and bool(one == other)


def _changes(versions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each version, what is not the same in all of them."""
    found: list[dict[str, Any]] = [{} for _ in versions]
    for key in dict.fromkeys(key for each in versions for key in each):
        values = [each.get(key) for each in versions]
        if not _differ(values):
            continue
        if all(isinstance(value, dict) for value in values):
            values = _changes(values)  # pyright: ignore[reportArgumentType]
        for each, value in zip(found, values, strict=True):
            each[key] = value
    return found


def _add_controls(fig: go.Figure, layers: list[int], start: int) -> None:
    layout: Any = fig.layout
    below = layout.margin.b
    height = layout.height
    layout.margin.b = below + ROOM
    if height:
        layout.height = height + ROOM
    share = min(0.5, BUTTONS / (style.WIDTH - layout.margin.l - layout.margin.r))
    # With `redraw`, labels and axis titles move as well as points.
    at_once = {
        "mode": "immediate",
        "frame": {"duration": 0, "redraw": True},
        "transition": {"duration": 0},
    }
    playing = {"fromcurrent": True, "frame": {"duration": FRAME_MS, "redraw": True}}
    playing["transition"] = {"duration": 0}
    fig.update_layout(
        sliders=[
            {
                "active": layers.index(start),
                "x": share,
                "len": 1 - share,
                "y": 0,
                "yanchor": "top",
                "pad": {"t": below, "b": 0, "l": 0, "r": 0},
                "currentvalue": {
                    "prefix": "layer ",
                    "font": {"size": 12, "color": style.INK},
                    "xanchor": "left",
                    "offset": 4,
                },
                "font": {"size": 10, "color": style.QUIET},
                "bgcolor": style.GRID,
                "bordercolor": style.FAINT,
                "tickcolor": style.FAINT,
                "ticklen": 4,
                "minorticklen": 0,
                "steps": [
                    {"label": str(layer), "method": "animate", "args": [[str(layer)], at_once]}
                    for layer in layers
                ],
            }
        ],
        updatemenus=[
            {
                "type": "buttons",
                "direction": "left",
                "showactive": False,
                "x": 0,
                "xanchor": "left",
                "y": 0,
                "yanchor": "top",
                "pad": {"t": below + 14, "l": 0, "r": 0, "b": 0},
                "font": {"size": 11, "color": style.INK},
                "bgcolor": "#ffffff",
                "bordercolor": style.FAINT,
                "buttons": [
                    {"label": "play", "method": "animate", "args": [None, playing]},
                    {
                        "label": "pause",
                        "method": "animate",
                        "args": [[None], {**at_once, "frame": {"duration": 0, "redraw": False}}],
                    },
                ],
            }
        ],
    )
