"""Every metric against layer: small multiples of roles and traits, each with its null.

    save_figure(layer_sweep(sweep.frame, source="smollm2-135m-instruct"), "sweep.html")

Where a curve lies above the dotted line of its colour, the metric beats 95 % of its null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from persona_lens.errors import FigureError
from persona_lens.plots.parts import style
from persona_lens.plots.parts.facet_traces import Curve, Facet
from persona_lens.plots.parts.facets import draw_facets
from persona_lens.plots.parts.metric_words import METRICS, Words, words_for
from persona_lens.plots.parts.subjects import number
from persona_lens.plots.parts.text import joined
from persona_lens.plots.parts.tidy import COLOURS, check_columns, counts, with_interval

COLUMNS = (
    *("layer", "metric", "kind", "value", "low", "high"),
    *("null", "null_mean", "null_95", "n"),
)
KINDS = {"role": "roles", "trait": "traits", "role-trait": "roles and traits"}
KIND_COLOURS = {
    "role": style.ROLE_COLOUR,
    "trait": style.TRAIT_COLOUR,
    "role-trait": style.BOTH_COLOUR,
}
KIND_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
CONTROL_GREYS = ("#59636e", "#a39a92")
CONTROL_DASHES = ("solid", "longdash", "dashdot")
LAYER_TITLE = "Layer (residual stream after the block)"
FEW_LAYERS = 12
NULL_LINES = (
    "Thin lines in the colour of a curve are its null: dashed its mean, "
    "dotted what 95 % of it stay below."
)


def layer_sweep(
    frame: pd.DataFrame,
    *,
    controls: Mapping[str, pd.DataFrame] | None = None,
    metrics: Sequence[str] | None = None,
    words: Mapping[str, Words] | None = None,
    title: str | None = None,
    source: str = "",
) -> go.Figure:
    """Metrics by layer, one panel each, with intervals and nulls; other models in grey.

    Args:
        frame: A row for each layer, metric and kind. `kind`: "role", "trait" or "role-trait". `value` with its
            95 % interval `low` to `high`. `null`: what the null is, in words. `null_mean`, `null_95`: its mean,
            and what 95 % of it stay below. `n`: units behind the value. NaN where unknown.
        controls: Frames of other models, such as one with random weights, by what to call them.
        metrics: Which, in this order; all by default.
        words: Titles of metrics this module does not know, or that should be called otherwise.
        title: Replaces the title.
        source: Model and hook point, for the line below the title.

    Raises:
        FigureError: Columns are missing, there is no row, or a metric is not in the frame.

    Examples:
        >>> row = {"metric": "identity", "kind": "role", "low": 0.6, "high": 0.8, "null": "labels shuffled",
        ...        "null_mean": 0.5, "null_95": 0.55, "n": 40}
        >>> fig = layer_sweep(pd.DataFrame([row | {"layer": i, "value": 0.7} for i in range(3)]))
        >>> [trace.name for trace in fig.data]
        ['roles, band', 'chance', 'null of roles, 95 % below', 'null of roles, mean', 'roles']
    """
    controls = dict(controls or {})
    check_columns(frame, COLUMNS, what="frame of a layer sweep")
    for name, other in controls.items():
        check_columns(other, COLUMNS, what=f"control {name} of a layer sweep")
    # Rows are told apart by their index, which frames that were joined repeat.
    frame = frame.reset_index(drop=True)
    controls = {name: other.reset_index(drop=True) for name, other in controls.items()}
    asked = list(dict.fromkeys(frame["metric"])) if metrics is None else list(metrics)
    unknown = [metric for metric in asked if metric not in set(frame["metric"])]
    if unknown or not asked:
        raise FigureError(
            "no such metric in the frame of a layer sweep",
            expected=", ".join(dict.fromkeys(frame["metric"])),
            given=", ".join(unknown) or "none",
        )
    known = {**METRICS, **(words or {})}
    looks = _looks(frame)
    facets = [_facet(metric, frame, controls, known, looks) for metric in asked]
    layers = sorted(set(frame["layer"]))
    fig = draw_facets(
        facets,
        title=title or _finding(frame.loc[frame["metric"].isin(asked)], known),
        topic="What can be read at which layer",
        subtitle=joined(source, _legend(bool(controls))),
        x_title=LAYER_TITLE,
        x_axis={"dtick": 1} if len(layers) <= FEW_LAYERS else {"nticks": 8},
    )
    style.add_caption(fig, _caption(frame.loc[frame["metric"].isin(asked)], controls))
    return fig


def kind_name(kind: str) -> str:
    """What figures call a kind of vector.

    Examples:
        >>> kind_name("role"), kind_name("axis")
        ('roles', 'axis')
    """
    return KINDS.get(kind, kind)


def _looks(frame: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Colour and symbol of each kind: the contract's kinds have their own, others take the rest in turn."""
    kinds = list(dict.fromkeys([*KINDS, *frame["kind"]]))
    return {
        kind: (
            KIND_COLOURS.get(kind, COLOURS[place % len(COLOURS)]),
            KIND_SYMBOLS[place % len(KIND_SYMBOLS)],
        )
        for place, kind in enumerate(kinds)
    }


def _facet(
    metric: str,
    frame: pd.DataFrame,
    controls: Mapping[str, pd.DataFrame],
    known: dict[str, Words],
    looks: Mapping[str, tuple[str, str]],
) -> Facet:
    about = words_for(metric, known)
    rows = frame.loc[frame["metric"] == metric]
    nulls, own = [], []
    for kind, part in by_kind(rows):
        color, symbol = looks[kind]
        nulls += null_curves(part, "layer", kind_name(kind), color)
        own.append(
            value_curve(part, "layer", kind_name(kind), _hovers(part), color=color, symbol=symbol)
        )
    others = []
    for place, (model, other) in enumerate(controls.items()):
        dash = CONTROL_DASHES[place % len(CONTROL_DASHES)]
        for shade, (kind, part) in enumerate(by_kind(other.loc[other["metric"] == metric])):
            name = f"{model}: {kind_name(kind)}"
            look = {"color": CONTROL_GREYS[shade % 2], "symbol": "", "dash": dash, "width": 1.6}
            others.append(value_curve(part, "layer", name, _hovers(part, model), **look))
    null = " or ".join(dict.fromkeys(rows["null"].dropna().astype(str)))
    chance = "" if about.chance is None else f"Chance {about.chance:g}."
    note = joined(about.note, chance, f"Null: {null}." if null else "", by=" ")
    return Facet(about.title, [*nulls, *others, *own], note=note, chance=about.chance)


def by_kind(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each kind, in order of appearance."""
    return [(str(kind), part) for kind, part in rows.groupby("kind", sort=False, observed=True)]


def value_curve(rows: pd.DataFrame, x: str, name: str, hovers: pd.Series, **look: Any) -> Curve:
    """The values with their band; rows that differ in the null alone are one point.

    Args:
        rows: Of one curve.
        x: Column that runs along the horizontal axis.
        name: Of the curve.
        hovers: Text of each row.
        look: Further attributes of the curve.
    """
    points = rows.assign(hover=hovers).sort_values(x, kind="stable").drop_duplicates(x)
    return Curve(
        name,
        points[x].to_numpy(),
        points["value"].to_numpy(dtype=float),
        hover=points["hover"].tolist(),
        low=points["low"].to_numpy(dtype=float),
        high=points["high"].to_numpy(dtype=float),
        **look,
    )


def null_curves(rows: pd.DataFrame, x: str, name: str, color: str) -> list[Curve]:
    """What chance gives, thin and in the colour of the curve; no line where it is not known.

    Of several nulls the one that is hardest to beat is drawn; hovers tell all of them.
    """
    lines = []
    names = rows["null"].astype(str) if "null" in rows else pd.Series("null", index=rows.index)
    for null, part in _hardest(rows, names):
        ordered = part.sort_values(x)
        for column, what, dash in (("null_95", "95 % below", "dot"), ("null_mean", "mean", "dash")):
            values = ordered[column].to_numpy(dtype=float)
            if not np.isfinite(values).any():
                continue
            called = f"null of {name}, {what}"
            said = called if null == "null" else f"{called}<br>{null}"
            lines.append(
                Curve(
                    called,
                    ordered[x].to_numpy(),
                    values,
                    color,
                    hover=[f"{said}: {number(value, '.3f')}" for value in values],
                    dash=dash,
                    width=1.1,
                    symbol="",
                    named=False,
                )
            )
    return lines


def _hardest(rows: pd.DataFrame, names: pd.Series) -> list[tuple[Any, pd.DataFrame]]:
    """The null whose 95 % reach highest on the mean; the first where none is known. Nothing without rows."""
    found = list(rows.groupby(names, sort=False))
    reach = [np.nan_to_num(float(part["null_95"].mean()), nan=-np.inf) for _, part in found]
    return [found[int(np.argmax(reach))]] if found else []


def null_line(row: Mapping[Any, Any]) -> str:
    """What a hover says of a null; empty where it is not known."""
    if not np.isfinite(row["null_mean"]):
        return ""
    text = f"mean {number(row['null_mean'], '.3f')}"
    if np.isfinite(row["null_95"]):
        text += f", 95 % below {number(row['null_95'], '.3f')}"
    return f"null ({row['null']}): {text}" if row.get("null") else f"null: {text}"


def _finding(frame: pd.DataFrame, known: Mapping[str, Words]) -> str:
    """How many curves rise above their hardest null somewhere; of a single one, how high and where."""
    tested: dict[tuple[str, str], bool] = {}
    best: dict[str, Any] = {}
    for row in frame.to_dict("records"):
        same = (frame["metric"] == row["metric"]) & (frame["kind"] == row["kind"])
        nulls = frame.loc[same & (frame["layer"] == row["layer"]), "null_95"].to_numpy(dtype=float)
        if not np.isfinite(nulls).any() or not np.isfinite(row["value"]):
            continue
        curve, hardest = (str(row["metric"]), str(row["kind"])), float(np.nanmax(nulls))
        tested[curve] = tested.get(curve, False) or row["low"] > hardest
        if not best or row["value"] > best["value"]:
            best = {**row, "hardest": hardest}
    curves = frame[["metric", "kind"]].drop_duplicates()
    if not tested:
        return f"{len(curves)} curves by layer, without a null to hold them against"
    if len(curves) == 1:
        name = words_for(str(best["metric"]), dict(known)).title
        value = with_interval(best["value"], best["low"], best["high"], ".2f")
        return (
            f"{name} Of {kind_name(str(best['kind']))} {value} at best, at layer {best['layer']}; "
            f"chance below {number(best['hardest'], '.2f')}"
        )
    beaten = f"{sum(tested.values())} of {len(tested)} curves"
    return f"{beaten} rise above 95 % of their null, interval and all, at some layer"


def _hovers(rows: pd.DataFrame, model: str = "") -> pd.Series:
    """Text of each row; it tells all nulls of its layer."""
    texts = pd.Series("", index=rows.index)
    for layer, part in rows.groupby("layer"):
        first, records = part.iloc[0], part.to_dict("records")
        name = kind_name(str(first["kind"])) + (f", {model}" if model else "")
        texts[part.index] = joined(
            f"<b>layer {layer}</b>",
            f"{name}: {with_interval(first['value'], first['low'], first['high'], '.3f')}",
            *(null_line(row) for row in records),
            counts(part["n"]),
        )
    return texts


def _legend(controls: bool) -> str:
    further = "Grey: controls, their nulls in the hover." if controls else ""
    return joined(f"Bands: 95 % intervals. {NULL_LINES}", further)


def _caption(frame: pd.DataFrame, controls: Mapping[str, pd.DataFrame]) -> str:
    parts = [
        f"{kind_name(kind).capitalize()}: {counts(rows['n'])}." for kind, rows in by_kind(frame)
    ]
    parts += [f"{name}: {counts(other['n'])}." for name, other in controls.items()]
    missing = int(frame["value"].isna().sum())
    if missing:
        parts.append(f"Not known, and left open: {missing} of {len(frame)} values.")
    return " ".join(parts)
