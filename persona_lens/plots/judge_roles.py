"""Kappa of two judges, role by role: where do they not mean the same?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.plots.parts import style
from persona_lens.plots.parts.subjects import number
from persona_lens.plots.parts.text import shown, text_width
from persona_lens.plots.ranking import set_rows, upright
from persona_lens.statistics.kappa import Measure

COLOUR, NULL_COLOUR = "#0072B2", "#d9dde2"
HEAD = 20  # a row for the name of the line


def kappa_by_role(
    by_role: pd.DataFrame, kappa: Measure, *, counted: str, judges: str, source: str
) -> go.Figure:
    """Roles by kappa, the highest first, each with its 95 % interval and the range of its null.

    Args:
        by_role: Columns `name`, `kappa`, `low`, `high`, `null_low`, `null_high`, `count` and `equal`; kappa is
            known of at least one role.
        kappa: Of all roles together.
        counted: What it is measured on.
        judges: Who they are, for the title.
        source: What the labels are of, for the line below it.
    """
    rows = by_role.dropna(subset=["kappa"]).sort_values("kappa", ascending=False)
    ticks = [shown(name) for name in rows["name"]]
    fig = style.figure(
        [_null(rows), upright(kappa.value, len(rows), {"color": COLOUR, "width": 1}), _dots(rows)],
        title=f"Agreement of {judges}, role by role",
        subtitle=f"{source} · {counted}<br>"
        f"Bars: 95 % interval over the replies of the role. All roles: {with_interval(kappa)}",
        left=round(max(text_width(tick, 12) for tick in ticks)) + 24,
        right=40,
        head=HEAD,
    )
    _name_the_line(fig, kappa)
    missing = len(by_role) - len(rows)
    style.add_caption(
        fig,
        "Grey: 95 % of kappas if the second judge's labels are shuffled within the role."
        + (
            f" Roles not shown, as a judge gives them one label only: {missing}." if missing else ""
        ),
    )
    set_rows(fig, ticks)
    lowest = float(np.nanmin(rows[["kappa", "low", "null_low"]].to_numpy()))
    fig.update_layout(
        showlegend=False,
        xaxis={
            "title": {"text": "Cohen's kappa"},
            "range": [min(0.0, lowest) - 0.03, 1.03],
            "zeroline": True,
            "zerolinecolor": style.FAINT,
        },
    )
    return fig


def with_interval(measure: Measure) -> str:
    """A value and its interval, as figures write it.

    Examples:
        >>> with_interval(Measure(0.5, -0.1, 0.75)), with_interval(Measure(0.5, np.nan, np.nan))
        ('0.50 [−0.10, 0.75]', '0.50')
    """
    value = number(measure.value, ".2f")
    if not np.isfinite(measure.low):
        return value
    return f"{value} [{number(measure.low, '.2f')}, {number(measure.high, '.2f')}]"


def _dots(rows: pd.DataFrame) -> go.Scatter:
    return go.Scatter(
        x=rows["kappa"],
        y=np.arange(len(rows)),
        error_x={
            "array": rows["high"] - rows["kappa"],
            "arrayminus": rows["kappa"] - rows["low"],
            "thickness": 1.4,
            "width": 0,
        },
        mode="markers",
        marker={"size": 9, "color": COLOUR, "line": {"color": "#ffffff", "width": 0.8}},
        customdata=rows["name"],
        hovertext=[
            f"<b>{shown(row['name'])}</b> · {row['count']:,} replies<br>"
            f"kappa {with_interval(Measure(row['kappa'], row['low'], row['high']))}<br>"
            f"equal labels: {row['equal']:.0%}"
            for row in rows.to_dict("records")
        ],
        hoverinfo="text",
    )


def _null(rows: pd.DataFrame) -> go.Bar:
    return go.Bar(
        base=rows["null_low"],
        x=rows["null_high"] - rows["null_low"],
        y=np.arange(len(rows)),
        orientation="h",
        width=0.55,
        marker={"color": NULL_COLOUR, "line": {"width": 0}},
        hoverinfo="skip",
    )


def _name_the_line(fig: go.Figure, kappa: Measure) -> None:
    """Say what the vertical line is, and draw its interval."""
    if np.isfinite(kappa.low):
        fig.add_vrect(
            x0=kappa.low, x1=kappa.high, fillcolor=COLOUR, opacity=0.12, line_width=0, layer="below"
        )
    look = {"xref": None, "xanchor": None, "yshift": 4}
    style.write(fig, "all roles", kappa.value, 1, size=12, color=COLOUR, **look)
