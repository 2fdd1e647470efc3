"""How a sweep shows itself in a notebook: each metric at its best layer, beside what chance gives there."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from persona_lens.analysis.sweep.result import Sweep


def sweep_html(sweep: Sweep) -> str:
    """A small table, one row a metric, kind and null, at the layer of its largest value."""
    heading = f"<strong>{escape(repr(sweep))}</strong>"
    model = sweep.card.get("model")
    if model:
        heading += f"<div>{escape(str(model))} at {escape(str(sweep.card.get('hook_point')))}</div>"
    left_out = sweep.card.get("left_out") or {}
    if left_out:
        heading += f"<div>Left out: {escape(', '.join(left_out))}</div>"
    rows = []
    for _, of_it in sweep.frame.groupby(["metric", "kind", "null"], sort=False, dropna=False):
        best = of_it.loc[of_it["value"].idxmax()]
        cells = (
            best["metric"],
            best["kind"],
            best["layer"],
            f"{_number(best['value'])} [{_number(best['low'])}, {_number(best['high'])}]",
            best["null"] or "-",
            _number(best["null_95"]),
            best["n"],
        )
        rows.append("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>")
    columns = ("metric", "kind", "largest at layer", "value", "null", "null 95 %", "units")
    head = "".join(f"<th>{column}</th>" for column in columns)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<div>{heading}{table}</div>"


def _number(value: float) -> str:
    return "-" if not np.isfinite(value) else f"{value:.3g}"
