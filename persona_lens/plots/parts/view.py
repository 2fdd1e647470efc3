"""What a map shows, before it is drawn in two or three dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from persona_lens.plots.parts.dimensions import Dimension, dimension, margins
from persona_lens.plots.parts.style import GroupLook, group_looks
from persona_lens.plots.parts.subjects import block, hover_text, signed, source_line, subject_frame
from persona_lens.plots.parts.text import joined, wrap
from persona_lens.space import Space
from persona_lens.space.recommending import chosen_layer
from persona_lens.space.shortages import shortage_note

Labels = Literal["all", "extremes", "none"]
LABELS = ("all", "extremes", "none")

STRONG_TRAIT = 0.5
MAX_TRAITS = 10
EXTREMES_A_SIDE = 3


@dataclass(frozen=True, eq=False)
class MapView:
    """Everything a map shows.

    Attributes:
        dimensions: Two or three directions.
        roles, default, traits: As from `subject_frame`, with the hover text as column `hover`; `traits` has only
            those that are drawn, the longest first.
        points: Place of each role.
        star: Place of the default Assistant.
        cosines: Of each drawn trait with each direction.
        n_traits: Traits in the space, drawn or not.
        colors: Value of each role on the colour scale; None if the groups are coloured.
        color_title: Of the colour bar.
        looks: Colour and symbol of each group.
        labels: Which roles are named.
        title, topic, subtitle: Of the figure.
        shortage: For the caption, what there is too little of; mostly nothing.
        highlight: Roles to bring out.
        margins: Half-widths of 95 % intervals; None if they are not asked for.
    """

    dimensions: tuple[Dimension, ...]
    roles: pd.DataFrame
    default: pd.DataFrame
    traits: pd.DataFrame
    points: Float[np.ndarray, "role dim"]
    star: Float[np.ndarray, " dim"]
    cosines: Float[np.ndarray, "trait dim"]
    n_traits: int
    colors: Float[np.ndarray, " role"] | None
    color_title: str
    looks: dict[str, GroupLook]
    labels: Labels
    title: str
    topic: str
    subtitle: str
    shortage: str
    highlight: tuple[str, ...] = ()
    margins: Float[np.ndarray, "role dim"] | None = None

    def extremes(self) -> set[int]:
        """Roles at either end of a direction or of the colour scale."""
        columns = [*self.points.T, self.roles["projection"].to_numpy()]
        ends = [np.argsort(column, kind="stable") for column in columns]
        return {
            int(row)
            for order in ends
            for row in (*order[:EXTREMES_A_SIDE], *order[-EXTREMES_A_SIDE:])
        }

    def color_axis(self, **bar: Any) -> dict[str, Any]:
        """The colour scale, symmetric about the mean of the roles; `bar` places its bar."""
        if self.colors is None:
            return {}
        reach = float(np.abs(self.colors).max()) or 1.0
        step = _round(reach / 2)
        ticks = np.arange(-(reach // step), reach // step + 1) * step
        return {
            "cmin": -reach,
            "cmax": reach,
            "colorbar": {
                "title": {"text": self.color_title, "font": {"size": 12}},
                "thickness": 13,
                "lenmode": "pixels",
                "xpad": 0,
                "ypad": 0,
                "outlinewidth": 0,
                "tickfont": {"size": 11},
                "tickvals": ticks.tolist(),
                "ticktext": [signed(tick, "g") if tick else "mean" for tick in ticks],
                **bar,
            },
        }

    @property
    def equal(self) -> bool:
        """Whether all directions have the same units."""
        return len({each.units for each in self.dimensions}) == 1

    def named(self) -> list[int]:
        """Rows of the roles that ask for a label; those somewhat in role only where they are extremes."""
        chosen = set(np.flatnonzero(self.chosen).tolist())
        if self.labels == "none" or chosen:
            return sorted(chosen)
        if self.labels == "extremes" or len(self.dimensions) == 3:
            return sorted(self.extremes())
        return sorted(self.extremes() | set(np.flatnonzero(~self.somewhat).tolist()))

    @property
    def chosen(self) -> Bool[np.ndarray, " role"]:
        """Which points are highlighted roles."""
        return self.roles["name"].isin(self.highlight).to_numpy()

    @property
    def somewhat(self) -> Bool[np.ndarray, " role"]:
        """Which points are replies only somewhat in role."""
        return (self.roles["label"] == "somewhat").to_numpy()

    def marker(self, group: str, rows: np.ndarray) -> dict[str, Any]:
        """Colour of the markers of one group."""
        if self.colors is None:
            return {"color": self.looks[group].colour}
        return {"color": self.colors[rows], "coloraxis": "coloraxis"}

    def arrow_note(self, scene: str) -> str:
        """What the arrows mean and how many are left out; `scene` is "plane" or "view"."""
        if not self.n_traits:
            return ""
        drawn = len(self.traits)
        which = (
            f"{drawn} of {self.n_traits} traits, those with a cosine of at least {STRONG_TRAIT:g}"
        )
        if not drawn:
            return f"No trait of {self.n_traits} has a cosine of {STRONG_TRAIT:g} or more with the {scene}."
        if len(self.traits) == MAX_TRAITS:
            which = f"the {drawn} of {self.n_traits} traits that lie closest to it"
        longest = np.linalg.norm(self.cosines, axis=1).max()
        return (
            f"Arrow length is the cosine of a trait's direction with the {scene} (longest {longest:.2f}), "
            f"not a distance; drawn are {which}."
        )


def map_view(
    space: Space,
    layer: int | None,
    names: tuple[str, ...],
    *,
    traits: bool,
    color: str,
    labels: Labels,
    title: str | None,
    highlight: tuple[str, ...] = (),
    intervals: bool = False,
) -> MapView:
    """Gather what a map of `space` shows along the directions `names`."""
    layer, why = chosen_layer(space, layer)
    layer = block(space, layer)
    dimensions = tuple(dimension(space, layer, name) for name in names)
    points = np.stack([each.roles for each in dimensions], axis=1)
    star = np.array([each.default for each in dimensions])
    roles, default = (subject_frame(space, layer, kind) for kind in ("role", "default"))
    roles["hover"] = _hovers(roles, "role", dimensions, points)
    default["hover"] = _hovers(default, "default", dimensions, star[None])

    drawn, cosines = (
        subject_frame(space, layer, "trait"),
        np.stack([d.traits for d in dimensions], axis=1),
    )
    n_traits = len(drawn) if traits else 0
    drawn["hover"] = _hovers(drawn, "trait", dimensions, cosines, "cosine with ")
    inside = np.linalg.norm(cosines, axis=1)
    order = np.argsort(-inside, kind="stable")[:MAX_TRAITS]
    order = order[inside[order] >= STRONG_TRAIT] if traits else order[:0]

    colors, color_title = None, ""
    if color != "group":
        scale = dimension(space, layer, color)
        article = "the " if space.named(color).kind == "axis" else ""
        colors = scale.roles
        color_title = wrap(f"projection on {article}{scale.short}, from the mean of roles", 130, 12)

    return MapView(
        dimensions=dimensions,
        roles=roles,
        default=default,
        traits=drawn.iloc[order].reset_index(drop=True),
        points=points,
        star=star,
        cosines=cosines[order],
        n_traits=n_traits,
        colors=colors,
        color_title=color_title,
        looks=group_looks(roles["group"].tolist()),
        labels=labels,
        title=title or cosine_finding(space, layer),
        topic=f"Persona map at layer {layer}",
        subtitle=joined(source_line(space, layer), cosine_line(space, layer), why),
        shortage=shortage_note(space.shortages_),
        highlight=highlight,
        margins=margins(space, layer, names) if intervals else None,
    )


def cosine_finding(space: Space, layer: int) -> str:
    """Whether PC1 is the axis, beyond what a role in the default's place gives."""
    row = space.stability_.iloc[space.layer_index(layer)]
    found = f"{row['cosine']:.2f} ({row['cosine_low']:.2f} to {row['cosine_high']:.2f})"
    if row["cosine"] > row["shuffled_95"]:
        return f"PC1 lies along the Assistant Axis: cosine {found}, by chance below {row['shuffled_95']:.2f}"
    return (
        "PC1 lies no closer to the Assistant Axis than chance has it: "
        f"cosine {found}, by chance up to {row['shuffled_95']:.2f}"
    )


def cosine_line(space: Space, layer: int) -> str:
    """cos(PC1, axis) at a layer with its interval and what chance gives."""
    row = space.stability_.iloc[space.layer_index(layer)]
    return (
        f"cos(PC1, axis) = {row['cosine']:.2f}, 95 % interval over roles {row['cosine_low']:.2f} to "
        f"{row['cosine_high']:.2f} · null: with a role in the default's place 95 % stay below "
        f"{row['shuffled_95']:.2f}, random directions below {row['random_95']:.2f}"
    )


def _round(value: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above `value`."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(
        max(factor for factor in (1, 2, 5) if factor * power <= value * (1 + 1e-9)) * power
    )


def _hovers(
    frame: pd.DataFrame,
    kind: str,
    dimensions: tuple[Dimension, ...],
    values: Float[np.ndarray, "subject dim"],
    prefix: str = "",
) -> list[str]:
    form = ".2f" if kind == "trait" else ".3g"
    return [
        hover_text(
            subject,
            kind,
            prefix
            + ", ".join(
                f"{each.short} {signed(value, form)}"
                for each, value in zip(dimensions, place, strict=True)
            ),
        )
        for subject, place in zip(frame.to_dict("records"), values, strict=True)
    ]
