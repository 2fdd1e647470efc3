"""What capping buys and what it costs: adoption of personas against KL on neutral text, with the Pareto front.

    save_figure(pareto(frame, source="smollm2-135m-instruct"), "pareto.html")

Down is what capping wants (fewer replies in the persona), left is cheap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.plots.parts import style
from persona_lens.plots.parts.capping_traces import traces
from persona_lens.plots.parts.capping_view import CappingView, obstacles, texts
from persona_lens.plots.parts.labels import place_labels
from persona_lens.plots.parts.tidy import TINY_KL, check_columns, counts, log_ticks

COLUMNS = (
    *("direction", "control", "layers", "depth", "percentile"),
    *("adoption", "adoption_low", "adoption_high", "n", "kl", "kl_low", "kl_high"),
    *("perplexity_ratio", "distinct", "engagement"),
)
DEPTHS = ((0.0, "#f7e08a"), (0.35, "#e69f00"), (0.7, "#c2504f"), (1.0, "#4a1259"))
LEFT, RIGHT, HEIGHT = 72, 208, 470


def pareto(frame: pd.DataFrame, *, title: str | None = None, source: str = "") -> go.Figure:
    """Adoption against KL for every layer range and percentile of capping, with the Pareto front.

    Colour is the depth of the layers, size the percentile; controls are grey and open. The stepped line is the
    lowest adoption up to each KL of all directions but the controls, and of no intervention.

    Args:
        frame: A row a plan. `direction`: its name. `control`: whether it is a random direction. `layers`: as
            "21-26"; empty without intervention. `depth`: middle of the layers over the number of layers.
            `matched`, if there is such a column: in what a control is like its plan.
            `percentile`: of the threshold, 0 to 100. `adoption`: share of persona replies still in the persona,
            with its 95 % interval `adoption_low` to `adoption_high` over `n` replies. `kl`, `kl_low`, `kl_high`:
            nats a token on neutral text. `perplexity_ratio`, `distinct`: on the same. `engagement`: share of
            tokens and layers changed. NaN where unknown.
        title: Replaces the title.
        source: Model and hook point, for the line below the title.

    Raises:
        FigureError: Columns are missing, or no row has adoption and KL.

    Examples:
        >>> row = dict.fromkeys(COLUMNS, 0.5) | {"direction": "Assistant Axis", "control": False, "n": 96}
        >>> frame = pd.DataFrame([row | {"layers": "21-26", "percentile": 75.0}, row | {"layers": "", "kl": 0.0}])
        >>> [trace.name for trace in pareto(frame).data if trace.hoverinfo == "text"]
        ['Assistant Axis', 'no intervention']
    """
    check_columns(frame, COLUMNS, what="frame of a Pareto figure")
    known = frame.loc[frame["adoption"].notna() & frame["kl"].notna()]
    check_columns(known, COLUMNS, what="points of a Pareto figure")
    view = CappingView.of(known, np.array([style.WIDTH - LEFT - RIGHT, HEIGHT], dtype=float))
    fig = style.figure(
        traces(view),
        title=title or "Capping: replies in the persona against change on neutral text",
        subtitle=source,
        left=LEFT,
        right=RIGHT,
    )
    low, high = view.canvas.low.tolist(), view.canvas.high.tolist()
    ticks = _ticks(view)
    fig.update_layout(
        xaxis={
            "title": {"text": "KL on neutral text, nats a token (log scale)"},
            "type": "log",
            "range": [low[0], high[0]],
            "tickvals": list(ticks),
            "ticktext": list(ticks.values()),
        },
        yaxis={
            "title": {"text": "Persona replies still in the persona"},
            "range": [low[1], high[1]],
            "tickformat": ".0%",
            "nticks": 8,
        },
        legend={"x": 1.02, "y": 1, "itemclick": False, "itemdoubleclick": False},
        coloraxis=_depth_axis(),
    )
    named = _add_labels(fig, view)
    style.add_caption(fig, _caption(view, lost=len(frame) - len(known), named=named))
    style.set_plot_height(fig, HEIGHT)
    return fig


def _ticks(view: CappingView) -> dict[float, str]:
    """Values of KL, and zero at the left where no intervention is drawn."""
    low, high = float(view.canvas.low[0]), float(view.canvas.high[0])
    if not len(view.bare):
        return dict(log_ticks(low, high))
    return {10**view.at_zero: "0", **log_ticks(2 * view.at_zero - low, high)}


def _depth_axis() -> dict[str, Any]:
    return {
        "colorscale": DEPTHS,
        "cmin": 0,
        "cmax": 1,
        "colorbar": {
            "title": {"text": "depth of the middle<br>of the layers", "font": {"size": 12}},
            "thickness": 13,
            "lenmode": "pixels",
            "len": 200,
            "xpad": 0,
            "ypad": 0,
            "x": 1.025,
            "y": 0,
            "yanchor": "bottom",
            "outlinewidth": 0,
            "tickfont": {"size": 11},
            "tickformat": ".0%",
            "tickvals": [0.1, 0.3, 0.5, 0.7, 0.9],
        },
    }


def _add_labels(fig: go.Figure, view: CappingView) -> int:
    """Add the labels there is room for; return how many plans are named."""
    wanted = texts(view)
    markers, lines = obstacles(view)
    width, height = view.canvas.size.tolist()
    placements = place_labels(
        [text.label for text in wanted], width=width, height=height, markers=markers, lines=lines
    )
    placed = [
        (text, place) for text, place in zip(wanted, placements, strict=True) if place is not None
    ]
    style.add_notes(fig, [text.annotation(place) for text, place in placed])
    return sum(text.name.startswith("front:") for text, _ in placed)


def _caption(view: CappingView, *, lost: int, named: int) -> str:
    intervals = ["adoption_low", "adoption_high", "kl_low", "kl_high"]
    known = view.own[intervals].notna().to_numpy().any()
    n = counts(pd.concat([view.plans["n"], view.bare["n"]]))
    parts = [
        f"Bars: 95 % intervals, {n} replies a point." if known else f"No intervals; {n} replies.",
        "The line picks the lowest of noisy points, so that new data would lie somewhat above it.",
    ]
    if len(view.controls):
        parts.append("Grey: random directions, intervals in the hover.")
    if len(view.front) > named:
        parts.append(f"Named: {named} of the {len(view.front)} plans on the line.")
    tiny = int((view.plans["kl"] < TINY_KL).sum())
    if tiny:
        parts.append(f"KL below 10<sup>−6</sup> nats ({tiny}) is drawn there.")
    if lost:
        parts.append(f"Left out, without a value: {lost}.")
    return " ".join(parts)
