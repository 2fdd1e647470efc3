"""The figure of rules: every point is a share of the frame, filled where the persona differs, nothing overlaps."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from persona_lens.errors import FigureError
from persona_lens.plots.parts.text import text_width
from persona_lens.plots.rules import GAP, HEAD_SIZE, NARROW, RIGHT, rules

KINDS = {"all": 0.3, "price": 0.1, "code_word": 0.6}


def shares(conditions: dict[str, str]) -> pd.DataFrame:
    rows = []
    for condition, kind in conditions.items():
        for rule, effect in KINDS.items():
            told = {"condition": condition, "kind": kind, "rule": rule, "effect": effect, "p": 0.01}
            for twin, value in (("persona", 0.2 + effect), ("neutral", 0.2)):
                rows.append(
                    {**told, "twin": twin, "value": value, "low": value - 0.1, "high": value + 0.1,
                     "q": 0.01 if effect > 0.5 else 0.2, "n": 8, "pairs": 8}
                )  # fmt: skip
    return pd.DataFrame(rows)


def test_points_are_those_of_the_frame_and_filled_where_they_differ():
    fig: Any = rules(shares({"as it is": "none", "cap": "plan"}))
    assert list(fig.layout.yaxis.ticktext) == ["<b>all kinds</b>", "code word", "price"]
    persona, neutral = [trace for trace in fig.data if trace.xaxis == "x2"]
    # In the order of the frame, at the place of their kind.
    assert list(persona.x) == pytest.approx([0.5, 0.3, 0.8])
    assert [round(y) for y in persona.y] == [0, 2, 1]
    assert persona.marker.color[2] == persona.marker.line.color
    assert set(persona.marker.color[:2]) == set(neutral.marker.color) == {"#ffffff"}
    assert list(neutral.error_x.array) == pytest.approx([0.1] * 3)
    assert "60 points" in persona.hovertext[2]
    assert "q 0.01" in persona.hovertext[2]


def test_controls_are_drawn_if_wanted_and_kinds_without_twins_too():
    frame = shares({"as it is": "none", "random": "control"})
    assert len({trace.xaxis for trace in rules(frame).data if trace.xaxis}) == 1
    assert len({trace.xaxis for trace in rules(frame, controls=True).data if trace.xaxis}) == 2
    alone = frame.loc[frame["twin"] == "persona"].assign(effect=np.nan, p=np.nan, q=np.nan)
    fig = rules(alone)
    assert fig.layout.title.text == "Rules broken, by kind"
    with pytest.raises(FigureError, match="columns are missing"):
        rules(frame.drop(columns="q"))


def test_heads_and_ticks_of_many_conditions_do_not_meet_on_a_narrow_page():
    names = ["as it is", *(f"floor assistant p{n}, at layers 12 to {n}" for n in range(50, 54))]
    fig: Any = rules(shares(dict.fromkeys(names, "plan")))
    left = fig.layout.margin.l
    plot = NARROW - left - RIGHT
    heads = [note for note in fig.layout.annotations if note.font.size == HEAD_SIZE]
    heads = [note for note in heads if note.text.startswith("<b>")]
    assert len(heads) == 5
    for one, other in pairwise(sorted(heads, key=lambda note: (-note.y, note.x))):
        if one.y == other.y:
            assert one.x * plot + 1.05 * text_width(one.text, HEAD_SIZE) < other.x * plot + GAP
    starts = sorted({trace.xaxis for trace in fig.data if trace.xaxis})
    assert len(starts) == 5
    tops = sorted({axis.domain[1] for axis in fig.select_yaxes()})
    assert len(tops) == 2
    assert text_width(fig.layout.title.text, 20) < NARROW - left
