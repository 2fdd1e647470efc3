"""What a monitor's rules do: false alarms on calm conversations, power and delay on drifting ones.

save_figure(monitor_power(monitor.measure(held_out, drifting)), "monitor.html")
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.plots.parts import style
from persona_lens.plots.parts.grid import axis_end
from persona_lens.plots.parts.subjects import number
from persona_lens.plots.parts.text import shown, text_width
from persona_lens.plots.parts.tidy import bars, check_columns

MEASURED = (
    *("rule", "nominal", "own", "alarms", "calm", "rate", "rate_low", "rate_high"),
    *("found", "drifting", "power", "power_low", "power_high", "delay", "delay_low", "delay_high"),
)
OWN, OTHER, NOMINAL = "#0072B2", "#7d8590", "#D55E00"
ROW, GAP, RIGHT, HEAD = 30, 0.05, 30, 28


def monitor_power(
    measured: pd.DataFrame, *, title: str | None = None, source: str = ""
) -> go.Figure:
    """Three panels over the same rules: realised false alarms against the stated rate, power, and delay.

    Args:
        measured: `MEASURED`, as `Monitor.measure` has them with drifting conversations.
        title: Replaces the title.
        source: Model and layer, for the line below the title.

    Raises:
        FigureError: Columns are missing, or there is nothing to draw.

    Examples:
        >>> row = {"rule": "cusum", "nominal": 0.05, "own": True, "alarms": 4, "calm": 104, "rate": 0.04,
        ...        "rate_low": 0.01, "rate_high": 0.1, "found": 30, "drifting": 40, "power": 0.75,
        ...        "power_low": 0.6, "power_high": 0.87, "delay": 3.0, "delay_low": 2.0, "delay_high": 4.0}
        >>> monitor_power(pd.DataFrame([row])).layout.title.text
        'cusum finds 75% of the drifting conversations at 4% false alarms'
    """
    check_columns(measured, MEASURED, what="measurements of a monitor")
    ticks = [shown(str(rule)) for rule in measured["rule"]]
    fig = style.figure(
        [],
        title=title or _title(measured),
        subtitle=source,
        left=round(max(text_width(tick, 12) for tick in ticks)) + 24,
        right=RIGHT,
        head=HEAD,
    )
    panels = (
        ("False alarms, calm", "rate", ".0%"),
        ("Found, drifting", "power", ".0%"),
        ("Delay of those found, in turns", "delay", ".1f"),
    )
    for place, (head, value, form) in enumerate(panels):
        _panel(fig, measured, ticks, place=place, panels=len(panels), value=value, form=form)
        left = place * (_width(len(panels)) + GAP)
        style.write(fig, f"<b>{head}</b>", left, 1, size=13, yshift=6)
    nominal = float(measured["nominal"].iloc[0])
    fig.add_shape(
        type="line", x0=nominal, x1=nominal, y0=-0.6, y1=len(ticks) - 0.4, xref="x", yref="y",
        line={"color": NOMINAL, "dash": "dot", "width": 1.5},
    )  # fmt: skip
    calm, drifting = int(measured["calm"].iloc[0]), int(measured["drifting"].iloc[0])
    style.add_caption(
        fig,
        f"Dotted: the rate that was asked for, {number(nominal, '.1%')} of conversations. {calm:,} held-out calm "
        f"and {drifting:,} drifting conversations. Bars: 95 % (Clopper and Pearson; of delays, bootstrap).",
    )
    style.set_plot_height(fig, ROW * (len(ticks) + 1))
    fig.update_layout(showlegend=False)
    return fig


def _title(measured: pd.DataFrame) -> str:
    own = measured.loc[measured["own"].astype(bool)].iloc[0]
    return (
        f"{shown(str(own['rule']))} finds {own['power']:.0%} of the drifting conversations "
        f"at {own['rate']:.0%} false alarms"
    )


def _width(panels: int) -> float:
    return (1 - GAP * (panels - 1)) / panels


def _panel(
    fig: go.Figure,
    measured: pd.DataFrame,
    ticks: list[str],
    *,
    place: int,
    panels: int,
    value: str,
    form: str,
) -> None:
    low, high = f"{value}_low", f"{value}_high"
    at = np.arange(len(measured))
    end = axis_end(place)
    for own, colour in ((True, OWN), (False, OTHER)):
        which = (measured["own"].astype(bool) == own).to_numpy()
        rows = measured.loc[which]
        fig.add_trace(
            go.Scatter(
                x=rows[value],
                y=at[which],
                error_x=bars(rows, value, low, high, color=colour),
                mode="markers",
                marker={"size": 10, "color": colour},
                xaxis=f"x{end}",
                yaxis=f"y{end}",
                hovertext=[_hover(row) for row in rows.to_dict("records")],
                hoverinfo="text",
            )
        )
    left = place * (_width(panels) + GAP)
    most = float(np.nanmax(measured[[value, high]].to_numpy(dtype=float), initial=0.05))
    share = form.endswith("%")
    fig.update_layout(
        {
            f"xaxis{end}": {
                **style.axis_look(),
                "domain": [left, min(1.0, left + _width(panels))],
                "anchor": f"y{end}",
                "range": [-0.02 * most, 1.06 * most]
                if not share
                else [-0.01, min(1.02, 1.1 * most)],
                "tickformat": form if share else None,
                "nticks": 6,
            },
            f"yaxis{end}": {
                **style.axis_look(),
                "anchor": f"x{end}",
                "tickvals": list(range(len(ticks))),
                "ticktext": ticks if place == 0 else [""] * len(ticks),
                "range": [len(ticks) - 0.4, -0.6],
                "ticks": "",
                "tickfont": {"size": 12, "color": style.INK},
            },
        }
    )


def _hover(row: dict) -> str:
    lines = [
        f"<b>{shown(str(row['rule']))}</b>",
        f"false alarms: {row['alarms']:,} of {row['calm']:,} ({row['rate_low']:.1%} to {row['rate_high']:.1%})",
        f"found: {row['found']:,.0f} of {row['drifting']:,.0f} "
        f"({row['power_low']:.0%} to {row['power_high']:.0%})",
    ]
    if np.isfinite(row["delay"]):
        lines.append(
            f"delay: {row['delay']:.1f} turns ({row['delay_low']:.1f} to {row['delay_high']:.1f})"
        )
    return "<br>".join(lines)
