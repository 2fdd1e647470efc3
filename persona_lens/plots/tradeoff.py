"""What plans buy against what they cost, with the front of those that nothing beats.

save_figure(tradeoff(table, gain="Fewer rules broken", price="Fewer instructions followed"), "tradeoff.html")

Up is what a plan is for, left is cheap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from persona_lens.errors import FigureError
from persona_lens.plots.parts import style
from persona_lens.plots.parts.canvas import Canvas
from persona_lens.plots.parts.labels import Label, label_annotation, place_labels
from persona_lens.plots.parts.subjects import number
from persona_lens.plots.parts.text import shown
from persona_lens.plots.parts.tidy import bars, check_columns, counts

COLUMNS = (
    *("condition", "kind", "engaged", "front"),
    *("gain", "gain_low", "gain_high", "gain_n", "price", "price_low", "price_high", "price_n"),
)
SIDES = ("gain", "price")
COLOURS = {"none": style.INK, "plan": "#0072B2", "control": "#7d8590"}
NAMES = {"none": "nothing acts", "plan": "plans", "control": "controls, along random directions"}
FRONT, LEFT, RIGHT, HEIGHT, HEAD, DOT = "#D55E00", 76, 30, 460, 26, 10


def tradeoff(
    table: pd.DataFrame,
    *,
    gain: str,
    price: str,
    units: tuple[str, str] = ("share", "share"),
    chosen: str | None = None,
    title: str | None = None,
    source: str = "",
) -> go.Figure:
    """Gain against price of every condition, with 95 % intervals of both.

    Args:
        table: `COLUMNS`, as `persona_lens.evals.tradeoff.tradeoff` has them.
        gain: What a plan buys, in words.
        price: What it costs, in words.
        units: Of gain and price; shares are shown in percentage points.
        chosen: A condition to be marked, such as a recommended one.
        title: Replaces the title.
        source: Model and hook point, for the line below the title.

    Raises:
        FigureError: Columns are missing, or no condition has both numbers.

    Examples:
        >>> row = {"kind": "plan", "engaged": 0.4, "front": True, "gain_n": 100, "price_n": 100}
        >>> cap = {"condition": "cap", "gain": 0.2, "gain_low": 0.1, "gain_high": 0.3,
        ...        "price": 0.01, "price_low": -0.02, "price_high": 0.04, **row}
        >>> fig = tradeoff(pd.DataFrame([cap]), gain="Fewer rules broken", price="Fewer right answers")
        >>> fig.layout.xaxis.title.text
        'Fewer right answers'
    """
    check_columns(table, COLUMNS, what="table of gains and prices")
    known = table.loc[table["gain"].notna() & table["price"].notna()]
    if known.empty:
        raise FigureError("no condition has both a gain and a price")
    forms = {
        side: ".0%" if unit == "share" else ".3g" for side, unit in zip(SIDES, units, strict=True)
    }
    ends = [
        known[[f"{side}{end}" for end in ("", "_low", "_high")]].to_numpy(dtype=float).ravel()
        for side in ("price", "gain")
    ]
    canvas = _canvas(ends)
    fig = style.figure(
        [*_traces(known, forms), _front(known, canvas)],
        title=title or "What plans buy, and what they cost",
        subtitle=source,
        left=LEFT,
        right=RIGHT,
        head=HEAD,
    )
    zero = {"zeroline": True, "zerolinecolor": style.ZERO, "zerolinewidth": 1}
    axes = ("xaxis", price, "price", 0), ("yaxis", gain, "gain", 1)
    fig.update_layout(
        {
            axis: {
                "title": {"text": text},
                "range": [canvas.low[place], canvas.high[place]],
                "tickformat": forms[side],
                **zero,
            }
            for axis, text, side, place in axes
        }
    )
    style.add_notes(fig, _labels(known, canvas, chosen))
    style.add_caption(fig, _caption(known, chosen))
    style.set_plot_height(fig, HEIGHT)
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"}
    fig.update_layout(legend={**legend, "itemclick": False, "itemdoubleclick": False})
    return fig


def _canvas(ends: list[np.ndarray]) -> Canvas:
    low = np.array([min(0.0, float(np.nanmin(values))) for values in ends])
    high = np.array([max(0.0, float(np.nanmax(values))) for values in ends])
    room = 0.08 * np.maximum(high - low, 0.05)
    size = np.array([style.WIDTH - LEFT - RIGHT, HEIGHT], dtype=float)
    return Canvas(low - room, high + room, size)


def _traces(known: pd.DataFrame, forms: dict[str, str]) -> list[go.Scatter]:
    found = []
    for kind, colour in COLOURS.items():
        rows = known.loc[known["kind"] == kind]
        if rows.empty:
            continue
        found.append(
            go.Scatter(
                x=rows["price"],
                y=rows["gain"],
                error_x=bars(rows, "price", "price_low", "price_high", color=colour),
                error_y=bars(rows, "gain", "gain_low", "gain_high", color=colour),
                mode="markers",
                marker={"size": DOT, "color": colour},
                name=NAMES[kind],
                hovertext=[_hover(row, forms) for row in rows.to_dict("records")],
                hoverinfo="text",
            )
        )
    return found


def _front(known: pd.DataFrame, canvas: Canvas) -> go.Scatter:
    """The most that is bought up to each price."""
    best = known.loc[known["front"].astype(bool)].sort_values("price")
    y = best["gain"].to_list()
    return go.Scatter(
        x=[*best["price"], float(canvas.high[0])],
        y=[*y, *y[-1:]],
        mode="lines",
        line={"shape": "hv", "color": FRONT, "width": 1.4},
        name="the most for each price",
        hoverinfo="skip",
    )


def _labels(known: pd.DataFrame, canvas: Canvas, chosen: str | None) -> list[dict[str, Any]]:
    """Names of what is on the front, and of what is chosen, where there is room."""
    named = known.loc[known["front"].astype(bool) | (known["condition"] == chosen)]
    points = named[["price", "gain"]].to_numpy(dtype=float)
    texts = [
        f"<b>{shown(name)}</b>" if name == chosen else shown(name) for name in named["condition"]
    ]
    pixels = canvas.pixels(points).tolist()
    labels = [
        Label(text, x, y, radius=DOT / 2 + 1, size=style.LABEL_SIZE)
        for text, (x, y) in zip(texts, pixels, strict=True)
    ]
    rest = known.drop(index=named.index)[["price", "gain"]].to_numpy(dtype=float)
    markers = np.column_stack([canvas.pixels(rest), np.full(len(rest), DOT / 2 + 1)])
    width, height = canvas.size.tolist()
    placed = place_labels(
        labels, width=width, height=height, markers=markers, lines=_lines(known, canvas)
    )
    return [
        label_annotation(f"front:{label.text}", label, spot, point)
        for label, spot, point in zip(labels, placed, points.tolist(), strict=True)
        if spot is not None
    ]


def _lines(known: pd.DataFrame, canvas: Canvas) -> Float[np.ndarray, "line 4"]:
    """Intervals, and the steps of the front, in pixels."""
    column = {name: known[name].to_numpy(dtype=float) for name in COLUMNS[4:]}
    price, gain = column["price"], column["gain"]
    best = known.loc[known["front"].astype(bool)].sort_values("price")
    x = np.append(best["price"].to_numpy(dtype=float), canvas.high[0])
    y = best["gain"].to_numpy(dtype=float)
    starts = [
        np.stack([column["price_low"], gain], axis=1),
        np.stack([price, column["gain_low"]], axis=1),
        np.stack([x[:-1], y], axis=1),
        np.stack([x[1:-1], y[:-1]], axis=1),
    ]
    ends = [
        np.stack([column["price_high"], gain], axis=1),
        np.stack([price, column["gain_high"]], axis=1),
        np.stack([x[1:], y], axis=1),
        np.stack([x[1:-1], y[1:]], axis=1),
    ]
    found = [canvas.pixels(np.concatenate(points)) for points in (starts, ends)]
    lines = np.concatenate(found, axis=1)
    return lines[np.isfinite(lines).all(axis=1)]


def _hover(row: dict[str, Any], forms: dict[str, str]) -> str:
    def said(name: str) -> str:
        value, low, high = (
            number(row[f"{name}{end}"], forms[name]) for end in ("", "_low", "_high")
        )
        return f"{name} {value} [{low}, {high}], {row[f'{name}_n']:,} answers"

    lines = [f"<b>{shown(str(row['condition']))}</b>"]
    if row["kind"] == "none":
        return "<br>".join([*lines, "what all others are compared to"])
    lines += [said("gain"), said("price"), f"moved {row['engaged']:.1%} of the tokens and layers"]
    return "<br>".join(lines)


def _caption(known: pd.DataFrame, chosen: str | None) -> str:
    parts = [
        "Changes from no plan, paired by item.",
        f"Bars: 95 % intervals; gain {counts(known['gain_n'])}, price {counts(known['price_n'])} answers a point.",
        "The line picks the best of noisy points, so that new data would lie somewhat below it.",
    ]
    if chosen is not None:
        parts.append(f"Bold: {shown(chosen)}, chosen on other items than those shown.")
    return " ".join(parts)
