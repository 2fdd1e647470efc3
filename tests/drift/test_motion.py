"""Paths of conversations, and curves of groups of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from persona_lens.drift.curves import turn_curves
from persona_lens.drift.motion import motion


def rows(**paths: list[float]) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {"conversation": "a", "turn": range(len(path)), "direction": name, "projection": path}
        )
        for name, path in paths.items()
    ]
    return pd.concat(parts)


def test_a_path_through_two_axes_is_longer_than_either():
    found = motion(rows(axis=[0, 3, 3], calm=[0, 4, 4]), ["axis", "calm"]).iloc[0]
    assert (found["path"], found["largest_jump"], found["velocity"]) == (5.0, 5.0, 2.5)
    assert found["net"] == 3.0


def test_a_known_slope_is_found():
    path = list(10 - 0.7 * np.arange(9))
    assert motion(rows(axis=path), ["axis"])["slope"][0] == pytest.approx(-0.7)


def test_turns_without_a_token_are_passed_over():
    found = motion(rows(axis=[1.0, np.nan, 3.0]), ["axis"]).iloc[0]
    assert (found["turns"], found["path"], found["slope"]) == (2, 2.0, 1.0)


def test_one_turn_has_no_path():
    found = motion(rows(axis=[1.0]), ["axis"]).iloc[0]
    assert found["turns"] == 1
    assert np.isnan(found["path"])


def test_curves_draw_whole_conversations():
    """Turns of a conversation go together: where only conversations differ, the band is as wide at every turn."""
    rng = np.random.default_rng(0)
    offsets = rng.normal(size=30)
    frame = pd.DataFrame(
        {
            "group": "all",
            "conversation": np.repeat(np.arange(30), 4),
            "turn": np.tile(np.arange(4), 30),
            "projection": np.repeat(offsets, 4) + np.tile([0.0, 5.0, 1.0, -2.0], 30),
        }
    )
    curve = turn_curves(frame)
    width = curve["high"] - curve["low"]
    np.testing.assert_allclose(width, width[0])
    assert width[0] == pytest.approx(2 * 1.96 * offsets.std() / np.sqrt(30), rel=0.2)


def test_turns_with_few_conversations_are_left_out():
    frame = pd.DataFrame(
        {
            "group": "all",
            "conversation": [*range(12), *range(9)],
            "turn": [0] * 12 + [1] * 9,
            "projection": 1.0,
        }
    )
    assert turn_curves(frame)["turn"].tolist() == [0]
    assert turn_curves(frame, fewest=9)["conversations"].tolist() == [12, 9]
