"""The figure of who speaks shows the shares of its frame, the controls beside and what it leaves out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from persona_lens.errors import FigureError
from persona_lens.plots.susceptibility import COLOURS, susceptibility

LABELS = ("assistant", "human", "other")


def frame(controls: int = 2, unjudged: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = []
    for name in ("axis", *(f"random {number + 1}" for number in range(controls))):
        for strength in (-0.2, 0.0, 0.2):
            for label, share in zip(LABELS, rng.dirichlet((3, 2, 1)), strict=True):
                ends = {"low": max(0, share - 0.1), "high": min(1, share + 0.1)}
                about = {"direction": name, "control": name != "axis", "strength": strength}
                counts = {"n": 40, "roles": 10, "unjudged": unjudged}
                rows.append({**about, "label": label, "share": share, **ends, **counts})
    return pd.DataFrame(rows)


def bars_of(fig: Any, panel: str, name: str) -> Any:
    return next(
        trace
        for trace in fig.data
        if trace.type == "bar" and (trace.yaxis or "y") == panel and trace.name == name
    )


def caption(fig: Any) -> str:
    return next(note.text for note in fig.layout.annotations if note.name == "caption")


def test_bars_and_intervals_are_those_of_the_frame():
    shares = frame()
    fig: Any = susceptibility(shares)
    for label, colour in zip(LABELS, COLOURS, strict=False):
        rows = shares.loc[(shares["direction"] == "axis") & (shares["label"] == label)]
        bar = bars_of(fig, "y", label)
        np.testing.assert_allclose(bar.y, rows["share"])
        np.testing.assert_allclose(bar.y + bar.error_y.array, rows["high"])
        np.testing.assert_allclose(bar.y - bar.error_y.arrayminus, rows["low"])
        assert bar.marker.color == colour
    assert fig.layout.barmode == "stack"
    assert fig.layout.xaxis.ticktext == ("−0.2", "0", "+0.2")


def test_controls_stand_beside_as_their_mean_and_each_in_the_hover():
    shares = frame()
    fig: Any = susceptibility(shares)
    random = shares.loc[shares["control"] & (shares["label"] == "human")]
    bar = bars_of(fig, "y2", "human")
    np.testing.assert_allclose(bar.y, random.groupby("strength")["share"].mean())
    assert "random 1: " in bar.hovertext[0]
    assert "random 2: " in bar.hovertext[0]
    assert bar.error_y.array is None
    single: Any = susceptibility(frame(controls=1))
    assert bars_of(single, "y2", "human").error_y.array is not None


def test_the_caption_counts_and_tells_what_is_left_out():
    assert "n = 40" in caption(susceptibility(frame(controls=0)))
    assert "Random" not in caption(susceptibility(frame(controls=0)))
    assert "up to 3 answers" in caption(susceptibility(frame(unjudged=3))).replace("<br>", " ")


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(FigureError, match="columns are missing"):
        susceptibility(frame().drop(columns="n"))
    many = pd.concat([frame().assign(label=f"l{number}") for number in range(7)])
    with pytest.raises(FigureError, match="more labels"):
        susceptibility(many)
