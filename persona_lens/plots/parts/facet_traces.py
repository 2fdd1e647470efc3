"""Curves and panels of small multiples, and the traces they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int

from persona_lens.plots.parts import style
from persona_lens.plots.parts.grid import axes_of

BAND_OPACITY = 0.16
SPARE = 0.06


@dataclass(frozen=True, eq=False)
class Curve:
    """One curve of a panel.

    Attributes:
        name: Written at its end in the panel; not written if `named` is false.
        x, y: Points; where `y` is NaN there is a gap.
        color: Of line, band and name.
        hover: Text of each point; without it the curve has none.
        low, high: Ends of the band; none where NaN.
        dash: As plotly calls it.
        width: Of the line in pixels.
        symbol: Of the markers; empty for a line alone.
        named: Whether its name is written.
    """

    name: str
    x: np.ndarray
    y: Float[np.ndarray, " point"]
    color: str
    hover: Sequence[str] = ()
    low: Float[np.ndarray, " point"] | None = None
    high: Float[np.ndarray, " point"] | None = None
    dash: str = "solid"
    width: float = 2.0
    symbol: str = "circle"
    named: bool = True


@dataclass(frozen=True, eq=False)
class Facet:
    """One panel.

    Attributes:
        title: One line above the panel.
        note: Below the title, wrapped.
        curves: Later ones lie over earlier ones.
        chance: Where a thin line stands, if anywhere.
        form: How values are written on the axis.
        span: Of the vertical axis; found from the curves if not given.
    """

    title: str
    curves: Sequence[Curve]
    note: str = ""
    chance: float | None = None
    form: str = ""
    span: tuple[float, float] | None = None

    def limits(self) -> tuple[float, float]:
        """The vertical axis: all that is drawn, with some room."""
        if self.span is not None:
            return self.span
        drawn = [values for curve in self.curves for values in (curve.y, curve.low, curve.high)]
        found = np.concatenate([np.asarray(each, float) for each in drawn if each is not None])
        found = found[np.isfinite(found)]
        if self.chance is not None:
            found = np.append(found, self.chance)
        low, high = (float(found.min()), float(found.max())) if len(found) else (0.0, 1.0)
        room = SPARE * (high - low) or 0.5
        return low - room, high + room


def runs(
    low: Float[np.ndarray, " point"], high: Float[np.ndarray, " point"]
) -> list[Int[np.ndarray, " run"]]:
    """Stretches of points at which both ends of a band are known.

    Examples:
        >>> nan = np.nan
        >>> [run.tolist() for run in runs(np.array([0, 1, nan, 3]), np.array([1, 2, 3, 4.0]))]
        [[0, 1], [3]]
    """
    known = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    if not len(known):
        return []
    return np.split(known, np.flatnonzero(np.diff(known) > 1) + 1)


def curve_trace(curve: Curve, place: int) -> go.Scatter:
    """The curve itself, in the panel at `place`."""
    return go.Scatter(
        x=curve.x,
        y=curve.y,
        **axes_of(place),
        mode="lines+markers" if curve.symbol else "lines",
        line={"color": curve.color, "width": curve.width, "dash": curve.dash},
        marker={"size": 4.5, "symbol": curve.symbol or "circle", "color": curve.color},
        name=curve.name,
        hovertext=list(curve.hover) or None,
        hoverinfo="text" if curve.hover else "skip",
    )


def band_trace(curve: Curve, place: int) -> go.Scatter:
    """The band of a curve that has one; it is broken where an end is not known."""
    assert curve.low is not None
    assert curve.high is not None
    xs: list[Any] = []
    ys: list[Any] = []
    for run in runs(curve.low, curve.high):
        back = run[::-1]
        xs += [*curve.x[run].tolist(), *curve.x[back].tolist(), None]
        ys += [*curve.high[run].tolist(), *curve.low[back].tolist(), None]
    look = {"name": f"{curve.name}, band", **axes_of(place)}
    return style.area(xs[:-1], ys[:-1], color=curve.color, opacity=BAND_OPACITY, **look)


def chance_trace(value: float, span: tuple[float, float], place: int) -> go.Scatter:
    """What chance gives, across the panel."""
    return go.Scatter(
        x=span,
        y=[value, value],
        **axes_of(place),
        mode="lines",
        line={"color": style.FAINT, "width": 1},
        name="chance",
        hoverinfo="skip",
    )
