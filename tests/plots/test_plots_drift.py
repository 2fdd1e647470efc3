"""Figures of conversations: one turn by turn, and groups of many."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from persona_lens.errors import FigureError
from persona_lens.plots import conversation_trace, drift_curves


def rows(names=("a",), readings=("clean",), turns: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "conversation": name,
                "turn": turn,
                "reading": reading,
                "projection": 5.0 - turn - place,
                "low": 4.0 - turn - place,
                "high": 6.0 - turn - place,
                "z_default": -float(turn),
                "nearest": "night_watch, ghost",
            }
            for place, name in enumerate(names)
            for reading in readings
            for turn in range(turns)
        ]
    )


def turns_of(frame: pd.DataFrame) -> pd.DataFrame:
    told = frame[["conversation", "turn"]].drop_duplicates()
    return told.assign(message="<b>Hi</b>", reply="Hello " * 100)


class TestConversationTrace:
    def test_a_curve_for_every_reading_with_intervals(self):
        frame = rows(readings=("clean", "before", "after"))
        fig = conversation_trace(frame, turns_of(frame))
        assert [trace.name for trace in fig.data] == [
            "clean re-reading",
            "before the cap",
            "after the cap",
        ]
        assert list(fig.data[0].error_y.array) == [1.0, 1.0, 1.0]

    def test_hover_tells_what_was_said_and_runs_nothing(self):
        frame = rows()
        hover = conversation_trace(frame, turns_of(frame)).data[0].hovertext[1]
        assert "&lt;b&gt;Hi&lt;/b&gt;" in hover
        assert "night watch, ghost" in hover
        assert "…" in hover
        assert "−1.0 SD" in hover

    def test_a_menu_chooses_among_several_the_lowest_first(self):
        frame = rows(names=("high", "low"))
        fig = conversation_trace(frame, turns_of(frame))
        (menu,) = fig.layout.updatemenus
        assert [button.label for button in menu.buttons] == ["low", "high"]
        assert [trace.visible for trace in fig.data] == [True, False]
        assert menu.buttons[1].args[0]["visible"] == [False, True]

    def test_of_very_many_the_caption_says_how_many_are_left_out(self):
        frame = rows(names=[f"chat {number}" for number in range(70)], turns=1)
        fig = conversation_trace(frame, turns_of(frame))
        assert len(fig.data) == 60
        (caption,) = [note for note in fig.layout.annotations if note.name == "caption"]
        assert "Of 70 conversations the 60" in caption.text

    def test_alarms_are_circled_where_they_are(self):
        frame = rows()
        alarms = pd.DataFrame({"conversation": ["a", "b"], "turn": [2, 0], "why": ["z of -2", ""]})
        fig = conversation_trace(frame, turns_of(frame), alarms=alarms)
        alarm = fig.data[-1]
        assert (alarm.name, list(alarm.x), list(alarm.y)) == ("alarm", [2], [3.0])
        assert "z of -2" in alarm.hovertext[0]

    def test_bands_are_within_sight(self):
        frame = rows()
        spread = pd.DataFrame(
            {"population": ["default", "roles"], "mean": [9.0, -20.0], "deviation": [2.0, 3.0]}
        )
        fig = conversation_trace(frame, turns_of(frame), spread=spread)
        low, high = fig.layout.yaxis.range
        assert low < -23
        assert high > 11
        assert len(fig.layout.shapes) == 2

    def test_unknown_intervals_are_not_drawn_as_zero(self):
        frame = rows().assign(low=np.nan, high=np.nan)
        fig = conversation_trace(frame, turns_of(frame))
        assert np.isnan(fig.data[0].error_y.array).all()
        assert "nan" not in fig.data[0].hovertext[0]

    def test_an_unknown_reading_is_refused(self):
        frame = rows().assign(reading="later")
        with pytest.raises(FigureError, match=r"(?s)unknown reading.*clean, before, after"):
            conversation_trace(frame, turns_of(frame))


class TestDriftCurves:
    @pytest.fixture
    def curves(self) -> pd.DataFrame:
        parts = [
            pd.DataFrame(
                {
                    "group": group,
                    "turn": range(length),
                    "mean": start - np.arange(length),
                    "low": start - 1.0 - np.arange(length),
                    "high": start + 1.0 - np.arange(length),
                    "conversations": 20,
                }
            )
            for group, start, length in (("coding", 9.0, 5), ("therapy", 7.0, 3))
        ]
        return pd.concat(parts)

    def test_a_curve_and_a_count_for_every_group(self, curves):
        fig = drift_curves(curves)
        told = [trace for trace in fig.data if trace.hoverinfo == "text"]
        assert [trace.name for trace in told] == ["coding", "therapy"]
        (caption,) = [note for note in fig.layout.annotations if note.name == "caption"]
        assert "coding 20, therapy 20" in caption.text
        assert "turn 4" in told[0].hovertext[4]
        assert fig.layout.xaxis.title.text.startswith("Turn")

    def test_a_short_curve_is_named_where_it_ends(self, curves):
        fig = drift_curves(curves)
        note = next(note for note in fig.layout.annotations if note.name == "curve:therapy")
        assert note.y == 5.0

    def test_conditions_are_compared_group_by_group_on_one_scale(self, curves):
        both = pd.concat([curves.assign(condition="no plan"), curves.assign(condition="floor")])
        fig = drift_curves(both)
        told = [trace for trace in fig.data if trace.hoverinfo == "text"]
        assert [(trace.name, trace.yaxis) for trace in told] == [
            ("no plan", "y"),
            ("floor", "y"),
            ("no plan", "y2"),
            ("floor", "y2"),
        ]
        assert fig.layout.yaxis.range == fig.layout.yaxis2.range

    def test_a_group_that_thins_out_says_so(self, curves):
        curves.loc[curves["turn"] == 2, "conversations"] = 11
        fig = drift_curves(curves)
        (caption,) = [note for note in fig.layout.annotations if note.name == "caption"]
        assert "coding 20 to 11" in caption.text

    def test_nothing_to_draw_is_refused(self, curves):
        with pytest.raises(FigureError, match="nothing to draw"):
            drift_curves(curves.iloc[:0])
