"""The figure of completions: a panel a category, controls in grey, the error of the labels in the caption."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from persona_lens.errors import FigureError
from persona_lens.plots.completions import completions

SERIES = [("as it is", "none", ""), ("assistant", "plan", ""), ("random 1", "control", "assistant")]


def shares(*, prefills: int = 5) -> pd.DataFrame:
    known = prefills > 1
    return pd.DataFrame(
        [
            {
                "judge": "category",
                "family": family,
                "category": category,
                "kind": kind,
                "series": series,
                "strength": at,
                "control_of": of,
                "value": 0.3 + at,
                "low": 0.2 if known else np.nan,
                "high": 0.5 if known else np.nan,
                "same_low": 0.25,
                "same_high": 0.35,
                "corrected": 0.3,
                "n": 40,
                "prefills": prefills,
            }
            for family, categories in {
                "traits": ["calm", "warm_kind"],
                "purpose": ["trade"],
            }.items()
            for category in categories
            for series, kind, of in SERIES
            for at in ([0.0] if kind == "none" else [-0.1, 0.1])
        ]
    )


TRENDS = pd.DataFrame(
    {
        "judge": "category",
        "series": "assistant",
        "family": "traits",
        "category": ["calm", "warm_kind"],
        "slope": [0.9, 0.0],
        "low": [0.5, -0.1],
        "high": [1.3, 0.1],
        "p_fdr": [0.01, 0.9],
        "p_controls_fdr": [0.02, 0.9],
        "controls": 1,
        "as_steep": [0, 1],
        "found": [True, False],
    }
)


def notes(fig, start: str) -> list[str]:
    return [note.text for note in fig.layout.annotations if note.name.startswith(start)]


def caption(fig) -> str:
    return " ".join(notes(fig, "caption")[0].replace("<br>", " ").split())


def test_a_panel_a_category_with_the_point_of_no_plan_in_every_direction():
    fig = completions(shares(), TRENDS, family="traits", labels="labels of traits right at 86%")
    heads = notes(fig, "head:")
    assert len(heads) == 2
    assert "● slope +0.9" in heads[0]
    assert "●" not in heads[1]
    drawn = [trace for trace in fig.data if trace.x[0] is not None]
    assert [list(trace.x) for trace in drawn] == [[-0.1, 0.0, 0.1]] * 4
    assert "labels of traits right at 86%" in caption(fig)
    assert "n = 40 a point" in caption(fig)


def test_without_an_error_or_controls_the_caption_says_so():
    frame = shares(prefills=1)
    plain = TRENDS.assign(controls=0, p_controls_fdr=np.nan)
    fig = completions(frame.query("kind != 'control'"), plain, family="traits")
    assert "How often the labels are right is not known" in caption(fig)
    assert "One prefill, so no intervals" in caption(fig)
    assert "nothing says that it is this direction's doing" in caption(fig)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(FigureError, match="family 'fears'"):
        completions(shares(), family="fears")
    with pytest.raises(FigureError, match="columns are missing"):
        completions(shares().drop(columns="corrected"), family="traits")
    two = pd.concat([shares(), shares().assign(judge="rubric")])
    with pytest.raises(FigureError, match="whose labels"):
        completions(two, family="traits")
    assert len(notes(completions(two, family="traits", judge="rubric"), "head:")) == 2
