"""Writing the page of a trace: figures, and the conversations as text, in one file that needs no network."""

from __future__ import annotations

import importlib.metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.offline
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from persona_lens.drift.trace import OWN_COLUMNS, Trace
from persona_lens.errors import FigureError
from persona_lens.files import whole_or_nothing
from persona_lens.pages.trace.tinting import Tint, TintedTurn, tinted_turns
from persona_lens.plots import conversation_trace, drift_curves
from persona_lens.plots.export import CONFIG
from persona_lens.space import Space
from persona_lens.space.calibration import POPULATIONS

STYLES = "shared/base.css", "trace/trace.css"
MOST = 60
"""Conversations shown as text."""


def trace_page(
    found: Trace,
    path: str | Path,
    *,
    space: Space | None = None,
    layer: int | None = None,
    direction: str | None = None,
    by: str | None = None,
    alarms: pd.DataFrame | None = None,
    title: str | None = None,
) -> Path:
    """Write a trace as one web page.

    Args:
        found: The trace; with its `tokens`, replies are tinted token by token, else turn by turn.
        path: Ends in `.html`.
        space: Tells where single replies of the default and of the roles lie, which the tint is centred between.
        layer: The first read by default.
        direction: The first read by default.
        by: What the conversations say of themselves that groups them in curves, such as `domain`.
        alarms: `conversation`, `turn`, `why`, as a monitor gives them.
        title: Replaces "Trace of N conversations".

    Returns:
        The file written.

    Raises:
        FigureError: Another ending.
        ConversationError: No such layer, direction or group in the trace.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise FigureError("a trace's page is a web page", expected="a .html", given=path.name)
    layer = found.layers[0] if layer is None else layer
    name = found.directions[0] if direction is None else direction
    clean = found.at(layer, direction=name)
    spread = _spread(space, layer, name)
    rows = found.frame.loc[(found.frame["layer"] == layer) & (found.frame["direction"] == name)]
    what = "the Assistant Axis" if name == "axis" else name
    source = f"{found.card['model']['model']}, residual stream after block {layer}"
    curves = found.curves(by, layer, direction=name)
    figures = []
    if len(curves):
        figures.append(
            drift_curves(
                curves, source=f"{source}, {found.readings[0]} reading", quantity=f"Along {what}"
            )
        )
    figures.append(
        conversation_trace(
            rows,
            found.turns,
            spread=spread,
            alarms=alarms,
            source=source,
            quantity=f"Projection on {what}",
        )
    )
    tint = Tint.of(clean["projection"], spread)
    lowest_first = clean.sort_values("projection", kind="stable")["conversation"].unique()
    names = list(lowest_first[:MOST])
    page = _render(
        title=title or _title(found),
        facts=_facts(found, layer, name),
        figures=[_inline(figure) for figure in figures],
        conversations=[
            _conversation(found, one, layer=layer, direction=name, tint=tint, rows=clean)
            for one in names
        ],
        left_out=len(lowest_first) - len(names),
        tint=tint,
        by_token=len(found.tokens) > 0,
        refused=found.refused.to_dict("records"),
    )
    with whole_or_nothing(path) as partial:
        partial.write_text(page, "utf-8")
    return path


def _title(found: Trace) -> str:
    count = found.turns["conversation"].nunique()
    return f"Trace of {count:,} conversation{'' if count == 1 else 's'}"


def _facts(found: Trace, layer: int, direction: str) -> dict[str, str]:
    told = {
        "Model": found.card["model"]["model"],
        "Space of": found.card["space"] or "not known",
        "Layer": f"{layer}, residual stream after the block",
        "Direction": direction,
        "Readings": ", ".join(found.readings),
        "Turns": f"{len(found.turns):,}",
    }
    if found.card["plan"]:
        told["Plan"] = found.card["plan"]
    if len(found.refused):
        told["Refused"] = f"{len(found.refused):,}"
    return told


def _spread(space: Space | None, layer: int, direction: str) -> pd.DataFrame | None:
    """Where single replies lie, if the space was calibrated along the direction."""
    calibration = None if space is None else space.calibration_
    if space is None or calibration is None or direction not in calibration.directions:
        return None
    which = space.layer_index(layer), calibration.directions.index(direction)
    rows = [
        {
            "population": name,
            "mean": float(calibration.means[POPULATIONS.index(kind)][which]),
            "deviation": float(calibration.deviations[POPULATIONS.index(kind)][which]),
        }
        for name, kind in (("default", "default"), ("roles", "role"))
    ]
    return pd.DataFrame(rows).dropna()


def _conversation(
    found: Trace, name: str, *, layer: int, direction: str, tint: Tint, rows: pd.DataFrame
) -> dict[str, Any]:
    turns = found.turns.loc[found.turns["conversation"] == name]
    told = {
        column: turns[column].iloc[0]
        for column in turns.columns
        if column not in OWN_COLUMNS and not pd.isna(turns[column].iloc[0])
    }
    own = rows.loc[rows["conversation"] == name]
    tokens = found.tokens
    if len(tokens):
        wanted = {"conversation": name, "layer": layer, "direction": direction}
        wanted["reading"] = found.readings[0]
        tokens = tokens.loc[(tokens[[*wanted]] == pd.Series(wanted)).all(axis=1)]
    tinted: list[TintedTurn] = tinted_turns(turns, own, tokens, tint)
    return {"name": name, "about": told, "lowest": own["projection"].min(), "turns": tinted}


def _inline(figure: go.Figure) -> Markup:
    html = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        config=CONFIG,
    )
    return Markup(html)


def _render(**parts: Any) -> str:
    pages = files("persona_lens.pages")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string((pages / "trace/trace.html.jinja").read_text("utf-8"))
    return template.render(
        css=Markup("".join((pages / name).read_text("utf-8") for name in STYLES)),
        plotly=Markup(plotly.offline.get_plotlyjs()),
        version=importlib.metadata.version("persona-lens"),
        **parts,
    )
