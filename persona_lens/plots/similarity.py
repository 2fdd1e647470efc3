"""Every layer of one space against every layer of another, as a heat map.

save_figure(layer_similarity(comparison.similarity), "layers.html")
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.plots.layer_sweep import by_kind, kind_name
from persona_lens.plots.parts import style
from persona_lens.plots.parts.cells import BAR_ROOM, DIVERGING, SEQUENTIAL, color_bar
from persona_lens.plots.parts.grid import axes_of, axis_end
from persona_lens.plots.parts.text import joined, shown
from persona_lens.plots.parts.tidy import check_columns, counts

COLUMNS = ("layer_a", "layer_b", "value")


def layer_similarity(
    frame: pd.DataFrame,
    *,
    names: tuple[str, str] = ("first model", "second model"),
    measure: str = "correlation of the cosines of all pairs",
    title: str | None = None,
    source: str = "",
) -> go.Figure:
    """Every layer of one space against every layer of another, a panel a kind.

    Args:
        frame: A row a cell: `layer_a`, `layer_b`, `value`; with `kind` a panel each; `null_95` and `n`, if there,
            are told in hover and caption.
        names: What to call the two spaces.
        measure: What the value is.
        title: Replaces the title.
        source: For the line below the title.

    Raises:
        FigureError: Columns are missing, or there is no row.

    Examples:
        >>> cells = pd.DataFrame({"layer_a": [0, 1], "layer_b": [0, 1], "value": [0.9, 0.8]})
        >>> layer_similarity(cells).data[0].z.shape
        (2, 2)
    """
    check_columns(frame, COLUMNS, what="frame of layer similarity")
    panels = by_kind(frame) if "kind" in frame else [("", frame)]
    values = frame["value"].to_numpy(dtype=float)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    signed = low < -0.1
    left, gap, right = 66, 78, BAR_ROOM
    width = (style.WIDTH - left - right - gap * (len(panels) - 1)) / len(panels)
    width = min(width, 560.0)
    full = style.WIDTH - left - right
    fig = style.figure(
        [_similarity(part, place, names) for place, (_, part) in enumerate(panels)],
        title=title or f"Layers of {shown(names[0])} and of {shown(names[1])}",
        subtitle=joined(source, f"Colour: {measure}."),
        left=left,
        right=right,
        head=24 if panels[0][0] else 0,
    )
    look = style.axis_look()
    for place, (kind, _) in enumerate(panels):
        start = place * (width + gap) / full
        ref = axis_end(place)
        across = {"domain": [start, min(1.0, start + width / full)], "anchor": f"y{ref}"}
        across["title"] = {**look["title"], "text": f"Layer of {shown(names[0])}"}
        up = {
            "anchor": f"x{ref}",
            "title": {**look["title"], "text": f"Layer of {shown(names[1])}"},
        }
        fig.update_layout({f"xaxis{ref}": {**look, **across}, f"yaxis{ref}": {**look, **up}})
        if kind:
            head = f"<b>{kind_name(kind).capitalize()}</b>"
            style.write(fig, head, start, 1, size=13, name=kind, yshift=5)
    reach = max(abs(low), abs(high))
    bar_at = (len(panels) * width + gap * (len(panels) - 1)) / full
    fig.update_layout(
        coloraxis={
            "colorscale": DIVERGING if signed else SEQUENTIAL,
            "cmin": -reach if signed else 0.0,
            "cmax": reach if signed else 1.0 if high > 0.5 else high,
            "colorbar": color_bar("", min(width, 320.0), bar_at, full),
        }
    )
    style.add_caption(fig, _caption(frame))
    style.set_plot_height(fig, min(width, 460.0))
    return fig


def _similarity(frame: pd.DataFrame, place: int, names: tuple[str, str]) -> go.Heatmap:
    grid = frame.pivot(index="layer_b", columns="layer_a", values="value").sort_index()
    grid = grid.sort_index(axis=1)
    null = None
    template = f"layer %{{x}} of {shown(names[0])}<br>layer %{{y}} of {shown(names[1])}<br><b>%{{z:.2f}}</b>"
    if "null_95" in frame:
        null = frame.pivot(index="layer_b", columns="layer_a", values="null_95")
        null = null.reindex_like(grid).to_numpy(dtype=float)
        template += "<br>95 % of the null below %{customdata:.2f}"
    return go.Heatmap(
        z=grid.to_numpy(dtype=float),
        x=grid.columns.to_numpy(),
        y=grid.index.to_numpy(),
        customdata=null,
        coloraxis="coloraxis",
        **axes_of(place),
        hovertemplate=template + "<extra></extra>",
        hoverongaps=False,
        name="similarity",
    )


def _caption(frame: pd.DataFrame) -> str:
    parts = [f"{frame['layer_a'].nunique()} by {frame['layer_b'].nunique()} layers."]
    if "null_95" in frame and frame["null_95"].notna().any():
        parts.append(f"95 % of the null stay below {frame['null_95'].max():.2f} everywhere.")
    if "n" in frame:
        parts.append(f"Units behind a cell: {counts(frame['n'])}.")
    return " ".join(parts)
