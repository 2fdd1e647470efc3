"""A monitor's false alarms are as many as it says, whatever the turns are like; planted drift is found in time."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.stats import betabinom

from persona_lens.drift.monitor import Monitor, find, forget, known_statistics, statistic
from persona_lens.drift.monitor.readings import Readings
from persona_lens.drift.monitor.rule import Rule, first_of
from persona_lens.drift.monitor.setting import Threshold, reference_rows
from persona_lens.drift.monitor.statistics import Calm
from persona_lens.drift.monitor.traffic import compare_traffic
from persona_lens.errors import MonitorError, PersonaLensWarning

TURNS = 15
NOISES = ("iid", "ar1", "effects", "heavy")
PROJECTED = tuple(name for name in known_statistics() if not find(name).of_residuals)


def noise(kind: str, n: int, rng: np.random.Generator, turns: int = TURNS) -> np.ndarray:
    """Calm conversations of unit variance about 5."""
    if kind == "heavy":
        return 5 + rng.standard_t(3, size=(n, turns)) / np.sqrt(3)
    fresh = rng.normal(size=(n, turns))
    if kind == "effects":
        return 5 + np.sqrt(0.4) * rng.normal(size=(n, 1)) + np.sqrt(0.6) * fresh
    if kind == "ar1":
        for turn in range(1, turns):
            fresh[:, turn] = 0.5 * fresh[:, turn - 1] + np.sqrt(0.75) * fresh[:, turn]
    return 5 + fresh


def framed(values: np.ndarray, direction: str = "axis", name: str = "c") -> pd.DataFrame:
    n, turns = values.shape
    return pd.DataFrame(
        {
            "conversation": np.repeat([f"{name}{number}" for number in range(n)], turns),
            "turn": np.tile(np.arange(turns), n),
            "direction": direction,
            "projection": values.ravel(),
        }
    ).dropna(subset=["projection"])


def monitor_of(values: np.ndarray, name: str = "lowest", rate: float = 0.05, **options) -> Monitor:
    return Monitor.calibrate(framed(values), name, false_alarms=rate, **options)


def plain(values: np.ndarray) -> Readings:
    """The same without a frame, for what is done hundreds of times."""
    n, turns = values.shape
    numbers = np.tile(np.arange(turns), (n, 1))
    counts = np.full(n, turns)
    return Readings(
        tuple(map(str, range(n))), ("axis",), counts, numbers, values[:, :, None], numbers * np.nan
    )


@cache
def nulls(kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(NOISES.index(kind))
    return noise(kind, 300, rng), noise(kind, 1000, rng)


@pytest.mark.parametrize("kind", NOISES)
def test_null_conversations_alarm_at_the_stated_rate_for_every_statistic(kind):
    calm, held_out = nulls(kind)
    found = monitor_of(calm).measure(framed(held_out, name="h")).set_index("rule")
    assert set(found.index) >= {str(find(name)) for name in PROJECTED}
    for rule, row in found.drop("fixed z").iterrows():
        rank = int(np.ceil((row["n"] + 1) * 0.95 - 1e-9))
        law = betabinom(1000, row["n"] + 1 - rank, rank)
        # 28 rules in all: none of them should fall out of an interval that holds 9,999 of 10,000.
        assert law.ppf(5e-5) <= row["alarms"] <= law.ppf(1 - 5e-5), rule
        assert row["rate_low"] <= row["rate"] <= row["rate_high"]


@pytest.mark.parametrize("name", PROJECTED)
def test_the_rate_is_kept_on_average_over_calibrations_and_not_far_below(name):
    """Constants from other conversations than the threshold: the rate is exact, not only nearly so."""
    rng = np.random.default_rng(5)
    rates = []
    for seed in range(150):
        calm, new = noise("ar1", 60, rng), noise("ar1", 400, rng)
        kept = reference_rows(60, 0.1, None, needed=find(name).needs_calm, seed=seed)
        rule = Rule.fitted(find(name), plain(calm[kept]))
        threshold = Threshold.of(rule, plain(calm[~kept]), 0.1)
        rates.append(((threshold.alarms(plain(new)) >= 0).mean(), threshold.mean_rate))
    realised, promised = np.mean(rates, axis=0)
    error = np.std([rate for rate, _ in rates]) / np.sqrt(len(rates))
    assert promised <= 0.1
    assert abs(realised - promised) < 4 * error


def test_the_textbook_constants_are_wrong_on_the_same_conversations():
    """The control: k = 0.5 and h = 4, with mean and deviation known, promise 3.3 % within 15 turns."""
    rates = {}
    for kind in NOISES:
        _, held_out = nulls(kind)
        values = find("cusum")(held_out, Calm(5.0, 1.0))
        rates[kind] = (values.max(axis=1) > 4).mean()
    assert 0.02 < rates["iid"] < 0.05
    assert rates["ar1"] > 0.13
    assert rates["effects"] > 0.12


def test_a_fixed_z_misses_the_rate_that_the_calibrated_rule_keeps():
    calm, held_out = nulls("heavy")
    found = monitor_of(calm, rate=0.01).measure(framed(held_out, name="h")).set_index("rule")
    assert found.loc["fixed z", "rate_low"] > 0.03
    assert found.loc["lowest", "rate_low"] < 0.02
    assert np.isnan(found.loc["fixed z", "expected_low"])


def test_a_rate_needs_its_conversations():
    rng = np.random.default_rng(0)
    calm = noise("iid", 98, rng)
    with pytest.raises(MonitorError, match=r"at least 99, given 98\n.*false_alarms=0.011"):
        monitor_of(calm, rate=0.01)
    assert monitor_of(noise("iid", 99, rng), rate=0.01).n == 99
    with pytest.raises(MonitorError, match=r"at least 103, 4 of them for the constants"):
        monitor_of(noise("iid", 102, rng), "cusum", 0.01)
    assert monitor_of(noise("iid", 103, rng), "cusum", 0.01).n == 99
    with pytest.raises(MonitorError, match="no false-alarm rate"):
        monitor_of(calm, rate=1.0)


def test_the_proposed_rate_can_be_kept():
    calm = noise("iid", 37, np.random.default_rng(0))
    with pytest.raises(MonitorError, match=r"false_alarms=0.027$"):
        monitor_of(calm, rate=0.01)
    assert monitor_of(calm, rate=0.027).n == 37


def test_ties_alarm_less_and_never_more():
    """Scores of few values, such as rounded ones: a new one that equals the threshold is no alarm."""
    rng = np.random.default_rng(1)
    calm, new = noise("iid", 199, rng).round(), noise("iid", 2000, rng).round()
    found = monitor_of(calm).threshold.alarms(Readings.of(framed(new)))
    assert (found >= 0).mean() < 0.05


@pytest.mark.parametrize("name", PROJECTED)
def test_a_turn_that_was_not_read_neither_alarms_nor_blinds(name):
    calm, new = nulls("iid")
    monitor = monitor_of(calm, name)
    drifted = new[:50].copy()
    drifted[:, 8:] -= 30.0
    gappy = drifted.copy()
    gappy[:, [0, 4]] = np.nan
    gappy[:, 5] = np.inf
    whole = framed(drifted)
    holes = whole.assign(projection=gappy.ravel())
    with pytest.warns(PersonaLensWarning, match="150 of 750 turns have no reading"):
        found = monitor.read(holes)
    assert len(found) == 50
    assert np.isfinite(found["value"]).all()
    clean = monitor.read(whole)
    assert len(clean) == 50


def test_conversations_that_were_never_read_are_counted_not_taken_for_calm():
    calm = noise("iid", 60, np.random.default_rng(3))
    calm[:10] = np.nan
    frame = framed(np.nan_to_num(calm, nan=0.0)).assign(projection=calm.ravel())
    monitor = Monitor.calibrate(frame, "lowest", false_alarms=0.05)
    assert monitor.n == 50
    assert "10 without a reading left out" in repr(monitor)


def test_calm_conversations_that_are_all_alike_are_refused():
    flat = np.full((60, TURNS), 5.0)
    with pytest.raises(MonitorError, match="the same for all calm conversations"):
        monitor_of(flat)
    with pytest.raises(MonitorError, match="has no unit"):
        monitor_of(flat, "cusum")
    with pytest.raises(MonitorError, match="the same for all calm conversations"):
        monitor_of(nulls("iid")[0][:, :1], "path")


def test_a_planted_step_is_found_at_the_stated_delay():
    calm, _ = nulls("iid")
    drift = noise("iid", 200, np.random.default_rng(9))
    drift[:, 6:] -= 2.5
    monitor = monitor_of(calm, "cusum")
    changes = {f"d{number}": 6 for number in range(200)}
    held_out = framed(nulls("iid")[1], name="h")
    found = monitor.measure(held_out, framed(drift, name="d"), changes=changes).set_index("rule")
    own = found.loc[str(find("cusum"))]
    # Two spreads a turn remain behind the allowance of 0.5, on top of what calm turns have left there.
    assert own["own"]
    assert own["delay"] in (
        np.ceil(own["threshold"] / 2.0) - 1,
        np.ceil(own["threshold"] / 2.0) - 2,
    )
    assert own["delay_low"] <= own["delay"] <= own["delay_high"]
    assert own["power"] > 0.95
    assert own["power_low"] < own["power"] <= own["power_high"]
    assert own["found"] + own["early"] <= 200
    lone = noise("iid", 1, np.random.default_rng(2)) * 0 + 5.0
    lone[:, 6:] -= 20.0
    assert monitor.read(framed(lone))["turn"].tolist() == [6]


def test_a_planted_slope_is_found_where_the_sum_says():
    calm, _ = nulls("iid")
    monitor = monitor_of(calm, "cusum")
    slope = 5.0 - 0.5 * np.arange(TURNS)
    assert monitor.rule.calm is not None
    (level, spread), *_ = monitor.rule.calm
    sums = np.cumsum(np.maximum((level - slope) / spread - 0.5, 0.0))
    wanted = int(np.argmax(sums > monitor.threshold.value))
    found = monitor.read(framed(slope[None]))
    assert found["turn"].tolist() == [wanted]
    assert 0 < wanted < TURNS - 1
    rising = monitor.read(framed(10.0 - slope[None]))
    assert rising.empty  # the other way is no drift


def test_high_projections_alarm_where_they_are_said_to():
    calm, _ = nulls("iid")
    monitor = monitor_of(calm, high=["axis"])
    up, down = np.full((1, TURNS), 5.0), np.full((1, TURNS), 5.0)
    up[:, 3:], down[:, 3:] = 15.0, -5.0
    assert monitor.read(framed(up))["turn"].tolist() == [3]
    assert monitor.read(framed(down)).empty
    with pytest.raises(MonitorError, match="no such direction was read"):
        monitor_of(calm, high=["pc1"])


def several(values: np.ndarray, name: str = "c") -> pd.DataFrame:
    """Conversations along as many directions as the last axis has."""
    return pd.concat(
        [framed(values[:, :, place], f"d{place}", name) for place in range(values.shape[2])]
    )


def test_many_directions_alarm_no_more_often_than_one():
    rng = np.random.default_rng(4)
    calm, held_out = rng.normal(size=(300, TURNS, 6)), rng.normal(size=(1000, TURNS, 6))
    naive = np.zeros(1000, dtype=bool)
    for place in range(6):
        alone = monitor_of(calm[:, :, place])
        naive |= alone.threshold.alarms(Readings.of(framed(held_out[:, :, place]))) >= 0
    assert naive.mean() > 0.15  # what several monitors side by side come to
    joint = Monitor.calibrate(several(calm), "lowest", false_alarms=0.05)
    found = joint.measure(several(held_out, "h"), statistics=["lowest", "cusum"])
    for _, row in found[found["rule"] != "fixed z"].iterrows():
        assert row["expected_low"] <= row["alarms"] <= row["expected_high"]


def test_an_alarm_tells_which_directions_it_is_for():
    rng = np.random.default_rng(4)
    joint = Monitor.calibrate(
        several(rng.normal(size=(300, TURNS, 3))), "lowest", false_alarms=0.05
    )
    chat = np.zeros((1, TURNS, 3))
    chat[:, 5:, 2], chat[:, 5:, 0] = -30.0, -20.0
    found = joint.read(several(chat)).iloc[0]
    assert (found["direction"], found["reason"], found["turn"]) == ("d2", "d2, d0", 5)
    assert found["projection"] == -30.0
    # Far beyond all of the reference, more is still more.
    values = [
        joint.rule.maxima(Readings.of(several(np.where(chat < 0, chat * factor, chat))))[0]
        for factor in (1, 2, 4)
    ]
    assert values == sorted(values)
    assert len(set(values)) == 3


def test_longer_conversations_are_warned_of_and_counted():
    rng = np.random.default_rng(6)
    monitor = monitor_of(nulls("iid")[0], "path")
    with pytest.warns(PersonaLensWarning) as told:
        found = monitor.read(framed(noise("iid", 20, rng, turns=60)))
    longer, other = (str(warning.message) for warning in told)
    assert (
        "20 of 20 conversations are longer than the 15 turns calibrated for; 20 of 20 alarms"
        in longer
    )
    assert "turns: median 60 where 15 was calibrated on" in other
    assert not found["within"].any()
    values = monitor.values(framed(noise("iid", 20, rng, turns=16)))
    assert values.groupby("within").size().to_dict() == {False: 20, True: 300}


def test_shorter_calm_conversations_are_left_out_and_said():
    calm = noise("iid", 200, np.random.default_rng(8))
    calm[:15, 4:] = np.nan
    monitor = monitor_of(calm)
    assert (monitor.horizon, monitor.n) == (15, 185)
    assert "15 shorter ones left out" in repr(monitor)
    with pytest.raises(MonitorError, match="15 conversations have fewer than 15 turns"):
        monitor_of(calm, rate=0.0051, horizon=15)
    assert monitor_of(calm, rate=0.0051, horizon=4).n == 200


def test_other_traffic_is_warned_of_and_the_same_is_not():
    calm, held_out = nulls("iid")
    monitor = Monitor.calibrate(framed(calm).assign(tokens=40.0), "jump", false_alarms=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.read(framed(held_out).assign(tokens=40.0))
    with pytest.warns(PersonaLensWarning, match="other traffic than calibrated on.*first axis"):
        monitor.read(framed(held_out - 3.0).assign(tokens=40.0))
    with pytest.warns(
        PersonaLensWarning, match="other traffic than calibrated on.*tokens: median 90"
    ):
        monitor.read(framed(held_out).assign(tokens=90.0))
    found = monitor.traffic(framed(held_out[:, :8])).set_index("feature")
    assert not found.loc["turns", "other"]  # for fewer turns a rate holds as well


def test_traffic_of_one_kind_is_rarely_called_other():
    rng = np.random.default_rng(10)
    calm = plain(noise("effects", 100, rng))
    called = [
        bool(compare_traffic(calm, plain(noise("effects", 50, rng)))["other"].any())
        for _ in range(200)
    ]
    assert np.mean(called) <= 0.04


def test_false_alarms_are_not_counted_on_what_the_threshold_was_set_on():
    calm, held_out = nulls("iid")
    again = framed(np.concatenate([held_out[:20], calm[:5]]), name="other_names")
    with pytest.raises(MonitorError, match="5 of 25 that are the same, such as 'other_names20'"):
        monitor_of(calm).measure(again)


def test_auto_is_the_simplest_without_drift_and_the_strongest_with_it():
    calm, held_out = nulls("iid")
    plain = monitor_of(calm, "auto")
    assert plain.rule.statistic.name == "lowest"
    assert "taken as the simplest" in repr(plain)
    slow = noise("iid", 150, np.random.default_rng(12)) - 1.2  # never far, always a little
    chosen = monitor_of(calm, "auto", drifting=framed(slow, name="d"))
    assert chosen.rule.statistic.name in {"cusum", "ewma"}
    assert "among 6 for finding" in repr(chosen)
    assert chosen.reference.sum() == 100
    # Chosen on conversations that do not set the threshold, so the rate stays.
    row = chosen.measure(framed(held_out, name="h"), statistics=[]).iloc[0]
    assert row["expected_low"] <= row["alarms"] <= row["expected_high"]
    with pytest.warns(PersonaLensWarning, match="chosen by 150 of these 150"):
        chosen.measure(framed(held_out, name="h"), framed(slow, name="d"))


def test_the_choice_does_not_see_the_conversations_that_set_the_threshold():
    calm, _ = nulls("iid")
    drift = framed(noise("iid", 60, np.random.default_rng(12)) - 1.2, name="d")
    first = monitor_of(calm, "auto", drifting=drift)
    other = calm.copy()
    other[~first.reference] += np.random.default_rng(0).normal(size=(200, TURNS)) * 9
    second = monitor_of(other, "auto", drifting=drift)
    pd.testing.assert_frame_equal(first.chosen, second.chosen)
    assert first.threshold.value != second.threshold.value


def test_residuals_of_any_forecast_can_be_watched():
    calm, held_out = nulls("effects")
    forecast = lambda x: np.concatenate([x[:, :1], x[:, :-1]], axis=1) - x  # noqa: E731
    frame = framed(calm).assign(residual=forecast(calm).ravel())
    monitor = Monitor.calibrate(frame, "residual", false_alarms=0.05)
    new = framed(held_out, name="h").assign(residual=forecast(held_out).ravel())
    row = monitor.measure(new, statistics=[]).iloc[0]
    assert row["expected_low"] <= row["alarms"] <= row["expected_high"]
    drop = held_out[:1].copy()
    drop[:, 7:] -= 12.0
    assert monitor.read(framed(drop).assign(residual=forecast(drop).ravel()))["turn"].tolist() == [
        7
    ]
    with pytest.raises(MonitorError, match="needs a forecast of every turn"):
        monitor_of(calm, "residual")


def test_anybody_adds_a_statistic():
    @statistic("mean_so_far")
    def mean_so_far(x, calm):
        """How low the mean is."""
        return -np.nancumsum(x, axis=1) / np.arange(1, x.shape[1] + 1)

    try:
        calm, held_out = nulls("ar1")
        row = monitor_of(calm, "mean_so_far").measure(framed(held_out, name="h")).iloc[0]
        assert row["rule"] == "mean_so_far"
        assert row["expected_low"] <= row["alarms"] <= row["expected_high"]
    finally:
        forget("mean_so_far")
    with pytest.raises(MonitorError, match="did you mean lowest"):
        monitor_of(calm, "lowst")


def test_values_of_a_turn_do_not_depend_on_turns_to_come():
    x = noise("ar1", 20, np.random.default_rng(3))
    for name in PROJECTED:
        whole = find(name)(x, Calm(5.0, 1.0))
        for turn in (1, 5, 9):
            np.testing.assert_array_equal(find(name)(x[:, :turn], Calm(5.0, 1.0)), whole[:, :turn])


def test_readings_refuse_what_is_ambiguous():
    frame = framed(nulls("iid")[0][:30])
    with pytest.raises(MonitorError, match="more than one layer"):
        Monitor.calibrate(
            pd.concat([frame.assign(layer=3), frame.assign(layer=4)]), false_alarms=0.05
        )
    with pytest.raises(MonitorError, match="two projections"):
        Monitor.calibrate(pd.concat([frame, frame]), false_alarms=0.05)
    with pytest.raises(MonitorError, match="columns conversation, turn, projection, given"):
        Monitor.calibrate(frame.drop(columns="projection"), false_alarms=0.05)
    with pytest.raises(MonitorError, match="along every direction"):
        Monitor.calibrate(frame, directions=["axis", "pc1"], false_alarms=0.05)
    shuffled = frame.sample(frac=1.0, random_state=0)
    one, other = (Monitor.calibrate(f, "path", false_alarms=0.05) for f in (frame, shuffled))
    assert one.threshold.value == pytest.approx(other.threshold.value)


def test_first_of_nothing():
    assert first_of(np.zeros((2, 0), dtype=bool)).tolist() == [-1, -1]
    rule = Rule(find("lowest"), ("axis",))
    assert rule.maxima(Readings.of(framed(np.ones((1, 2))))).tolist() == [-1.0]
