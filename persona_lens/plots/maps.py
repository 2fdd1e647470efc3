"""The persona map: roles, traits and the default Assistant among the principal components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import plotly.graph_objects as go

from persona_lens.errors import FigureError
from persona_lens.plots.parts.plane import draw_plane
from persona_lens.plots.parts.scene import draw_scene
from persona_lens.plots.parts.subjects import check_fitted, role_names
from persona_lens.plots.parts.view import LABELS, Labels, map_view
from persona_lens.space import Space
from persona_lens.spelling import check_choice


def persona_map(
    space: Space,
    layer: int | None = None,
    *,
    dims: Literal[2, 3] = 2,
    traits: bool = True,
    x: str = "pc1",
    y: str = "pc2",
    z: str = "pc3",
    color: str = "axis",
    labels: Labels = "all",
    highlight: Sequence[str] = (),
    intervals: bool = False,
    title: str | None = None,
) -> go.Figure:
    """Map of the persona space at one layer.

    The origin is the mean of the roles; coordinates are component scores in the units of the residual stream (of
    the scaled stream for `scaling="zscore"` and `"l2"`). The dashed line is the Assistant Axis as the view shows
    it, from the mean of the roles through the default Assistant (star); Assistant is positive. Arrows are traits:
    their length is the cosine of the trait's direction with the view, not a distance.

    Args:
        space: Fitted.
        layer: Block; negative ones count from the last. The recommended one by default
            (`space.recommend_layer()`), and the figure says so.
        dims: 2 or 3.
        traits: Whether to draw trait arrows; only those that lie well in the view are drawn.
        x: What to draw along: "pc1", "pc2", ..., "axis", or the name of a trait or role
            ("trait:stoic" where both have the name).
        y: Likewise.
        z: Likewise, in three dimensions.
        color: Colours roles by their projection, from the mean of the roles, on "axis", "pc1", ... or a trait;
            "group" colours by group.
        labels: Which roles to name: `all` for which there is room, `extremes`, or `none`. In three dimensions
            `all` names the extremes as well, since labels would collide as soon as the map is turned.
        highlight: Roles to bring out: named in bold whatever there is room for, all others faint.
        intervals: Draw 95 % intervals over folds of the questions, along each direction.
        title: Replaces the finding; the lines below, on what it is and where the numbers come from, stay.

    Raises:
        FigureError: Not fitted, `dims` other than 2 or 3, fewer components than asked for, intervals in three
            dimensions or of a space that keeps no folds, or a highlighted name that is no role.
        SpaceError: Unknown layer or direction.

    Examples:
        >>> import numpy as np
        >>> from persona_lens import PersonaSpace
        >>> rng = np.random.default_rng(0)
        >>> roles = {f"role_{i}": rng.normal(size=(1, 8)) for i in range(6)}
        >>> space = PersonaSpace.from_vectors(roles, default=np.ones((1, 8))).fit()
        >>> fig = persona_map(space, layer=0)
        >>> [trace.name for trace in fig.data if trace.uid == "roles-0"]
        ['no group']
    """
    check_fitted(space)
    if dims not in (2, 3):
        raise FigureError("a map has two or three dimensions", expected="2 or 3", given=dims)
    check_choice(labels, LABELS, "unknown labels", error=FigureError)
    if intervals and dims == 3:
        raise FigureError("intervals are drawn in the plane", expected="dims=2", given="dims=3")
    names = (x, y) if dims == 2 else (x, y, z)
    view = map_view(
        space,
        layer,
        names,
        traits=traits,
        color=color,
        labels=labels,
        title=title,
        highlight=role_names(space, highlight),
        intervals=intervals,
    )
    return draw_plane(view) if dims == 2 else draw_scene(view)
