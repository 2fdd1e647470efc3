"""Figures of steering and capping show the numbers of their frames, and say what they leave out."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from steering_frames import MEASURES, dose_frames, pareto_frame, sink_frame

from persona_lens.errors import FigureError
from persona_lens.plots import dose_response, pareto, sinks
from persona_lens.plots.parts.capping_view import pareto_front
from persona_lens.plots.parts.text import text_width
from persona_lens.plots.parts.tidy import COLOURS, GREY, TINY_KL


def caption(fig: Any) -> str:
    return note(fig, "caption").text.replace("<br>", " ")


def note(fig: Any, name: str) -> Any:
    return next(each for each in fig.layout.annotations if each.name == name)


def drawn(fig: Any) -> list[Any]:
    """Traces with points that can be hovered."""
    return [trace for trace in fig.data if trace.hoverinfo == "text"]


def front_line(fig: Any) -> Any:
    return next(trace for trace in fig.data if (trace.name or "").startswith("lowest adoption"))


def panel(number: int) -> str:
    return "y" if number == 0 else f"y{number + 1}"


def test_dose_points_and_bars_are_those_of_the_frame() -> None:
    measures, curves = dose_frames(1)
    fig: Any = dose_response(measures, curves)
    for number, (name, *_) in enumerate(MEASURES):
        for direction, color in (("Assistant Axis", COLOURS[0]), ("random 1", GREY)):
            rows = measures.loc[
                (measures["measure"] == name) & (measures["direction"] == direction)
            ]
            [dots] = [t for t in drawn(fig) if (t.yaxis, t.name) == (panel(number), direction)]
            np.testing.assert_array_equal(dots.x, rows["strength"])
            np.testing.assert_array_equal(dots.y, rows["value"])
            np.testing.assert_allclose(dots.y + dots.error_y.array, rows["high"])
            np.testing.assert_allclose(dots.y - dots.error_y.arrayminus, rows["low"])
            assert {dots.marker.color, dots.error_y.color, dots.line.color} == {color}
            assert f"n = {rows['n'].iloc[0]}" in dots.hovertext[0]


def test_dose_sigmoids_replace_the_joining_line() -> None:
    measures, curves = dose_frames(3)
    fig: Any = dose_response(measures, curves)
    fits = {(t.yaxis, t.name): t for t in fig.data if t.name and t.name.endswith(", sigmoid")}
    assert len(fits) == 3 * 4, "three measures are shares; the axis and three controls"
    rows = curves.loc[(curves["measure"] == MEASURES[2][0]) & (curves["direction"] == "random 2")]
    np.testing.assert_array_equal(fits["y3", "random 2, sigmoid"].y, rows["value"])
    assert {t.mode for t in drawn(fig) if t.yaxis == "y3"} == {"markers"}
    assert {t.mode for t in drawn(fig) if t.yaxis == "y5"} == {"lines+markers"}
    bands = [t for t in fig.data if t.name == "band"]
    assert {t.fillcolor for t in bands} == {COLOURS[0]}, "several controls have no bands"
    own = curves.loc[
        (curves["measure"] == MEASURES[0][0]) & (curves["direction"] == "Assistant Axis")
    ]
    np.testing.assert_array_equal(bands[0].y, [*own["high"], *own["low"][::-1]])
    assert "fitted sigmoids with 95 % bands; other points are joined" in caption(fig)


def test_dose_several_controls_are_thin_and_keep_their_intervals_in_the_hover() -> None:
    fig: Any = dose_response(*dose_frames(3))
    controls = [t for t in drawn(fig) if t.name.startswith("random")]
    own = [t for t in drawn(fig) if t.name == "Assistant Axis"]
    assert len(controls) == 3 * len(own) == 15
    assert {t.line.color for t in controls} == {GREY}
    assert all(t.error_y.array is None and " to " in t.hovertext[0] for t in controls)
    assert max(t.line.width for t in controls) < min(t.line.width for t in own)
    entries = [t.name for t in fig.data if t.showlegend is not False]
    assert entries == ["Assistant Axis", "3 random directions, same norm"]
    assert {t.legendgroup for t in controls} == {"controls"}
    assert "Intervals of the random directions are in the hover" in caption(fig)


def test_dose_axes() -> None:
    layout: Any = dose_response(*dose_frames(1)).layout
    assert layout.yaxis.tickformat == ".0%"
    low, high = layout.yaxis.range
    assert low < 0
    assert high > 1
    assert layout.yaxis4.tickformat is None
    for name in ("xaxis", "xaxis4"):
        assert layout[name].zeroline
        assert layout[name].range[0] < -0.3 < 0.3 < layout[name].range[1]
    assert layout.xaxis4.title.text == "Strength, fraction of the residual norm"
    assert layout.xaxis.title.text is None, "another panel stands below"
    hints = [each.text for each in layout.annotations if each.name.startswith("hint:")]
    assert len(hints) == 4, "both ends of both lower panels"


@pytest.mark.parametrize("panels", [1, 2, 3, 4, 5])
def test_dose_panels_fill_the_width_and_have_room_for_titles(panels: int) -> None:
    layout: Any = dose_response(*dose_frames(1, measures=MEASURES[:panels])).layout
    inner = layout.width - layout.margin.l - layout.margin.r
    tall = layout.height - layout.margin.t - layout.margin.b
    ends = ["" if number == 0 else str(number + 1) for number in range(panels)]
    assert max(layout[f"xaxis{end}"].domain[1] for end in ends) == pytest.approx(1)
    assert layout[f"xaxis{ends[-1]}"].domain[1] == pytest.approx(1)
    tops = sorted({layout[f"yaxis{end}"].domain for end in ends})
    for lower, upper in pairwise(tops):
        assert (upper[0] - lower[1]) * tall > 50
    for end, (name, *_) in zip(ends, MEASURES, strict=False):
        start, stop = layout[f"xaxis{end}"].domain
        assert text_width(name, 13) < (stop - start) * inner


def test_dose_with_one_strength_and_without_curves_or_intervals() -> None:
    measures, curves = dose_frames(1, strengths=[-0.15])
    measures[["low", "high"]] = np.nan
    fig: Any = dose_response(measures, curves, title="One", source="a model")
    assert fig.layout.title.text == "One"
    assert note(fig, "subtitle").text == "a model"
    low, high = fig.layout.xaxis.range
    assert low < -0.15 < 0 < high
    assert caption(fig).startswith("No intervals are known; n = ")
    assert "sigmoid" not in caption(fig)
    assert all(np.isnan(t.error_y.array).all() and " to " not in t.hovertext[0] for t in drawn(fig))
    hints = [each.text for each in fig.layout.annotations if each.name.startswith("hint:")]
    assert set(hints) == {"← toward role-play"}


def test_dose_points_without_a_value_are_counted() -> None:
    measures, curves = dose_frames(1)
    measures.loc[3:4, "value"] = np.nan
    fig: Any = dose_response(measures, curves)
    assert len(drawn(fig)[1].x) == 7
    assert f"Left out, without a value: 2 of {len(measures)} points" in caption(fig)


def test_dose_errors() -> None:
    measures, curves = dose_frames(1)
    with pytest.raises(FigureError, match="no strength, n"):
        dose_response(measures.drop(columns=["strength", "n"]), curves)
    with pytest.raises(FigureError, match="curves of a dose-response figure: columns"):
        dose_response(measures, curves.drop(columns="low"))
    with pytest.raises(FigureError, match="given bits"):
        dose_response(measures.assign(unit="bits"), curves)
    with pytest.raises(FigureError, match="nothing to draw"):
        dose_response(measures.assign(value=np.nan), curves)


def test_front_against_every_pair() -> None:
    rng = np.random.default_rng(0)
    cost = rng.integers(0, 12, 60).astype(float)
    value = 12 - cost + rng.integers(0, 6, 60)
    cost[7] = value[9] = np.nan
    expected = [
        np.isfinite(a + b)
        and not any(
            c <= a and d <= b and (c < a or d < b) for c, d in zip(cost, value, strict=True)
        )
        for a, b in zip(cost, value, strict=True)
    ]
    assert 2 < sum(expected) < 40
    np.testing.assert_array_equal(pareto_front(cost, value), expected)


def test_pareto_points_colours_and_sizes() -> None:
    frame = pareto_frame(n_random=2)
    fig: Any = pareto(frame)
    own, controls, bare = (
        next(t for t in drawn(fig) if t.name == name)
        for name in ("Assistant Axis", "controls", "no intervention")
    )
    rows = frame.loc[(frame["layers"] != "") & ~frame["control"]]
    np.testing.assert_array_equal(own.x, rows["kl"])
    np.testing.assert_array_equal(own.y, rows["adoption"])
    np.testing.assert_array_equal(own.marker.color, rows["depth"])
    assert own.marker.coloraxis == "coloraxis"
    by_percentile = pd.Series(own.marker.size).groupby(rows["percentile"].to_numpy()).unique()
    assert [len(sizes) for sizes in by_percentile] == [1] * 4
    assert by_percentile.str[0].is_monotonic_increasing
    np.testing.assert_array_equal(controls.y, frame.loc[frame["control"], "adoption"])
    assert (controls.marker.color, controls.marker.symbol) == (GREY, "circle-open")
    assert list(bare.y) == [0.82]
    bars = next(t for t in fig.data if t.name == "intervals")
    np.testing.assert_allclose(bars.y + bars.error_y.array, rows["adoption_high"])
    np.testing.assert_allclose(bars.x - bars.error_x.arrayminus, rows["kl_low"])
    assert "<b>Assistant Axis, layers 6-11</b><br>percentile 25<br>" in own.hovertext[0]
    for words in ("n = 96", "KL ", "perplexity ratio", "distinct bigrams", "tokens and layers"):
        assert words in own.hovertext[0]


def test_pareto_line_goes_from_no_intervention_down_the_front() -> None:
    frame = pareto_frame()
    fig: Any = pareto(frame)
    line = front_line(fig)
    assert line.line.shape == "hv"
    own = frame.loc[(frame["layers"] != "") & ~frame["control"]]
    for x, y in zip(line.x[1:-1], line.y[1:-1], strict=True):
        assert y == own.loc[own["kl"] <= x, "adoption"].min()
    assert line.y[0] == 0.82
    assert line.y[-1] == own["adoption"].min()
    assert (np.diff(line.x) > 0).all()
    low, high = fig.layout.xaxis.range
    assert low < np.log10(line.x[0]) < np.log10(own["kl"].min())
    assert line.x[-1] == pytest.approx(10**high)
    zero = fig.layout.xaxis.tickvals[list(fig.layout.xaxis.ticktext).index("0")]
    assert zero == line.x[0]


def test_pareto_labels_name_the_front() -> None:
    frame = pareto_frame()
    fig: Any = pareto(frame)
    line = front_line(fig)
    on_front = frame.loc[frame["kl"].isin(line.x[1:-1])]
    expected = {f"{row['layers']}, p{row['percentile']:g}" for row in on_front.to_dict("records")}
    found = {n.text for n in fig.layout.annotations if (n.name or "").startswith("front:")}
    assert found == expected
    # On a log axis plotly takes the powers of ten of an annotation.
    [label] = [n for n in fig.layout.annotations if n.text == "21-26, p95"]
    row = on_front.loc[(on_front["layers"] == "21-26") & (on_front["percentile"] == 95)].iloc[0]
    assert (label.x, label.y) == pytest.approx((np.log10(row["kl"]), row["adoption"]))


def test_pareto_plans_above_no_intervention_are_not_on_the_line() -> None:
    frame = pareto_frame(n_random=0)
    frame.loc[frame["layers"] != "", "adoption"] += 0.9
    line = front_line(pareto(frame))
    assert list(line.y) == [0.82, 0.82]


def test_pareto_without_a_row_of_no_intervention() -> None:
    frame = pareto_frame().iloc[1:]
    fig: Any = pareto(frame)
    line = front_line(fig)
    assert line.x[0] == frame.loc[~frame["control"], "kl"].min()
    assert "0" not in fig.layout.xaxis.ticktext
    assert all(t.name != "no intervention" for t in fig.data)


def test_pareto_tiny_and_unknown_numbers() -> None:
    frame = pareto_frame(n_random=0)
    frame["layers"] = frame["layers"].replace("", np.nan)  # as after a way through CSV
    frame.loc[1, ["kl", "kl_low", "kl_high"]] = 1e-9, -1e-9, 3e-9
    frame.loc[2, ["adoption_low", "adoption_high", "distinct"]] = np.nan
    frame.loc[3, "kl"] = np.nan
    fig: Any = pareto(frame)
    own = next(t for t in drawn(fig) if t.name == "Assistant Axis")
    assert own.x[0] == TINY_KL
    assert "KL 1e−09" in own.hovertext[0]
    assert len(own.x) == len(frame) - 2
    assert " to " not in own.hovertext[1].split("<br>")[3]
    assert "distinct" not in own.hovertext[1]
    assert "nats (1) is drawn there" in caption(fig)
    assert "Left out, without a value: 1." in caption(fig)
    assert np.isfinite([*fig.layout.xaxis.range, *fig.layout.yaxis.range]).all()


def test_pareto_of_no_intervention_alone_and_of_nothing() -> None:
    frame = pareto_frame()
    fig: Any = pareto(frame.iloc[:1])
    assert [t.name for t in drawn(fig) if len(t.x)] == ["no intervention"]
    with pytest.raises(FigureError, match="nothing to draw"):
        pareto(frame.iloc[:0])
    with pytest.raises(FigureError, match="no kl, engagement"):
        pareto(frame.drop(columns=["kl", "engagement"]))


def test_sink_rows_are_sorted_and_hold_both_values() -> None:
    frame = sink_frame(12)
    fig: Any = sinks(frame)
    rows = frame.sort_values("ratio", ascending=False)
    spared, touched = drawn(fig)
    for trace, side in ((spared, "spared"), (touched, "touched")):
        np.testing.assert_array_equal(trace.x, rows[f"kl_{side}"])
        np.testing.assert_allclose(trace.x + trace.error_x.array, rows[f"kl_{side}_high"])
        np.testing.assert_allclose(trace.x - trace.error_x.arrayminus, rows[f"kl_{side}_low"])
    assert spared.marker.color != touched.marker.color
    links = next(t for t in fig.data if t.name == "difference")
    np.testing.assert_array_equal(links.x[::3], spared.x)
    np.testing.assert_array_equal(links.x[1::3], touched.x)
    names = [f"{row['direction']}, {row['operation']}" for row in rows.to_dict("records")]
    assert list(fig.layout.yaxis.ticktext) == names
    assert fig.layout.yaxis.range[0] > fig.layout.yaxis.range[1], "the largest ratio is at the top"
    assert max(text_width(name, 12) for name in names) < fig.layout.margin.l
    first = rows["ratio"].iloc[0]
    assert note(fig, "ratio:0").text == f"{first:,.0f} times"
    assert note(fig, "ratio:0").y == 0
    assert caption(fig) == "Bars: 95 % intervals. Layer 20."


def test_sink_rows_name_layers_if_there_are_several() -> None:
    frame = sink_frame(3).assign(layer=[14, 20, 22], n=40)
    fig: Any = sinks(frame)
    assert all(", layer " in tick for tick in fig.layout.yaxis.ticktext)
    assert caption(fig) == "Bars: 95 % intervals, n = 40."


def test_sink_values_too_small_for_a_ratio() -> None:
    frame = sink_frame(4)
    frame.loc[0, ["kl_spared", "kl_spared_low", "kl_touched", "ratio"]] = 0.0, 0.0, 0.002, np.inf
    frame.loc[1, ["kl_spared", "kl_touched", "ratio"]] = 1e-8, 1e-9, np.nan
    frame.loc[2, ["kl_touched_low", "kl_touched_high"]] = np.nan
    frame.loc[3, "kl_touched"] = np.nan
    fig: Any = sinks(frame)
    assert [note(fig, f"ratio:{row}").text for row in (0, 2)] == [
        "over 2,000 times",
        "both too small",
    ]
    spared, touched = drawn(fig)
    assert spared.x[0] == spared.x[2] == touched.x[2] == TINY_KL
    assert np.isnan(touched.error_x.array[1])
    assert "(3) is drawn there" in caption(fig)
    assert "Left out, without both values: 1." in caption(fig)
    assert 10 ** fig.layout.xaxis.range[0] < TINY_KL


def test_sink_rows_are_sorted_by_the_ratio_that_is_shown() -> None:
    frame = sink_frame(4)
    frame["kl_spared"], frame["kl_touched"] = [0.01, 1e-12, 1e-9, 0.01], [0.5, 1e-5, 1e-9, 1e-7]
    frame["ratio"] = frame["kl_touched"] / frame["kl_spared"]
    frame.index = [0] * 4  # as after joining frames
    fig = sinks(frame)
    found = [note(fig, f"ratio:{row}").text for row in range(4)]
    assert found == ["50 times", "over 10 times", "under 0.0001 times", "both too small"]


def test_sink_errors() -> None:
    with pytest.raises(FigureError, match="no ratio"):
        sinks(sink_frame().drop(columns="ratio"))
    with pytest.raises(FigureError, match="nothing to draw"):
        sinks(sink_frame().assign(kl_spared=np.nan))
