"""The page of a trace: whole, without a network, and nothing in it that somebody said can run."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from persona_lens.drift.trace import Trace
from persona_lens.errors import FigureError
from persona_lens.pages.trace import trace_page
from persona_lens.pages.trace.tinting import Tint

HOSTILE = "</script><script>alert(1)</script>"


def made(n: int = 2, tokens: bool = True) -> Trace:
    names = [HOSTILE, *(f"chat {number}" for number in range(1, n))]
    frame = pd.DataFrame(
        [
            {
                "conversation": name,
                "turn": turn,
                "reading": "clean",
                "layer": 3,
                "direction": "axis",
                "projection": 4.0 - turn - place,
                "low": np.nan,
                "high": np.nan,
                "nearest": HOSTILE,
            }
            for place, name in enumerate(names)
            for turn in range(2)
        ]
    )
    turns = frame[["conversation", "turn"]].assign(
        since=0, tokens=2, message=HOSTILE, reply="Go on.", domain=HOSTILE
    )
    told = frame[["conversation", "turn", "reading", "layer", "direction"]]
    parts = [
        told.assign(place=place, token=token, projection=value)
        for place, (token, value) in enumerate((("Go", 5.0), (" on.", -5.0)))
    ]
    return Trace(
        frame,
        turns,
        pd.DataFrame({"conversation": ["bad"], "reason": [HOSTILE]}),
        {
            "model": {"model": "tiny"},
            "space": "tiny",
            "layers": [3],
            "directions": ["axis"],
            "readings": ["clean"],
            "plan": None,
        },
        pd.concat(parts) if tokens else pd.DataFrame(),
    )


def test_nothing_that_was_said_can_run(tmp_path):
    page = trace_page(made(), tmp_path / "trace.html").read_text()
    assert "<script>alert(1)" not in page
    assert page.count("&lt;/script&gt;") > 4


def test_the_page_asks_no_network(tmp_path):
    page = trace_page(made(), tmp_path / "trace.html").read_text()
    head = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(src|href)=\"https?:", head)


def test_replies_are_tinted_token_by_token(tmp_path):
    page = trace_page(made(), tmp_path / "trace.html").read_text()
    assert 'rgba(0, 114, 178, 0.55)" title="5.00">Go</span>' in page
    assert 'title="-5.00"> on.</span>' in page
    assert "tinted token by token" in page


def test_without_tokens_whole_replies_are_tinted(tmp_path):
    page = trace_page(made(tokens=False), tmp_path / "trace.html").read_text()
    assert "tinted as a whole" in page
    assert ">Go on.</span>" in page


def test_curves_come_with_ten_conversations(tmp_path):
    few = trace_page(made(9), tmp_path / "few.html").read_text()
    many = trace_page(made(12), tmp_path / "many.html").read_text()
    assert few.count('class="figure"') == 1
    assert many.count('class="figure"') == 2


def test_of_very_many_the_lowest_are_shown(tmp_path):
    page = trace_page(made(70, tokens=False), tmp_path / "trace.html").read_text()
    assert page.count('class="chat"') == 60
    assert "10 more are" in page


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(FigureError, match="web page"):
        trace_page(made(), tmp_path / "trace.png")


def test_tint_grows_to_either_side_and_no_further():
    tint = Tint.of([0.0, 2.0, 10.0], None)
    assert (tint.middle, tint.reach) == (2.0, 8.0)
    assert tint.style(100.0) == tint.style(10.0)
    assert "213" in tint.style(1.0)
