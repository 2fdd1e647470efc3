"""Which rules are broken: by kind, by the persona and by its neutral twin, a panel for each condition.

    save_figure(rules(broken_shares(result.replies), source=model.name), "rules.html")

A persona's point is filled where it breaks more, or fewer, rules of that kind than its twin does, with the false
discovery rate controlled over kinds and conditions.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.plots.parts import style
from persona_lens.plots.parts.grid import axes_of, axis_end, within
from persona_lens.plots.parts.subjects import number
from persona_lens.plots.parts.text import shown, text_height, text_width, wrap
from persona_lens.plots.parts.tidy import GREY, bars, check_columns, counts, key, with_interval

SHARES = (
    *("condition", "kind", "rule", "twin", "value", "low", "high", "n", "pairs"),
    *("effect", "p", "q"),
)
ALL = "all"
COLOURS = {"persona": "#D55E00", "neutral": GREY}
NAMES = {"persona": "persona", "neutral": "neutral twin"}
ALPHA = 0.05
WHITE = "#ffffff"
ACROSS, ROW, GAP, RIGHT, LEGEND, TICKS = 3, 20, 40, 24, 26, 30
TICK_SIZE, HEAD_SIZE, APART = 12, 13, 0.17
NARROW = 800
"""Texts are broken so that a page of this width holds the figure, too."""


def rules(
    shares: pd.DataFrame, *, controls: bool = False, title: str | None = None, source: str = ""
) -> go.Figure:
    """Share of rules broken by kind, with 95 % intervals.

    Args:
        shares: `SHARES`, as `persona_lens.evals.rules.broken_shares` has them. Kinds are in the order of what the
            persona does in the first condition, most above; "all" is first.
        controls: Draw conditions of kind "control", too.
        title: Replaces the title.
        source: Model and layer, for the line below the title.

    Raises:
        FigureError: Columns are missing, or there is no row.

    Examples:
        >>> row = {"condition": "as it is", "kind": "none", "rule": "price", "twin": "persona", "value": 0.5,
        ...        "low": 0.2, "high": 0.8, "n": 8, "pairs": 8, "effect": 0.25, "p": 0.2, "q": 0.3}
        >>> fig = rules(pd.DataFrame([row, {**row, "twin": "neutral", "value": 0.25, "low": 0.05, "high": 0.6}]))
        >>> fig.layout.yaxis.ticktext, fig.layout.xaxis.tickformat
        (('price',), '.0%')
    """
    check_columns(shares, SHARES, what="shares of rules broken")
    known = shares.loc[shares["value"].notna()]
    if not controls and (known["kind"] != "control").any():
        known = known.loc[known["kind"] != "control"]
    check_columns(known, SHARES, what="shares of rules broken")
    conditions, kinds = list(dict.fromkeys(known["condition"])), _ordered(known)
    ticks = [
        f"<b>{ALL} kinds</b>" if kind == ALL else shown(kind.replace("_", " ")) for kind in kinds
    ]
    left = round(max(text_width(tick, TICK_SIZE) for tick in ticks)) + 26
    lines = -(-len(conditions) // ACROSS)
    across = -(-len(conditions) // lines)
    full = style.WIDTH - left - RIGHT
    wide = (full - (across - 1) * GAP) / across
    least = (NARROW - left - RIGHT - (across - 1) * GAP) / across
    heads = {name: wrap(shown(name), least / 1.1, HEAD_SIZE) for name in conditions}
    head = 12 + max(text_height(text, HEAD_SIZE) for text in heads.values())
    tall = ROW * (len(kinds) + 0.6)
    pitch = tall + head + TICKS
    height = lines * pitch - TICKS
    fig = style.figure(
        _keys(known),
        title=title or _title(known),
        subtitle=source,
        left=left,
        right=RIGHT,
        head=LEGEND,
    )
    for place, name in enumerate(conditions):
        column, line = place % across, place // across
        begin, top = column * (wide + GAP) / full, 1 - (line * pitch + head) / height
        box = within(begin, begin + wide / full), within(top - tall / height, top)
        some = known.loc[known["condition"] == name]
        fig.add_traces(_points(some, kinds, place))
        labels = ticks if column == 0 else None
        _lay_out(fig, place, box, len(kinds), labels, named=line == lines - 1)
        style.write(
            fig, f"<b>{heads[name]}</b>", box[0][0], top, size=HEAD_SIZE, yshift=5, align="left"
        )
    style.add_caption(fig, wrap(_caption(known), NARROW - left - RIGHT, style.CAPTION_SIZE))
    style.set_plot_height(fig, height)
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"}
    fig.update_layout(legend={**legend, "itemclick": False, "itemdoubleclick": False})
    return fig


def _ordered(known: pd.DataFrame) -> list[str]:
    first = known.loc[known["condition"] == known["condition"].iloc[0]]
    effects = first.drop_duplicates("rule").set_index("rule")["effect"]
    kinds = [kind for kind in dict.fromkeys(known["rule"]) if kind != ALL]
    kinds.sort(key=lambda kind: -np.nan_to_num(effects.get(kind, np.nan), nan=-2.0))
    return ([ALL] if ALL in set(known["rule"]) else []) + kinds


def _title(known: pd.DataFrame) -> str:
    first = known.loc[known["condition"] == known["condition"].iloc[0]]
    whole = first.loc[first["rule"] == ALL].set_index("twin")["value"]
    if not {"persona", "neutral"} <= {*whole.index}:
        return "Rules broken, by kind"
    return (
        f"Rules broken: {whole['persona']:.0%} under a persona, {whole['neutral']:.0%} by its twin"
    )


def _found(rows: pd.DataFrame) -> pd.Series:
    return (rows["twin"] == "persona") & (rows["q"] < ALPHA)


def _keys(known: pd.DataFrame) -> list[go.Scatter]:
    looks = [
        (NAMES["persona"] + f", differs (q < {ALPHA})", COLOURS["persona"], COLOURS["persona"]),
        (NAMES["persona"], COLOURS["persona"], WHITE),
        (NAMES["neutral"], COLOURS["neutral"], WHITE),
    ]
    return [
        key(name, marker=_marker(edge, fill))
        for place, (name, edge, fill) in enumerate(looks)
        if place or _found(known).any()
    ]


def _marker(edge: object, fill: object) -> dict[str, object]:
    return {"size": 8, "color": fill, "line": {"color": edge, "width": 1.6}}


def _points(some: pd.DataFrame, kinds: list[str], place: int) -> list[go.Scatter]:
    traces = []
    for twin, colour in COLOURS.items():
        rows = some.loc[some["twin"] == twin]
        if rows.empty:
            continue
        shift = -APART if twin == "persona" else APART
        traces.append(
            go.Scatter(
                x=rows["value"],
                y=[kinds.index(kind) + shift for kind in rows["rule"]],
                error_x=bars(rows, "value", "low", "high", color=colour),
                mode="markers",
                marker=_marker(colour, [colour if it else WHITE for it in _found(rows)]),
                hovertext=[_hover(row) for row in rows.to_dict("records")],
                hoverinfo="text",
                showlegend=False,
                **axes_of(place),
            )
        )
    return traces


def _hover(row: dict) -> str:
    rule = "all kinds" if row["rule"] == ALL else shown(str(row["rule"]).replace("_", " "))
    share = with_interval(row["value"], row["low"], row["high"], ".0%")
    lines = [
        f"<b>{rule}</b>, {shown(str(row['condition']))}",
        f"{NAMES[row['twin']]}: {share} broken, {row['n']:,} replies to {row['pairs']:,} rules",
    ]
    if np.isfinite(row["effect"]):
        lines.append(
            f"persona less twin: {number(100 * row['effect'], '+.0f')} points, "
            f"p {row['p']:.2g}, q {row['q']:.2g}"
        )
    return "<br>".join(lines)


def _lay_out(
    fig: go.Figure,
    place: int,
    box: tuple[list[float], list[float]],
    rows: int,
    ticks: list[str] | None,
    *,
    named: bool,
) -> None:
    end = axis_end(place)
    fig.update_layout(
        {
            f"xaxis{end}": {
                **style.axis_look(),
                "domain": box[0],
                "anchor": f"y{end}",
                "range": [-0.04, 1.04],
                "tickformat": ".0%",
                "tickvals": [0, 0.5, 1],
                "title": {"text": "Rules broken" if named else ""},
            },
            f"yaxis{end}": {
                **style.axis_look(),
                "domain": box[1],
                "anchor": f"x{end}",
                "range": [rows - 0.4, -0.6],
                "tickvals": list(range(rows)),
                "ticktext": ticks,
                "showticklabels": ticks is not None,
                "ticks": "",
            },
        }
    )


def _caption(known: pd.DataFrame) -> str:
    kinds = known.loc[known["rule"] != ALL]
    parts = [f"Bars: 95 % intervals, {counts((kinds if len(kinds) else known)['n'])} a point."]
    parts.append(
        f"Filled: differs from its twin, signs of pairs flipped, q < {ALPHA} over kinds and conditions; "
        "hover for effect, p and q."
    )
    return " ".join(parts)
