"""At what depth roles and traits emerge: a swarm for each kind, its median, and the names at either end.

save_figure(emergence(sweep.emergence(), source="smollm2-135m-instruct"), "emergence.html")
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from persona_lens.plots.layer_sweep import KIND_COLOURS, LAYER_TITLE, by_kind, kind_name
from persona_lens.plots.parts import style
from persona_lens.plots.parts.labels import Label, label_annotation, place_labels
from persona_lens.plots.parts.subjects import number
from persona_lens.plots.parts.swarm import median_interval, swarm
from persona_lens.plots.parts.text import joined, shown
from persona_lens.plots.parts.tidy import COLOURS, check_columns, with_interval

COLUMNS = ("kind", "name", "depth", "low", "high", "p", "q")
LEFT, RIGHT, ROW = 118, 40, 220
RADIUS, STEP = 3.6, 7.6
SWARM_SHARE = 0.6  # of a row; the rest is for names and the median
MEDIAN_GAP = 34.0
NAMED_A_SIDE = 5
SIGNIFICANT = 0.05


def emergence(
    frame: pd.DataFrame, *, summary: str = "", title: str | None = None, source: str = ""
) -> go.Figure:
    """Depth at which each role and each trait emerges; the earliest and the latest are named.

    The heavy bar is the median of a kind with its 95 % bootstrap interval over the units. The interval of each
    unit is in its hover, and the caption says how wide they are. Units with q of 0.05 or more are open.

    Args:
        frame: A row a unit. `kind`: "role" or "trait". `name`. `depth`: in layers, interpolated, NaN if the unit
            never emerges. `low`, `high`: its 95 % interval. `p`, and `q` with the false discovery rate controlled.
        summary: A sentence on the difference between kinds, put first in the caption.
        title: Replaces the title.
        source: Model and hook point, for the line below the title.

    Raises:
        FigureError: Columns are missing, or no unit emerges.

    Examples:
        >>> frame = pd.DataFrame({"kind": "role", "name": ["ghost", "poet"], "depth": [3.0, 7.5], "low": 2.0,
        ...                       "high": 9.0, "p": 0.01, "q": 0.01})
        >>> [trace.name for trace in emergence(frame).data]
        ['roles', 'median of roles']
    """
    check_columns(frame, COLUMNS, what="frame of emergence")
    known = frame.loc[frame["depth"].notna()]
    check_columns(known, COLUMNS, what="units that emerge")
    span = _span(known)
    width = style.WIDTH - LEFT - RIGHT
    scale = width / (span[1] - span[0])
    traces: list[go.Scatter] = []
    notes: list[dict[str, Any]] = []
    ticks = []
    kinds = by_kind(known)
    for row, (kind, part) in enumerate(kinds):
        units = part.sort_values("depth", kind="stable").reset_index(drop=True)
        up = swarm(units["depth"].to_numpy() * scale, STEP, ROW * SWARM_SHARE)
        heights = row - up / ROW
        below = float(max(0.0, -up.min())) + MEDIAN_GAP
        traces += [
            _dots(units, heights, kind, KIND_COLOURS.get(kind, COLOURS[row % len(COLOURS)])),
            _median(units, row + below / ROW, kind),
        ]
        at = np.stack([(units["depth"].to_numpy() - span[0]) * scale, ROW / 2 - up], axis=1)
        notes += _labels(units, row, at, bar=ROW / 2 + below)
        every = int((frame["kind"] == kind).sum())
        ticks.append(f"<b>{kind_name(kind)}</b><br>{len(units)} of {every}")
    fig = style.figure(
        traces,
        title=title or _finding(frame, kinds),
        topic="Where in depth roles and traits emerge",
        subtitle=joined(source, _legend()),
        left=LEFT,
        right=RIGHT,
    )
    style.add_notes(fig, notes)
    style.add_caption(fig, _caption(frame, known, summary))
    style.set_plot_height(fig, ROW * len(kinds))
    fig.update_layout(
        showlegend=False,
        xaxis={"title": {"text": LAYER_TITLE}, "range": span},
        yaxis={
            "range": [len(kinds) - 0.5, -0.5],
            "tickvals": list(range(len(kinds))),
            "ticktext": ticks,
            "ticks": "",
            "ticklabelstandoff": 6,
            "showgrid": False,
            "tickfont": {"size": 12, "color": style.INK},
        },
    )
    return fig


def _span(known: pd.DataFrame) -> tuple[float, float]:
    low, high = float(known["depth"].min()), float(known["depth"].max())
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def _dots(
    units: pd.DataFrame, heights: Float[np.ndarray, " unit"], kind: str, color: str
) -> go.Scatter:
    clear = (units["q"] < SIGNIFICANT).to_numpy()
    symbol = "circle" if kind == "role" else "square"
    return go.Scatter(
        x=units["depth"].to_numpy(),
        y=heights,
        mode="markers",
        marker={
            "size": 2 * RADIUS,
            "color": color,
            "symbol": [symbol if each else f"{symbol}-open" for each in clear],
            "opacity": 0.8,
        },
        name=kind_name(kind),
        customdata=units["name"].to_numpy(),
        hovertext=[
            f"<b>{shown(str(row['name']))}</b> · {kind}<br>"
            f"emerges at layer {with_interval(row['depth'], row['low'], row['high'], '.1f')}<br>"
            f"p = {number(row['p'], '.3g')}, q = {number(row['q'], '.3g')}"
            for row in units.to_dict("records")
        ],
        hoverinfo="text",
    )


def _median(units: pd.DataFrame, y: float, kind: str) -> go.Scatter:
    median, low, high = median_interval(units["depth"].to_numpy(dtype=float))
    return go.Scatter(
        x=[median],
        y=[y],
        error_x={
            "type": "data",
            "array": [high - median],
            "arrayminus": [median - low],
            "thickness": 3,
            "width": 0,
            "color": style.INK,
        },
        mode="markers",
        marker={"symbol": "diamond", "size": 11, "color": style.INK},
        name=f"median of {kind_name(kind)}",
        hovertext=[
            f"median of {len(units)} {kind_name(kind)}: layer {with_interval(median, low, high, '.1f')}"
        ],
        hoverinfo="text",
    )


def _labels(
    units: pd.DataFrame, row: int, at: Float[np.ndarray, "unit 2"], *, bar: float
) -> list[dict[str, Any]]:
    """Names of the earliest and the latest units of one kind.

    Args:
        units: In order of depth.
        row: Of the figure.
        at: Pixels of each unit within the row, y downwards.
        bar: Height at which the median is drawn.
    """
    places = range(len(units))
    named = sorted({*places[:NAMED_A_SIDE], *places[-NAMED_A_SIDE:]})
    labels = [
        Label(
            shown(str(units["name"][place])),
            *at[place].tolist(),
            radius=RADIUS,
            reach=150,
            insistent=True,
        )
        for place in named
    ]
    rest = np.delete(at, named, axis=0)
    width = float(style.WIDTH - LEFT - RIGHT)
    spots = place_labels(
        labels,
        width=width,
        height=float(ROW),
        markers=np.concatenate([rest, np.full((len(rest), 1), RADIUS)], axis=1),
        lines=np.array([[0.0, bar, width, bar]]),
    )
    found = []
    for place, label, spot in zip(named, labels, spots, strict=True):
        if spot is None:
            continue
        point = units["depth"].tolist()[place], float(row + at[place, 1] / ROW - 0.5)
        found.append(label_annotation(f"unit:{units['name'][place]}", label, spot, point))
    return found


def _finding(frame: pd.DataFrame, kinds: list[tuple[str, pd.DataFrame]]) -> str:
    """The median depth of each kind, and of how many it is."""
    parts = []
    for kind, rows in kinds:
        median, low, high = median_interval(rows["depth"].to_numpy(dtype=float))
        every = int((frame["kind"] == kind).sum())
        depth = with_interval(median, low, high, ".1f")
        parts.append(f"{kind_name(kind)} emerge at layer {depth}, {len(rows)} of {every} at all")
    return "; ".join(parts).capitalize()


def _legend() -> str:
    return (
        f"A point is a role or a trait; the {NAMED_A_SIDE} earliest and latest of a kind are named. "
        "Diamond: the median, with its 95 % interval."
    )


def _caption(frame: pd.DataFrame, known: pd.DataFrame, summary: str) -> str:
    parts = [summary] if summary else []
    half = float(((known["high"] - known["low"]) / 2).median())
    if np.isfinite(half):
        parts.append(
            f"Half the units' own 95 % intervals are wider than ± {half:.1f} layers (hover)."
        )
    unclear = int((known["q"] >= SIGNIFICANT).sum())
    if unclear:
        parts.append(f"Open: q of {SIGNIFICANT:g} or more ({unclear}).")
    never = len(frame) - len(known)
    if never:
        parts.append(f"Never above the null, and not drawn: {never} of {len(frame)}.")
    return " ".join(parts)
