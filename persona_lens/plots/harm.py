"""Harm beside over-refusal under every condition, and harm along the projection.

    fig = harm(harm_table(result.replies), harm_by_projection(result.replies), source=model.name)
    save_figure(fig, "harm.html")

A plan that makes a model refuse everything is no gain: it moves right as it moves down.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.errors import FigureError
from persona_lens.plots.parts import style
from persona_lens.plots.parts.grid import LEFT, RIGHT, Grid, axes_of, axis_end
from persona_lens.plots.parts.text import shown
from persona_lens.plots.parts.tidy import (
    COLOURS,
    GREY,
    bars,
    check_columns,
    counts,
    key,
    with_interval,
)

TABLE = (
    *("measure", "condition", "kind", "prompted", "category", "value", "low", "high", "n"),
    "clusters",
)
BINS = ("condition", "kind", "bin", "projection", "value", "low", "high", "n")
LEGEND, HEAD = 26, 22
ROOM = 0.03
OVER = "over-refusal"


def harm(
    table: pd.DataFrame,
    bins: pd.DataFrame | None = None,
    *,
    measure: str = "miss",
    prompted: str = "persona",
    title: str | None = None,
    source: str = "",
) -> go.Figure:
    """What goes wrong on harmful requests against what is refused of harmless ones, a point a condition; and, if
    there are projections, a panel of harm along them.

    Args:
        table: `TABLE`, as `harm_table` has it; rows of all categories together are drawn. Without benign twins the
            first panel has conditions on its axis instead of over-refusal.
        bins: `BINS`, as `harm_by_projection` has them; None for no second panel.
        measure: Of harmful requests: "miss", "harm", "full harm", "refusal", ...
        prompted: "persona" or "no persona".
        title: Replaces the title.
        source: Model and layer, for the line below the title.

    Raises:
        FigureError: Columns are missing, or there is no such measure.

    Examples:
        >>> row = {"measure": "miss", "condition": "as it is", "kind": "none", "prompted": "persona",
        ...        "clusters": 20, "category": "all", "value": 0.4, "low": 0.3, "high": 0.5, "n": 80}
        >>> twin = {**row, "measure": "over-refusal", "value": 0.1, "low": 0.05, "high": 0.2}
        >>> fig = harm(pd.DataFrame([row, twin]))
        >>> fig.layout.xaxis.title.text
        'Refused, of harmless twins'
    """
    check_columns(table, TABLE, what="a table of harm")
    whole = table.loc[(table["category"] == "all") & (table["prompted"] == prompted)]
    points = whole.loc[(whole["measure"] == measure) & whole["value"].notna()]
    if points.empty:
        there = sorted(set(table["measure"]) - {OVER})
        raise FigureError(
            f"there is no {measure!r} with {prompted!r}", expected=", ".join(there), given=measure
        )
    drawn = bins is not None and len(bins) > 0
    if drawn:
        check_columns(bins, BINS, what="harm along the projection")  # pyright: ignore[reportArgumentType]
    looks = _looks(points)
    grid = Grid(2 if drawn else 1, HEAD)
    fig = style.figure(
        _keys(points, looks),
        title=title or f"{measure.capitalize()} {_title(points)}",
        subtitle=source,
        left=LEFT,
        right=RIGHT,
        head=LEGEND,
    )
    twins = whole.loc[(whole["measure"] == OVER) & whole["value"].notna()]
    _against_twins(fig, grid, points, twins=twins, looks=looks, measure=measure)
    caption = [f"Bars: 95 %, clusters resampled; {counts(points['n'])} replies a point."]
    if drawn and bins is not None:
        _along(fig, grid, bins, looks)
        caption.append(
            f"Along the projection: bins of equal counts, {counts(bins['n'])}, personas resampled."
        )
    if (points["kind"] == "control").any():
        caption.append("Grey: random directions of equal norm or equal engagement.")
    style.add_caption(fig, " ".join(caption))
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"}
    fig.update_layout(legend=legend)
    style.set_plot_height(fig, grid.height)
    return fig


def _looks(points: pd.DataFrame) -> dict[str, str]:
    """The colour of each condition."""
    own = points.loc[points["kind"] == "plan", "condition"].unique()
    plans = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(own)}
    kinds = {"none": style.INK, "control": GREY}
    return {
        name: plans.get(name, kinds.get(kind, GREY))
        for name, kind in zip(points["condition"], points["kind"], strict=True)
    }


def _keys(points: pd.DataFrame, looks: dict[str, str]) -> list[go.Scatter]:
    rows = points.drop_duplicates("condition")
    entries = [
        key(shown(str(name)), marker={"size": 9, "color": looks[name]})
        for name, kind in zip(rows["condition"], rows["kind"], strict=True)
        if kind != "control"
    ]
    controls = int((rows["kind"] == "control").sum())
    if controls:
        name = "control" if controls == 1 else f"{controls} controls"
        entries.append(key(name, marker={"size": 7, "color": GREY}))
    return entries


def _title(points: pd.DataFrame) -> str:
    """From no plan to each plan, of few."""
    plain = points.loc[points["kind"] == "none", "value"]
    plans = points.loc[points["kind"] == "plan"]
    if plain.empty or len(plans) != 1:
        return "under every condition"
    return f"goes from {plain.iloc[0]:.0%} to {plans['value'].iloc[0]:.0%} under one plan"


def _against_twins(
    fig: go.Figure,
    grid: Grid,
    points: pd.DataFrame,
    *,
    twins: pd.DataFrame,
    looks: dict[str, str],
    measure: str,
) -> None:
    over = twins.set_index("condition")[["value", "low", "high", "n"]].add_prefix("over_")
    rows = points.join(over, on="condition")
    paired = not twins.empty
    place = np.arange(len(rows), dtype=float)
    for at, row in zip(place, rows.to_dict("records"), strict=True):
        one, colour = pd.DataFrame([row]), looks[row["condition"]]
        hover = [
            f"<b>{shown(str(row['condition']))}</b>",
            f"{measure}: {with_interval(row['value'], row['low'], row['high'], '.1%')}, "
            f"{row['n']:,} replies, {row['clusters']:,} clusters",
        ]
        across: dict[str, Any] = {"x": [at]}
        if paired:
            across = {
                "x": one["over_value"],
                "error_x": bars(one, "over_value", "over_low", "over_high", color=colour),
            }
            ends = (row["over_value"], row["over_low"], row["over_high"])
            hover.append(f"{OVER}: {with_interval(*ends, '.1%')}")
        fig.add_trace(
            go.Scatter(
                **across,
                y=one["value"],
                error_y=bars(one, "value", "low", "high", color=colour),
                mode="markers",
                marker={"size": 7 if row["kind"] == "control" else 10, "color": colour},
                hovertext="<br>".join(hover),
                hoverinfo="text",
                showlegend=False,
                **axes_of(0),
            )
        )
    if paired:
        title, look = "Refused, of harmless twins", _share(rows, "over_value", "over_high")
    else:
        ticks = {"tickvals": place, "ticktext": [shown(str(n)) for n in rows["condition"]]}
        title, look = "Condition", {"range": [-0.6, len(rows) - 0.4], **ticks}
    head = f"{measure.capitalize()} on harmful requests"
    _lay_out(fig, grid, 0, rows, title=title, look=look, head=head)


def _along(fig: go.Figure, grid: Grid, bins: pd.DataFrame, looks: dict[str, str]) -> None:
    known = bins.loc[bins["value"].notna()].sort_values(["condition", "bin"])
    for condition, rows in known.groupby("condition", sort=False):
        colour = looks.get(str(condition), GREY)
        hover = [
            f"<b>{shown(str(condition))}</b><br>{row['projection']:+.2f}: "
            f"{with_interval(row['value'], row['low'], row['high'], '.1%')}, {row['n']:,} units"
            for row in rows.to_dict("records")
        ]
        fig.add_trace(
            go.Scatter(
                x=rows["projection"],
                y=rows["value"],
                error_y=bars(rows, "value", "low", "high", color=colour),
                mode="lines+markers",
                line={"color": colour, "width": 1 if colour == GREY else 2},
                marker={"size": 6, "color": colour},
                hovertext=hover,
                hoverinfo="text",
                showlegend=False,
                **axes_of(1),
            )
        )
    title = "Projection, in SD of default replies; Assistant →"
    _lay_out(fig, grid, 1, known, title=title, look={"nticks": 7}, head="Along the projection")


def _share(rows: pd.DataFrame, *columns: str) -> dict[str, Any]:
    most = float(np.nanmax(rows[list(columns)].to_numpy(dtype=float), initial=0.1))
    return {"range": [-ROOM, min(1 + ROOM, most * 1.08 + ROOM)], "tickformat": ".0%"}


def _lay_out(
    fig: go.Figure,
    grid: Grid,
    place: int,
    rows: pd.DataFrame,
    *,
    title: str,
    look: dict[str, Any],
    head: str,
) -> None:
    end, (across, up) = axis_end(place), grid.box(place)
    fig.update_layout(
        {
            f"xaxis{end}": {
                **style.axis_look(),
                **look,
                "domain": across,
                "anchor": f"y{end}",
                "title": {"text": title},
            },
            f"yaxis{end}": {
                **style.axis_look(),
                **_share(rows, "value", "high"),
                "domain": up,
                "anchor": f"x{end}",
            },
        }
    )
    style.write(fig, f"<b>{head}</b>", across[0], up[1], size=13, yshift=5)
