"""What two spaces have in common, by relative depth: a panel for each measure, with intervals and nulls.

save_figure(comparison_panels(comparison.frame, source="two models"), "comparison.html")
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from persona_lens.errors import FigureError
from persona_lens.plots.layer_sweep import (
    KIND_SYMBOLS,
    NULL_LINES,
    kind_name,
    null_curves,
    null_line,
    value_curve,
)
from persona_lens.plots.parts import style
from persona_lens.plots.parts.facet_traces import Curve, Facet
from persona_lens.plots.parts.facets import draw_facets
from persona_lens.plots.parts.metric_words import MEASURES, words_for
from persona_lens.plots.parts.text import joined
from persona_lens.plots.parts.tidy import COLOURS, check_columns, counts, with_interval

COLUMNS = (
    *("depth", "layer_a", "layer_b", "measure", "component", "value", "low", "high"),
    *("null_mean", "null_95", "n"),
)
DEPTH_TITLE = "Relative depth"
COMPONENTS = 3


def comparison_panels(
    frame: pd.DataFrame,
    *,
    components: int = COMPONENTS,
    title: str | None = None,
    source: str = "",
) -> go.Figure:
    """Measures of agreement by relative depth, one panel each.

    Measures of components have a panel a kind with a curve a component, the others a curve a kind.

    Args:
        frame: A row for each matched pair of layers and measure. `depth`: 0 to 1. `layer_a`, `layer_b`. `measure`.
            `component`: from one; NaN for measures of the whole. `value` with its 95 % interval `low` to `high`,
            `null_mean`, `null_95` (what 95 % of the null stay below), `n` shared units. If there, `kind` and
            `partner` (component of the second space) are told apart.
        components: How many of the first components are drawn.
        title: Replaces the title.
        source: For the line below the title.

    Raises:
        FigureError: Columns are missing, there is no row, or `components` is less than one.

    Examples:
        >>> row = {"layer_a": 1, "layer_b": 2, "measure": "cka", "component": None, "value": 0.7, "low": 0.6,
        ...        "high": 0.8, "null_mean": 0.0, "null_95": 0.1, "n": 40}
        >>> fig = comparison_panels(pd.DataFrame([row | {"depth": d} for d in (0.2, 0.8)]))
        >>> [trace.name for trace in fig.data][-1]
        'roles'
    """
    check_columns(frame, COLUMNS, what="frame of a comparison")
    if components < 1:
        raise FigureError(
            "a comparison draws at least one component", given=f"components={components}"
        )
    tidy = frame.assign(kind=frame["kind"].astype(str) if "kind" in frame else "role")
    tidy = tidy.loc[tidy["component"].isna() | (tidy["component"] <= components)]
    tidy = tidy.reset_index(drop=True)
    check_columns(tidy, COLUMNS, what="components of a comparison")
    fig = draw_facets(
        [
            facet
            for measure in dict.fromkeys(tidy["measure"])
            for facet in _facets(tidy, str(measure))
        ],
        title=title or "What the two spaces have in common",
        subtitle=joined(source, f"Bands: 95 % intervals over shared units. {NULL_LINES}"),
        x_title=DEPTH_TITLE,
        x_axis={"tickformat": ".0%", "nticks": 6},
    )
    style.add_caption(fig, _caption(frame, tidy, components))
    return fig


def _facets(frame: pd.DataFrame, measure: str) -> list[Facet]:
    rows = frame.loc[frame["measure"].astype(str) == measure]
    about = words_for(measure, MEASURES)
    whole = rows.loc[rows["component"].isna()]
    kinds = list(dict.fromkeys(frame["kind"]))
    facets = []
    if len(whole):
        curves: list[Curve] = []
        for kind in dict.fromkeys(whole["kind"]):
            place = kinds.index(kind)
            curves += _curves(whole.loc[whole["kind"] == kind], kind_name(kind), place)
        facets.append(
            Facet(about.title, _nulls_first(curves), note=about.note, chance=about.chance)
        )
    parts = rows.loc[rows["component"].notna()]
    for kind in dict.fromkeys(parts["kind"]):
        curves = []
        for component in sorted(set(parts.loc[parts["kind"] == kind, "component"])):
            own = parts.loc[(parts["kind"] == kind) & (parts["component"] == component)]
            curves += _curves(own, f"PC{int(component)}", int(component) - 1)
        title = about.title + (f" ({kind_name(kind)})" if len(kinds) > 1 else "")
        facets.append(Facet(title, _nulls_first(curves), note=about.note, chance=about.chance))
    return facets


def _curves(rows: pd.DataFrame, name: str, place: int) -> list[Curve]:
    look = {
        "color": COLOURS[place % len(COLOURS)],
        "symbol": KIND_SYMBOLS[place % len(KIND_SYMBOLS)],
    }
    hovers = pd.Series([_hover(row, name) for row in rows.to_dict("records")], index=rows.index)
    return [
        *null_curves(rows, "depth", name, look["color"]),
        value_curve(rows, "depth", name, hovers, **look),
    ]


def _nulls_first(curves: list[Curve]) -> list[Curve]:
    return sorted(curves, key=lambda curve: curve.named)


def _hover(row: dict[Any, Any], name: str) -> str:
    partner = row.get("partner")
    paired = f" with PC{int(partner)}" if partner is not None and pd.notna(partner) else ""
    return joined(
        f"<b>depth {row['depth']:.0%}</b>: layers {row['layer_a']} and {row['layer_b']}",
        f"{name}{paired}: {with_interval(row['value'], row['low'], row['high'], '.3f')}",
        null_line(row),
        counts(pd.Series([row["n"]])),
    )


def _caption(frame: pd.DataFrame, tidy: pd.DataFrame, components: int) -> str:
    parts = [
        f"Shared {kind_name(str(kind))}: {counts(rows['n'])}."
        for kind, rows in tidy.groupby("kind", sort=False)
    ]
    parts.append(f"{tidy['depth'].nunique()} matched pairs of layers.")
    if len(tidy) < len(frame):
        parts.append(f"Drawn are the first {components} components.")
    return " ".join(parts)
