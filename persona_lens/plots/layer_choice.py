"""Which layer to look at: the measures behind `space.recommend_layer()`, each with its interval and its null."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.plots.parts import style
from persona_lens.plots.parts.panels import Line, Panel, draw_panels
from persona_lens.plots.parts.subjects import check_fitted, source_line
from persona_lens.plots.parts.text import joined
from persona_lens.space import Space
from persona_lens.space.layer import span
from persona_lens.space.recommending import MEASURES
from persona_lens.space.shortages import shortage_note

COLOURS = {
    "stability": style.AXIS_COLOUR,
    "separation": style.INK,
    "held out": style.ROLE_COLOUR,
}
HEIGHT = 150


def layer_choice(space: Space, *, title: str | None = None) -> go.Figure:
    """The measures from which a layer is recommended, against the layer.

    Args:
        space: Fitted.
        title: Replaces the title.

    Raises:
        FigureError: Not fitted.

    Examples:
        >>> from persona_lens import PersonaSpace
        >>> rng = np.random.default_rng(0)
        >>> roles = {f"role_{i}": rng.normal(size=(3, 8)) for i in range(6)}
        >>> space = PersonaSpace.from_vectors(roles, default=np.ones((3, 8))).fit()
        >>> [trace.name for trace in layer_choice(space).data if trace.hoverinfo == "text"]
        ['null, 95 % below', 'separation']
    """
    check_fitted(space)
    advice = space.recommend_layer()
    layers = list(space.layers_)
    others = tuple(layer for layer in advice.as_good if layer != advice.layer)
    found = f"Layer {advice.layer} is recommended"
    if others:
        found += (
            f"; within the intervals {span(others)} {'are' if len(others) > 1 else 'is'} no worse"
        )
    if not advice.as_good:
        found = f"No measure beats its null at any layer; {advice.layer} is two thirds up"
    fig = draw_panels(
        [_panel(part, layers) for _, part in advice.frame.groupby("measure", sort=False)],
        layers,
        title=title or found,
        topic="Which layer to look at",
        subtitle=joined(
            source_line(space),
            "Upright line: the recommended layer, of the highest mean standing between chance (0) and the best "
            "candidate (1). The last tenth of the depth is no candidate.",
        ),
        caption=joined(
            "The layer is chosen on the data shown: a number at that layer alone is somewhat too good.",
            shortage_note(space.shortages_),
            by=" ",
        ),
    )
    line = {"color": style.FAINT, "width": 1.6}
    fig.add_shape(
        type="line",
        x0=advice.layer,
        x1=advice.layer,
        y0=0,
        y1=1,
        yref="paper",
        line=line,
        layer="below",
    )
    return fig


def _panel(part: pd.DataFrame, layers: list[int]) -> Panel:
    measure = str(part["measure"].iloc[0])
    whole = part.set_index("layer").reindex(layers)
    value, low, high, null = (
        whole[name].to_numpy(dtype=float) for name in ("value", "low", "high", "null_95")
    )
    counts = part["standing"].notna().any()
    ends = np.array([value, low, high, null])
    top, bottom = float(np.nanmax(ends)), min(0.0, float(np.nanmin(ends)))
    return Panel(
        title=measure.capitalize()
        + ("" if counts else " (beats its null nowhere, and has no say)"),
        note=MEASURES[measure],
        lines=[
            Line("null, 95 % below", null, style.NULL_COLOUR, dash="dot"),
            Line(measure, value, COLOURS[measure], low=low, high=high),
        ],
        height=HEIGHT,
        span=(bottom, top + 0.06 * (top - bottom)),
    )
