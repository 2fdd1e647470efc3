"""The house style: one plotly template, one palette, one way of writing titles and captions.

Colours are those of Okabe and Ito, told apart by readers of every colour vision; the scale for the axis runs from
orange (away from the Assistant) through grey, which is visible on white, to blue (towards the Assistant).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from numpy.typing import ArrayLike

from persona_lens.plots.parts.text import LINE_HEIGHT, joined, text_height, wrap

FONT = "Inter, 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
INK, QUIET, FAINT, GRID, ZERO = "#1f2328", "#59636e", "#9aa3ad", "#eceff2", "#d5dae0"
DEFAULT_COLOUR, TRAIT_COLOUR = "#F0E442", "#6b3fa0"
ROLE_COLOUR, BOTH_COLOUR = "#8c510a", "#00798c"
AXIS_COLOUR, NULL_COLOUR = "#0072B2", "#7d8590"
"""What a colour means, in every figure: the default, traits, roles (of no group in particular), roles and traits
together, the Assistant's side, chance. Groups of roles have theirs below."""

WIDTH = 1100
TITLE_SIZE, SUBTITLE_SIZE, CAPTION_SIZE, LABEL_SIZE = 20, 13, 11.5, 11
TITLE_PAD, SUBTITLE_GAP = 16, 20
AXIS_ROOM = 58

DIVERGING = (
    (0.0, "#8a3800"),
    (0.2, "#d55e00"),
    (0.38, "#eda46a"),
    (0.5, "#bdbdbd"),
    (0.62, "#74b1dc"),
    (0.8, "#0072b2"),
    (1.0, "#053461"),
)


@dataclass(frozen=True)
class GroupLook:
    """How the roles of one group are drawn; not every symbol exists in three dimensions."""

    colour: str
    symbol: str
    symbol_3d: str


_KNOWN = {
    "assistant": GroupLook("#0072B2", "circle", "circle"),
    "human": GroupLook("#D55E00", "square", "square"),
    "fantastical": GroupLook("#009E73", "triangle-up", "diamond"),
}
_FURTHER = (
    GroupLook("#CC79A7", "diamond", "diamond-open"),
    GroupLook("#E69F00", "pentagon", "square-open"),
    GroupLook("#56B4E9", "triangle-down", "circle-open"),
    GroupLook("#7a7a1f", "hexagon", "x"),
)
_UNGROUPED = GroupLook("#7f7f7f", "cross", "cross")
UNGROUPED = "no group"


def group_looks(groups: list[str]) -> dict[str, GroupLook]:
    """Colour and symbol of each group: the catalog's three have their own, others take the rest in turn.

    Examples:
        >>> group_looks(["human", "animal"])["human"].symbol
        'square'
    """
    looks = {name: look for name, look in _KNOWN.items() if name in groups}
    further = sorted(set(groups) - set(_KNOWN) - {UNGROUPED})
    for place, name in enumerate(further):
        looks[name] = _FURTHER[place % len(_FURTHER)]
    if UNGROUPED in groups:
        looks[UNGROUPED] = _UNGROUPED
    return looks


def axis_look() -> dict[str, Any]:
    """An axis in the plane."""
    return {
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": FAINT,
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": FAINT,
        "tickfont": {"size": 12, "color": QUIET},
        "title": {"font": {"size": 13, "color": INK}, "standoff": 10},
        "automargin": False,  # labels are placed in pixels, so the plot area must not move
    }


def template() -> go.layout.Template:
    """The house style as a plotly template."""
    axis = axis_look()
    scene_axis = {"backgroundcolor": "#ffffff", "gridcolor": "#dfe3e8", "zerolinecolor": FAINT}
    scene_axis |= {"title": {"font": {"size": 13, "color": INK}}, "color": QUIET}
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 12, "color": INK},
            "paper_bgcolor": "#ffffff",
            "plot_bgcolor": "#ffffff",
            "xaxis": axis,
            "yaxis": axis,
            "scene": {"xaxis": scene_axis, "yaxis": scene_axis, "zaxis": scene_axis},
            "hovermode": "closest",
            "hoverlabel": {
                "align": "left",
                "bgcolor": "#ffffff",
                "bordercolor": FAINT,
                "font": {"family": FONT, "size": 12, "color": INK},
            },
            "legend": {
                "tracegroupgap": 0,
                "font": {"size": 12},
                "title": {"font": {"size": 12, "color": QUIET}},
            },
            "coloraxis": {"colorscale": DIVERGING},
        }
    )


def figure(
    traces: list,
    *,
    title: str,
    subtitle: str,
    right: int,
    left: int,
    topic: str = "",
    head: int = 0,
) -> go.Figure:
    """A figure in the house style with its title above the plot area, however long the subtitle is.

    Args:
        traces: What to draw.
        title: What is found; wrapped at the width of the figure.
        subtitle: Wrapped at the width of the figure; `<br>` starts a new line.
        right, left: Margins in pixels.
        topic: What is shown, in bold before the subtitle.
        head: Pixels to keep free between subtitle and plot area.
    """
    room = WIDTH - left - 30
    title = "<br>".join(wrap(line, room, TITLE_SIZE) for line in title.split("<br>"))
    told = joined(f"<b>{topic}</b>" if topic else "", subtitle)
    lines = "<br>".join(wrap(line, room, SUBTITLE_SIZE) for line in told.split("<br>"))
    above = TITLE_PAD + text_height(title, TITLE_SIZE)
    top = above + text_height(lines, SUBTITLE_SIZE) + SUBTITLE_GAP + head
    fig = go.Figure(traces)
    fig.update_layout(
        template=template(),
        width=WIDTH,
        margin={"l": left, "r": right, "t": top, "b": AXIS_ROOM},
        title={
            "text": title,
            "font": {"size": TITLE_SIZE},
            "x": 0,
            "xref": "paper",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            # Plotly hangs several lines half a line higher each.
            "pad": {"t": TITLE_PAD + title.count("<br>") * TITLE_SIZE * LINE_HEIGHT / 2},
            "automargin": False,
        },
    )
    # An annotation, not plotly's own subtitle: that one does not keep its distance when it has several lines.
    below = {"align": "left", "yanchor": "top", "yshift": top - above}
    write(fig, lines, 0, 1, size=SUBTITLE_SIZE, color=QUIET, name="subtitle", **below)
    return fig


def write(
    fig: go.Figure,
    text: str,
    x: float,
    y: float,
    *,
    size: float,
    color: str | None = None,
    **look: Any,
) -> None:
    """Write `text` right of and above (x, y), in shares of the plot area unless `look` says otherwise."""
    note = {"name": text, "text": text, "font": {"size": size, "color": color}, "x": x, "y": y}
    note |= {"xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
    fig.add_annotation({**note, "showarrow": False, "borderpad": 0, **look})


def area(x: ArrayLike, y: ArrayLike, *, color: str, opacity: float, **look: Any) -> go.Scatter:
    """What an outline encloses, filled: the band of a curve."""
    shape = {"mode": "lines", "line": {"width": 0}, "fill": "toself", "fillcolor": color}
    return go.Scatter(x=x, y=y, opacity=opacity, hoverinfo="skip", **shape, **look)


def map_axes(titles: Sequence[str], low: Sequence[float], high: Sequence[float]) -> dict[str, Any]:
    """Two axes with a line at zero, and their titles, from the lower left corner to the upper right."""
    zero = {"zeroline": True, "zerolinecolor": ZERO, "zerolinewidth": 1}
    return {
        name: {"title": {"text": title}, "range": [start, end], **zero}
        for name, title, start, end in zip(("xaxis", "yaxis"), titles, low, high, strict=True)
    }


def add_notes(fig: go.Figure, notes: Iterable[Mapping[str, Any]]) -> None:
    """Add annotations at once: `add_annotation` copies all that are there for every further one."""
    layout = _layout(fig)
    layout.annotations = [*layout.annotations, *notes]


def add_caption(fig: go.Figure, caption: str) -> None:
    """Write `caption` below the plot area and its axis title, and make room for it."""
    margin = _layout(fig).margin
    lines = wrap(caption, WIDTH - margin.l - 30, CAPTION_SIZE)
    margin.b = AXIS_ROOM + text_height(lines, CAPTION_SIZE) + 14
    below = {"align": "left", "yanchor": "top", "yshift": -AXIS_ROOM}
    write(fig, lines, 0, 0, size=CAPTION_SIZE, color=QUIET, name="caption", **below)


def set_plot_height(fig: go.Figure, height: float) -> None:
    """Give the plot area a height in pixels, margins apart."""
    layout = _layout(fig)
    layout.height = round(height + layout.margin.t + layout.margin.b)


def _layout(fig: go.Figure) -> Any:
    return fig.layout  # plotly makes its attributes at run time
