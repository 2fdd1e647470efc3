"""What it costs to change attention sinks too: KL on neutral text with the sink left alone and with it changed.

    save_figure(sinks(frame, source="smollm2-135m-instruct"), "sinks.html")

A sink is a token whose residuals are far longer than those of others, as the first one's mostly are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.plots.parts import style
from persona_lens.plots.parts.subjects import number
from persona_lens.plots.parts.text import shown, text_width
from persona_lens.plots.parts.tidy import (
    COLOURS,
    TINY_KL,
    bars,
    check_columns,
    clipped,
    counts,
    log_range,
    log_ticks,
    with_interval,
)

COLUMNS = (
    *("direction", "operation", "layer"),
    *("kl_spared", "kl_spared_low", "kl_spared_high"),
    *("kl_touched", "kl_touched_low", "kl_touched_high", "ratio"),
)
ROW, RIGHT, HEAD = 34.0, 170, 26
APART = 0.13  # of a row, up and down: intervals that overlap stay apart
RATIO_SIZE = 12
SIDES: Mapping[str, tuple[str, str, str, float]] = {
    "spared": ("sink left alone", COLOURS[0], "circle", -APART),
    "touched": ("sink changed too", COLOURS[1], "diamond", APART),
}


def sinks(frame: pd.DataFrame, *, title: str | None = None, source: str = "") -> go.Figure:
    """KL of interventions that leave the sink alone and of those that change it too, a row each.

    Rows are sorted by the ratio of the two, which stands at the right. Where a KL is below 10⁻⁶ nats, rounding
    decides it, and the ratio is given as a bound.

    Args:
        frame: A row an intervention. `direction`, `operation` (`ceil`, `floor`, `ablate`), `layer`. `kl_spared`
            and `kl_touched`: nats a token on neutral text with the sink left alone and changed, with 95 %
            intervals `_low` to `_high` (NaN: none). `ratio`: touched over spared. A further column `n`, values
            behind each KL, is told in the caption.
        title: Replaces the title.
        source: Model and hook point, for the line below the title.

    Raises:
        FigureError: Columns are missing, or no row has both KLs.

    Examples:
        >>> row = dict.fromkeys(COLUMNS, 0.01) | {"direction": "Assistant Axis", "operation": "floor", "layer": 20}
        >>> fig = sinks(pd.DataFrame([row | {"kl_touched": 0.71, "ratio": 71.0}]))
        >>> fig.layout.yaxis.ticktext, fig.layout.annotations[1].text
        (('Assistant Axis, floor',), '71 times')
    """
    check_columns(frame, COLUMNS, what="frame of a figure of sinks")
    known = frame.loc[frame["kl_spared"].notna() & frame["kl_touched"].notna()]
    check_columns(known, COLUMNS, what="rows of a figure of sinks")
    rows = _sorted(known)
    names = _names(rows)

    low, high = log_range(rows.filter(like="x_").to_numpy().ravel())
    ticks = log_ticks(low, high)
    fig = style.figure(
        [_links(rows), *(_points(rows, side) for side in SIDES)],
        title=title or "KL on neutral text, with the attention sink left alone and changed",
        subtitle=source,
        left=round(max(text_width(name, 12) for name in names)) + 24,
        right=RIGHT,
        head=HEAD,
    )
    fig.update_layout(
        xaxis={
            "title": {"text": "KL on neutral text, nats a token (log scale)"},
            "type": "log",
            "range": [low, high],
            "tickvals": list(ticks),
            "ticktext": list(ticks.values()),
        },
        yaxis={
            "tickvals": list(range(len(names))),
            "ticktext": names,
            "range": [len(names) - 0.4, -0.6],
            "ticks": "",
            "ticklabelstandoff": 5,
            "tickfont": {"color": style.INK},
        },
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"},
    )
    _add_ratios(fig, rows)
    style.add_caption(fig, _caption(rows, lost=len(frame) - len(known)))
    style.set_plot_height(fig, ROW * len(names))
    return fig


def ratio_text(spared: float, touched: float, ratio: float) -> str:
    """How many times larger KL is with the sink changed, as far as it can be told.

    Args:
        spared, touched: KL in nats a token.
        ratio: Of the two.

    Examples:
        >>> ratio_text(0.01, 0.71, 71.0), ratio_text(0.01, 0.032, 3.2), ratio_text(0.1, 0.05, 0.5)
        ('71 times', '3.2 times', '0.5 times')
        >>> ratio_text(0.0, 0.002, float("inf")), ratio_text(0.002, 0.0, 0.0), ratio_text(0.0, 0.0, 1.0)
        ('over 2,000 times', 'under 0.0005 times', 'both too small')
    """
    if max(spared, touched) < TINY_KL:
        return "both too small"
    if spared < TINY_KL:
        return f"over {_rounded(touched / TINY_KL)} times"
    if touched < TINY_KL:
        return f"under {_rounded(TINY_KL / spared)} times"
    return f"{_rounded(ratio)} times" if np.isfinite(ratio) else ""


def _rounded(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


def _sorted(known: pd.DataFrame) -> pd.DataFrame:
    """Rows by the ratio that is shown, the largest first, with KL as drawn in columns `x_`."""
    rows = known.reset_index(drop=True)
    at = {
        f"x_{side}{end}": clipped(rows[f"kl_{side}{end}"])
        for side in SIDES
        for end in ("", "_low", "_high")
    }
    rows = rows.assign(**at)
    tiny = rows[["kl_spared", "kl_touched"]] < TINY_KL
    shown_ratio = rows["ratio"].where(~tiny.any(axis=1), rows["x_touched"] / rows["x_spared"])
    order = shown_ratio.mask(tiny.all(axis=1)).sort_values(ascending=False, kind="stable").index
    return rows.loc[order].reset_index(drop=True)


def _names(rows: pd.DataFrame) -> list[str]:
    """Direction and operation, and the layer if there are several."""
    several = rows["layer"].nunique() > 1
    return [
        shown(f"{row['direction']}, {row['operation']}")
        + (f", layer {row['layer']}" if several else "")
        for row in rows.to_dict("records")
    ]


def _links(rows: pd.DataFrame) -> go.Scatter:
    """Lines between both KLs of each row, as one trace with gaps."""
    gap = np.full(len(rows), np.nan)
    return go.Scatter(
        x=np.stack([rows["x_spared"], rows["x_touched"], gap], axis=1).ravel(),
        y=np.repeat(np.arange(len(rows)), 3),
        mode="lines",
        line={"color": style.ZERO, "width": 5},
        name="difference",
        showlegend=False,
        hoverinfo="skip",
    )


def _points(rows: pd.DataFrame, side: str) -> go.Scatter:
    words, colour, symbol, shift = SIDES[side]
    value, low, high = (f"x_{side}{end}" for end in ("", "_low", "_high"))
    return go.Scatter(
        x=rows[value],
        y=np.arange(len(rows)) + shift,
        error_x=bars(rows, value, low, high, color=colour, thickness=1.4),
        mode="markers",
        marker={
            "size": 10,
            "color": colour,
            "symbol": symbol,
            "line": {"color": "#fff", "width": 0.8},
        },
        name=words,
        hovertext=[_hover(row) for row in rows.to_dict("records")],
        hoverinfo="text",
    )


def _hover(row: Mapping[Any, Any]) -> str:
    lines = [f"<b>{shown(row['direction'])}, {row['operation']}, layer {row['layer']}</b>"]
    for side, (words, *_) in SIDES.items():
        kl, low, high = (row[f"kl_{side}{end}"] for end in ("", "_low", "_high"))
        lines.append(f"{words}: KL {with_interval(kl, low, high, '.3g')} nats a token")
    if np.isfinite(row["ratio"]):
        lines.append(f"ratio {number(row['ratio'])}")
    return "<br>".join(lines)


def _add_ratios(fig: go.Figure, rows: pd.DataFrame) -> None:
    for place, row in enumerate(rows.to_dict("records")):
        text = ratio_text(row["kl_spared"], row["kl_touched"], row["ratio"])
        look = {"name": f"ratio:{place}", "yref": None, "yanchor": "middle", "xshift": 14}
        style.write(fig, text, 1, place, size=RATIO_SIZE, **look)
    look = {"name": "ratio head", "xshift": 14, "yshift": 8}
    style.write(fig, "changed / left alone", 1, 1, size=RATIO_SIZE, color=style.QUIET, **look)


def _caption(rows: pd.DataFrame, *, lost: int) -> str:
    ends = rows[[f"kl_{side}{end}" for side in SIDES for end in ("_low", "_high")]]
    n = f", {counts(rows['n'])}" if "n" in rows.columns else ""
    parts = [f"Bars: 95 % intervals{n}." if ends.notna().to_numpy().any() else f"No intervals{n}."]
    layers = rows["layer"].unique()
    if len(layers) == 1:
        parts.append(f"Layer {layers[0]}.")
    tiny = int((rows[["kl_spared", "kl_touched"]] < TINY_KL).sum(axis=None))
    if tiny:
        parts.append(
            f"KL below 10<sup>−6</sup> nats ({tiny}) is drawn there, since rounding decides it; "
            "ratios with it are bounds."
        )
    if lost:
        parts.append(f"Left out, without both values: {lost}.")
    return " ".join(parts)
