"""Roles in order along the Assistant Axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.errors import FigureError
from persona_lens.plots.parts import style
from persona_lens.plots.parts.marks import FAINT
from persona_lens.plots.parts.subjects import (
    block,
    check_fitted,
    hover_text,
    number,
    role_names,
    source_line,
    subject_frame,
)
from persona_lens.plots.parts.text import joined, shown, text_width
from persona_lens.space import Space
from persona_lens.space.recommending import chosen_layer
from persona_lens.space.shortages import shortage_note

ROW, DENSE_ROW, DENSE = 19.0, 15.0, 80
RIGHT = 150
HEAD = 36  # two rows of labels between subtitle and plot area
LABEL_SHARE = 0.08
MISSED = 0.05  # of 95 % intervals
DEFAULT_LINE = {"color": style.INK, "width": 2}
MEAN_LINE = {"color": style.QUIET, "width": 1, "dash": "dot"}


def axis_ranking(
    space: Space,
    layer: int | None = None,
    *,
    top: int | None = None,
    highlight: Sequence[str] = (),
    title: str | None = None,
) -> go.Figure:
    """Roles ranked by their projection on the Assistant Axis at one layer, the most Assistant-like first.

    Projections are dot products of mean residuals with the unit axis, in the units of the residual stream;
    Assistant is positive, but only differences matter: zero has no meaning. Bars are 95 % intervals of each
    role's mean over folds of the questions, the axis taken as given; roles without one have none.

    Args:
        space: Fitted.
        layer: Block; negative ones count from the last. The recommended one by default
            (`space.recommend_layer()`), and the figure says so.
        top: Shows this many roles from either end, and how many are left out; all by default.
        highlight: Roles to bring out: always shown, their names bold, all others faint.
        title: Replaces the title.

    Raises:
        FigureError: Not fitted, or `top` less than one.
        SpaceError: Unknown layer.

    Examples:
        >>> import numpy as np
        >>> from persona_lens import PersonaSpace
        >>> rng = np.random.default_rng(0)
        >>> roles = {f"role_{i}": rng.normal(size=(1, 8)) for i in range(6)}
        >>> space = PersonaSpace.from_vectors(roles, default=np.ones((1, 8))).fit()
        >>> axis_ranking(space, layer=0, top=2).layout.yaxis.ticktext[2]
        '… 2 more …'
    """
    check_fitted(space)
    if top is not None and top < 1:
        raise FigureError("a ranking shows at least one role from either end", given=f"top={top}")
    layer, why = chosen_layer(space, layer)
    layer = block(space, layer)
    chosen = role_names(space, highlight)
    ranking = space.ranking(layer)
    subjects = subject_frame(space, layer, "role")
    subjects = subjects.loc[subjects["row"].isin(space.table.axis_rows())]
    subjects = subjects.sort_values("projection", ascending=False)
    default = subject_frame(space, layer, "default").to_dict("records")[0]
    ranking["hover"] = [
        hover_text(subject, "role", _interval_line(rank, len(ranking), low, high))
        for rank, (subject, low, high) in enumerate(
            zip(subjects.to_dict("records"), ranking["low"], ranking["high"], strict=True), start=1
        )
    ]
    ranking["group"] = subjects["group"].to_numpy()
    shown_rows, ticks = _rows(ranking, top, chosen)
    mean = float(ranking["projection"].mean())

    left = round(max(text_width(tick, 12) for tick in ticks)) + 24
    fig = style.figure(
        [
            *(
                upright(at, len(ticks), line, showlegend=False)
                for at, line in ((mean, MEAN_LINE), (default["projection"], DEFAULT_LINE))
            ),
            *_traces(shown_rows, chosen),
        ],
        title=title or _finding(ranking, float(default["projection"])),
        topic=f"Roles along the Assistant Axis at layer {layer}",
        subtitle=joined(_subtitle(space, layer, ranking), why),
        right=RIGHT,
        left=left,
        head=HEAD,
    )
    margin = float(space.projection_margins_[default["row"], space.layer_index(layer)])
    span = _span(shown_rows, default["projection"], margin)
    _add_reference(fig, default, margin, mean, span)
    style.add_caption(
        fig,
        "Only differences along the axis have a meaning; further right is more like the default Assistant."
        + (" The grey band is the 95 % interval of the default." if np.isfinite(margin) else "")
        + f" {shortage_note(space.shortages_)}".rstrip(),
    )
    set_rows(fig, ticks)
    fig.update_layout(
        xaxis={
            "title": {"text": "Projection on the Assistant Axis (residual units)"},
            "range": span,
        },
        legend={"x": 1.02, "y": 1, "title": {"text": "group"}},
    )
    return fig


def set_rows(fig: go.Figure, ticks: list[str]) -> None:
    """Give the figure a row for each of the names, and its height."""
    row = DENSE_ROW if len(ticks) > DENSE else ROW
    style.set_plot_height(fig, row * (len(ticks) + 1))
    fig.update_layout(
        yaxis={
            "tickvals": list(range(len(ticks))),
            "ticktext": ticks,
            "range": [len(ticks), -1],
            "ticks": "",
            "ticklabelstandoff": 5,
            "tickfont": {"size": 11 if row == DENSE_ROW else 12, "color": style.INK},
        }
    )


def upright(at: float, rows: int, line: dict, **look: Any) -> go.Scatter:
    """A vertical line as a trace: shapes lie either below the grid or over the points."""
    ends = {"x": [at, at], "y": [-1, rows]}
    return go.Scatter(**ends, mode="lines", line=line, hoverinfo="skip", **look)


def _rows(
    ranking: pd.DataFrame, top: int | None, chosen: Sequence[str]
) -> tuple[pd.DataFrame, list[str]]:
    """The roles to draw, with their row `place` from the top, and the text of every row."""
    total = len(ranking)
    bold = ranking["name"].isin(chosen).to_numpy()
    names = [
        f"<b>{shown(name)}</b>" if each else shown(name)
        for name, each in zip(ranking["name"], bold, strict=True)
    ]
    kept = np.ones(total, dtype=bool)
    if top is not None:
        kept = bold.copy()
        kept[:top] = kept[-top:] = True
    rows = np.flatnonzero(kept).tolist()
    places, ticks = [], []
    for before, row in zip([-1, *rows], rows, strict=False):
        if row - before > 1:
            ticks.append(f"… {row - before - 1} more …")
        places.append(len(ticks))
        ticks.append(names[row])
    return ranking.iloc[rows].assign(place=places), ticks


def _finding(ranking: pd.DataFrame, default: float) -> str:
    """How many roles can be told from the mean role, or, without intervals, who stands where."""
    first, last = shown(ranking["name"].iloc[0]), shown(ranking["name"].iloc[-1])
    ends = f"From {first} to {last}"
    known = ranking[ranking["low"].notna()]
    beyond = int((ranking["projection"] > default).sum())
    if known.empty:
        return (
            f"{ends}: {beyond} of {len(ranking)} roles lie further out than the default Assistant"
        )
    mean = float(ranking["projection"].mean())
    apart = int(((known["low"] > mean) | (known["high"] < mean)).sum())
    chance = MISSED * len(known)
    return (
        f"{ends}: {apart} of {len(known)} roles lie off the mean role (95 % intervals; "
        f"about {chance:.0f} would by chance)"
    )


def _traces(rows: pd.DataFrame, chosen: Sequence[str]) -> list[go.Scatter]:
    """A trace a group; where roles are highlighted, the others of the group are a faint one of their own."""
    looks = style.group_looks(rows["group"].tolist())
    marked = rows["name"].isin(chosen).to_numpy() if chosen else np.ones(len(rows), dtype=bool)
    traces = []
    for group, look in looks.items():
        of_group = (rows["group"] == group).to_numpy()
        for own, opacity in ((of_group & ~marked, FAINT), (of_group & marked, 1.0)):
            if own.any():
                traces.append(_trace(rows.loc[own], group, look, opacity))
        if len(looks) > 1:
            marker = {"symbol": look.symbol, "size": 10, "color": look.colour}
            name = shown(group)
            traces.append(
                go.Scatter(
                    x=[None], y=[None], mode="markers", marker=marker, name=name, hoverinfo="skip"
                )
            )
    return traces


def _trace(own: pd.DataFrame, group: str, look: style.GroupLook, opacity: float) -> go.Scatter:
    return go.Scatter(
        x=own["projection"],
        y=own["place"],
        error_x={
            "array": own["high"] - own["projection"],
            "arrayminus": own["projection"] - own["low"],
            "thickness": 1.4,
            "width": 0,
            "color": look.colour,
        },
        mode="markers",
        marker={
            "symbol": look.symbol,
            "size": 10,
            "color": look.colour,
            "line": {"color": "#ffffff", "width": 0.8},
        },
        opacity=opacity,
        name=shown(group),
        customdata=own["name"],
        hovertext=own["hover"],
        hoverinfo="text",
        showlegend=False,
    )


def _add_reference(
    fig: go.Figure, default: dict[Any, Any], margin: float, mean: float, span: list[float]
) -> None:
    """Name the two vertical lines, each in a row of its own above the plot area; draw the default's interval."""
    value = default["projection"]
    if np.isfinite(margin):
        fig.add_vrect(
            x0=value - margin, x1=value + margin, fillcolor="#e9ebee", line_width=0, layer="below"
        )
    for at, text, line, row in (
        (value, "<b>default Assistant</b>", DEFAULT_LINE, 1),
        (mean, "mean of roles", MEAN_LINE, 0),
    ):
        share = (at - span[0]) / (span[1] - span[0])
        # Near a border the text hangs to the inner side of its line.
        side = "left" if share < LABEL_SHARE else "right" if share > 1 - LABEL_SHARE else "center"
        look = {"xref": None, "xanchor": side, "yshift": 4 + 17 * row}
        hover = hover_text(default, "default") if row else None
        style.write(fig, text, at, 1, size=12, color=line["color"], hovertext=hover, **look)


def _span(rows: pd.DataFrame, default: float, margin: float) -> list[float]:
    ends = [*rows["projection"], *rows["low"], *rows["high"], default]
    if np.isfinite(margin):
        ends += [default - margin, default + margin]
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    room = 0.03 * (high - low)
    return [low - room, high + room]


def _subtitle(space: Space, layer: int, ranking: pd.DataFrame) -> str:
    # A compact space keeps two halves of the folds its intervals come from.
    kept = 0 if space.table.folds is None else space.table.folds.shape[1]
    folds = space.table.card.get("folds", kept)
    known = int(ranking["low"].notna().sum())
    if not known:
        return (
            source_line(space, layer) + "<br>No intervals: the folds of the questions are not known"
        )
    bars = f"Bars: 95 % t interval of the distance from the mean of roles, over {folds} folds of the questions"
    missing = len(ranking) - known
    if missing:
        bars += f" ({missing} roles without one)"
    return f"{source_line(space, layer)}<br>{bars}"


def _interval_line(rank: int, total: int, low: float, high: float) -> str:
    interval = f", 95 % interval {number(low)} to {number(high)}" if np.isfinite(low) else ""
    return f"rank {rank} of {total}{interval}"
