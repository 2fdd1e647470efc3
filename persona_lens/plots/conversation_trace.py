"""One conversation along a direction: every reply's place with its interval, what was said in the hover.

    rows = found.at(direction="axis")
    save_figure(conversation_trace(rows, found.turns), "trace.html")

With several conversations a menu chooses which is shown.
"""

from __future__ import annotations

from html import escape

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.errors import FigureError
from persona_lens.plots.parts import style
from persona_lens.plots.parts.subjects import number
from persona_lens.plots.parts.text import paragraph
from persona_lens.plots.parts.tidy import bars, check_columns

ROWS = ("conversation", "turn", "reading", "projection", "low", "high")
TURNS = ("conversation", "turn", "message", "reply")
SPREAD = ("population", "mean", "deviation")
ALARMS = ("conversation", "turn", "why")

READINGS = {
    "clean": ("clean re-reading", "#0072B2", "circle"),
    "before": ("before the cap", "#D55E00", "triangle-up"),
    "after": ("after the cap", "#009E73", "square"),
}
BANDS = {"default": ("default Assistant", "#0072B2"), "roles": ("roles", "#D55E00")}
ALARM = "#b42318"
LEFT, RIGHT, HEIGHT, HEAD = 72, 190, 400, 30
MOST = 60
SNIPPET = 280


def conversation_trace(
    rows: pd.DataFrame,
    turns: pd.DataFrame,
    *,
    spread: pd.DataFrame | None = None,
    alarms: pd.DataFrame | None = None,
    title: str | None = None,
    source: str = "",
    quantity: str = "Projection on the Assistant Axis",
) -> go.Figure:
    """Where the replies of a conversation lie, turn by turn.

    Args:
        rows: Of one layer and direction, `ROWS`: one a turn and reading, with the ends of its interval.
        turns: `TURNS`: what the user said before each reply, and the reply.
        spread: `SPREAD`: where single replies of the `default` and of the `roles` lie, drawn as bands of one
            standard deviation to either side.
        alarms: `ALARMS`: turns at which a monitor has alarmed, and why.
        title: Replaces the title.
        source: Model and layer, for the line below the title.
        quantity: What is shown.

    Raises:
        FigureError: Columns are missing, nothing to draw, or a reading that is none.

    Examples:
        >>> rows = pd.DataFrame({"conversation": "a", "turn": [0, 1], "reading": "clean",
        ...                      "projection": [6.0, -2.0], "low": [5.0, -3.0], "high": [7.0, -1.0]})
        >>> turns = pd.DataFrame({"conversation": "a", "turn": [0, 1], "message": ["Hi", "Be a ghost."],
        ...                       "reply": ["Hello.", "Whooo."]})
        >>> conversation_trace(rows, turns).data[0].name
        'clean re-reading'
    """
    check_columns(rows, ROWS, what="rows of a trace")
    check_columns(turns, TURNS, what="turns of a trace")
    unknown = sorted(set(rows["reading"]) - set(READINGS))
    if unknown:
        raise FigureError("unknown reading", expected=", ".join(READINGS), given=", ".join(unknown))
    lowest_first = rows.sort_values("projection", kind="stable")["conversation"].unique()
    names = list(lowest_first[:MOST])
    several = len(names) > 1
    told = rows.merge(turns[list(TURNS)], on=["conversation", "turn"], how="left")
    traces, owners = [], []
    for place, name in enumerate(names):
        own = told.loc[told["conversation"] == name].sort_values("turn")
        marks = None if alarms is None else alarms.loc[alarms["conversation"] == name]
        for trace in _traces(own, marks):
            trace.visible = place == 0
            traces.append(trace)
            owners.append(place)
    fig = style.figure(
        traces,
        title=title or "Where each reply lies, turn by turn",
        subtitle=source,
        left=LEFT,
        right=RIGHT,
        head=HEAD,
    )
    drawn = rows.loc[rows["conversation"].isin(names)]
    _lay_out(fig, drawn, spread, quantity)
    if several:
        _add_menu(fig, names, owners)
    if len(lowest_first) > len(names):
        style.add_caption(
            fig,
            f"Of {len(lowest_first):,} conversations the {MOST} that come lowest, the lowest first.",
        )
    style.set_plot_height(fig, HEIGHT)
    return fig


def _traces(own: pd.DataFrame, alarms: pd.DataFrame | None) -> list[go.Scatter]:
    traces = []
    for reading in dict.fromkeys(own["reading"]):
        name, colour, symbol = READINGS[reading]
        rows = own.loc[own["reading"] == reading]
        traces.append(
            go.Scatter(
                x=rows["turn"],
                y=rows["projection"],
                error_y=bars(rows, "projection", "low", "high", color=colour),
                mode="lines+markers",
                line={"color": colour, "width": 2},
                marker={"size": 8, "symbol": symbol},
                name=name,
                hovertext=[_hover(row, name) for row in rows.to_dict("records")],
                hoverinfo="text",
            )
        )
    if alarms is not None and len(alarms):
        first = own.loc[own["reading"] == own["reading"].iloc[0]].set_index("turn")["projection"]
        there = alarms.loc[alarms["turn"].isin(first.index)]
        traces.append(
            go.Scatter(
                x=there["turn"],
                y=first.loc[there["turn"]].to_numpy(),
                mode="markers",
                marker={"size": 17, "symbol": "circle-open", "color": ALARM, "line": {"width": 3}},
                name="alarm",
                hovertext=[
                    f"<b>alarm at turn {turn}</b><br>{paragraph(str(why))}"
                    for turn, why in zip(there["turn"], there["why"], strict=True)
                ],
                hoverinfo="text",
            )
        )
    return traces


def _hover(row: dict, name: str) -> str:
    value = number(row["projection"], ".2f")
    if np.isfinite(row["low"]):
        value += f" ({number(row['low'], '.2f')} to {number(row['high'], '.2f')})"
    lines = [f"<b>turn {row['turn']}</b>, {name}: {value}"]
    if np.isfinite(row.get("z_default", np.nan)):
        lines.append(f"{number(row['z_default'], '.1f')} SD from replies of the default")
    if row.get("nearest"):
        lines.append(f"nearest roles: {escape(str(row['nearest']).replace('_', ' '))}")
    for who in ("message", "reply"):
        said = row.get(who)
        if isinstance(said, str) and said.strip():
            speaker = "user" if who == "message" else "model"
            cut = said if len(said) <= SNIPPET else said[:SNIPPET] + " …"
            lines.append(f"<i>{speaker}:</i> {paragraph(cut, 64)}")
    return "<br>".join(lines)


def _lay_out(
    fig: go.Figure, rows: pd.DataFrame, spread: pd.DataFrame | None, quantity: str
) -> None:
    ends = [
        rows["projection"].min(),
        rows["projection"].max(),
        rows["low"].min(),
        rows["high"].max(),
    ]
    first, last = int(rows["turn"].min()), int(rows["turn"].max())
    if spread is not None and len(spread):
        check_columns(spread, SPREAD, what="spread of replies")
        for band in spread.to_dict("records"):
            name, colour = BANDS[band["population"]]
            low, high = band["mean"] - band["deviation"], band["mean"] + band["deviation"]
            ends += [low, high]
            fig.add_hrect(y0=low, y1=high, fillcolor=colour, opacity=0.09, line_width=0)
            style.write(
                fig,
                f"{name}<br>± 1 SD of replies",
                1,
                band["mean"],
                size=11.5,
                color=colour,
                name=f"band:{name}",
                yref="y",
                yanchor="middle",
                align="left",
                xshift=10,
            )
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    room = 0.05 * (high - low) or 1.0
    fig.update_layout(
        xaxis={
            "title": {"text": "Turn (replies of the model, counted from 0)"},
            "range": [first - 0.4, last + 0.4],
            "dtick": 1 if last - first <= 20 else None,
        },
        yaxis={"title": {"text": quantity}, "range": [low - room, high + room]},
        showlegend=True,
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"},
    )


def _add_menu(fig: go.Figure, names: list[str], owners: list[int]) -> None:
    buttons = [
        {
            "label": escape(name if len(name) <= 34 else name[:33] + "…", quote=False),
            "method": "update",
            "args": [{"visible": [owner == place for owner in owners]}],
        }
        for place, name in enumerate(names)
    ]
    fig.update_layout(
        updatemenus=[
            {
                "buttons": buttons,
                "x": 1,
                "xanchor": "right",
                "y": 1.0,
                "yanchor": "bottom",
                "pad": {"b": 4},
                "bgcolor": "#ffffff",
                "bordercolor": style.FAINT,
                "font": {"size": 12},
            }
        ]
    )
