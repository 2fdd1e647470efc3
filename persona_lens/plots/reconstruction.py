"""How well few traits rebuild a role vector, beside the controls that a dictionary must beat.

save_figure(reconstruction_curves(found.frame, source="smollm2-135m-instruct"), "reconstruction.html")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.errors import FigureError
from persona_lens.plots.layer_sweep import FEW_LAYERS, LAYER_TITLE
from persona_lens.plots.parts import style
from persona_lens.plots.parts.facet_traces import Curve, Facet
from persona_lens.plots.parts.facets import draw_facets
from persona_lens.plots.parts.sliders import layer_slider
from persona_lens.plots.parts.subjects import number
from persona_lens.plots.parts.text import joined
from persona_lens.plots.parts.tidy import check_columns, counts, with_interval

Measure = Literal["share", "r2"]
COLUMNS = ("layer", "k", "method", "dictionary", "held_out", "n")
ENDS = {"share": ("share", "share_low", "share_high"), "r2": ("r2", "low", "high")}
SIGNS = {"share": "share", "r2": "R²"}
PCS = "PCs"
# The traits come last and lie over all others.
LOOKS: dict[str, dict[str, Any]] = {
    "random directions": {"color": "#9aa3ad", "symbol": "", "dash": "dot"},
    "matched random directions": {"color": "#4d5661", "symbol": "diamond", "dash": "dash"},
    "shuffled traits": {"color": "#CC79A7", "symbol": "square", "dash": "dash"},
    PCS: {"color": "#0072B2", "symbol": "", "dash": "longdash"},
    "traits": {"color": "#D55E00", "symbol": "circle", "dash": "solid"},
}
SHORT = {"random directions": "random", "matched random directions": "matched random"}
FURTHER = {"color": "#009E73", "symbol": "triangle-up", "dash": "solid"}
METHODS = {"omp": "orthogonal matching pursuit", "nnls": "non-negative least squares"}
HELD_OUT = {"questions": "Held-out questions", "roles": "Held-out roles"}
LOWEST = -0.5
HEIGHT = 330.0


def reconstruction_curves(
    frame: pd.DataFrame,
    *,
    layer: int | None = None,
    method: str = "omp",
    measure: Measure | None = None,
    title: str | None = None,
    source: str = "",
) -> go.Figure:
    """What is explained of held-out roles against the number of atoms: a curve a dictionary, a panel a hold-out.

    Args:
        frame: A row a point. `layer`, `k` (atoms), `method`, `dictionary` ("traits", a control, or "PCs", drawn
            whatever the method), `held_out` ("questions" or "roles"), `share` with its 95 % interval
            `share_low` to `share_high`, or `r2` with `low` to `high`, over `n` roles; with `ceiling`, the R² of a
            role's own vector, a line shows it beside R².
        layer: The only one drawn; with None and several layers there is a slider.
        method: Which to draw.
        measure: `share` of what repeats from one half of the questions to the other, or `r2`, which counts noise
            as well; the share where the frame has it.
        title: Replaces the title.
        source: Model and hook point, for the line below the title.

    Raises:
        FigureError: Columns are missing, or nothing is left of that layer and method.

    Examples:
        >>> row = {"layer": 3, "method": "omp", "held_out": "roles", "low": 0.1, "high": 0.4, "n": 40, "r2": 0.3}
        >>> rows = [row | {"dictionary": d, "k": k} for d in ("traits", "PCs") for k in (1, 2)]
        >>> [trace.name for trace in reconstruction_curves(pd.DataFrame(rows)).data]
        ['PCs, band', 'traits, band', 'chance', 'PCs', 'traits']
    """
    known = _measured(_of_method(frame, method), measure)
    if layer is not None:
        known = known.loc[known["layer"] == layer]
        if known.empty:
            layers = ", ".join(str(each) for each in sorted(set(frame["layer"])))
            raise FigureError("no such layer in this reconstruction", expected=layers, given=layer)
    span = _span(known)
    figures = {
        int(each): _draw(
            known.loc[known["layer"] == each],
            "k",
            "Atoms of the dictionary (k)",
            method,
            span,
            title=title or f"How many traits make a role? Layer {each}",
            source=source,
        )
        for each in sorted(set(known["layer"]))
    }
    return layer_slider(figures, start=_best(known))


def reconstruction_layers(
    frame: pd.DataFrame,
    k: int = 5,
    *,
    method: str = "omp",
    measure: Measure | None = None,
    title: str | None = None,
    source: str = "",
) -> go.Figure:
    """What `k` atoms explain of held-out roles by layer: a curve a dictionary, a panel a hold-out.

    Args:
        frame: As for `reconstruction_curves`.
        k: Atoms.
        method: Which to draw.
        measure: As for `reconstruction_curves`.
        title: Replaces the title.
        source: Model and hook point, for the line below the title.

    Raises:
        FigureError: Columns are missing, or nothing is left of that `k` and method.

    Examples:
        >>> row = {"k": 5, "method": "omp", "held_out": "roles", "dictionary": "traits", "low": 0.1, "high": 0.4}
        >>> rows = [row | {"layer": i, "r2": 0.3, "n": 40} for i in (0, 1)]
        >>> reconstruction_layers(pd.DataFrame(rows)).layout.title.text
        'Roles from 5 traits, by layer'
    """
    known = _measured(_of_method(frame, method), measure)
    found = known.loc[known["k"] == k]
    if found.empty:
        ks = ", ".join(str(each) for each in sorted(set(known["k"])))
        raise FigureError("no such number of atoms in this reconstruction", expected=ks, given=k)
    title = title or f"Roles from {k} traits, by layer"
    return _draw(found, "layer", LAYER_TITLE, method, _span(found), title=title, source=source)


def _of_method(frame: pd.DataFrame, method: str) -> pd.DataFrame:
    """Rows of a method; components are taken in order, by none, and belong to each."""
    check_columns(frame, COLUMNS, what="frame of a reconstruction")
    own = frame["method"].astype(str) == method
    if not own.any():
        methods = ", ".join(dict.fromkeys(frame["method"].astype(str)))
        raise FigureError("no such method in this reconstruction", expected=methods, given=method)
    pcs = frame.loc[(frame["dictionary"].astype(str) == PCS) & ~own]
    first = pcs["method"].astype(str) == (str(pcs["method"].iloc[0]) if len(pcs) else "")
    known = frame.loc[own]
    has = (known["dictionary"].astype(str) == PCS).any()
    return known if has or pcs.empty else pd.concat([known, pcs.loc[first]])


def _measured(frame: pd.DataFrame, measure: Measure | None) -> pd.DataFrame:
    """The frame with what is drawn as `value`, `low` and `high`, and its sign as `measure`."""
    chosen = measure or ("share" if "share" in frame else "r2")
    value, low, high = ENDS[chosen]
    check_columns(frame, (value, low, high), what="frame of a reconstruction")
    drawn = frame.assign(
        value=frame[value], low=frame[low], high=frame[high], measure=SIGNS[chosen]
    )
    # Of what repeats, a role's own vector explains all.
    return drawn if chosen == "r2" else drawn.drop(columns="ceiling", errors="ignore")


def _best(known: pd.DataFrame) -> int:
    """The layer at which traits do best, shown first."""
    traits = known.loc[known["dictionary"].astype(str) == "traits"]
    means: Any = (known if traits.empty else traits).groupby("layer")["value"].mean()
    return int(means.index[0] if means.isna().all() else means.idxmax())


def _draw(
    rows: pd.DataFrame,
    x: str,
    x_title: str,
    method: str,
    span: tuple[float, float],
    *,
    title: str,
    source: str,
) -> go.Figure:
    fig = draw_facets(
        _facets(rows, x, span),
        title=title,
        subtitle=joined(source, _words(method, rows)),
        x_title=x_title,
        x_axis={"dtick": 1} if rows[x].nunique() <= FEW_LAYERS else {"nticks": 8},
        height=HEIGHT,
    )
    style.add_caption(fig, _caption(rows))
    return fig


def _facets(rows: pd.DataFrame, x: str, span: tuple[float, float]) -> list[Facet]:
    held_out = rows["held_out"].astype(str)
    facets = []
    for what in dict.fromkeys([*(each for each in HELD_OUT if each in set(held_out)), *held_out]):
        part = rows.loc[held_out == what]
        curves = _ceiling(part, x)
        names = part["dictionary"].astype(str)
        order = sorted(set(names), key=lambda name: [*LOOKS].index(name) if name in LOOKS else -1)
        curves += [_curve(part.loc[names == name], x, name) for name in order]
        title = HELD_OUT.get(what, f"Held-out {what}")
        facets.append(Facet(title, curves, chance=0.0, span=span))
    return facets


def _curve(rows: pd.DataFrame, x: str, name: str) -> Curve:
    ordered = rows.sort_values(x)
    return Curve(
        SHORT.get(name, name),
        ordered[x].to_numpy(),
        ordered["value"].to_numpy(dtype=float),
        hover=[_hover(row, name) for row in ordered.to_dict("records")],
        low=ordered["low"].to_numpy(dtype=float),
        high=ordered["high"].to_numpy(dtype=float),
        **LOOKS.get(name, FURTHER),
    )


def _ceiling(rows: pd.DataFrame, x: str) -> list[Curve]:
    if "ceiling" not in rows or rows["ceiling"].isna().all():
        return []
    means: Any = rows.groupby(x)["ceiling"].mean()
    return [
        Curve(
            "noise ceiling",
            means.index.to_numpy(),
            means.to_numpy(dtype=float),
            style.INK,
            hover=[f"the role's own vector: R² {number(value, '.3f')}" for value in means],
            dash="dot",
            width=1.2,
            symbol="",
        )
    ]


def _hover(row: Mapping[Any, Any], name: str) -> str:
    atoms = f"{row['k']} atom{'s'[: row['k'] != 1]}"
    return (
        f"<b>{name}</b>, {atoms}, layer {row['layer']}<br>"
        f"{row['measure']} {with_interval(row['value'], row['low'], row['high'], '.3f')}<br>"
        f"{counts(pd.Series([row['n']]))} roles"
    )


def _span(rows: pd.DataFrame) -> tuple[float, float]:
    """One vertical axis for all panels and layers; what overfits far below zero is cut off."""
    columns = [each for each in ("value", "low", "high", "ceiling") if each in rows]
    values = rows[columns].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    low = max(LOWEST, float(values.min(initial=0.0)))
    high = float(values.max(initial=0.1))
    room = 0.05 * (high - low)
    return low - room, high + room


def _words(method: str, rows: pd.DataFrame) -> str:
    chosen = f"atoms chosen by {METHODS.get(method, method)}. Bands: 95 % intervals."
    if (rows["measure"] == SIGNS["share"]).all():
        return (
            "Share explained of what repeats of role vectors from one half of the questions to the other; "
            f"{chosen} One is all of it."
        )
    return (
        f"R² of held-out role vectors, from the mean role; {chosen} "
        "Noise ceiling: the role's own vector, from other questions."
    )


def _caption(rows: pd.DataFrame) -> str:
    parts = [f"Roles behind a point: {counts(rows['n'])}."]
    if "matched random directions" in set(rows["dictionary"].astype(str)):
        parts.append(
            "Matched random directions are mixtures of the roles; traits must beat these to mean something."
        )
    cut = int((rows["value"] < LOWEST).sum())
    if cut:
        parts.append(
            f"Below {rows['measure'].iloc[0]} = {number(LOWEST, 'g')}, and cut off: {cut} points."
        )
    return " ".join(parts)
