"""Figures of forecasts and monitors: every number with its interval, its null and its count."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from persona_lens.errors import FigureError
from persona_lens.plots import forecast_scores, forecast_truth, message_kinds, monitor_power


@pytest.fixture
def scores() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "direction": direction,
                "target": "next",
                "predictor": predictor,
                "split": split,
                "r2": r2,
                "low": r2 - 0.1,
                "high": r2 + 0.1,
                "null_95": 0.02,
                "r2_in_sample": r2 + 0.3,
                "n_rows": 640,
                "n_conversations": 80,
                "n_groups": 20,
            }
            for direction in ("axis", "pc2")
            for split in ("persona", "domain")
            for predictor, r2 in (("last", 0.2), ("message", 0.35), ("turn", -3.0))
        ]
    )


class TestForecastScores:
    def test_a_panel_for_each_way_of_holding_out(self, scores):
        fig = forecast_scores(scores)
        heads = [note.text for note in fig.layout.annotations]
        assert "<b>persona held out</b>" in heads
        assert "<b>domain held out</b>" in heads
        assert list(fig.layout.yaxis.ticktext) == ["last", "message", "turn"]
        assert list(fig.layout.yaxis2.ticktext) == [""] * 3

    def test_the_title_tells_what_was_found(self, scores):
        assert "explains 35% of the place" in forecast_scores(scores).layout.title.text

    def test_the_in_sample_figure_and_the_null_stand_beside(self, scores):
        null, inside, held = forecast_scores(scores).data[3:6]
        assert list(inside.x)[:2] == [0.5, pytest.approx(0.65)]
        assert list(null.x) == [0.02] * 3
        assert list(held.error_x.array)[1] == pytest.approx(0.1)
        assert "640 replies, 80 conversations, 20 groups" in held.hovertext[0]

    def test_what_is_far_worse_than_the_mean_is_drawn_at_the_edge_and_told_in_full(self, scores):
        held = forecast_scores(scores).data[5]
        assert held.x[2] == -0.6
        assert held.error_x.array[2] == held.error_x.arrayminus[2] == 0.0  # all of it lies beyond
        assert "−3.000" in held.hovertext[2]

    def test_another_direction(self, scores):
        assert len(forecast_scores(scores, direction="pc2").data) == 9

    def test_an_unknown_direction_is_refused_with_those_there_are(self, scores):
        with pytest.raises(FigureError, match=r"(?s)axis, next or pc2, next.*calm, next"):
            forecast_scores(scores, direction="calm")


class TestForecastTruth:
    def test_points_are_grouped_and_tell_their_message(self):
        rows = pd.DataFrame(
            {
                "truth": [1.0, 2.0, 3.0],
                "forecast": [1.5, 1.8, 2.0],
                "message": ["<b>Hi</b>", "Be a ghost.", "Add a row."],
                "domain": ["therapy", "philosophy", "therapy"],
            }
        )
        fig = forecast_truth(rows, by="domain")
        assert [trace.name for trace in fig.data] == ["as forecast", "therapy", "philosophy"]
        assert "&lt;b&gt;Hi&lt;/b&gt;" in fig.data[1].hovertext[0]
        assert fig.layout.xaxis.range == fig.layout.yaxis.range

    def test_a_missing_group_is_refused(self):
        rows = pd.DataFrame({"truth": [1.0], "forecast": [1.0], "message": ["Hi"]})
        with pytest.raises(FigureError, match="no domain"):
            forecast_truth(rows, by="domain")


def test_kinds_are_ordered_by_their_pull():
    kind = {
        **{
            "low": -4.0,
            "high": -2.0,
            "observed": -3.4,
            "observed_low": -4.5,
            "observed_high": -2.3,
        },
        **{"n_messages": 60, "n_conversations": 20, "example_1": "I feel alone."},
    }
    rows = pd.DataFrame(
        [
            {**kind, "kind": "column, sheet", "pull": 3.0},
            {**kind, "kind": "alone, night", "pull": -3.0},
        ]
    )
    fig = message_kinds(rows)
    assert list(fig.layout.yaxis.ticktext) == ["alone, night", "column, sheet"]
    assert list(fig.data[1].x) == [-3.0, 3.0]
    assert "I feel alone." in fig.data[1].hovertext[0]


class TestMonitorPower:
    @pytest.fixture
    def measured(self) -> pd.DataFrame:
        row = {
            **{"nominal": 0.05, "alarms": 4, "calm": 104, "rate": 4 / 104, "rate_low": 0.01},
            **{"rate_high": 0.1, "found": 30, "drifting": 40, "power": 0.75, "power_low": 0.6},
            **{"power_high": 0.87, "delay": 3.0, "delay_low": 2.0, "delay_high": 4.0},
        }
        blind = {"found": 0, "power": 0.0, "power_low": 0.0, "power_high": 0.09}
        blind |= dict.fromkeys(("delay", "delay_low", "delay_high"), np.nan)
        return pd.DataFrame(
            [
                {**row, "rule": "cusum", "own": True},
                {**row, **blind, "rule": "fixed z", "own": False},
            ]
        )

    def test_three_panels_over_the_same_rules(self, measured):
        fig = monitor_power(measured)
        assert len(fig.data) == 6
        assert list(fig.layout.yaxis.ticktext) == ["cusum", "fixed z"]
        assert fig.layout.title.text.startswith("cusum finds 75%")
        assert fig.layout.shapes[0].x0 == 0.05

    def test_a_rule_that_finds_nothing_has_no_delay(self, measured):
        fig = monitor_power(measured)
        assert np.isnan(fig.data[5].x[0])
        assert "delay" not in fig.data[5].hovertext[0]

    def test_counts_are_told(self, measured):
        (caption,) = [n for n in monitor_power(measured).layout.annotations if n.name == "caption"]
        assert "104 held-out calm and 40 drifting" in caption.text.replace("<br>", " ")
