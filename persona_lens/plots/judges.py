"""How two judges label the same replies: confusion tables side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.plots.judge_roles import with_interval
from persona_lens.plots.parts import style
from persona_lens.plots.parts.grid import axes_of, axis_end, within
from persona_lens.plots.parts.subjects import number
from persona_lens.plots.parts.text import shown, text_width
from persona_lens.statistics.kappa import Measure

SHARES = ((0.0, "#f4f7fa"), (0.5, "#74b1dc"), (1.0, "#053461"))
MATRIX, ACROSS = 234, 3
LEFT, HEAD, FOOT = 108, 46, 66
NAME_WIDTH = 130.0


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """One confusion table with what stands above it and at its sides.

    Attributes:
        rows, columns: Whose labels these are.
        counts: Replies by label.
        kappa: Of the two.
        further: What else to say above it.
    """

    rows: str
    columns: str
    counts: pd.DataFrame
    kappa: Measure
    further: str


def confusion(matrices: Sequence[ConfusionMatrix], *, source: str) -> go.Figure:
    """Replies by the labels of one judge and of another, a matrix for every two of them.

    Args:
        matrices: At least one.
        source: What the labels are of, for the line below the title.
    """
    across = min(ACROSS, len(matrices))
    width = across * (LEFT + MATRIX) - LEFT
    pitch = HEAD + MATRIX + FOOT
    height = -(-len(matrices) // across) * pitch - FOOT
    fig = style.figure(
        [_heat_map(matrix, axes_of(place)) for place, matrix in enumerate(matrices)],
        title="Labels of one judge against those of another",
        subtitle=source,
        left=LEFT,
        right=style.WIDTH - LEFT - width,
    )
    look = {**style.axis_look(), "ticks": "", "showline": False, "showgrid": False}
    for place, matrix in enumerate(matrices):
        end = axis_end(place)
        left = place % across * (LEFT + MATRIX) / width
        top = 1 - (HEAD + place // across * pitch) / height
        fig.update_layout(
            {
                f"xaxis{end}": {
                    **look,
                    "domain": within(left, left + MATRIX / width),
                    "anchor": f"y{end}",
                    "title": {"text": matrix.columns, "standoff": 8},
                },
                f"yaxis{end}": {
                    **look,
                    "domain": within(top - MATRIX / height, top),
                    "anchor": f"x{end}",
                    "autorange": "reversed",
                    "ticklabelstandoff": 5,
                    "title": {"text": matrix.rows, "standoff": 8},
                },
            }
        )
        _add_head(fig, matrix, left, top)
    style.add_caption(
        fig,
        "Replies, and what share of their row they are: the larger, the darker. Kappa with its 95 % interval over "
        "roles. Null: the judges' labels are shuffled within each role; a person's are drawn at random.",
    )
    style.set_plot_height(fig, height)
    return fig


def _heat_map(matrix: ConfusionMatrix, axes: Mapping[str, str]) -> go.Heatmap:
    counts = matrix.counts.to_numpy(dtype=float)
    with np.errstate(invalid="ignore"):
        shares = counts / counts.sum(axis=1, keepdims=True)
    labels = [shown(str(label)) for label in matrix.counts.columns]
    return go.Heatmap(
        z=shares,
        x=labels,
        y=labels,
        **axes,
        zmin=0,
        zmax=1,
        colorscale=SHARES,
        showscale=False,
        xgap=2,
        ygap=2,
        text=[
            [
                f"{count:,.0f}" + (f"<br>{100 * share:.0f} %" if np.isfinite(share) else "")
                for count, share in zip(*row, strict=True)
            ]
            for row in zip(counts, shares, strict=True)
        ],
        texttemplate="%{text}",
        textfont={"size": 13},
        hovertemplate=f"{matrix.rows}: %{{y}}<br>{matrix.columns}: %{{x}}<br>%{{text}}<extra></extra>",
    )


def _add_head(fig: go.Figure, matrix: ConfusionMatrix, left: float, top: float) -> None:
    kappa = matrix.kappa
    known = np.isfinite(kappa.value)
    value = f"kappa {with_interval(kappa)}" if known else "no kappa: one label only"
    null = ""
    if np.isfinite(kappa.null_low):
        null = f"null {number(kappa.null_low, '.2f')} to {number(kappa.null_high, '.2f')} · "
    quiet = f"<span style='font-size:11.5px;color:{style.QUIET}'>{null}{matrix.further}</span>"
    called = f"head:{matrix.rows}:{matrix.columns}"
    text = f"<b>{value}</b><br>{quiet}"
    style.write(fig, text, left, top, size=13, name=called, align="left", yshift=6)


def clipped(name: str) -> str:
    """A name as figures show it, cut where it is too wide for what stands beside it."""
    if text_width(name, 13) <= NAME_WIDTH:
        return shown(name)
    while text_width(f"{name}…", 13) > NAME_WIDTH:
        name = name[:-1]
    return shown(f"{name}…")
