"""What changes with the strength of steering: a small panel for each measure, random directions in grey.

    save_figure(dose_response(measures, curves, source="smollm2-135m-instruct"), "dose.html")

Strength is a fraction of the mean residual norm; negative is away from the Assistant, toward role-play.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from persona_lens.errors import FigureError
from persona_lens.plots.parts import style
from persona_lens.plots.parts.dose_traces import FORMS, keys, panel
from persona_lens.plots.parts.grid import LEFT, RIGHT, Grid, axis_end
from persona_lens.plots.parts.text import shown, text_height, wrap
from persona_lens.plots.parts.tidy import check_columns, colours, counts

MEASURES = ("direction", "control", "measure", "unit", "strength", "value", "low", "high", "n")
CURVES = ("direction", "control", "measure", "strength", "value", "low", "high")

LEGEND, HINT_ROOM = 24, 8
TITLE_SIZE, HINT_SIZE, BOLD = 13, 11, 1.1
ROOM = 0.04
AWAY, TOWARD = "← toward role-play", "toward the Assistant →"


def dose_response(
    measures: pd.DataFrame, curves: pd.DataFrame, *, title: str | None = None, source: str = ""
) -> go.Figure:
    """Measures against the strength of steering, one panel each, the control directions in grey.

    A direction with a fitted sigmoid has its points and the sigmoid; elsewhere the points are joined. A single
    control has its intervals drawn; of several, the spread among them shows, and intervals are in the hover.

    Args:
        measures: A row a point. `direction`: its name. `control`: whether it is a random direction of the same
            norm. `measure`: title of the panel. `unit`: `share`, `nats`, `ratio` or `z`. `strength`: fraction of
            the mean residual norm, negative away from the Assistant. `value`, and `low` and `high`, its 95 %
            interval (NaN: none). `n`: values behind it.
        curves: Fitted sigmoids on a dense grid of strengths, same columns without `unit` and `n`; may be empty.
        title: Replaces the title.
        source: Model and hook point, for the line below the title.

    Raises:
        FigureError: Columns are missing, no row has a value, or a unit is unknown.

    Examples:
        >>> point = {"direction": "Assistant Axis", "control": False, "measure": "Says it is an AI",
        ...          "unit": "share", "low": 0.1, "high": 0.4, "n": 40}
        >>> rows = [{**point, "strength": at, "value": at + 0.2} for at in (-0.1, 0.0, 0.1)]
        >>> fig = dose_response(pd.DataFrame(rows), pd.DataFrame(columns=CURVES))
        >>> fig.layout.yaxis.tickformat
        '.0%'
    """
    check_columns(measures, MEASURES, what="measures of a dose-response figure")
    unknown = sorted(set(measures["unit"]) - set(FORMS))
    if unknown:
        raise FigureError(
            "unknown unit of a measure", expected=", ".join(FORMS), given=", ".join(unknown)
        )
    known = measures.loc[measures["value"].notna()]
    check_columns(known, MEASURES, what="values of a dose-response figure")
    if len(curves):
        check_columns(curves, CURVES, what="curves of a dose-response figure")
    # Panels and directions stay in the order of the caller; only points are put in that of the strengths.
    titles, looks = list(dict.fromkeys(known["measure"])), colours(known)
    points = known.sort_values("strength", kind="stable")
    narrow = Grid(len(titles)).width(0)
    heads = {name: wrap(shown(name), narrow / BOLD, TITLE_SIZE) for name in titles}
    grid = Grid(len(titles), 16 + max(text_height(head, TITLE_SIZE) for head in heads.values()))

    controls = points.loc[points["control"].astype(bool), "direction"].nunique()
    fig = style.figure(
        keys(looks),
        title=title or "What changes with the strength of steering",
        subtitle=source,
        left=LEFT,
        right=RIGHT,
        head=LEGEND,
    )
    span = _span(points["strength"].to_numpy(dtype=float), at_least=0.02)
    for place, name in enumerate(titles):
        rows = points.loc[points["measure"] == name]
        fits = curves.loc[curves["measure"] == name] if len(curves) else curves
        fig.add_traces(panel(rows, fits, looks, detailed=controls == 1, place=place))
        _lay_out(fig, grid, place, rows=rows, fits=fits, span=span)
        head = {"name": f"head:{heads[name]}", "align": "left", "yshift": 5, **_inside(place)}
        style.write(fig, f"<b>{heads[name]}</b>", 0, 1, size=TITLE_SIZE, **head)
    style.add_caption(fig, _caption(measures, points, curves, controls))
    # The hints stand between ticks and axis title, which moves the caption down.
    fig.update_annotations(selector={"name": "caption"}, yshift=-style.AXIS_ROOM - HINT_ROOM)
    margin = {"b": fig.to_dict()["layout"]["margin"]["b"] + HINT_ROOM}
    fig.update_layout(
        margin=margin,
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"},
    )
    style.set_plot_height(fig, grid.height)
    return fig


def _lay_out(
    fig: go.Figure,
    grid: Grid,
    place: int,
    *,
    rows: pd.DataFrame,
    fits: pd.DataFrame,
    span: list[float],
) -> None:
    end = axis_end(place)
    across, up = grid.box(place)
    share = rows["unit"].iloc[0] == "share"
    ends = [part[["value", "low", "high"]] for part in (rows, fits) if len(part)]
    values = np.concatenate([part.to_numpy(dtype=float).ravel() for part in ends])
    zero = {"zeroline": True, "zerolinecolor": style.FAINT, "zerolinewidth": 1}
    fig.update_layout(
        {
            f"xaxis{end}": {
                **style.axis_look(),
                **zero,
                "domain": across,
                "anchor": f"y{end}",
                "range": span,
                "nticks": 7,
            },
            f"yaxis{end}": {
                **style.axis_look(),
                "domain": up,
                "anchor": f"x{end}",
                "range": [-ROOM, 1 + ROOM] if share else _span(values, at_least=0.1),
                "tickformat": ".0%" if share else None,
                "tickvals": [0, 0.25, 0.5, 0.75, 1] if share else None,
                "nticks": 6,
                "zeroline": rows["unit"].iloc[0] == "z",
                "zerolinecolor": style.FAINT,
            },
        }
    )
    if place not in grid.rows[-1]:
        return
    title = {"text": "Strength, fraction of the residual norm", "standoff": 19}
    fig.update_layout({f"xaxis{end}": {"title": title}})
    for wanted, text, x, anchor in (
        (rows["strength"].min() < 0, AWAY, 0, "left"),
        (rows["strength"].max() > 0, TOWARD, 1, "right"),
    ):
        if wanted:
            where = {"xanchor": anchor, "yanchor": "top", "yshift": -21, **_inside(place)}
            style.write(
                fig, text, x, 0, size=HINT_SIZE, color=style.QUIET, name=f"hint:{text}", **where
            )


def _span(values: Float[np.ndarray, " value"], *, at_least: float) -> list[float]:
    """Range of an axis around all values and zero."""
    low, high = min(0.0, float(np.nanmin(values))), max(0.0, float(np.nanmax(values)))
    room = ROOM * max(high - low, at_least)
    return [low - room, high + room]


def _inside(place: int) -> dict[str, str]:
    """The panel itself as what an annotation measures its place in."""
    end = axis_end(place)
    return {"xref": f"x{end} domain", "yref": f"y{end} domain"}


def _caption(
    measures: pd.DataFrame, points: pd.DataFrame, curves: pd.DataFrame, controls: int
) -> str:
    intervals = (points["low"].notna() & points["high"].notna()).any()
    parts = [
        f"Bars: 95 % intervals, {counts(points['n'])} a point."
        if intervals
        else f"No intervals are known; {counts(points['n'])} a point."
    ]
    if len(curves):
        band = " with 95 % bands" if curves["low"].notna().any() else ""
        joined = set(points["measure"]) - set(curves["measure"])
        parts.append(
            f"Curves: fitted sigmoids{band}{'; other points are joined' if joined else ''}."
        )
    if controls > 1 and intervals:
        parts.append("Intervals of the random directions are in the hover.")
    parts.append("Upright line: no steering.")
    lost = len(measures) - len(points)
    if lost:
        parts.append(f"Left out, without a value: {lost} of {len(measures)} points.")
    return " ".join(parts)
