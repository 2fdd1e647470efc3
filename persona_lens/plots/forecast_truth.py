"""Forecasts of held-out replies against where they came to lie, and which kinds of messages pull.

rows = forecaster.rows_.assign(truth=..., forecast=...)
save_figure(forecast_truth(rows), "truth.html")
save_figure(message_kinds(forecaster.explain("axis").kinds), "kinds.html")
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.plots.parts import style
from persona_lens.plots.parts.subjects import number
from persona_lens.plots.parts.text import paragraph, shown, text_width
from persona_lens.plots.parts.tidy import COLOURS, GREY, bars, check_columns
from persona_lens.plots.ranking import set_rows

TRUTH = ("truth", "forecast", "message")
KINDS = (
    *("kind", "pull", "low", "high", "observed", "observed_low", "observed_high"),
    *("n_messages", "n_conversations"),
)
SIDE, LEFT, RIGHT = 460, 76, 190
LONGEST = 46
ROW = 32


def forecast_truth(
    rows: pd.DataFrame,
    *,
    by: str | None = None,
    title: str | None = None,
    source: str = "",
    quantity: str = "projection on the Assistant Axis",
) -> go.Figure:
    """One point a reply: what its message forecasts, by a model that saw none of its group, and the truth.

    Args:
        rows: `truth`, `forecast`, `message`.
        by: Column that colours the points, such as `domain`.
        title: Replaces the title.
        source: Model and layer, for the line below the title.
        quantity: What is forecast.

    Raises:
        FigureError: Columns are missing, or there is nothing to draw.

    Examples:
        >>> rows = pd.DataFrame({"truth": [1.0, 2.0], "forecast": [1.5, 1.8], "message": ["Hi", "Be a ghost."]})
        >>> forecast_truth(rows).layout.xaxis.title.text
        'Forecast, projection on the Assistant Axis'
    """
    check_columns(rows, (*TRUTH, *([by] if by else [])), what="rows of a forecast")
    ends = rows[["truth", "forecast"]].to_numpy(dtype=float)
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    room = 0.04 * (high - low) or 1.0
    span = [low - room, high + room]
    traces = [
        go.Scatter(
            x=span, y=span, mode="lines", line={"color": GREY, "dash": "dot"}, name="as forecast",
            hoverinfo="skip",
        )
    ]  # fmt: skip
    groups = ["replies"] if by is None else list(dict.fromkeys(rows[by]))
    for place, group in enumerate(groups):
        own = rows if by is None else rows.loc[rows[by] == group]
        traces.append(
            go.Scatter(
                x=own["forecast"],
                y=own["truth"],
                mode="markers",
                marker={
                    "size": 6,
                    "opacity": 0.55,
                    "color": COLOURS[place] if place < len(COLOURS) else GREY,
                },
                name=shown(str(group)),
                hovertext=[
                    f"truth {number(row['truth'], '.2f')}, forecast {number(row['forecast'], '.2f')}"
                    f"<br>{paragraph(str(row['message'])[:280])}"
                    for row in own.to_dict("records")
                ],
                hoverinfo="text",
            )
        )
    fig = style.figure(
        traces,
        title=title or "What the message alone forecasts, and what came",
        subtitle=source,
        left=LEFT,
        right=RIGHT,
    )
    fig.update_layout(
        xaxis={"title": {"text": f"Forecast, {quantity}"}, "range": span},
        yaxis={"title": {"text": f"Truth, {quantity}"}, "range": span},
        legend={"x": 1.02, "y": 1},
    )
    style.set_plot_height(fig, SIDE)
    return fig


def message_kinds(
    kinds: pd.DataFrame,
    *,
    title: str | None = None,
    source: str = "",
    quantity: str = "projection on the Assistant Axis",
) -> go.Figure:
    """Kinds of messages by how far they pull the next reply, held out, beside what was observed.

    Args:
        kinds: `KINDS`, and examples in `example_1`, ..., as `Forecaster.explain` has them.
        title: Replaces the title.
        source: Model and layer, for the line below the title.
        quantity: What is pulled.

    Raises:
        FigureError: Columns are missing, or there is nothing to draw.

    Examples:
        >>> kind = {"kind": "feel, alone, night", "pull": -3.0, "low": -4.0, "high": -2.0, "observed": -3.4,
        ...         "observed_low": -4.5, "observed_high": -2.3, "n_messages": 60, "n_conversations": 20,
        ...         "example_1": "I feel alone at night."}
        >>> [trace.name for trace in message_kinds(pd.DataFrame([kind])).data]
        ['observed', 'forecast from the message, held out']
    """
    check_columns(kinds, KINDS, what="kinds of messages")
    rows = kinds.sort_values("pull", ignore_index=True)
    ticks = [_cut(shown(str(kind))) for kind in rows["kind"]]
    at = np.arange(len(rows))
    hover = [_kind_hover(row) for row in rows.to_dict("records")]
    traces = [
        go.Scatter(
            x=rows[value],
            y=at + shift,
            error_x=bars(rows, value, low, high, color=colour),
            mode="markers",
            marker={"size": 9, "color": colour, "symbol": symbol},
            name=name,
            hovertext=hover,
            hoverinfo="text",
        )
        for value, low, high, name, colour, symbol, shift in (
            ("observed", "observed_low", "observed_high", "observed", GREY, "square", 0.16),
            (
                "pull",
                "low",
                "high",
                "forecast from the message, held out",
                COLOURS[0],
                "circle",
                -0.16,
            ),
        )
    ]
    fig = style.figure(
        traces,
        title=title or "Which messages pull the model, and which way",
        subtitle=source,
        left=round(max(text_width(tick, 12) for tick in ticks)) + 24,
        right=30,
        head=26,
    )
    set_rows(fig, ticks)
    style.set_plot_height(fig, ROW * (len(ticks) + 1))
    fig.update_layout(
        xaxis={
            "title": {
                "text": f"← toward role-play · pull on the next reply, {quantity} · toward the Assistant →"
            },
            "zeroline": True,
            "zerolinecolor": style.FAINT,
        },
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"},
    )
    style.add_caption(
        fig,
        "Kinds are clusters of embeddings, named by their most typical words. Bars: 95 % bootstrap intervals.",
    )
    return fig


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _kind_hover(row: dict) -> str:
    lines = [
        f"<b>{paragraph(str(row['kind']))}</b>",
        f"pull {number(row['pull'], '.2f')} ({number(row['low'], '.2f')} to {number(row['high'], '.2f')})",
        f"observed {number(row['observed'], '.2f')}",
        f"{row['n_messages']:,} messages of {row['n_conversations']:,} conversations",
    ]
    examples = [str(row[f"example_{place}"]) for place in (1, 2, 3) if row.get(f"example_{place}")]
    return "<br>".join([*lines, *(f"<i>{paragraph(text[:200])}</i>" for text in examples)])
