"""The traces of a dose-response panel, and their legend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from persona_lens.plots.parts import style
from persona_lens.plots.parts.grid import axes_of
from persona_lens.plots.parts.subjects import signed
from persona_lens.plots.parts.text import shown
from persona_lens.plots.parts.tidy import (
    GREY,
    bars,
    counts,
    key,
    random_directions,
    with_interval,
)

FORMS: Mapping[str, str] = {"share": ".1%", "nats": ".3g", "ratio": ".3g", "z": "+.2f"}
BAND_OPACITY, CONTROL_OPACITY = 0.15, 0.75


def keys(looks: Mapping[str, str]) -> list[go.Scatter]:
    """The legend: every direction, and one entry for all controls, which `colours` made grey."""
    own = [name for name, colour in looks.items() if colour != GREY]
    entries = [
        key(
            shown(name),
            mode="lines+markers",
            legendgroup=name,
            line={"color": looks[name], "width": 2},
            marker={"size": 7, "color": looks[name]},
        )
        for name in own
    ]
    if len(own) < len(looks):
        entries.append(
            key(
                random_directions(len(looks) - len(own)),
                mode="lines+markers",
                legendgroup="controls",
                line={"color": GREY, "width": 1},
                marker={"size": 4, "color": GREY},
            )
        )
    return entries


def panel(
    rows: pd.DataFrame, fits: pd.DataFrame, looks: Mapping[str, str], *, detailed: bool, place: int
) -> list[go.Scatter]:
    """Bands, then curves, then points; controls below the others.

    Args:
        rows, fits: Points and curves of one measure.
        looks: Colour of each direction.
        detailed: Whether controls have their intervals drawn.
        place: Of the panel.
    """
    bands, lines, dots = [], [], []
    axes = {**axes_of(place), "showlegend": False}
    for name in sorted(looks, key=lambda name: looks[name] != GREY):
        own = rows.loc[rows["direction"] == name]
        if own.empty:
            continue
        control = looks[name] == GREY
        shared = {**axes, "legendgroup": "controls" if control else name}
        fit = fits.loc[fits["direction"] == name].sort_values("strength") if len(fits) else fits
        colour, plain = looks[name], control and not detailed
        line = {"color": colour, "width": 1 if control else 2}
        if len(fit):
            known = fit.loc[fit["low"].notna() & fit["high"].notna()]
            if len(known) and not plain:
                ends = [*known["high"], *known["low"][::-1]]
                across = [*known["strength"], *known["strength"][::-1]]
                look = {"color": colour, "opacity": BAND_OPACITY, "name": "band"}
                bands.append(style.area(across, ends, **look, **shared))
            lines.append(
                go.Scatter(
                    **shared,
                    x=fit["strength"],
                    y=fit["value"],
                    mode="lines",
                    line=line,
                    opacity=CONTROL_OPACITY if control else 1,
                    name=f"{shown(name)}, sigmoid",
                    hoverinfo="skip",
                )
            )
        dots.append(
            go.Scatter(
                **shared,
                x=own["strength"],
                y=own["value"],
                error_y=None if plain else bars(own, "value", "low", "high", color=colour),
                mode="markers" if len(fit) else "lines+markers",
                line=line,
                marker={"size": 4 if control else 7, "color": colour},
                opacity=CONTROL_OPACITY if control else 1,
                name=shown(name),
                hovertext=[_hover(row) for row in own.to_dict("records")],
                hoverinfo="text",
            )
        )
    return [*bands, *lines, *dots]


def _hover(row: Mapping[Any, Any]) -> str:
    value = with_interval(row["value"], row["low"], row["high"], FORMS[row["unit"]])
    unit = " nats" if row["unit"] == "nats" else ""
    return (
        f"<b>{shown(row['direction'])}</b> at strength {signed(row['strength'])}<br>"
        f"{shown(row['measure'])}: {value}{unit}<br>{counts(pd.Series([row['n']]))}"
    )
