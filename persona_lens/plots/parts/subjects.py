"""What every figure needs of a space: the roles as a tidy frame, hover texts, the line on where it is from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from persona_lens.errors import FigureError
from persona_lens.plots.parts.style import UNGROUPED
from persona_lens.plots.parts.text import joined, paragraph, shown
from persona_lens.space import Space
from persona_lens.space.fitting import unit
from persona_lens.space.layer import LayerView

NEIGHBOURS = 3


def check_fitted(space: Space) -> None:
    """Refuse a space that has nothing to show yet.

    Raises:
        FigureError: Not fitted.
    """
    if not hasattr(space, "axis_"):
        raise FigureError(
            "this figure needs a fitted space", given=repr(space), remedy="call space.fit() first"
        )


def subject_frame(space: Space, layer: int, kind: str) -> pd.DataFrame:
    """All vectors of one kind at a layer: what identifies them, their place on the axis, their neighbours.

    Of a judged role both vectors are there, of a trait one. Columns: `row` in the space's table, `name`, `label`,
    `group`, `description`, `replies`, `projection` (raw, on the
    axis), `centred` (from the mean of the roles), `z` (in standard deviations of the roles), `near_roles` and
    `near_traits` (name and cosine). For traits, differences between vectors, `projection` is the cosine with the
    axis, and `centred` and `z` are NaN.
    """
    view, table = space.at(layer), space.table
    rows = subject_rows(space, kind)
    values = view.values(rows)
    trait = kind == "trait"
    about = [table.about[row] for row in rows]
    projection = (unit(values) if trait else values) @ view.axis
    roles = view.values(table.axis_rows()) @ view.axis
    centred = np.full(len(rows), np.nan) if trait else projection - roles.mean()
    return pd.DataFrame(
        {
            "row": rows,
            "name": [table.titles()[row] for row in rows],
            "label": [table.labels[row] for row in rows],
            "group": [entry.get("group") or UNGROUPED for entry in about],
            "description": [entry.get("description") or "" for entry in about],
            "replies": table.counts[rows],
            "projection": projection,
            "centred": centred,
            "z": centred / roles.std(ddof=1),
            "near_roles": _neighbours(view, rows, "role"),
            "near_traits": _neighbours(view, rows, "trait"),
        }
    )


def role_names(space: Space, names: Sequence[str]) -> tuple[str, ...]:
    """Names of roles to bring out, as the space's table has them.

    Raises:
        FigureError: One is no role.
        SpaceError: One is nothing the space knows.
    """
    found = [space.named(name, "role") for name in ([names] if isinstance(names, str) else names)]
    return tuple(dict.fromkeys(each.name for each in found))


def subject_rows(space: Space, kind: str) -> list[int]:
    """Rows of the vectors of one kind that figures show."""
    return space.table.trait_rows() if kind == "trait" else space.table.indices(kind=kind)


def _neighbours(view: LayerView, own: list[int], kind: str) -> list[list[tuple[str, float]]]:
    """As `space.nearest`, for many vectors at once."""
    table = view.table
    rows = table.axis_rows() if kind == "role" else table.trait_rows()
    if not rows or not own:
        return [[] for _ in own]
    cosines = view.directions(own) @ view.directions(rows).T
    names = np.array(table.names)
    same = (names[own][:, None] == names[rows]) & (table.kinds[own[0]] == kind)
    cosines[same] = -np.inf
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :NEIGHBOURS]
    return [
        [(table.names[rows[place]], float(line[place])) for place in places]
        for line, places in zip(cosines, best, strict=True)
    ]


def hover_text(subject: Mapping[Any, Any], kind: str, further: str = "") -> str:
    """What a hover label says of a row of `subject_frame`.

    Args:
        subject: The row.
        kind: `default`, `role` or `trait`.
        further: Lines that only this figure has.
    """
    replies = f"{subject['replies']:,} replies" if subject["replies"] else ""
    group = "" if kind != "role" else subject["group"]
    name = "default Assistant" if kind == "default" else shown(subject["name"])
    return joined(
        f"<b>{name}</b>",
        joined("" if kind == "default" else kind, shown(group), replies, by=" · "),
        f"<i>{paragraph(subject['description'])}</i>" if subject["description"] else "",
        further,
        f"cosine with the Assistant Axis {number(subject['projection'], '.2f')}"
        if kind == "trait"
        else f"on the Assistant Axis {number(subject['projection'])}, "
        f"{signed(subject['centred'])} from the mean of roles (z = {signed(subject['z'], '.2f')})",
        _listed("nearest roles", subject["near_roles"]),
        _listed("nearest traits", subject["near_traits"]),
    )


def signed(value: float, form: str = ".3g") -> str:
    """A number that always shows its sign, with a true minus.

    Examples:
        >>> signed(-1.234), signed(0.5, ".2f")
        ('−1.23', '+0.50')
    """
    return number(value, "+" + form)


def number(value: float, form: str = ".4g") -> str:
    """A number with a true minus.

    Examples:
        >>> number(-12.5)
        '−12.5'
    """
    return format(value, form).replace("-", "−")


def _listed(title: str, neighbours: list[tuple[str, float]]) -> str:
    if not neighbours:
        return ""
    return f"{title}: " + ", ".join(
        f"{shown(name)} ({number(cosine, '.2f')})" for name, cosine in neighbours
    )


def source_line(space: Space, layer: int | None = None) -> str:
    """Model, hook point, and how much the figure rests on."""
    card, table = space.table.card, space.table
    model = card.get("reader", {}).get("model")
    hook_point = str(card.get("hook_point", "")).replace(
        "{layer}", "*" if layer is None else str(layer)
    )
    return joined(
        f"<b>{escape(str(model), quote=False)}</b>" if model else "",
        hook_point,
        _counted(space, "role"),
        _counted(space, "trait") if table.indices(kind="trait") else "",
        by=" · ",
    )


def _counted(space: Space, kind: str) -> str:
    rows = subject_rows(space, kind)
    replies = int(space.table.counts[rows].sum())
    names = {space.table.names[row] for row in rows}
    return f"{len(names)} {kind}s" + (f" ({replies:,} replies)" if replies else "")


def block(space: Space, layer: int) -> int:
    """The block that `layer` stands for, negative ones counted from the last.

    Raises:
        SpaceError: The space does not cover it.
    """
    return space.table.layers[space.layer_index(layer)]
