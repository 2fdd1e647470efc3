"""The same roles in two spaces: the place on the one axis against the place on the other.

comparison.scatter(depth=0.5, names=("smollm2-135m-instruct", "qwen3-0.6b")).show()
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from scipy.stats import spearmanr

from persona_lens.errors import FigureError
from persona_lens.plots.layer_sweep import kind_name
from persona_lens.plots.parts import style
from persona_lens.plots.parts.canvas import Canvas
from persona_lens.plots.parts.cloud import extremes, group_traces, name_roles
from persona_lens.plots.parts.style import UNGROUPED, group_looks
from persona_lens.plots.parts.subjects import signed
from persona_lens.plots.parts.text import joined, shown
from persona_lens.plots.parts.tidy import check_columns, with_interval
from persona_lens.statistics import draw_counts, interval_of

COLUMNS = ("name", "group", "z_a", "z_b")
LEFT, RIGHT = 72, 150
NAMED_A_SIDE = 5
LEAST = 3
N_DRAWS = 500


def comparison_scatter(
    frame: pd.DataFrame,
    *,
    names: tuple[str, str] = ("first space", "second space"),
    correlation: tuple[float, float, float] | None = None,
    title: str | None = None,
    source: str = "",
) -> go.Figure:
    """Place of each role on both axes, in standard deviations; Assistant is positive.

    The dashed line is where both agree. Named are the roles at either end of each axis and those on whose
    place the two differ most.

    Args:
        frame: A row a role: `name`, `group` (may be empty), `z_a`, `z_b` (in standard deviations from the mean of
            the roles); of one pair of layers and one kind. `kind`, `layer_a`, `layer_b`, `projection_a` and
            `projection_b` are told if there.
        names: What to call the two spaces.
        correlation: Spearman's, with its 95 % interval; found by a bootstrap over the roles if not given.
        title: Replaces the title.
        source: For the line below the title.

    Raises:
        FigureError: Columns are missing, fewer than three roles have both places, or a role occurs twice.

    Examples:
        >>> places = {"name": ["a", "b", "c"], "group": "human", "z_a": [-1.0, 0.0, 1.0], "z_b": [-0.8, 0.0, 0.9]}
        >>> fig = comparison_scatter(pd.DataFrame(places))
        >>> [trace.name for trace in fig.data]
        ['equal', 'human']
    """
    check_columns(frame, COLUMNS, what="frame of a scatter of two spaces")
    known = frame.loc[frame["z_a"].notna() & frame["z_b"].notna()].reset_index(drop=True)
    if len(known) < LEAST:
        raise FigureError(
            "too few roles to compare", expected=f"at least {LEAST}", given=len(known)
        )
    if known["name"].duplicated().any():
        raise FigureError(
            "a role occurs twice",
            expected="one pair of layers and one kind",
            given=str(known.loc[known["name"].duplicated(), "name"].iloc[0]),
            remedy="choose the rows of one depth",
        )
    points = known[["z_a", "z_b"]].to_numpy(dtype=float)
    canvas = Canvas.around(points, style.WIDTH - LEFT - RIGHT, equal=False)
    groups = [str(each) if pd.notna(each) and each else UNGROUPED for each in known["group"]]
    kind = kind_name(str(known["kind"].iloc[0])) if "kind" in known else "roles"
    traces = group_traces(
        points,
        groups,
        group_looks(groups),
        known["name"].tolist(),
        hovertext=[_hover(row, names) for row in known.to_dict("records")],
    )
    for trace in traces:
        trace.hoverinfo = "text"
    r, low, high = correlation or rank_correlation(points)
    agreement = (
        f"Spearman correlation {with_interval(r, low, high, '.2f')} over {len(known)} {kind}"
    )
    fig = style.figure(
        [_equal(canvas), *traces],
        title=title or f"{kind.capitalize()} on the Assistant Axis of both",
        subtitle=joined(source, agreement),
        left=LEFT,
        right=RIGHT,
    )
    order = extremes([points[:, 0] - points[:, 1], *points.T], NAMED_A_SIDE)
    style.add_notes(fig, name_roles(points, known["name"].tolist(), order, canvas))
    titles = [_axis(name, known, side) for name, side in zip(names, "ab", strict=True)]
    fig.update_layout(
        style.map_axes(titles, canvas.low.tolist(), canvas.high.tolist()),
        legend={"x": 1.02, "y": 1, "itemclick": False, "itemdoubleclick": False},
    )
    style.add_caption(fig, _caption(len(frame) - len(known)))
    style.set_plot_height(fig, float(canvas.size[1]))
    return fig


def rank_correlation(points: Float[np.ndarray, "role 2"]) -> tuple[float, float, float]:
    """Spearman's correlation with its 95 % interval, roles drawn anew.

    Examples:
        >>> rank_correlation(np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 3.0]]))[0]
        1.0
    """
    drawn = draw_counts(len(points), N_DRAWS, np.random.default_rng(0)).astype(int)
    samples = [np.repeat(points, counts, axis=0) for counts in drawn]
    # A sample of one role over and over has no correlation.
    each = [_spearman(sample) for sample in samples if (np.ptp(sample, axis=0) > 0).all()]
    low, high = interval_of(np.array(each))
    return _spearman(points), low, high


def _spearman(points: Float[np.ndarray, "role 2"]) -> float:
    return float(spearmanr(points[:, 0], points[:, 1])[0])  # pyright: ignore[reportArgumentType]


def _hover(row: Mapping[Any, Any], names: tuple[str, str]) -> str:
    group = row["group"] if pd.notna(row["group"]) and row["group"] else ""
    lines = [f"<b>{shown(str(row['name']))}</b>", shown(str(group))]
    for name, side in zip(names, "ab", strict=True):
        raw = row.get(f"projection_{side}")
        told = f" (projection {signed(raw)})" if raw is not None and np.isfinite(raw) else ""
        lines.append(f"{shown(name)}: {signed(row[f'z_{side}'], '.2f')} standard deviations{told}")
    lines.append(f"difference {signed(row['z_a'] - row['z_b'], '.2f')}")
    return joined(*lines)


def _equal(canvas: Canvas) -> go.Scatter:
    ends = [float(canvas.low.max()), float(canvas.high.min())]
    return go.Scatter(
        x=ends,
        y=ends,
        mode="lines",
        line={"color": style.FAINT, "width": 1.2, "dash": "dash"},
        name="equal",
        hoverinfo="skip",
        showlegend=False,
    )


def _axis(name: str, known: pd.DataFrame, side: str) -> str:
    column = f"layer_{side}"
    layer = f", layer {known[column].iloc[0]}" if column in known else ""
    return f"{shown(name)}{layer}: Assistant Axis, in standard deviations"


def _caption(lost: int) -> str:
    text = (
        "Origin: the mean. Dashed: where both agree. Named: either end of each axis, and where the two differ "
        "most. Interval: 95 %, bootstrap over what is compared."
    )
    return text + (f" Left out, without a place: {lost}." if lost else "")
