"""Groups of conversations along a direction, turn by turn: the mean of each with its band over conversations.

    save_figure(drift_curves(found.curves(by="domain"), source="smollm2-135m-instruct, layer 15"), "domains.html")

Along the axis Assistant is positive: a curve that falls drifts towards role-play.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.plots.parts.panels import Line, Panel, draw_panels
from persona_lens.plots.parts.text import shown
from persona_lens.plots.parts.tidy import COLOURS, GREY, check_columns

CURVES = ("group", "turn", "mean", "low", "high", "conversations")
DASHES = ("solid", "dash", "dot", "dashdot")
ROOM = 0.06


def drift_curves(
    curves: pd.DataFrame,
    *,
    title: str | None = None,
    source: str = "",
    quantity: str = "Projection on the Assistant Axis",
) -> go.Figure:
    """Mean projection of groups of conversations at each turn, and how many conversations there are.

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
        ['coding', 'coding']
    """
    check_columns(curves, CURVES, what="curves of conversations")
    turns = list(range(int(curves["turn"].min()), int(curves["turn"].max()) + 1))
    told = curves if "condition" in curves.columns else curves.assign(condition="")
    groups = list(dict.fromkeys(told["group"]))
    conditions = list(dict.fromkeys(told["condition"]))
    lines, counts = [], []
    for place, group in enumerate(groups):
        colour = COLOURS[place] if place < len(COLOURS) else GREY
        for which, condition in enumerate(conditions):
            rows = told.loc[(told["group"] == group) & (told["condition"] == condition)]
            if rows.empty:
                continue
            table = rows.set_index("turn").reindex(turns)
            name = shown(f"{group}, {condition}" if condition else str(group))
            dash = DASHES[which % len(DASHES)]
            lines.append(
                Line(
                    name,
                    table["mean"].to_numpy(dtype=float),
                    colour,
                    dash=dash,
                    low=table["low"].to_numpy(dtype=float),
                    high=table["high"].to_numpy(dtype=float),
                )
            )
            counts.append(
                Line(name, table["conversations"].to_numpy(dtype=float), colour, dash=dash)
            )
    low, high = float(curves["low"].min()), float(curves["high"].max())
    room = ROOM * (high - low) or 1.0
    most = float(curves["conversations"].max())
    panels = [
        Panel(
            quantity,
            "Band: 95 % bootstrap interval over conversations",
            lines,
            height=340,
            span=(low - room, high + room),
            form=".1f",
        ),
        Panel("Conversations", "", counts, height=90, span=(0.0, most * 1.15), form=".0f"),
    ]
    return draw_panels(
        panels,
        turns,
        title=title or "Where replies lie, turn by turn",
        subtitle=source,
        across="turn",
        across_title="Turn (replies of the model, counted from 0)",
        caption="" if np.isfinite([low, high]).all() else "Some bands are not known.",
    )
