"""Does a sum of traits steer like the role itself? Likelihood of the role against strength, a curve a condition.

save_figure(composed_steering(frame, source="smollm2-135m-instruct"), "composed.html")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.errors import FigureError
from persona_lens.plots.parts import style
from persona_lens.plots.parts.facet_traces import Curve, Facet
from persona_lens.plots.parts.facets import draw_facets
from persona_lens.plots.parts.text import joined, shown
from persona_lens.plots.parts.tidy import COLOURS, GREY, check_columns, counts, with_interval
from persona_lens.statistics import draw_counts, interval_of

COLUMNS = ("role", "condition", "strength", "value", "low", "high", "n")
LOOKS: dict[str, dict[str, Any]] = {
    "random": {"color": "#9aa3ad", "symbol": "", "dash": "dot"},
    "wrong traits": {"color": "#CC79A7", "symbol": "square", "dash": "dash"},
    "role vector": {"color": "#0072B2", "symbol": "diamond", "dash": "solid"},
    "traits": {"color": "#D55E00", "symbol": "circle", "dash": "solid"},
}
MANY_ROLES = 8
N_DRAWS = 500
STRENGTH_TITLE = "Strength (fraction of the mean residual norm)"


def composed_steering(
    frame: pd.DataFrame,
    *,
    measure: str = "likelihood of the role",
    x_title: str = STRENGTH_TITLE,
    title: str | None = None,
    source: str = "",
) -> go.Figure:
    """A measure against the strength of steering: a panel for all roles, then one for each.

    Args:
        frame: A row a point. `role`. `condition`: "traits" (the sum of a role's traits), "role vector", "wrong
            traits" (those of another role), "random", or others. `strength`. `value` with its 95 % interval `low`
            to `high` over `n` answers; NaN where unknown.
        measure: What the value is.
        x_title: Unit of the strength.
        title: Replaces the title.
        source: Model and hook point, for the line below the title.

    Raises:
        FigureError: Columns are missing, or a condition occurs twice at a role and strength.

    Examples:
        >>> row = {"role": "ghost", "low": 0.1, "high": 0.5, "n": 8, "value": 0.3}
        >>> rows = [row | {"condition": c, "strength": s} for c in ("traits", "random") for s in (0.0, 0.2)]
        >>> [trace.name for trace in composed_steering(pd.DataFrame(rows)).data if trace.hoverinfo == "text"]
        ['random', 'traits']
    """
    check_columns(frame, COLUMNS, what="frame of composed steering")
    if frame.duplicated(list(COLUMNS[:3])).any():
        raise FigureError(
            "composed steering has a point twice", expected="one row a role, condition and strength"
        )
    looks = _looks([str(each) for each in dict.fromkeys(frame["condition"])])
    roles = list(dict.fromkeys(frame["role"]))
    facets = []
    span = _span(frame)
    if len(roles) > 1:
        every = f"All {len(roles)} roles"
        facets.append(_facet(every, over_roles(frame), looks, unit="roles", span=span))
    drawn = roles[:MANY_ROLES] if len(roles) > 1 else roles
    for role in drawn:
        rows = frame.loc[frame["role"] == role]
        facets.append(_facet(shown(str(role)), rows, looks, unit="answers", span=span))
    fig = draw_facets(
        facets,
        title=title or "Does a sum of traits steer like the role itself?",
        subtitle=joined(
            source, f"Vertical: {measure}. Bands: 95 % intervals; of all roles, over the roles."
        ),
        x_title=x_title,
        height=190 if len(facets) > 2 else 320,
    )
    parts = [f"Answers behind a point of a role: {counts(frame['n'])}."]
    if len(drawn) < len(roles):
        parts.append(f"Drawn by themselves: the first {len(drawn)} of {len(roles)} roles.")
    style.add_caption(fig, " ".join(parts))
    return fig


def over_roles(frame: pd.DataFrame) -> pd.DataFrame:
    """The mean over roles at each condition and strength, with a 95 % interval over the roles.

    Every condition and strength draws the same roles, so that curves can be compared.

    Examples:
        >>> rows = [("a", "traits", 0.1, 0.2), ("b", "traits", 0.1, 0.4)]
        >>> frame = pd.DataFrame(rows, columns=["role", "condition", "strength", "value"])
        >>> over_roles(frame)[["value", "n"]].round(3).values.tolist()
        [[0.3, 2.0]]
    """
    table = frame.pivot(index="role", columns=["condition", "strength"], values="value")
    values = table.to_numpy(dtype=float)
    known = np.isfinite(values)
    drawn = draw_counts(len(values), N_DRAWS, np.random.default_rng(0))
    weights = drawn @ known
    totals = drawn @ np.where(known, values, 0.0)
    means = np.where(weights > 0, totals / np.where(weights > 0, weights, 1.0), np.nan)
    rows = []
    for place, (condition, strength) in enumerate(table.columns):
        n = int(known[:, place].sum())
        mean = float(values[known[:, place], place].mean()) if n else np.nan
        rows.append((condition, strength, mean, *interval_of(means[:, place]), n))
    return pd.DataFrame(rows, columns=["condition", "strength", "value", "low", "high", "n"])


def _looks(conditions: list[str]) -> dict[str, dict[str, Any]]:
    """Known conditions have their own look and lie over the others."""
    rest = [name for name in conditions if name not in LOOKS]
    further = (COLOURS[2], COLOURS[4], COLOURS[5], GREY)
    own = {
        name: {"color": further[place % len(further)], "symbol": "triangle-up", "dash": "dash"}
        for place, name in enumerate(rest)
    }
    return {**own, **{name: look for name, look in LOOKS.items() if name in conditions}}


def _span(frame: pd.DataFrame) -> tuple[float, float]:
    """One vertical axis for all panels, so that roles can be compared."""
    values = frame[["value", "low", "high"]].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    room = 0.05 * (high - low) or 0.5
    return low - room, high + room


def _facet(
    title: str,
    rows: pd.DataFrame,
    looks: Mapping[str, dict[str, Any]],
    *,
    unit: str,
    span: tuple[float, float],
) -> Facet:
    curves = []
    for name, look in looks.items():
        part = rows.loc[rows["condition"].astype(str) == name].sort_values("strength")
        if part.empty:
            continue
        curves.append(
            Curve(
                name,
                part["strength"].to_numpy(dtype=float),
                part["value"].to_numpy(dtype=float),
                hover=[_hover(row, name, unit) for row in part.to_dict("records")],
                low=part["low"].to_numpy(dtype=float),
                high=part["high"].to_numpy(dtype=float),
                **look,
            )
        )
    return Facet(title, curves, span=span)


def _hover(row: Mapping[Any, Any], name: str, unit: str) -> str:
    return (
        f"<b>{name}</b> at {row['strength']:g}<br>"
        f"{with_interval(row['value'], row['low'], row['high'], '.3f')}<br>"
        f"{counts(pd.Series([row['n']]))} {unit}"
    )
