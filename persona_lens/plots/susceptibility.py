"""Who speaks at every strength of steering: stacked shares, the controls beside, intervals at the seams.

    save_figure(susceptibility(shares(result.replies)), "susceptibility.html")

Strength is a fraction of the mean residual norm; negative is away from the Assistant, toward role-play.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.errors import FigureError
from persona_lens.plots.parts import style
from persona_lens.plots.parts.grid import LEFT, RIGHT, Grid, axes_of, axis_end
from persona_lens.plots.parts.subjects import signed
from persona_lens.plots.parts.text import shown, text_height, wrap
from persona_lens.plots.parts.tidy import bars, check_columns, counts, key, with_interval

SHARES = ("direction", "control", "strength", "label", "share", "low", "high", "n", "roles")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#4d4d4d", "#c4cad1")
LEGEND, HINT_ROOM, TITLE_SIZE, HINT_SIZE, GAP = 26, 8, 13, 11, 0.12
AWAY, TOWARD = "← toward role-play", "toward the Assistant →"
CONTROL = "of random directions, same norm"


def susceptibility(
    shares: pd.DataFrame,
    *,
    names: Mapping[str, str] | None = None,
    title: str | None = None,
    source: str = "",
) -> go.Figure:
    """Shares of labels, stacked, at every strength: a panel for each direction, one for all controls.

    The interval of a label's own share stands at the top of its piece. The pieces of the controls are means over
    the random directions, with no interval of their own; the hover has each direction's.

    Args:
        shares: A row for each direction, strength and label: `SHARES`, as
            `persona_lens.evals.susceptibility_shares.shares` returns them. Labels are stacked in their order.
        names: What labels are called.
        title: Replaces the title.
        source: Model and hook point, for the line below the title.

    Raises:
        FigureError: Columns are missing, there are more labels than colours, or no share is known.

    Examples:
        >>> row = {"direction": "axis", "control": False, "low": 0.2, "high": 0.6, "n": 20, "roles": 5}
        >>> rows = [{**row, "strength": at, "label": who, "share": share} for at in (-0.2, 0.0)
        ...         for who, share in (("assistant", 0.6), ("human", 0.4))]
        >>> fig = susceptibility(pd.DataFrame(rows))
        >>> fig.layout.barmode, fig.layout.yaxis.tickformat
        ('stack', '.0%')
    """
    check_columns(shares, SHARES, what="shares of a susceptibility figure")
    known = shares.loc[shares["share"].notna()]
    check_columns(known, SHARES, what="values of a susceptibility figure")
    labels = list(dict.fromkeys(shares["label"]))
    if len(labels) > len(COLOURS):
        raise FigureError(
            "more labels than can be told apart",
            expected=f"at most {len(COLOURS)}",
            given=len(labels),
            remedy="join some of them",
        )
    looks = dict(zip(labels, COLOURS, strict=False))
    called = {label: shown(str((names or {}).get(label, label))) for label in labels}
    panels = _panels(known)
    narrow = Grid(len(panels)).width(0)
    heads = {name: wrap(shown(name), narrow, TITLE_SIZE) for name in panels}
    grid = Grid(len(panels), 16 + max(text_height(head, TITLE_SIZE) for head in heads.values()))
    fig = style.figure(
        [
            key(called[label], marker={"size": 10, "symbol": "square", "color": looks[label]})
            for label in labels
        ],
        title=title or "Who speaks, asked who it is",
        subtitle=source,
        left=LEFT,
        right=RIGHT,
        head=LEGEND,
    )
    strengths = sorted(known["strength"].unique())
    for place, (name, rows) in enumerate(panels.items()):
        fig.add_traces(_stack(rows, labels, looks, called, strengths, place=place))
        _lay_out(fig, grid, place, strengths)
        inside = {"xref": f"x{axis_end(place)} domain", "yref": f"y{axis_end(place)} domain"}
        head = {"name": f"head:{heads[name]}", "align": "left", "yshift": 5, **inside}
        style.write(fig, f"<b>{heads[name]}</b>", 0, 1, size=TITLE_SIZE, **head)
    style.add_caption(fig, _caption(shares, known))
    fig.update_annotations(selector={"name": "caption"}, yshift=-style.AXIS_ROOM - HINT_ROOM)
    fig.update_layout(
        barmode="stack",
        bargap=GAP,
        margin={"b": fig.to_dict()["layout"]["margin"]["b"] + HINT_ROOM},
        legend={
            **{"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"},
            **{"itemclick": False, "itemdoubleclick": False},
        },
    )
    style.set_plot_height(fig, grid.height)
    return fig


def _panels(known: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Each direction with its rows, and all controls as one, with what each of them has in `each`."""
    control = known["control"].astype(bool)
    own = known.loc[~control]
    found = {str(name): rows for name, rows in own.groupby("direction", sort=False)}
    random = known.loc[control]
    if len(random):
        count = random["direction"].nunique()
        if count == 1:
            found[f"random direction, same norm: {random['direction'].iloc[0]}"] = random
        else:
            found[f"mean {CONTROL} ({count})"] = _together(random)
    return found


def _together(random: pd.DataFrame) -> pd.DataFrame:
    each = random.assign(
        each=[
            f"{shown(row['direction'])}: {with_interval(row['share'], row['low'], row['high'], '.0%')}"
            for row in random.to_dict("records")
        ]
    )
    grouped = each.groupby(["strength", "label"], sort=False)
    return grouped.agg(
        share=("share", "mean"), n=("n", "sum"), roles=("roles", "max"), each=("each", "<br>".join)
    ).reset_index().assign(low=np.nan, high=np.nan)  # fmt: skip


def _stack(
    rows: pd.DataFrame,
    labels: list[str],
    looks: Mapping[str, str],
    called: Mapping[str, str],
    strengths: list[float],
    *,
    place: int,
) -> list[go.Bar]:
    traces = []
    for label in labels:
        own = rows.loc[rows["label"] == label].sort_values("strength")
        at = [strengths.index(strength) for strength in own["strength"]]
        drawn = own["low"].notna().any() and own["share"].gt(0).any()
        traces.append(
            go.Bar(
                **axes_of(place),
                x=at,
                y=own["share"],
                error_y=bars(own, "share", "low", "high", color=style.INK) if drawn else None,
                marker={"color": looks[label], "line": {"width": 0}},
                name=called[label],
                showlegend=False,
                hovertext=[_hover(row, called[label]) for row in own.to_dict("records")],
                hoverinfo="text",
            )
        )
    return traces


def _hover(row: Mapping[Any, Any], label: str) -> str:
    share = with_interval(row["share"], row["low"], row["high"], ".1%")
    count = counts(pd.Series([row["n"]]))
    each = f"<br>{row['each']}" if "each" in row else ""
    return (
        f"<b>{label}</b> at strength {signed(row['strength'])}: {share}<br>"
        f"{count} of {row['roles']} roles{each}"
    )


def _lay_out(fig: go.Figure, grid: Grid, place: int, strengths: list[float]) -> None:
    end = axis_end(place)
    across, up = grid.box(place)
    fig.update_layout(
        {
            f"xaxis{end}": {
                **style.axis_look(),
                "domain": across,
                "anchor": f"y{end}",
                "range": [-0.6, len(strengths) - 0.4],
                "tickvals": list(range(len(strengths))),
                "ticktext": [signed(strength) if strength else "0" for strength in strengths],
            },
            f"yaxis{end}": {
                **style.axis_look(),
                "domain": up,
                "anchor": f"x{end}",
                "range": [0, 1.04],
                "tickformat": ".0%",
                "tickvals": [0, 0.25, 0.5, 0.75, 1],
            },
        }
    )
    if place not in grid.rows[-1]:
        return
    fig.update_layout(
        {
            f"xaxis{end}": {
                "title": {"text": "Strength, fraction of the residual norm", "standoff": 19}
            }
        }
    )
    inside = {"xref": f"x{end} domain", "yref": f"y{end} domain"}
    for wanted, text, x, anchor in (
        (strengths[0] < 0, AWAY, 0, "left"),
        (strengths[-1] > 0, TOWARD, 1, "right"),
    ):
        if wanted:
            where = {"xanchor": anchor, "yanchor": "top", "yshift": -21, **inside}
            look = {"size": HINT_SIZE, "color": style.QUIET, "name": f"hint:{text}"}
            style.write(fig, text, x, 0, **look, **where)


def _caption(shares: pd.DataFrame, known: pd.DataFrame) -> str:
    parts = [
        f"{counts(known['n'])} a bar, of {int(known['roles'].max())} roles.",
        "Lines: 95 % interval of each piece by itself, roles resampled.",
        "Strengths stand at equal distances.",
    ]
    if known["control"].astype(bool).any():
        parts.append("Random directions: the mean; each one's shares are in the hover.")
    if "unjudged" in shares and shares["unjudged"].sum():
        worst = int(shares["unjudged"].max())
        parts.append(f"Left out, without a label: up to {worst} answers a bar.")
    return " ".join(parts)
