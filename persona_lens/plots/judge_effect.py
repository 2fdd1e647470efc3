"""How far axis, first component and map move from judge to judge: a row a measure, a column a pair of judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.plots.parts import style
from persona_lens.plots.parts.grid import axes_of, axis_end, within
from persona_lens.plots.parts.subjects import number

TITLES: Mapping[str, str] = {
    "axis": "Cosine of the axes",
    "pc1": "|Cosine| of the PC1",
    "distances": "Distances between roles",
    "map": "Distances on PC1 and PC2",
}
ACROSS = 3
COLOUR, NULL_COLOUR = "#0072B2", "#7d8590"
LEFT, RIGHT, GAP = 66, 30, 28
WIDEST = 480
HEIGHT, ROW_HEAD, COLUMN_HEAD = 150, 34, 42
ROOM = 0.05
BAND_OPACITY = 0.2
ALONE = 0.06
MOST_TICKS = 8


def effect_figures(
    effect: pd.DataFrame, names: Mapping[str, str], *, source: str
) -> list[go.Figure]:
    """What `judge_effect` found, at most three pairs of judges a figure; pairs without numbers are left out.

    Args:
        effect: The frame.
        names: What to call each judge.
        source: Model and hook point, for the line below the title.
    """
    known = effect.loc[effect["value"].notna()]
    pairs = list(dict.fromkeys(zip(known["first"], known["second"], strict=True)))
    columns = [known.loc[(known["first"] == a) & (known["second"] == b)] for a, b in pairs]
    without = len(effect.groupby(["first", "second"])) - len(pairs)
    return [
        _figure(columns[start : start + ACROSS], names, source=source, without=without)
        for start in range(0, len(columns), ACROSS)
    ]


def _figure(
    columns: Sequence[pd.DataFrame], names: Mapping[str, str], *, source: str, without: int
) -> go.Figure:
    room = style.WIDTH - LEFT - RIGHT - (len(columns) - 1) * GAP
    width = min(WIDEST, room / len(columns))
    full = len(columns) * (width + GAP) - GAP
    height = COLUMN_HEAD + len(TITLES) * (ROW_HEAD + HEIGHT)
    fig = style.figure(
        [],
        title="What the choice of judge changes",
        subtitle=f"{source}<br><span style='color:{COLOUR}'><b>Blue</b></span>: the judges, with the 95 % "
        "interval over roles. <b>Grey</b>, dashed: the null, as many replies of each role chosen at random, with "
        "95 % of its draws",
        left=LEFT,
        right=round(style.WIDTH - LEFT - full),
    )
    style.set_plot_height(fig, height)
    layers = sorted({layer for rows in columns for layer in rows["layer"]})
    margin = 0.03 * (layers[-1] - layers[0]) or 0.5
    for down, (what, title) in enumerate(TITLES.items()):
        parts = [rows.loc[rows["what"] == what].sort_values("layer") for rows in columns]
        lowest = min(float(part[["low", "null_low"]].min(axis=None)) for part in parts)
        margin_y = ROOM * (1 - lowest)
        top = 1 - (COLUMN_HEAD + down * (ROW_HEAD + HEIGHT) + ROW_HEAD) / height
        for across, part in enumerate(parts):
            place = down * len(columns) + across
            end = axis_end(place)
            left = across * (width + GAP) / full
            fig.add_traces(_traces(part, axes_of(place)))
            last = down == len(TITLES) - 1
            fig.update_layout(
                {
                    f"xaxis{end}": {
                        **style.axis_look(),
                        "domain": within(left, left + width / full),
                        "anchor": f"y{end}",
                        "range": [layers[0] - margin, layers[-1] + margin],
                        "nticks": MOST_TICKS,
                        "tickvals": layers if len(layers) <= MOST_TICKS else None,
                        "showticklabels": last,
                        "title": {"text": "Layer" if last else "", "standoff": 8},
                    },
                    f"yaxis{end}": {
                        **style.axis_look(),
                        "domain": within(top - HEIGHT / height, top),
                        "anchor": f"x{end}",
                        "range": [lowest - margin_y, 1 + margin_y],
                        "nticks": 6,
                        "showticklabels": across == 0,
                    },
                }
            )
        _write(fig, f"<b>{title}</b>", 0.0, top)
    for across, rows in enumerate(columns):
        _write(fig, _head(rows, names), across * (width + GAP) / full, 1 - COLUMN_HEAD / height)
    caption = (
        "Distances: correlation of the distances between all roles that both judges leave, in the whole space and "
        "on each one's own map. Numbers in brackets: roles on either axis; on both."
    )
    if without:
        caption += f" Pairs left out, for fewer than three roles on an axis: {without}."
    style.add_caption(fig, caption)
    fig.update_layout(showlegend=False)
    return fig


def _head(rows: pd.DataFrame, names: Mapping[str, str]) -> str:
    first = rows.iloc[0]
    pair = " – ".join(names.get(first[side], first[side]) for side in ("first", "second"))
    counts = f"{first['roles_first']}, {first['roles_second']}; {first['roles_both']}"
    return f"{pair}  <span style='font-size:11.5px;color:{style.QUIET}'>({counts})</span>"


def _traces(rows: pd.DataFrame, axes: Mapping[str, str]) -> list[go.Scatter]:
    """Both bands first, so that no band lies over a curve."""
    at = {name: rows[name].to_numpy(dtype=float) for name in rows.select_dtypes("number").columns}
    hover = [
        f"<b>layer {layer:.0f}</b><br>{number(value, '.3f')} ({number(low, '.3f')} to {number(high, '.3f')})<br>"
        f"null {number(null_low, '.3f')} to {number(null_high, '.3f')}, {draws:.0f} draws"
        for layer, value, low, high, null_low, null_high, draws in zip(
            *(at[n] for n in ("layer", "value", "low", "high", "null_low", "null_high", "draws")),
            strict=True,
        )
    ]
    # A single layer has no width, so that what is wide about it gets some.
    alone = len(rows) == 1
    across = {name: np.repeat(values, 2) if alone else values for name, values in at.items()}
    across["layer"] = across["layer"] + (np.array([-ALONE, ALONE]) if alone else 0.0)
    return [
        *(
            style.area(
                [*across["layer"], *across["layer"][::-1]],
                [*across[high], *across[low][::-1]],
                color=color,
                opacity=BAND_OPACITY,
                name="band",
                **axes,
            )
            for low, high, color in (
                ("null_low", "null_high", NULL_COLOUR),
                ("low", "high", COLOUR),
            )
        ),
        go.Scatter(
            **axes,
            x=across["layer"],
            y=across["null"],
            mode="lines",
            line={"color": NULL_COLOUR, "width": 1.5, "dash": "dash"},
            hoverinfo="skip",
            name="null",
        ),
        go.Scatter(
            **axes,
            x=at["layer"],
            y=at["value"],
            mode="lines+markers",
            line={"color": COLOUR, "width": 2},
            marker={"size": 5},
            hovertext=hover,
            hoverinfo="text",
            name="judges",
        ),
    ]


def _write(fig: go.Figure, text: str, x: float, y: float) -> None:
    style.write(fig, text, x, y, size=13, name=f"head:{text}", align="left", yshift=5)
