"""Groups of conversations along a direction, turn by turn: the mean of each with its band over conversations.

    save_figure(drift_curves(found.curves(by="domain"), source="smollm2-135m-instruct, layer 15"), "domains.html")

Along the axis Assistant is positive: a curve that falls drifts towards role-play.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from persona_lens.plots.parts.panels import Line, Panel, draw_panels
from persona_lens.plots.parts.text import joined, shown
from persona_lens.plots.parts.tidy import COLOURS, GREY, check_columns

CURVES = ("group", "turn", "mean", "low", "high", "conversations")
BAND = "Band: 95 % bootstrap interval over conversations"
TOGETHER, APART = 340, 150
ROOM = 0.06


def drift_curves(
    curves: pd.DataFrame,
    *,
    title: str | None = None,
    source: str = "",
    quantity: str = "Projection on the Assistant Axis",
) -> go.Figure:
    """Mean projection of groups of conversations at each turn; several conditions are compared group by group.

    Args:
        curves: One row a group and turn: `group`, `turn`, `mean`, `low`, `high` (95 %), `conversations`; with a
            column `condition` (such as "no cap" and "floor") each has its own dash. `Trace.curves` makes them.
        title: Replaces the title.
        source: Model, layer and reading, for the line below the title.
        quantity: What is averaged.

    Raises:
        FigureError: Columns are missing, or there is nothing to draw.

    Examples:
        >>> curves = pd.DataFrame({"group": "coding", "turn": [0, 1], "mean": [5.0, 4.0], "low": [4.5, 3.4],
        ...                        "high": [5.5, 4.6], "conversations": 20})
        >>> [trace.name for trace in drift_curves(curves).data if trace.hoverinfo == "text"]
        ['coding']
    """
    check_columns(curves, CURVES, what="curves of conversations")
    turns = list(range(int(curves["turn"].min()), int(curves["turn"].max()) + 1))
    conditions = list(dict.fromkeys(curves["condition"])) if "condition" in curves.columns else []
    groups = list(dict.fromkeys(curves["group"]))
    low, high = float(curves["low"].min()), float(curves["high"].max())
    room = ROOM * (high - low) or 1.0
    span = low - room, high + room
    if len(conditions) > 1:
        panels = [
            _panel(str(group), "", _by(own, "condition", turns), APART, span)
            for group, own in ((group, curves.loc[curves["group"] == group]) for group in groups)
        ]
    else:
        panels = [_panel(quantity, BAND, _by(curves, "group", turns), TOGETHER, span)]
    return draw_panels(
        panels,
        turns,
        title=title or "Where replies lie, turn by turn",
        subtitle=joined(source, f"{quantity}. {BAND}" if len(conditions) > 1 else ""),
        across="turn",
        across_title="Turn (replies of the model, counted from 0)",
        caption=f"Conversations behind each curve: {_counts(curves, groups)}.",
    )


def _by(rows: pd.DataFrame, column: str, turns: list[int]) -> list[Line]:
    """A curve for each value of a column."""
    lines = []
    for place, name in enumerate(dict.fromkeys(rows[column])):
        table = rows.loc[rows[column] == name].set_index("turn").reindex(turns)
        lines.append(
            Line(
                shown(str(name)),
                table["mean"].to_numpy(dtype=float),
                COLOURS[place] if place < len(COLOURS) else GREY,
                low=table["low"].to_numpy(dtype=float),
                high=table["high"].to_numpy(dtype=float),
            )
        )
    return lines


def _panel(
    title: str, note: str, lines: list[Line], height: int, span: tuple[float, float]
) -> Panel:
    return Panel(shown(title), note, lines, height=height, span=span, form=".1f")


def _counts(curves: pd.DataFrame, groups: list[str]) -> str:
    """How many conversations there are of each group, from the first turn shown to the last."""
    told = []
    for group in groups:
        own = curves.loc[curves["group"] == group, "conversations"]
        fewest, most = int(own.min()), int(own.max())
        told.append(f"{shown(str(group))} {most:,}" + (f" to {fewest:,}" if fewest < most else ""))
    return ", ".join(told)
