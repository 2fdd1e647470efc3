"""The traces of a figure of capping: points with their bars, steps of the front, the legend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.plots.parts import style
from persona_lens.plots.parts.capping_view import STAR, CappingView, sizes, steps
from persona_lens.plots.parts.marks import OUTLINE
from persona_lens.plots.parts.subjects import number
from persona_lens.plots.parts.text import shown
from persona_lens.plots.parts.tidy import (
    GREY,
    bars,
    counts,
    key,
    random_directions,
    with_interval,
)

SYMBOLS = ("circle", "square", "diamond", "triangle-up")
MOST_SIZES = 5
OPEN = {"symbol": "circle-open", "color": GREY, "line": {"width": 1.2}}


def traces(view: CappingView) -> list[go.Scatter]:
    """All that is drawn, from below to above, and the legend."""
    own = [
        _points(view.own.loc[view.own["direction"] == name], name, symbol)
        for name, symbol in _symbols(view).items()
    ]
    return [
        *_reference(view),
        *([_scatter(view.controls, OPEN, name="controls")] if len(view.controls) else []),
        _bars(view.own),
        _stairs(view),
        *own,
        *([_bare(view)] if len(view.bare) else []),
        *_keys(view),
    ]


def _symbols(view: CappingView) -> dict[str, str]:
    return {name: SYMBOLS[place % len(SYMBOLS)] for place, name in enumerate(view.directions)}


def _reference(view: CappingView) -> list[go.Scatter]:
    """Adoption without intervention, all the way across, with its interval."""
    across = (10 ** np.array([view.canvas.low[0], view.canvas.high[0]])).tolist()
    found = []
    for row in view.bare.to_dict("records"):
        ends = [row["adoption_low"], row["adoption_high"]]
        if np.isfinite(ends).all():
            look = {"color": style.QUIET, "opacity": 0.1, "name": "no intervention, interval"}
            outline = [*across, *across[::-1]], np.repeat(ends, 2)
            found.append(style.area(*outline, **look, showlegend=False))
        found.append(
            go.Scatter(
                x=across,
                y=[row["adoption"]] * 2,
                mode="lines",
                line={"color": style.QUIET, "width": 1, "dash": "dot"},
                name="no intervention, line",
                showlegend=False,
                hoverinfo="skip",
            )
        )
    return found


def _bare(view: CappingView) -> go.Scatter:
    return go.Scatter(
        x=[10**view.at_zero],
        y=view.bare["adoption"],
        mode="markers",
        marker={"symbol": "star", "size": STAR, "color": style.DEFAULT_COLOUR, "line": OUTLINE},
        name="no intervention",
        showlegend=False,
        hovertext=[_hover(row) for row in view.bare.to_dict("records")],
        hoverinfo="text",
    )


def _stairs(view: CappingView) -> go.Scatter:
    x, y = steps(view)
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": style.INK, "width": 1.5, "shape": "hv"},
        name="lowest adoption<br>up to this KL",
        legendrank=30,
        hoverinfo="skip",
    )


def _bars(rows: pd.DataFrame) -> go.Scatter:
    """Intervals without their points: below the steps, which lie below the points."""
    faint = {"color": style.FAINT, "thickness": 0.9}
    return go.Scatter(
        x=rows["x"],
        y=rows["adoption"],
        error_x=bars(rows, "x", "x_low", "x_high", **faint),
        error_y=bars(rows, "adoption", "adoption_low", "adoption_high", **faint),
        mode="markers",
        marker={"size": 0.1},
        name="intervals",
        showlegend=False,
        hoverinfo="skip",
    )


def _points(rows: pd.DataFrame, name: str, symbol: str) -> go.Scatter:
    """Plans of one direction, coloured by depth."""
    return _scatter(
        rows,
        {"symbol": symbol, "color": rows["depth"], "coloraxis": "coloraxis", "line": OUTLINE},
        name=shown(name),
    )


def _scatter(rows: pd.DataFrame, marker: Mapping[str, Any], **look: Any) -> go.Scatter:
    return go.Scatter(
        x=rows["x"],
        y=rows["adoption"],
        mode="markers",
        marker={"size": rows["size"], "opacity": 1, **marker},
        showlegend=False,
        hovertext=[_hover(row) for row in rows.to_dict("records")],
        hoverinfo="text",
        **look,
    )


def _keys(view: CappingView) -> list[go.Scatter]:
    grey = {"color": "#d0d4d9", "line": OUTLINE}
    found = [
        key(shown(name), legendrank=10, marker={**grey, "size": 10, "symbol": symbol})
        for name, symbol in _symbols(view).items()
        if len(view.directions) > 1
    ]
    diameters = sizes(view.plans["percentile"])
    kept = np.linspace(0, len(diameters) - 1, MOST_SIZES).round()
    found += [
        key(f"percentile {percentile:g}", legendrank=20, marker={**grey, "size": diameter})
        for place, (percentile, diameter) in enumerate(diameters.items())
        if place in kept
    ]
    if len(view.controls):
        count = view.controls["direction"].nunique()
        told = view.controls.to_dict("list").get("matched", [])
        matched = [str(kind) for kind in dict.fromkeys(told) if kind]
        name = random_directions(count, " or ".join(matched) or "percentile").replace(", ", ",<br>")
        found.append(key(name, legendrank=40, marker={**OPEN, "size": 10}))
    return found


def _hover(row: Mapping[Any, Any]) -> str:
    """All that is known of a plan."""
    if row["layers"] and pd.notna(row["layers"]):
        head = f"<b>{shown(row['direction'])}, layers {row['layers']}</b>"
        if np.isfinite(row["percentile"]):
            head += f"<br>percentile {row['percentile']:g}"
        head += f"<br>middle of the layers at {number(row['depth'], '.0%')} of the depth"
    else:
        head = "<b>no intervention</b>"
    adoption = with_interval(row["adoption"], row["adoption_low"], row["adoption_high"], ".1%")
    lines = [
        head,
        f"still in the persona {adoption}, {counts(pd.Series([row['n']]))}",
        f"KL {with_interval(row['kl'], row['kl_low'], row['kl_high'], '.3g')} nats a token",
        *(
            f"{words} {number(row[name], form)}"
            for name, words, form in (
                ("perplexity_ratio", "perplexity ratio", ".3f"),
                ("distinct", "distinct bigrams", ".2f"),
                ("engagement", "tokens and layers changed", ".1%"),
            )
            if np.isfinite(row[name])
        ),
    ]
    return "<br>".join(lines)
