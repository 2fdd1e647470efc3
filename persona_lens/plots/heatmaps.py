"""Traits against the axis, components or roles, as heat maps.

    save_figure(trait_heatmap(trait_view(space, against="components", layer=20)), "traits.html")

Rows that look alike stand together: the order is that of a hierarchical clustering.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from persona_lens.errors import FigureError
from persona_lens.plots.layer_sweep import LAYER_TITLE
from persona_lens.plots.parts import style
from persona_lens.plots.parts.cells import (
    BAR_ROOM,
    DIVERGING,
    LETTER,
    NAME_SIZES,
    cluster_order,
    color_bar,
    name_ticks,
)
from persona_lens.plots.parts.sliders import layer_slider
from persona_lens.plots.parts.subjects import number
from persona_lens.plots.parts.text import joined, shown, text_width
from persona_lens.plots.parts.tidy import check_columns

COLUMNS = ("layer", "trait", "target", "cosine")
ROW, LEAST_ROW, MOST_HEIGHT = 16.0, 5.0, 1300.0
CELL = 70.0
SIGNIFICANT = 0.05
MANY_CELLS = 600_000  # numbers in one page: about 4 MB


def trait_heatmap(
    frame: pd.DataFrame,
    *,
    cluster_targets: bool | None = None,
    title: str | None = None,
    source: str = "",
) -> go.Figure:
    """Cosines of traits with the axis by layer, with components, or with roles.

    With a single target and several layers, columns are layers; else columns are targets, and several layers get a
    slider. Traits are clustered over all layers that are drawn, so that rows stay where they are.

    Args:
        frame: A row a cell: `layer`, `trait`, `target` ("axis", "PC1", a role, ...), `cosine` from -1 to 1,
            towards the Assistant positive. If there, `low`, `high` and `q` are told in hover and caption.
        cluster_targets: Whether to cluster columns; by default unless they are layers or components.
        title: Replaces the title.
        source: Model and hook point, for the line below the title.

    Raises:
        FigureError: Columns are missing, there is no row, or a cell occurs twice.

    Examples:
        >>> cells = [(0, trait, pc, 0.5) for trait in ("calm", "bold") for pc in ("PC1", "PC2")]
        >>> fig = trait_heatmap(pd.DataFrame(cells, columns=COLUMNS))
        >>> list(fig.data[0].x), fig.data[0].z.shape
        (['PC1', 'PC2'], (2, 2))
    """
    check_columns(frame, COLUMNS, what="frame of a trait heat map")
    if frame.duplicated(list(COLUMNS[:3])).any():
        raise FigureError(
            "a trait heat map has a cell twice", expected="one row a layer, trait and target"
        )
    targets = [str(each) for each in dict.fromkeys(frame["target"])]
    layers = sorted(int(layer) for layer in set(frame["layer"]))
    by_layer = len(targets) == 1 and len(layers) > 1
    kept = layers if by_layer else _thinned(layers, len(frame) // len(layers))
    frame = frame.loc[frame["layer"].isin(kept)]
    columns = kept if by_layer else targets
    traits = [str(each) for each in dict.fromkeys(frame["trait"])]
    grids = _grids(frame, traits, columns, kept, by_layer=by_layer)
    rows = cluster_order(np.concatenate(grids, axis=1))
    if cluster_targets is None:
        cluster_targets = not by_layer and not all(_component(each) for each in targets)
    order = cluster_order(np.concatenate(grids).T) if cluster_targets else np.arange(len(columns))
    names = (
        [shown(traits[row]) for row in rows],
        [str(columns[place]) if by_layer else _target(columns[place]) for place in order],
    )
    reach = float(np.nanmax(np.abs(np.stack(grids)), initial=0.0)) or 1.0
    subtitle = joined(source, _words(by_layer, cluster_targets))
    caption = _caption(frame, traits, targets, kept, layers)
    against = "components" if all(map(_component, targets)) else "roles"
    against = f"the {_target(targets[0])}" if len(targets) == 1 else against
    told = _told(frame, traits, columns, by_layer=by_layer)
    figures = {
        layer: _draw(
            grid[np.ix_(rows, order)],
            names,
            told=None if told is None else told[np.ix_(rows, order)],
            reach=reach,
            x_title=LAYER_TITLE if by_layer else "",
            where="layer %{x}" if by_layer else f"%{{x}}, layer {layer}",
            title=title or _finding(frame, against, None if by_layer else layer),
            topic=f"Traits and {against}" + ("" if by_layer else f" at layer {layer}"),
            subtitle=subtitle,
            caption=caption,
        )
        for layer, grid in zip([kept[0]] if by_layer else kept, grids, strict=True)
    }
    return layer_slider(
        figures, start=list(figures)[len(figures) * 2 // 3 if len(figures) > 1 else 0]
    )


def _thinned(layers: list[int], cells: int) -> list[int]:
    """As many layers as a page of reasonable size holds, evenly spaced, first and last among them."""
    room = max(2, MANY_CELLS // max(1, cells))
    if len(layers) <= room:
        return layers
    return [
        layers[place]
        for place in np.unique(np.linspace(0, len(layers) - 1, room).round().astype(int))
    ]


def _grids(
    frame: pd.DataFrame,
    traits: Sequence[str],
    columns: Sequence[Any],
    layers: Sequence[int],
    *,
    by_layer: bool,
) -> list[Float[np.ndarray, "trait column"]]:
    """One matrix a layer, or a single one whose columns are the layers."""
    parts = [frame] if by_layer else [frame.loc[frame["layer"] == layer] for layer in layers]
    across = "layer" if by_layer else "target"
    return [
        part.assign(trait=part["trait"].astype(str), target=part["target"].astype(str))
        .pivot(index="trait", columns=across, values="cosine")
        .reindex(index=traits, columns=columns)
        .to_numpy(dtype=float)
        for part in parts
    ]


def _told(
    frame: pd.DataFrame, traits: Sequence[str], columns: Sequence[Any], *, by_layer: bool
) -> np.ndarray | None:
    """Interval and false discovery rate of each cell, where the columns are layers and the frame knows them."""
    if not by_layer or not {"low", "high", "q"} <= set(frame.columns):
        return None
    texts = [
        (f" ({number(low, '.2f')} to {number(high, '.2f')})" if np.isfinite(low + high) else "")
        + (f"<br>q = {number(q, '.2g')}" if np.isfinite(q) else "")
        for low, high, q in frame[["low", "high", "q"]].to_numpy(dtype=float)
    ]
    cells = frame.assign(trait=frame["trait"].astype(str), told=texts)
    grid = cells.pivot(index="trait", columns="layer", values="told")
    return grid.reindex(index=traits, columns=columns).fillna("").to_numpy(dtype=object)


def _draw(
    grid: Float[np.ndarray, "trait column"],
    names: tuple[list[str], list[str]],
    *,
    told: np.ndarray | None,
    reach: float,
    x_title: str,
    where: str,
    title: str,
    topic: str,
    subtitle: str,
    caption: str,
) -> go.Figure:
    rows, columns = names
    row = float(np.clip(MOST_HEIGHT / len(rows), LEAST_ROW, ROW))
    left = round(max(text_width(name, NAME_SIZES[0]) for name in rows)) + 22
    full = style.WIDTH - left - BAR_ROOM
    cell = min(full / len(columns), CELL)
    upright = max(text_width(name, NAME_SIZES[0]) for name in columns) > cell - 4
    fig = style.figure(
        [
            go.Heatmap(
                z=np.round(grid, 3).astype(np.float32),
                x=columns,
                y=rows,
                coloraxis="coloraxis",
                text=told,
                hovertemplate=f"<b>%{{y}}</b><br>{where}<br>cosine %{{z:.2f}}"
                + ("" if told is None else "%{text}")
                + "<extra></extra>",
                hoverongaps=False,
                xgap=1 if cell > LETTER else 0,
                ygap=1 if row > LETTER else 0,
                name="cosine",
            )
        ],
        title=title,
        topic=topic,
        subtitle=subtitle,
        left=left,
        right=round(style.WIDTH - left - cell * len(columns)),
    )
    style.add_caption(fig, caption)
    if upright and not x_title:
        _deepen(fig, max(text_width(name, NAME_SIZES[0]) for name in columns))
    style.set_plot_height(fig, row * len(rows))
    fig.update_layout(
        xaxis={
            **name_ticks(columns, cell),
            "title": {"text": x_title},
            "tickangle": -90 if upright and not x_title else 0,
        },
        yaxis={**name_ticks(rows, row), "autorange": "reversed", "ticklabelstandoff": 3},
        coloraxis={
            "colorscale": DIVERGING,
            "cmin": -reach,
            "cmax": reach,
            "colorbar": color_bar("cosine", min(260.0, row * len(rows)), 1.0, cell * len(columns)),
        },
    )
    return fig


def _deepen(fig: go.Figure, names: float) -> None:
    """Make room below for upright names, and move the caption with it."""
    layout: Any = fig.layout
    more = round(max(0.0, names + 14 - style.AXIS_ROOM))
    layout.margin.b += more
    for note in layout.annotations:
        if note.name == "caption":
            note.yshift -= more


def _component(target: str) -> bool:
    return target.lower().startswith("pc") and target[2:].isdigit()


def _target(target: Any) -> str:
    """What figures call a target.

    Examples:
        >>> _target("axis"), _target("pc2"), _target("devils_advocate")
        ('Assistant Axis', 'PC2', 'devils advocate')
    """
    target = str(target)
    if target == "axis":
        return "Assistant Axis"
    return target.upper() if _component(target) else shown(target)


def _words(by_layer: bool, clustered: bool) -> str:
    which = "Rows and columns" if clustered else "Rows"
    towards = "the Assistant's side" if by_layer else "the same side"
    return f"Colour: cosine, blue towards {towards}. {which} in the order of a hierarchical clustering."


def _finding(frame: pd.DataFrame, against: str, layer: int | None) -> str:
    """How many cells go beyond their null; where there is none, the strongest cell."""
    cells = frame if layer is None else frame.loc[frame["layer"] == layer]
    if "q" in cells and cells["q"].notna().any():
        known = int(cells["q"].notna().sum())
        clear = int((cells["q"] < SIGNIFICANT).sum())
        beyond = f"{clear:,}" if clear else "None"
        return (
            f"{beyond} of {known:,} cells go{'es' if clear == 1 else ''} beyond directions drawn "
            f"like the roles (q below {SIGNIFICANT:g})"
        )
    if not cells["cosine"].notna().any():
        return f"No cosine of traits and {against} is known"
    best = max(
        cells.dropna(subset=["cosine"]).to_dict("records"), key=lambda row: abs(row["cosine"])
    )
    where = "" if layer is not None else f", layer {best['layer']}"
    return (
        f"Strongest: {shown(str(best['trait']))} and {_target(best['target'])}{where}, cosine "
        f"{number(best['cosine'], '.2f')} (the largest of {len(cells):,}, without a null)"
    )


def _caption(
    frame: pd.DataFrame,
    traits: Sequence[str],
    targets: Sequence[str],
    kept: Sequence[int],
    layers: Sequence[int],
) -> str:
    targeted = "1 target" if len(targets) == 1 else f"{len(targets)} targets"
    parts = [f"{len(traits)} traits, {targeted}, {len(layers)} layer{'s'[: len(layers) > 1]}."]
    if len(kept) < len(layers):
        parts.append(f"To keep the page small, {len(kept)} of the layers are drawn.")
    missing = int(frame["cosine"].isna().sum())
    if missing:
        parts.append(f"Left open, not known: {missing} cells.")
    return " ".join(parts)
