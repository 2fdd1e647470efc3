"""What an evaluation measured: a panel for each measure, a line for each condition, controls in grey.

save_figure(evaluation(result.measures, title="Rules under a persona"), "rules.html")
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.errors import FigureError
from persona_lens.plots.parts import style
from persona_lens.plots.parts.grid import axis_end
from persona_lens.plots.parts.subjects import number
from persona_lens.plots.parts.text import shown, text_width, wrap
from persona_lens.plots.parts.tidy import bars, check_columns, counts

MEASURES = (
    *("measure", "unit", "condition", "kind", "value", "low", "high", "n", "clusters", "unjudged"),
    *("change", "change_low", "change_high", "engaged", "moved"),
)
COLOURS = {"none": style.INK, "plan": "#0072B2", "control": "#7d8590"}
NAMES = {"none": "nothing acts", "plan": "a plan", "control": "a control, along random directions"}
ACROSS, ROW, GAP, RIGHT, HEAD, BETWEEN, LEGEND = 3, 24, 0.045, 30, 24, 62, 26
HEAD_SIZE, LONGEST = 13, 230


def evaluation(measures: pd.DataFrame, *, title: str, source: str = "") -> go.Figure:
    """Every measure under every condition, with 95 % intervals.

    Args:
        measures: `MEASURES`, as `persona_lens.evals.evaluation.Evaluated` has them; conditions and measures keep
            their order.
        title: What was evaluated.
        source: Model and hook point, for the line below the title.

    Raises:
        FigureError: Columns are missing, or no measure has a value.

    Examples:
        >>> row = {"measure": "rules broken", "unit": "share", "condition": "as it is", "kind": "none",
        ...        "value": 0.5, "low": 0.4, "high": 0.6, "n": 100, "clusters": 50, "unjudged": 0,
        ...        "change": np.nan, "change_low": np.nan, "change_high": np.nan, "engaged": 0.0, "moved": 0.0}
        >>> fig = evaluation(pd.DataFrame([row]), title="Rules")
        >>> fig.layout.xaxis.tickformat, fig.layout.yaxis.ticktext
        ('.0%', ('as it is',))
    """
    check_columns(measures, MEASURES, what="measures of an evaluation")
    known = measures.loc[measures["value"].notna()]
    if known.empty:
        raise FigureError("no measure has a value", remedy="see the statuses of the judges")
    heads = list(dict.fromkeys(known["measure"]))
    conditions = list(dict.fromkeys(measures["condition"]))
    engaged = dict(zip(measures["condition"], measures["engaged"].astype(float), strict=True))
    ticks = [wrap(_tick(name, engaged[name]), LONGEST, 12) for name in conditions]
    lines = -(-len(heads) // ACROSS)
    left = round(max(text_width(part, 12) for tick in ticks for part in tick.split("<br>"))) + 22
    fig = style.figure(
        _keys(measures), title=title, subtitle=source, left=left, right=RIGHT, head=LEGEND + HEAD
    )
    row = ROW + 14 * max(tick.count("<br>") for tick in ticks)
    tall = row * (len(conditions) + 0.4)
    height = lines * tall + (lines - 1) * (BETWEEN + HEAD)
    across = min(ACROSS, len(heads))
    width = (1 - GAP * (across - 1)) / across
    pixels = (style.WIDTH - left - RIGHT) * width
    for place, head in enumerate(heads):
        column, line = place % across, place // across
        top = 1 - line * (tall + BETWEEN + HEAD) / height
        box = (
            [column * (width + GAP), column * (width + GAP) + width],
            [max(0, top - tall / height), top],
        )
        rows = known.loc[known["measure"] == head]
        _panel(fig, place, rows, conditions, ticks=ticks if column == 0 else None, box=box)
        text = wrap(shown(head), pixels / 1.1, HEAD_SIZE)
        style.write(fig, f"<b>{text}</b>", box[0][0], top, size=HEAD_SIZE, yshift=5, align="left")
    style.add_caption(fig, _caption(known))
    style.set_plot_height(fig, height)
    legend = {
        "orientation": "h",
        "x": 0,
        "xanchor": "left",
        "yanchor": "bottom",
        "itemclick": False,
    }
    fig.update_layout(legend={**legend, "y": 1 + HEAD / height, "itemdoubleclick": False})
    return fig


def _keys(measures: pd.DataFrame) -> list[go.Scatter]:
    """Entries of the legend."""
    there = [kind for kind in COLOURS if kind in set(measures["kind"])]
    return [
        go.Scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=NAMES[kind],
            marker={"size": 9, "color": COLOURS[kind]},
        )
        for kind in there
    ]


def _tick(name: str, engaged: float) -> str:
    """A condition, and how much of what its plan was to touch it moved."""
    return shown(name) + (f" ({engaged:.0%} moved)" if 0 < engaged < 0.9995 else "")


def _panel(
    fig: go.Figure,
    place: int,
    rows: pd.DataFrame,
    conditions: list[str],
    *,
    ticks: list[str] | None,
    box: tuple[list[float], list[float]],
) -> None:
    end, share = axis_end(place), rows["unit"].iloc[0] == "share"
    for kind, colour in COLOURS.items():
        some = rows.loc[rows["kind"] == kind]
        if some.empty:
            continue
        fig.add_trace(
            go.Scatter(
                x=some["value"],
                y=[conditions.index(name) for name in some["condition"]],
                error_x=bars(some, "value", "low", "high", color=colour),
                mode="markers",
                marker={"size": 9, "color": colour},
                xaxis=f"x{end}",
                yaxis=f"y{end}",
                showlegend=False,
                hovertext=[_hover(row) for row in some.to_dict("records")],
                hoverinfo="text",
            )
        )
    plain = rows.loc[rows["kind"] == "none", "value"].to_numpy(dtype=float)
    for at in plain[:1]:
        fig.add_shape(
            type="line", x0=at, x1=at, y0=-0.7, y1=len(conditions) - 0.3, xref=f"x{end}", yref=f"y{end}",
            line={"color": style.FAINT, "dash": "dot", "width": 1}, layer="below",
        )  # fmt: skip
    across, up = box
    fig.update_layout(
        {
            f"xaxis{end}": {
                **style.axis_look(),
                "domain": across,
                "anchor": f"y{end}",
                "range": _span(rows, share=share),
                "tickformat": ".0%" if share else None,
                "nticks": 6,
            },
            f"yaxis{end}": {
                **style.axis_look(),
                "domain": up,
                "anchor": f"x{end}",
                "range": [len(conditions) - 0.3, -0.7],
                "tickvals": list(range(len(conditions))),
                "ticktext": ticks,
                "showticklabels": ticks is not None,
                "ticks": "",
            },
        }
    )


def _span(rows: pd.DataFrame, *, share: bool) -> list[float]:
    """Range of a panel; of shares, from zero to what is drawn and a little more."""
    ends = rows[["value", "low", "high"]].to_numpy(dtype=float)
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    if share:
        return [-0.02, min(1.02, max(0.1, high * 1.12))]
    room = 0.08 * max(high - low, 1e-6)
    return [low - room, high + room]


def _hover(row: dict[str, Any]) -> str:
    form = ".1%" if row["unit"] == "share" else ".3g"
    unit = "" if row["unit"] in ("share", "") else f" {row['unit']}"

    def said(*names: str) -> str:
        value, low, high = (number(row[name], form) for name in names)
        return f"{value} [{low}, {high}]{unit}"

    lines = [f"<b>{shown(str(row['condition']))}</b>", said("value", "low", "high")]
    if np.isfinite(row["change"]):
        lines.append(f"change, paired by item: {said('change', 'change_low', 'change_high')}")
    lines.append(f"{row['n']:,} answers to {row['clusters']:,} independent items")
    if row["unjudged"]:
        lines.append(f"{row['unjudged']:,} answers without a verdict")
    if row["kind"] != "none":
        lines.append(
            f"moved {row['engaged']:.1%} of the tokens, by {row['moved']:.2%} of the norm on average"
        )
    return "<br>".join(lines)


def _caption(rows: pd.DataFrame) -> str:
    parts = [
        f"Bars: 95 % intervals, items resampled; {counts(rows['n'])} answers a point.",
        "Dotted: as the model is. In brackets: share of tokens and layers that a plan moved.",
    ]
    lost = int(rows["unjudged"].sum())
    if lost:
        parts.append(
            f"Without a verdict, and left out: {lost:,} of {int(rows['n'].sum()) + lost:,}."
        )
    return " ".join(parts)
