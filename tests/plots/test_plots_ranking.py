"""The ranking shows the numbers of `space.ranking`, and nothing it does not know."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from persona_lens.errors import FigureError
from persona_lens.persona_space import PersonaSpace
from persona_lens.plots import axis_ranking
from persona_lens.plots.parts.text import text_width

LAYER = 1


def rows(fig: Any) -> dict[str, tuple[float, float, float, float]]:
    """Projection, row from the top, and lengths of the bar to either side, by name."""
    found = {}
    for trace in fig.data:
        if trace.customdata is not None:
            columns = trace.x, trace.y, trace.error_x.arrayminus, trace.error_x.array
            found |= dict(zip(trace.customdata, zip(*columns, strict=True), strict=True))
    return found


def test_points_bars_and_order(space: PersonaSpace) -> None:
    fig, ranking = axis_ranking(space, LAYER), space.ranking(LAYER)
    drawn = np.array([rows(fig)[name] for name in ranking["name"]])
    np.testing.assert_allclose(drawn[:, 0], ranking["projection"])
    np.testing.assert_allclose(drawn[:, 1], np.arange(48))
    np.testing.assert_allclose(drawn[:, 0] - drawn[:, 2], ranking["low"])
    np.testing.assert_allclose(drawn[:, 0] + drawn[:, 3], ranking["high"])
    assert [tick.replace(" ", "_") for tick in fig.layout.yaxis.ticktext] == list(ranking["name"])
    assert fig.layout.yaxis.range[0] > fig.layout.yaxis.range[1], "the first role is at the top"


def test_default_and_mean_are_marked(space: PersonaSpace) -> None:
    fig = axis_ranking(space, LAYER)
    lines = {trace.x[0] for trace in fig.data if trace.mode == "lines"}
    default = float(space.project("default", LAYER))
    assert sorted(lines) == pytest.approx(sorted([default, space.ranking(LAYER).projection.mean()]))
    notes = {note.name: note for note in fig.layout.annotations}
    assert notes["<b>default Assistant</b>"].x == pytest.approx(default)
    low, high = fig.layout.xaxis.range
    assert low < default < high
    margin = space.projection_margins_[0, LAYER]
    [band] = fig.layout.shapes
    assert (band.x0, band.x1) == pytest.approx((default - margin, default + margin))
    assert notes["<b>default Assistant</b>"].yshift - notes["mean of roles"].yshift > 15


def test_top_keeps_both_ends_and_counts_the_rest(large_space: PersonaSpace) -> None:
    fig, ranking = axis_ranking(large_space, LAYER, top=10), large_space.ranking(LAYER)
    expected = [*ranking["name"].head(10), *ranking["name"].tail(10)]
    assert set(rows(fig)) == set(expected)
    assert fig.layout.yaxis.ticktext[10] == "… 255 more …"
    assert [rows(fig)[name][1] for name in expected] == [*range(10), *range(11, 21)]
    assert len(axis_ranking(large_space, LAYER, top=200).layout.yaxis.ticktext) == 275


def test_highlighted_roles_are_kept_in_the_middle_and_stand_out(large_space: PersonaSpace) -> None:
    ranking = large_space.ranking(LAYER)
    name = ranking["name"].iloc[100]
    fig: Any = axis_ranking(large_space, LAYER, top=10, highlight=[name])
    assert list(fig.layout.yaxis.ticktext[10:13:2]) == ["… 90 more …", "… 164 more …"]
    assert fig.layout.yaxis.ticktext[11] == f"<b>{name.replace('_', ' ')}</b>"
    strong = [trace for trace in fig.data if trace.customdata is not None and trace.opacity == 1]
    assert [list(trace.customdata) for trace in strong] == [[name]]


def test_the_title_counts_the_roles_off_the_mean(space: PersonaSpace) -> None:
    ranking = space.ranking(LAYER)
    mean = ranking["projection"].mean()
    apart = int(((ranking["low"] > mean) | (ranking["high"] < mean)).sum())
    title = axis_ranking(space, LAYER).layout.title.text.replace("<br>", " ")
    assert f"{apart} of 48 roles lie off the mean role" in title


@pytest.mark.parametrize("top", [None, 5])
def test_names_fit_the_margin_and_rows_the_height(
    large_space: PersonaSpace, top: int | None
) -> None:
    layout: Any = axis_ranking(large_space, LAYER, top=top).layout
    widest = max(text_width(tick, layout.yaxis.tickfont.size) for tick in layout.yaxis.ticktext)
    assert widest + layout.yaxis.ticklabelstandoff < layout.margin.l
    plot = layout.height - layout.margin.t - layout.margin.b
    assert plot / len(layout.yaxis.ticktext) >= layout.yaxis.tickfont.size * 1.3


def test_without_folds_there_are_no_bars_and_the_subtitle_says_so() -> None:
    rng = np.random.default_rng(0)
    roles = {f"r{i}": rng.normal(size=(1, 6)) for i in range(5)}
    fig: Any = axis_ranking(PersonaSpace.from_vectors(roles, np.ones((1, 6))).fit(), 0)
    assert np.isnan([row[2] for row in rows(fig).values()]).all()
    assert not fig.layout.shapes
    assert "No intervals" in next(
        note.text for note in fig.layout.annotations if note.name == "subtitle"
    )
    assert "95 %" not in "".join(
        text for trace in fig.data if trace.customdata is not None for text in trace.hovertext
    )
    assert np.isfinite(fig.layout.xaxis.range).all()


def test_hover_has_rank_and_interval(space: PersonaSpace) -> None:
    fig, first = axis_ranking(space, LAYER), space.ranking(LAYER).iloc[0]
    hover = next(
        text
        for trace in fig.data
        if trace.customdata is not None
        for name, text in zip(trace.customdata, trace.hovertext, strict=True)
        if name == first["name"]
    )
    assert (
        f"rank 1 of 48, 95 % interval {first.low:.4g} to {first.high:.4g}".replace("-", "−")
        in hover
    )


def test_errors(space: PersonaSpace) -> None:
    with pytest.raises(FigureError, match="top=0"):
        axis_ranking(space, LAYER, top=0)
    with pytest.raises(FigureError, match="fit"):
        axis_ranking(PersonaSpace(space.table), LAYER)
