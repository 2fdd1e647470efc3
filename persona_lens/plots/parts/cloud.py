"""A cloud of roles in the plane: one trace a group, and names for those that stand out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from persona_lens.plots.parts import style
from persona_lens.plots.parts.canvas import Canvas
from persona_lens.plots.parts.labels import Label, label_annotation, place_labels
from persona_lens.plots.parts.marks import CROWDED, FAR
from persona_lens.plots.parts.style import GroupLook
from persona_lens.plots.parts.text import shown

SIZE, CROWDED_SIZE = 9.0, 7.5
OUTLINE = {"color": "#ffffff", "width": 0.6}
STAR = {
    "symbol": "star",
    "size": 20,
    "color": style.DEFAULT_COLOUR,
    "line": {"color": style.INK, "width": 1.4},
}
STAR_RADIUS = 10.5


def group_traces(
    points: Float[np.ndarray, "role 2"],
    groups: Sequence[str],
    looks: Mapping[str, GroupLook],
    names: Sequence[str],
    **texts: Sequence[str],
) -> list[go.Scatter]:
    """One trace a group, in the group's colour and symbol.

    Args:
        points: Place of each role.
        groups: Of each role.
        looks: Of each group, all that occur.
        names: Of each role; kept as `customdata`.
        texts: Further properties of the trace with a value for each role, such as `hovertext`.
    """
    of = np.array(groups, dtype=object)
    size = CROWDED_SIZE if len(points) > CROWDED else SIZE
    traces = []
    for group, look in looks.items():
        rows = np.flatnonzero(of == group).tolist()
        traces.append(
            go.Scatter(
                x=points[rows, 0],
                y=points[rows, 1],
                mode="markers",
                marker={
                    "symbol": look.symbol,
                    "color": look.colour,
                    "size": size,
                    "opacity": 0.85,
                    "line": OUTLINE,
                },
                name=shown(group),
                showlegend=len(looks) > 1,
                customdata=[names[row] for row in rows],
                **{key: [values[row] for row in rows] for key, values in texts.items()},
            )
        )
    return traces


def name_roles(
    points: Float[np.ndarray, "role 2"],
    names: Sequence[str],
    order: Sequence[int],
    canvas: Canvas,
    star: Float[np.ndarray, " 2"] | None = None,
) -> list[dict[str, Any]]:
    """Annotations that name roles, and the default Assistant if `star` is given, where there is room.

    Args:
        points: Place of each role.
        names: Of each role.
        order: Rows of the roles to name, the most important first.
        canvas: The plot area.
        star: Place of the default Assistant.
    """
    pixels = canvas.pixels(points)
    radius = (CROWDED_SIZE if len(points) > CROWDED else SIZE) / 2
    order = list(order)
    labels = [
        Label(
            shown(names[row]),
            *pixels[row].tolist(),
            radius=radius,
            size=style.LABEL_SIZE,
            reach=FAR,
            priority=len(order) - place,
        )
        for place, row in enumerate(order)
    ]
    keys, at = [f"role:{names[row]}" for row in order], [points[row] for row in order]
    if star is not None:
        labels.append(
            Label(
                "<b>default Assistant</b>",
                *canvas.pixels(star).tolist(),
                radius=STAR_RADIUS,
                size=style.LABEL_SIZE + 1,
                reach=FAR,
                priority=len(order) + 1,
                insistent=True,
            )
        )
        keys.append("default")
        at.append(star)
    rest = np.delete(pixels, order, axis=0)
    spots = place_labels(
        labels,
        width=float(canvas.size[0]),
        height=float(canvas.size[1]),
        markers=np.concatenate([rest, np.full((len(rest), 1), radius)], axis=1),
    )
    found = []
    for key, point, label, spot in zip(keys, at, labels, spots, strict=True):
        if spot is None:
            continue
        at_point = float(point[0]), float(point[1])
        found.append(label_annotation(key, label, spot, at_point))
    return found


def extremes(columns: Sequence[Float[np.ndarray, " role"]], a_side: int) -> list[int]:
    """Rows at either end of each column, the outermost first.

    Examples:
        >>> extremes([np.array([0.0, 5.0, 1.0, -9.0])], 1)
        [3, 1]
    """
    ends = [np.argsort(column, kind="stable") for column in columns]
    ranked = [
        int(row)
        for place in range(min(a_side, len(ends[0])))
        for order in ends
        for row in (order[place], order[-1 - place])
    ]
    return list(dict.fromkeys(ranked))
