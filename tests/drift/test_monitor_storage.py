"""A monitor comes back from its folder as it was, and says no to what it was not calibrated on."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from persona_lens.drift.monitor import Monitor, find, forget, statistic
from persona_lens.drift.places import Places
from persona_lens.drift.trace import Trace
from persona_lens.errors import MonitorError, PersonaLensWarning
from persona_lens.space.directions import CalibratedDirections

MODEL = {
    "model": "tiny",
    "fingerprint": "aaaa1111",
    "architecture": "Llama",
    "dtype": "float32",
    "template_hash": "t1",
}


def traced(seed: int = 0, layers: tuple[int, ...] = (3,), **card: Any) -> Trace:
    """A made-up trace of 120 conversations of 4 turns along two directions."""
    rng = np.random.default_rng(seed)
    keys = [
        (f"{seed}-{chat}", turn, "clean", layer, direction)
        for chat in range(120)
        for turn in range(4)
        for layer in layers
        for direction in ("axis", "pc1")
    ]
    frame = pd.DataFrame(keys, columns=["conversation", "turn", "reading", "layer", "direction"])
    frame["projection"] = rng.normal(size=len(frame))
    frame["z_default"] = frame["projection"] / 2
    frame["tokens"] = 12
    frame["nearest"] = "ghost, wraith, oracle"
    turns = frame[["conversation", "turn"]].drop_duplicates().assign(message="Who are you?")
    told = {
        "model": MODEL,
        "space": "tiny",
        "layers": list(layers),
        "directions": ["axis", "pc1"],
        "readings": ["clean"],
        "tokens": "answer",
    }
    return Trace(frame, turns.assign(reply="A ghost."), pd.DataFrame(), {**told, **card})


def places(d_model: int = 6) -> Places:
    rng = np.random.default_rng(1)
    along = CalibratedDirections(
        ("axis", "pc1"), rng.normal(size=(1, 2, d_model)), np.ones((1, 2)), np.zeros((1, 2))
    )
    known = rng.normal(size=(2, 1, 2))
    known[1, 0, 1] = np.nan
    return Places(
        (3,),
        along,
        known,
        np.abs(known),
        ("ghost",),
        rng.normal(size=(1, 1, d_model)),
        np.zeros((1, d_model)),
    )


@pytest.mark.parametrize("name", ["lowest", "cusum", "auto"])
def test_a_saved_monitor_says_the_same(name, tmp_path):
    drifting = traced(5)
    drifting.frame["projection"] -= 1.0
    monitor = Monitor.calibrate(
        traced(), name, false_alarms=0.05, high=["pc1"], places=places(), drifting=drifting
    )
    again = Monitor.load(monitor.save(tmp_path / "monitor"))
    assert repr(again) == repr(monitor)
    assert dict(again.card) == json.loads(json.dumps(dict(monitor.card)))
    other = traced(7)
    other.frame.loc[other.frame["turn"] > 1, "projection"] -= 6.0
    for one, two in (
        (monitor.read(other), again.read(other)),
        (monitor.values(other), again.values(other)),
    ):
        assert len(one) > 100
        pd.testing.assert_frame_equal(one, two)
    pd.testing.assert_frame_equal(monitor.measure(traced(8)), again.measure(traced(8)))
    assert again.places is not None
    for column in ("means", "deviations", "roles", "role_mean"):
        np.testing.assert_array_equal(getattr(again.places, column), getattr(places(), column))
    np.testing.assert_array_equal(again.places.units, places().units)
    assert {file.suffix for file in (tmp_path / "monitor").iterdir()} == {".json", ".safetensors"}


def test_alarms_have_what_the_trace_says():
    monitor = Monitor.calibrate(traced(), "lowest", false_alarms=0.05, directions=["axis"])
    other = traced(7)
    other.frame.loc[other.frame["turn"] == 2, "projection"] = -9.0
    found = monitor.read(other)
    assert (found["turn"] == 2).sum() > 100
    row = found[found["turn"] == 2].iloc[0]
    assert row["nearest"] == "ghost, wraith, oracle"
    assert row["message"] == "Who are you?"
    assert row["projection"] == -9.0
    assert row["p"] == pytest.approx(1 / 121)
    assert row["reading"] == "clean"


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (
            {"model": {**MODEL, "fingerprint": "bbbb2222"}},
            "other weights.*\n.*tiny .aaaa1111.*bbbb2222",
        ),
        (
            {"model": {**MODEL, "model": "other", "fingerprint": "bbbb2222", "dtype": "bfloat16"}},
            "other weights",
        ),
        ({"model": {**MODEL, "template_hash": "t2"}}, "another chat template"),
        ({"tokens": "paper"}, "another choice of tokens"),
        ({"layers": [4]}, "another layer.*\n.*layer 3, given 4"),
    ],
)
def test_readings_of_something_else_are_refused(card, said):
    monitor = Monitor.calibrate(traced(), "lowest", false_alarms=0.05)
    with pytest.raises(MonitorError, match=said):
        monitor.read(traced(7, **card))
    with pytest.raises(MonitorError, match=said):
        monitor.measure(traced(7, **card))


def test_the_same_weights_in_another_dtype_are_let_pass():
    monitor = Monitor.calibrate(traced(), "lowest", false_alarms=0.05)
    half = {**MODEL, "fingerprint": "cccc3333", "dtype": "bfloat16"}
    assert len(monitor.values(traced(7, model=half))) == 480


def test_the_layer_of_a_trace_of_several_is_kept():
    several = traced(0, layers=(3, 5))
    with pytest.raises(MonitorError, match="more than one layer"):
        Monitor.calibrate(several, "lowest", false_alarms=0.05)
    monitor = Monitor.calibrate(several, "lowest", false_alarms=0.05, layer=5)
    assert monitor.layer == 5
    with pytest.raises(MonitorError, match="another layer"):
        monitor.read(traced(7))
    with pytest.raises(MonitorError, match="along every direction"):
        Monitor.calibrate(several, layer=5, directions=["axis", "pc2"])


def test_a_statistic_that_has_changed_is_refused(tmp_path):
    @statistic("latest")
    def latest(x, calm):
        """How low a turn is."""
        return -x

    try:
        folder = Monitor.calibrate(traced(), "latest", false_alarms=0.05).save(tmp_path / "m")
        Monitor.load(folder)

        @statistic("latest")
        def changed(x, calm):
            """Twice that."""
            return -2 * x + 1

        with pytest.raises(
            MonitorError, match="latest is not what the monitor was calibrated with"
        ):
            Monitor.load(folder)
    finally:
        forget("latest")
    with pytest.raises(MonitorError, match="unknown statistic"):
        Monitor.load(folder)


def test_options_of_a_statistic_are_kept(tmp_path):
    chosen = find("cusum").having(k=1.5)
    monitor = Monitor.calibrate(traced(), chosen, false_alarms=0.05)
    assert Monitor.load(monitor.save(tmp_path / "m")).rule.statistic == chosen
    assert "cusum (k 1.5)" in repr(monitor)


def test_a_damaged_or_newer_folder_is_refused(tmp_path):
    folder = Monitor.calibrate(traced(), "lowest", false_alarms=0.05).save(tmp_path / "m")
    card = json.loads((folder / "monitor.json").read_text())
    (folder / "monitor.json").write_text(json.dumps({**card, "format": 99}))
    with pytest.raises(MonitorError, match="format 1, given 99"):
        Monitor.load(folder)
    with pytest.raises(MonitorError, match="no monitor in"):
        Monitor.load(tmp_path / "nothing")


def test_conversations_that_a_trace_refused_are_counted():
    calm, other = traced(), traced(7)
    lost = pd.DataFrame({"conversation": ["long", "odd"], "reason": ["too long", "no reply"]})
    monitor = Monitor.calibrate(replace(calm, refused=lost), "lowest", false_alarms=0.05)
    assert "2 without a reading left out" in repr(monitor)
    with pytest.warns(PersonaLensWarning, match="2 conversations could not be read"):
        monitor.read(replace(other, refused=lost))
