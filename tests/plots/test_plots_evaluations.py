"""Figures of evaluations: every measure, condition and control is drawn, and hovers tell what they rest on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from persona_lens.errors import FigureError
from persona_lens.plots.evaluation import evaluation
from persona_lens.plots.tradeoff import tradeoff

CONDITIONS = (("as it is", "none", 0.0), ("floor p75", "plan", 0.43), ("random 1", "control", 0.4))


def measures() -> pd.DataFrame:
    rows = []
    for measure, unit in [("rules broken", "share"), ("words", "words")]:
        for name, kind, engaged in CONDITIONS:
            change = np.nan if kind == "none" else -0.1
            rows.append(
                {"measure": measure, "unit": unit, "condition": name, "kind": kind, "value": 0.5,
                 "low": 0.4, "high": 0.6, "n": 90, "clusters": 45, "unjudged": 3, "change": change,
                 "change_low": change, "change_high": change, "engaged": engaged, "moved": 0.02}
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_a_panel_for_each_measure_and_a_line_for_each_condition():
    fig = evaluation(measures(), title="Rules")
    drawn = [trace for trace in fig.data if trace.hoverinfo == "text"]
    assert len(drawn) == 6
    assert sorted({trace.xaxis for trace in drawn}) == ["x", "x2"]
    ticks = list(fig.layout.yaxis.ticktext)
    assert ticks == ["as it is", "floor p75 (43% moved)", "random 1 (40% moved)"]
    cap = next(trace for trace in drawn if "floor" in trace.hovertext[0])
    assert "90 answers to 45 independent items" in cap.hovertext[0]
    assert "3 answers without a verdict" in cap.hovertext[0]
    caption = next(note for note in fig.layout.annotations if note.name == "caption")
    assert "Without a verdict, and left out: 18 of 558" in caption.text.replace("<br>", " ")


def test_nothing_to_draw_is_said():
    with pytest.raises(FigureError, match="no measure has a value"):
        evaluation(measures().assign(value=np.nan), title="Rules")


def points() -> pd.DataFrame:
    rows = []
    for (name, kind, engaged), gain, front in zip(
        CONDITIONS, (0.0, 0.3, 0.1), (True, True, False), strict=True
    ):
        rows.append(
            {"condition": name, "kind": kind, "engaged": engaged, "front": front, "gain": gain,
             "gain_low": gain - 0.1, "gain_high": gain + 0.1, "gain_n": 90, "price": gain / 2,
             "price_low": gain / 2 - 0.05, "price_high": gain / 2 + 0.05, "price_n": 60}
        )  # fmt: skip
    return pd.DataFrame(rows)


def test_the_front_is_a_line_and_the_chosen_plan_is_bold():
    fig = tradeoff(points(), gain="gain", price="price", chosen="floor p75")
    front = next(trace for trace in fig.data if trace.mode == "lines")
    assert list(front.x)[:2] == [0.0, 0.15]
    assert any(note.text == "<b>floor p75</b>" for note in fig.layout.annotations)
    hover = next(trace for trace in fig.data if trace.name == "plans").hovertext[0]
    assert "gain 30% [20%, 40%], 90 answers" in hover
    assert "moved 43.0% of the tokens" in hover


def test_gains_without_prices_cannot_be_drawn():
    with pytest.raises(FigureError, match="both a gain and a price"):
        tradeoff(points().assign(price=np.nan), gain="gain", price="price")
