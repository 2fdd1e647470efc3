"""What a base model says of itself as it is steered: a small panel for each category, random directions in grey.

    error = labelling_error(CategoryJudge())
    fig = completions(shares(replies, error), trends(replies), family="purpose", labels=error.said_of("purpose"))

The caption says how often the labels behind the shares are right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.errors import FigureError
from persona_lens.plots.parts import style
from persona_lens.plots.parts.dose_traces import keys, panel
from persona_lens.plots.parts.grid import LEFT, RIGHT, Grid, axis_end
from persona_lens.plots.parts.subjects import number, signed
from persona_lens.plots.parts.text import shown, text_height
from persona_lens.plots.parts.tidy import check_columns, colours, counts

SHARES = (
    *("judge", "family", "category", "kind", "series", "strength", "control_of"),
    *("value", "low", "high", "same_low", "same_high", "corrected", "n", "prefills"),
)
TRENDS = (
    *("judge", "series", "family", "category", "slope", "low", "high"),
    *("p_fdr", "p_controls_fdr", "controls", "as_steep", "found"),
)
LEGEND, TITLE_SIZE, NOTE_SIZE, ROOM = 24, 13, 11, 0.04


def completions(
    shares: pd.DataFrame,
    trends: pd.DataFrame | None = None,
    *,
    family: str,
    judge: str | None = None,
    labels: str = "",
    title: str | None = None,
    source: str = "",
) -> go.Figure:
    """Share of each category against the strength of steering.

    Args:
        shares: As `persona_lens.evals.completion_shares.shares` makes them.
        trends: As `persona_lens.evals.completion_trends.trends` makes them: what moves is marked, and slopes and
            p-values stand above each panel.
        family: Of the categories.
        judge: Whose labels; may be left out if there is one judge.
        labels: How often they are right, in words, as `LabellingError.said_of` has them; without it the caption
            says that this is not known.
        title: Replaces the title.
        source: Model, hook point and axis, for the line below the title.

    Raises:
        FigureError: Columns are missing, the family is not there, or there are several judges and none is named.

    Examples:
        >>> row = dict(judge="category", family="traits", category="calm", kind="none", series="as it is",
        ...            strength=0.0, control_of="", value=0.2, low=0.1, high=0.3, same_low=0.15, same_high=0.25,
        ...            corrected=0.22, n=80, prefills=5)
        >>> push = row | dict(kind="plan", series="assistant", strength=0.2, value=0.4, low=0.3, high=0.5)
        >>> fig = completions(pd.DataFrame([row, push]), family="traits")
        >>> [note.text for note in fig.layout.annotations if note.name == "caption"][0][:36]
        'Bars: 95 % intervals, prefills drawn'
    """
    check_columns(shares, SHARES, what="shares of completions")
    chosen = _of_judge(shares, judge)
    some = chosen.loc[(chosen["family"] == family) & chosen["value"].notna()]
    if some.empty:
        raise FigureError(
            f"no completions of family {family!r} to draw",
            expected=", ".join(dict.fromkeys(chosen["family"])),
        )
    tests = None
    if trends is not None:
        check_columns(trends, TRENDS, what="trends of completions")
        tests = trends.loc[
            (trends["family"] == family) & (trends["judge"] == some["judge"].iloc[0])
        ]
    points = _points(some)
    looks = colours(points)
    names = list(dict.fromkeys(points["measure"]))
    heads = {name: _head(name, tests) for name in names}
    tall = max(text_height(head, TITLE_SIZE) for head in heads.values())
    grid = Grid(len(names), 16 + tall)
    controls = points.loc[points["control"], "direction"].nunique()
    fig = style.figure(
        keys(looks),
        title=title or f"What the model says of itself: {shown(family)}",
        subtitle=source,
        left=LEFT,
        right=RIGHT,
        head=LEGEND,
    )
    top = float(np.nanmax(points[["value", "high"]].to_numpy(dtype=float)))
    ends = [min(0.0, points["strength"].min()), max(0.0, points["strength"].max())]
    spare = ROOM * max(ends[1] - ends[0], 0.02)
    for place, name in enumerate(names):
        rows = points.loc[points["measure"] == name].sort_values("strength", kind="stable")
        drawn = panel(rows, points.iloc[:0], looks, detailed=controls == 1, place=place)
        fig.add_traces(drawn)
        _lay_out(fig, grid, place, [ends[0] - spare, ends[1] + spare], min(1.0, top * 1.08))
        end = axis_end(place)
        where = {"xref": f"x{end} domain", "yref": f"y{end} domain", "align": "left", "yshift": 5}
        style.write(fig, heads[name], 0, 1, size=TITLE_SIZE, name=f"head:{name}", **where)
    style.add_caption(fig, _caption(some, controls, tests, labels))
    fig.update_layout(
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"}
    )
    style.set_plot_height(fig, grid.height)
    return fig


def _of_judge(shares: pd.DataFrame, judge: str | None) -> pd.DataFrame:
    judges = list(dict.fromkeys(shares["judge"]))
    if (judge is None and len(judges) > 1) or (judge is not None and judge not in judges):
        raise FigureError(
            "it is not clear whose labels to draw",
            expected="judge= one of " + ", ".join(judges),
            given=judge or "none",
        )
    return shares.loc[shares["judge"] == (judge or judges[0])]


def _points(some: pd.DataFrame) -> pd.DataFrame:
    """Rows as panels of doses have them; completions without a plan stand at zero in every direction."""
    steered = some.loc[some["kind"] != "none"]
    parts = [steered]
    plain = some.loc[some["kind"] == "none"]
    for series, own in steered.groupby("series", sort=False):
        about = {name: own[name].iloc[0] for name in ("kind", "control_of")}
        parts.append(plain.assign(series=series, strength=0.0, **about))
    rows = pd.concat(parts) if len(steered) else plain
    return pd.DataFrame(
        {
            "direction": rows["series"],
            "control": rows["kind"] == "control",
            "measure": rows["category"],
            "unit": "share",
            **{name: rows[name] for name in ("strength", "value", "low", "high", "n")},
        }
    )


def _head(name: str, tests: pd.DataFrame | None) -> str:
    title = f"<b>{shown(name.replace('_', ' '))}</b>"
    if tests is None:
        return title
    lines = [title]
    for row in tests.loc[tests["category"] == name].to_dict("records"):
        mark = "● " if row["found"] else ""
        known = np.isfinite(row["low"])
        ends = (signed(row[end], ".2f") for end in ("low", "high"))
        interval = f" ({' to '.join(ends)})" if known else ""
        against = (
            f", p {number(row['p_controls_fdr'], '.2g')} against controls"
            if row["controls"]
            else ""
        )
        found = (
            f"{mark}slope {signed(row['slope'], '.2f')}{interval}",
            f"p {number(row['p_fdr'], '.2g')}{against}",
        )
        look = f"font-size:{NOTE_SIZE}px;color:{style.QUIET}"
        lines += [f"<span style='{look}'>{text}</span>" for text in found]
    return "<br>".join(lines)


def _lay_out(fig: go.Figure, grid: Grid, place: int, span: list[float], top: float) -> None:
    across, up = grid.box(place)
    end = axis_end(place)
    x: dict[str, Any] = {
        **style.axis_look(),
        "domain": across,
        "anchor": f"y{end}",
        "range": span,
        "nticks": 7,
        "zeroline": True,
        "zerolinecolor": style.FAINT,
    }
    if place in grid.rows[-1]:
        x["title"] = {"text": "Strength, fraction of the residual norm", "standoff": 8}
    y = {
        **style.axis_look(),
        "domain": up,
        "anchor": f"x{end}",
        "range": [-ROOM * top, top],
        "tickformat": ".0%",
        "nticks": 5,
    }
    fig.update_layout({f"xaxis{end}": x, f"yaxis{end}": y})


def _caption(some: pd.DataFrame, controls: int, tests: pd.DataFrame | None, labels: str) -> str:
    prefills = int(some["prefills"].max())
    parts = [
        f"Bars: 95 % intervals, prefills drawn anew ({prefills} of them), {counts(some['n'])} a point."
        if prefills > 1
        else f"One prefill, so no intervals over prefills; {counts(some['n'])} a point."
    ]
    parts.append(
        f"Shares as labelled; {labels}."
        if labels
        else "How often the labels are right is not known."
    )
    if tests is not None:
        parts.append(
            "Slopes: change of the share for one residual norm, p by permutation, adjusted over all categories. "
            f"●: found, also against {controls} random directions."
            if controls
            else "●: found; without random directions nothing says that it is this direction's doing."
        )
    return " ".join(parts)
