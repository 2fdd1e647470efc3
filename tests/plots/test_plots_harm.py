"""The figure of harm: what is drawn is what the tables say, with and without twins and projections."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from persona_lens.errors import FigureError
from persona_lens.plots.harm import harm

RATES = {
    "as it is": ("none", 0.6, 0.1),
    "cap": ("plan", 0.3, 0.15),
    "random 1": ("control", 0.55, 0.1),
}


def table(twins: bool = True) -> pd.DataFrame:
    rows = []
    for condition, (kind, miss, over) in RATES.items():
        measures = {"miss": miss, "over-refusal": over} if twins else {"miss": miss}
        for measure, value in measures.items():
            rows += [
                {
                    "measure": measure, "condition": condition, "kind": kind, "prompted": prompted,
                    "category": category, "value": value if prompted == "persona" else 0.0,
                    "low": value - 0.05, "high": value + 0.05, "n": 80, "clusters": 20,
                }
                for prompted in ("persona", "no persona")
                for category in ("all", "paper")
            ]  # fmt: skip
    return pd.DataFrame(rows)


def bins() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"condition": name, "kind": kind, "bin": at, "projection": at - 2.0, "value": miss - at / 20,
             "low": miss - 0.2, "high": miss + 0.2, "n": 16}
            for name, (kind, miss, _) in RATES.items() for at in range(3)
        ]
    )  # fmt: skip


def drawn(fig, axis: str) -> dict[str, tuple]:
    """What traces of a panel show, by the first line of their hover."""
    found = {}
    for trace in fig.data:
        if trace.xaxis == axis and trace.hovertext is not None:
            text = trace.hovertext if isinstance(trace.hovertext, str) else trace.hovertext[0]
            found[text.split("</b>")[0].removeprefix("<b>")] = (list(trace.x), list(trace.y))
    return found


def test_points_and_lines_are_those_of_the_tables():
    fig: Any = harm(table(), bins(), source="stand-in")
    assert drawn(fig, "x") == {name: ([over], [miss]) for name, (_, miss, over) in RATES.items()}
    along = drawn(fig, "x2")
    assert along["cap"] == (pytest.approx([-2, -1, 0]), pytest.approx([0.3, 0.25, 0.2]))
    assert fig.layout.title.text == "Miss goes from 60% to 30% under one plan"
    names = [trace.name for trace in fig.data if trace.name]
    assert names == ["as it is", "cap", "control"]
    caption = next(note.text for note in fig.layout.annotations if note.name == "caption")
    assert "n = 80" in caption
    assert "n = 16" in caption


def test_without_twins_conditions_stand_on_the_axis():
    fig: Any = harm(table(twins=False))
    assert list(fig.layout.xaxis.ticktext) == list(RATES)
    assert "x2" not in {trace.xaxis for trace in fig.data}


def test_what_is_not_there_is_told():
    with pytest.raises(FigureError, match="expected miss, given harm"):
        harm(table(), measure="harm")
    with pytest.raises(FigureError, match="columns are missing"):
        harm(table().drop(columns="low"))
