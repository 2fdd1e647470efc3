"""How well the next reply's place is forecast, held out, with baselines, nulls and the in-sample figure beside.

save_figure(forecast_scores(forecaster.scores_, direction="axis"), "forecast.html")
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.errors import FigureError
from persona_lens.plots.parts import style
from persona_lens.plots.parts.grid import axis_end
from persona_lens.plots.parts.subjects import number
from persona_lens.plots.parts.text import shown, text_width
from persona_lens.plots.parts.tidy import bars, check_columns, key

SCORES = (
    *("direction", "target", "predictor", "split", "r2", "low", "high", "null_95", "r2_in_sample"),
    *("n_rows", "n_conversations", "n_groups"),
)
HELD_OUT, IN_SAMPLE, NULL = "#0072B2", "#D55E00", "#7d8590"
ROW, GAP, RIGHT, HEAD = 26, 0.05, 30, 54
FLOOR = -0.6
"""R² below this is drawn at the edge: how bad a forecast is that is worse than the mean is no matter."""


def forecast_scores(
    scores: pd.DataFrame,
    *,
    direction: str | None = None,
    target: str = "next",
    title: str | None = None,
    source: str = "",
) -> go.Figure:
    """Held-out R² of every predictor, a panel for each way of holding out.

    Args:
        scores: `SCORES`, as `Forecaster.scores_` has them.
        direction: The first by default.
        target: `next` (where the reply lies) or `change` (from the one before).
        title: Replaces the title.
        source: Model and layer, for the line below the title.

    Raises:
        FigureError: Columns are missing, or there is no such direction or target.

    Examples:
        >>> row = {"direction": "axis", "target": "next", "predictor": "message", "split": "persona", "r2": 0.3,
        ...        "low": 0.2, "high": 0.4, "null_95": 0.02, "r2_in_sample": 0.5, "n_rows": 600,
        ...        "n_conversations": 60, "n_groups": 20}
        >>> len(forecast_scores(pd.DataFrame([row])).data)
        6
    """
    check_columns(scores, SCORES, what="scores of a forecast")
    direction = str(scores["direction"].iloc[0]) if direction is None else direction
    rows = scores.loc[(scores["direction"] == direction) & (scores["target"] == target)]
    if rows.empty:
        known = sorted(set(zip(scores["direction"], scores["target"], strict=True)))
        raise FigureError(
            "there are no scores of this forecast",
            expected=" or ".join(f"{one}, {other}" for one, other in known),
            given=f"{direction}, {target}",
        )
    splits = list(dict.fromkeys(rows["split"]))
    predictors = list(dict.fromkeys(rows["predictor"]))
    ticks = [shown(name) for name in predictors]
    fig = style.figure(
        [
            key("held out", marker={"color": HELD_OUT, "size": 9}),
            key("95 % of the null lie below", marker={"color": NULL, "symbol": "line-ns-open"}),
            key(
                "in the sample, as the paper", marker={"color": IN_SAMPLE, "symbol": "circle-open"}
            ),
        ],
        title=title or _title(rows),
        subtitle=source,
        left=round(max(text_width(tick, 12) for tick in ticks)) + 24,
        right=RIGHT,
        head=HEAD,
    )
    for place, split in enumerate(splits):
        own = rows.loc[rows["split"] == split].set_index("predictor").reindex(predictors)
        fig.add_traces(_panel(own, place))
        _lay_out(fig, place, splits, ticks, own)
    fig.update_layout(
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"}
    )
    fig.update_layout(legend_y=1 + 26 / (ROW * (len(ticks) + 1)))
    style.add_caption(
        fig,
        "R² of held-out rows against their own mean: 0 is no better than the mean, below 0 is worse. Bars: 95 % "
        f"bootstrap intervals. Values below {number(FLOOR, '.1f')} are drawn at the edge.",
    )
    style.set_plot_height(fig, ROW * (len(ticks) + 1))
    return fig


def _title(rows: pd.DataFrame) -> str:
    best = rows.loc[rows["split"] == rows["split"].iloc[0]].set_index("predictor")["r2"]
    what = (
        "place of the next reply" if rows["target"].iloc[0] == "next" else "move of the next reply"
    )
    if "message" not in best.index or "last" not in best.index:
        return f"How well the {what} is forecast"
    return (
        f"Held out, the message explains {number(float(best['message']), '.0%')} of the {what}, "
        f"the last place {number(float(best['last']), '.0%')}"
    )


def _panel(own: pd.DataFrame, place: int) -> list[go.Scatter]:
    axes = {"xaxis": f"x{axis_end(place)}", "yaxis": f"y{axis_end(place)}", "showlegend": False}
    at = list(range(len(own)))
    drawn = own[["r2", "low", "high"]].clip(lower=FLOOR)
    hover = [
        _hover(str(name), row) for name, row in zip(own.index, own.to_dict("records"), strict=True)
    ]
    return [
        go.Scatter(
            x=own["null_95"].clip(lower=FLOOR),
            y=at,
            mode="markers",
            marker={"color": NULL, "symbol": "line-ns-open", "size": 13, "line": {"width": 2}},
            hoverinfo="skip",
            **axes,
        ),
        go.Scatter(
            x=own["r2_in_sample"].clip(lower=FLOOR),
            y=at,
            mode="markers",
            marker={"color": IN_SAMPLE, "symbol": "circle-open", "size": 9, "line": {"width": 2}},
            hoverinfo="skip",
            **axes,
        ),
        go.Scatter(
            x=drawn["r2"],
            y=at,
            mode="markers",
            error_x=bars(drawn, "r2", "low", "high", color=HELD_OUT),
            marker={"color": HELD_OUT, "size": 9},
            hovertext=hover,
            hoverinfo="text",
            **axes,
        ),
    ]


def _hover(name: str, row: dict) -> str:
    if not np.isfinite(row["r2"]):
        return f"<b>{shown(name)}</b>: not known"
    return (
        f"<b>{shown(name)}</b><br>held out {number(row['r2'], '.3f')} "
        f"({number(row['low'], '.3f')} to {number(row['high'], '.3f')})"
        f"<br>in the sample {number(row['r2_in_sample'], '.3f')}"
        f"<br>null: 95 % below {number(row['null_95'], '.3f')}"
        f"<br>{row['n_rows']:,.0f} replies, {row['n_conversations']:,.0f} conversations, "
        f"{row['n_groups']:,.0f} groups"
    )


def _lay_out(
    fig: go.Figure, place: int, splits: list[str], ticks: list[str], own: pd.DataFrame
) -> None:
    width = (1 - GAP * (len(splits) - 1)) / len(splits)
    left = place * (width + GAP)
    end = axis_end(place)
    ends = own[["r2", "low", "high", "null_95", "r2_in_sample"]].to_numpy(dtype=float)
    low = max(FLOOR, float(np.nanmin(ends, initial=0.0)))
    high = float(np.nanmax(ends, initial=0.1))
    fig.update_layout(
        {
            f"xaxis{end}": {
                **style.axis_look(),
                "domain": [left, min(1.0, left + width)],
                "anchor": f"y{end}",
                "range": [low - 0.05, min(1.0, high) + 0.05],
                "zeroline": True,
                "zerolinecolor": style.FAINT,
                "title": {"text": "R²"},
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
    style.write(fig, f"<b>{shown(splits[place])} held out</b>", left, 1, size=13, yshift=6)
