"""What a figure of capping shows, before it is drawn: plans, their Pareto front, the plot area, labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from persona_lens.plots.parts import style
from persona_lens.plots.parts.canvas import Canvas
from persona_lens.plots.parts.labels import Label
from persona_lens.plots.parts.marks import Text
from persona_lens.plots.parts.subjects import number
from persona_lens.plots.parts.text import shown
from persona_lens.plots.parts.tidy import clipped, log_range

SMALLEST, LARGEST, STAR = 8.0, 15.0, 15.0
MOST_LABELS = 8
LEAST = 0.2  # of adoption, from bottom to top
BARE = 0.07  # of the width, for no intervention: a log axis has no place for its KL of zero


def pareto_front(
    cost: Float[np.ndarray, " point"], value: Float[np.ndarray, " point"]
) -> Bool[np.ndarray, " point"]:
    """Points that no other one beats: none has less of one without more of the other.

    Args:
        cost: Lower is better.
        value: Lower is better.

    Returns:
        Whether each point is on the front. Of equal points all are; a point with an unknown number is not.

    Examples:
        >>> pareto_front(np.array([1.0, 2.0, 3.0, 3.0]), np.array([0.5, 0.6, 0.2, 0.3]))
        array([ True, False,  True, False])
    """
    cheaper, lower = cost[:, None] <= cost, value[:, None] <= value
    strictly = (cost[:, None] < cost) | (value[:, None] < value)
    beaten = (cheaper & lower & strictly).any(axis=0)
    return ~beaten & np.isfinite(cost) & np.isfinite(value)


@dataclass(frozen=True, eq=False)
class CappingView:
    """Everything the figure shows.

    Attributes:
        plans: A row a plan, with KL as drawn in `x`, `x_low`, `x_high`, and the diameter of its marker in `size`.
        bare: The row without intervention, or none.
        size: Width and height of the plot area in pixels.
    """

    plans: pd.DataFrame
    bare: pd.DataFrame
    size: Float[np.ndarray, " 2"]

    @classmethod
    def of(cls, known: pd.DataFrame, size: Float[np.ndarray, " 2"]) -> CappingView:
        """The view of rows that have adoption and KL."""
        without = known["layers"].isna() | (known["layers"] == "")
        plans = known.loc[~without].reset_index(drop=True)
        at = {f"x{end}": clipped(plans[f"kl{end}"]) for end in ("", "_low", "_high")}
        diameters = plans["percentile"].map(sizes(plans["percentile"])).fillna(SMALLEST)
        return cls(plans.assign(**at, size=diameters), known.loc[without].head(1), size)

    @property
    def own(self) -> pd.DataFrame:
        """Plans of directions that are not controls."""
        return self.plans.loc[~self.plans["control"].astype(bool)]

    @property
    def controls(self) -> pd.DataFrame:
        """Plans of random directions."""
        return self.plans.loc[self.plans["control"].astype(bool)]

    @property
    def directions(self) -> list[str]:
        """Those that are not controls."""
        return list(dict.fromkeys(self.own["direction"]))

    @cached_property
    def front(self) -> pd.DataFrame:
        """Plans on the front, the cheapest first; no intervention is among what they must beat."""
        own = self.own
        cost = np.concatenate([own["x"], np.zeros(len(self.bare))])
        value = np.concatenate([own["adoption"], self.bare["adoption"]])
        return own.loc[pareto_front(cost, value)[: len(own)]].sort_values("x", kind="stable")

    @cached_property
    def _ends(self) -> tuple[float, float]:
        """Powers of ten between which the plans lie."""
        plans = self.plans
        cheap = plans["x_low"].clip(lower=plans["x"] / 3)  # bars that reach zero may leave the plot
        return log_range([*plans["x"], *plans["x_high"], *cheap])

    @cached_property
    def canvas(self) -> Canvas:
        """The plot area: KL as a power of ten, and adoption."""
        left, right = self._ends
        start = left - BARE * (right - left) if len(self.bare) else left
        names = ["adoption", "adoption_low", "adoption_high"]
        ends = pd.concat([self.plans[names], self.bare[names]])
        low, high = float(ends.min(axis=None)), float(ends.max(axis=None))
        room = 0.06 * (high - low) + max(0.0, LEAST - (high - low)) / 2
        return Canvas(
            np.array([start, max(low - room, -0.04)]),
            np.array([right, min(high + room, 1.04)]),
            self.size,
        )

    @property
    def at_zero(self) -> float:
        """Power of ten at which no intervention is drawn."""
        return (float(self.canvas.low[0]) + self._ends[0]) / 2

    def named(self) -> pd.DataFrame:
        """Plans on the front that ask for a label, from one end to the other."""
        places = np.linspace(0, len(self.front) - 1, min(MOST_LABELS, len(self.front)))
        return self.front.iloc[np.unique(places.round().astype(int))]


def texts(view: CappingView) -> list[Text]:
    """What wants a label: no intervention, then plans on the front."""
    found = []
    for row in view.bare.to_dict("records"):
        point = np.array([view.at_zero, row["adoption"]])
        x, y = view.canvas.pixels(point).tolist()
        words = f"no intervention, {number(row['adoption'], '.0%')}"
        label = Label(words, x, y, radius=STAR / 2, size=style.LABEL_SIZE, priority=1)
        found.append(Text(label, "no intervention", point, style.QUIET))
    for row in view.named().to_dict("records"):
        point = np.array([np.log10(row["x"]), row["adoption"]])
        x, y = view.canvas.pixels(point).tolist()
        words = str(row["layers"])
        if np.isfinite(row["percentile"]):
            words += f", p{row['percentile']:g}"
        if len(view.directions) > 1:
            words = f"{shown(row['direction'])}, {words}"
        label = Label(words, x, y, radius=row["size"] / 2 + 1, size=style.LABEL_SIZE)
        found.append(Text(label, f"front:{words}", point, style.INK))
    return found


def obstacles(
    view: CappingView,
) -> tuple[Float[np.ndarray, "marker 3"], Float[np.ndarray, "line 4"]]:
    """Markers without a label and the steps of the front, in pixels, for labels to keep off."""
    rest = view.plans.drop(index=view.named().index)
    at = view.canvas.pixels(np.stack([np.log10(rest["x"]), rest["adoption"]], axis=1))
    markers = np.concatenate([at, rest[["size"]].to_numpy() / 2 + 1], axis=1)
    x, y = steps(view)
    if not y:
        return markers, np.empty((0, 4))
    # Each step runs level to the next plan, then down.
    corners = np.stack([np.repeat(np.log10(x), 2)[1:], np.repeat(y, 2)[:-1]], axis=1)
    path = view.canvas.pixels(corners)
    return markers, np.concatenate([path[:-1], path[1:]], axis=1)


def steps(view: CappingView) -> tuple[list[float], list[float]]:
    """The lowest adoption up to each KL, from no intervention to the right border."""
    y = [*view.bare["adoption"], *view.front["adoption"]]
    if not y:
        return [], []
    start = [10**view.at_zero] if len(view.bare) else []
    return [*start, *view.front["x"], float(10 ** view.canvas.high[0])], [*y, y[-1]]


def sizes(percentiles: pd.Series) -> dict[float, float]:
    """Diameter of the markers of each percentile."""
    found = sorted(percentiles.dropna().unique())
    sizes = np.linspace(SMALLEST, LARGEST, len(found)).tolist()
    return dict(zip(found, sizes, strict=True))
