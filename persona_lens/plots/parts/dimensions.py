"""The directions a map is drawn along: where roles, default, axis and traits lie on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import t

from persona_lens.errors import FigureError
from persona_lens.plots.parts.text import shown
from persona_lens.space import Space
from persona_lens.space.fitting import unit
from persona_lens.space.naming import display_name

MIN_FOLDS = 3


@dataclass(frozen=True, eq=False)
class Dimension:
    """One direction of a map, its origin at the mean of the roles.

    Attributes:
        title: For the axis of the figure, with the share of variance for a component.
        brief: The same where room is scarce.
        short: For hover labels.
        roles: Place of each role: for a component its score.
        default: Place of the default Assistant.
        traits: Cosine of each trait's direction with this one.
        units: In which places are given; maps draw equal units at equal length.
    """

    title: str
    brief: str
    short: str
    roles: Float[np.ndarray, " role"]
    default: float
    traits: Float[np.ndarray, " trait"]
    units: str


def margins(space: Space, layer: int, names: Sequence[str]) -> Float[np.ndarray, "role dim"]:
    """Half-widths of the 95 % t interval of each role's place over folds of the questions.

    As of projections on the axis, what is estimated is the distance from the mean of the roles: a question that
    moves all roles alike makes no place less certain.

    Raises:
        FigureError: The space keeps no folds.
    """
    table, view = space.table, space.at(layer)
    if table.folds is None or table.folds.shape[1] < MIN_FOLDS:
        kept = 0 if table.folds is None else table.folds.shape[1]
        raise FigureError(
            "intervals over questions need their folds",
            expected=f"at least {MIN_FOLDS} folds",
            given=f"{kept} kept",
            remedy="fit the space from its run, and save it whole, not compact",
        )
    rows = table.indices(kind="role")
    on_axis = np.isin(rows, table.axis_rows())
    folds = table.folds[rows, :, view.place].astype(np.float64)
    found = []
    for name in names:
        places = np.stack(
            [space.project(folds[:, fold], layer, onto=name) for fold in range(folds.shape[1])],
            axis=1,
        )
        places -= np.nanmean(places[on_axis], axis=0)
        known = np.isfinite(places).sum(axis=1)
        spread = np.nanstd(places, axis=1, ddof=1) / np.sqrt(known)
        found.append(np.where(known > 1, t.ppf(0.975, np.maximum(known - 1, 1)) * spread, np.nan))
    return np.stack(found, axis=1)


def dimension(space: Space, layer: int, onto: str) -> Dimension:
    """The direction named `onto`: "pc1", "pc2", ..., "axis", or the name of a trait or role.

    Names are those of `persona_lens.space.naming`.

    Raises:
        FigureError: The space keeps fewer components.
        SpaceError: No such name.
    """
    view, table = space.at(layer), space.table
    found, kept = space.named(onto), space.components_.shape[1]
    component, onto = found.kind == "component", found.name
    if component and not 1 <= found.number <= kept:
        raise FigureError(
            f"this space has no component {onto}",
            expected=f"pc1 to pc{kept}",
            given=onto,
            remedy="fit with more roles or a larger n_components, or draw fewer dimensions",
        )
    roles = space.project(view.values(table.indices(kind="role")), layer, onto=onto)
    default = space.project(view.values(table.indices(kind="default")), layer, onto=onto)
    traits = view.values(table.trait_rows())
    mean = roles[np.isin(table.indices(kind="role"), table.axis_rows())].mean()
    if component:
        number = found.number - 1
        share = space.explained_variance_ratio_[view.place, number]
        return Dimension(
            title=f"PC{number + 1} ({share:.1%} of variance)",
            brief=f"PC{number + 1} ({share:.1%})",
            short=f"PC{number + 1}",
            roles=roles,
            default=float(default[0]),
            traits=view.loadings(traits)[:, number],
            units="component",
        )
    axis = found.kind == "axis"
    name = "Assistant Axis" if axis else shown(display_name(table, found))
    article = "the " if axis else ""
    return Dimension(
        title=f"Projection on {article}{name}, from the mean of roles",
        brief=name,
        short=name,
        roles=roles - mean,
        default=float(default[0] - mean),
        traits=space.project(unit(traits), layer, onto=onto),
        units="component" if space.scaling == "center" else "residual",
    )
