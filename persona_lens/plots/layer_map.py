"""The persona map with a slider over layers: how roles part from each other on their way through the model.

    save_figure(layer_map(space), "layers.html")       # opens without a network

Coordinates are in standard deviations of the roles, so that layers can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from persona_lens.errors import FigureError
from persona_lens.plots.parts import style
from persona_lens.plots.parts.canvas import Canvas
from persona_lens.plots.parts.cloud import STAR, extremes, group_traces, name_roles
from persona_lens.plots.parts.dimensions import Dimension, dimension
from persona_lens.plots.parts.sliders import layer_slider
from persona_lens.plots.parts.style import group_looks
from persona_lens.plots.parts.subjects import (
    block,
    check_fitted,
    number,
    source_line,
    subject_frame,
)
from persona_lens.plots.parts.text import joined, paragraph, shown
from persona_lens.plots.parts.view import cosine_finding, cosine_line
from persona_lens.space import Space
from persona_lens.space.shortages import shortage_note

LEFT, RIGHT = 72, 150
NAMED_A_SIDE = 4
NEAR = 2


def layer_map(
    space: Space,
    *,
    layers: Sequence[int] | None = None,
    x: str = "axis",
    y: str = "pc1",
    start: int | None = None,
    title: str | None = None,
) -> go.Figure:
    """Roles and the default Assistant along two directions, with a slider over layers.

    Each coordinate is the place from the mean of the roles over the standard deviation of the roles at that layer;
    ranges are the same at all layers. Along the axis, Assistant is positive. A component may point either way from
    one layer to the next: each is turned so that roles keep their side, as seen from the layer before.

    Args:
        space: Fitted.
        layers: Blocks, negative ones count from the last; all by default.
        x: What to draw along: "axis", "pc1", "pc2", ..., or the name of a trait or role.
        y: Likewise.
        start: The layer shown first; by default the recommended one (`space.recommend_layer()`) or the nearest.
        title: Replaces the title.

    Raises:
        FigureError: Not fitted, no layer, `start` not among them, or fewer components than asked for.
        SpaceError: Unknown layer or direction.

    Examples:
        >>> from persona_lens import PersonaSpace
        >>> rng = np.random.default_rng(0)
        >>> roles = {f"role_{i}": rng.normal(size=(3, 8)) for i in range(6)}
        >>> space = PersonaSpace.from_vectors(roles, default=np.ones((3, 8))).fit()
        >>> fig = layer_map(space, y="PC2")
        >>> len(fig.frames), fig.layout.xaxis.title.text
        (3, 'Assistant Axis, in standard deviations of the roles')
    """
    check_fitted(space)
    blocks = [block(space, each) for each in (space.table.layers if layers is None else layers)]
    if not blocks:
        raise FigureError("a map needs a layer", expected="at least one", given="none")
    shown_first = block(space, start) if start is not None else _opening(space, blocks)
    views = _views(space, blocks, (x, y))
    every = np.concatenate([np.vstack([each.points, each.star]) for each in views])
    canvas = Canvas.around(every, style.WIDTH - LEFT - RIGHT, equal=False)
    first = subject_frame(space, blocks[0], "role")
    about = [_about(row) for row in first.to_dict("records")]
    looks = group_looks(first["group"].tolist())
    figures = {}
    for view in views:
        fig = style.figure(
            [*_roles(view, first, looks, about), _star(view)],
            title=title or cosine_finding(space, view.layer),
            topic=f"Persona map at layer {view.layer}",
            subtitle=f"{source_line(space)}<br>{cosine_line(space, view.layer)}",
            left=LEFT,
            right=RIGHT,
        )
        _finish(fig, view, canvas, first, shortage=shortage_note(space.shortages_))
        figures[view.layer] = fig
    return layer_slider(figures, start=shown_first)


def _opening(space: Space, blocks: Sequence[int]) -> int:
    recommended = space.recommend_layer().layer
    return min(blocks, key=lambda layer: abs(layer - recommended))


@dataclass(frozen=True, eq=False)
class _LayerView:
    """One layer of the map.

    Attributes:
        layer: Block.
        points: Of the roles, in standard deviations.
        star: Of the default Assistant.
        titles: Of the two axes.
        shorts: The same for hovers.
        near: Neighbours of each role and, last, of the default.
    """

    layer: int
    points: Float[np.ndarray, "role 2"]
    star: Float[np.ndarray, " 2"]
    titles: tuple[str, str]
    shorts: tuple[str, str]
    near: list[str]

    @property
    def hover(self) -> str:
        """The hover of a point: what holds at every layer, its place, its neighbours."""
        x, y = self.shorts
        where = f"layer {self.layer}: {x} %{{x:+.2f}}, {y} %{{y:+.2f}} standard deviations"
        return f"%{{text}}<br>{where}<br>nearest (cosine): %{{hovertext}}<extra></extra>"


def _views(space: Space, blocks: Sequence[int], names: tuple[str, str]) -> list[_LayerView]:
    views: list[_LayerView] = []
    axis_rows = np.isin(space.table.indices(kind="role"), space.table.axis_rows())
    for layer in blocks:
        found = [dimension(space, layer, name) for name in names]
        points, star = np.empty((len(found[0].roles), 2)), np.empty(2)
        for place, each in enumerate(found):
            spread = float(each.roles[axis_rows].std(ddof=1)) or 1.0
            points[:, place], star[place] = each.roles / spread, each.default / spread
            turned = each.units == "component" and views
            if turned and points[:, place] @ views[-1].points[:, place] < 0:
                points[:, place] *= -1
                star[place] *= -1
        subjects = pd.concat([subject_frame(space, layer, kind) for kind in ("role", "default")])
        views.append(
            _LayerView(
                layer=layer,
                points=points,
                star=star,
                titles=(_title(found[0]), _title(found[1])),
                shorts=(found[0].short, found[1].short),
                near=[_near(row) for row in subjects.to_dict("records")],
            )
        )
    return views


def _title(along: Dimension) -> str:
    name = along.brief[:1].upper() + along.brief[1:]
    return f"{name}, in standard deviations of the roles"


def _about(row: Mapping[Any, Any]) -> str:
    """What the hover says of a role at every layer; it is in the page once."""
    replies = f"{row['replies']:,} replies" if row["replies"] else ""
    return joined(
        f"<b>{shown(row['name'])}</b>",
        joined("role", shown(row["group"]), replies, by=" · "),
        f"<i>{paragraph(row['description'])}</i>" if row["description"] else "",
    )


def _near(row: Mapping[Any, Any]) -> str:
    """The neighbours of a role at one layer; short, as there is one such text for each role and layer."""
    found = [
        ", ".join(f"{shown(name)} {number(cosine, '.2f')}" for name, cosine in near[:NEAR])
        for near in (row["near_roles"], row["near_traits"])
    ]
    return joined(*found, by=" · ")


def _roles(
    view: _LayerView,
    roles: pd.DataFrame,
    looks: Mapping[str, style.GroupLook],
    about: Sequence[str],
) -> list[go.Scatter]:
    traces = group_traces(
        np.round(view.points, 3).astype(np.float32),
        roles["group"].tolist(),
        looks,
        roles["name"].tolist(),
        text=about,
        hovertext=view.near,
    )
    for trace in traces:
        trace.hovertemplate = view.hover
    return traces


def _star(view: _LayerView) -> go.Scatter:
    return go.Scatter(
        x=view.star[:1],
        y=view.star[1:],
        mode="markers",
        marker=STAR,
        name="default Assistant",
        text=["<b>default Assistant</b>"],
        hovertext=view.near[-1:],
        hovertemplate=view.hover,
    )


def _finish(
    fig: go.Figure, view: _LayerView, canvas: Canvas, roles: pd.DataFrame, *, shortage: str
) -> None:
    names, groups = roles["name"].tolist(), roles["group"].tolist()
    order = extremes([view.points[:, 0], view.points[:, 1]], NAMED_A_SIDE)
    style.add_notes(fig, name_roles(view.points, names, order, canvas, view.star))
    fig.update_layout(
        style.map_axes(view.titles, canvas.low.tolist(), canvas.high.tolist()),
        legend={
            "x": 1.02,
            "y": 1,
            "title": {"text": "roles by group" if len(set(groups)) > 1 else ""},
            "itemclick": False,
            "itemdoubleclick": False,
        },
    )
    style.add_caption(
        fig,
        "Origin: mean of the roles. A unit is a standard deviation of the roles at that layer, so that layers can "
        f"be compared; named are the {NAMED_A_SIDE} roles at either end of each direction. {shortage}".rstrip(),
    )
    style.set_plot_height(fig, float(canvas.size[1]))
