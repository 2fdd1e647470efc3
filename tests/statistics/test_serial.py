"""Intervals of means of values that depend on those before them."""

from __future__ import annotations

import numpy as np
import pytest

from persona_lens.statistics.serial import effective_count, serial_margin


def autoregression(correlation: float, n: int, series: int = 2000, seed: int = 0) -> np.ndarray:
    """Many series around zero, with what came before the first value worn off."""
    shocks = np.random.default_rng(seed).normal(size=(n + 100, series))
    values = np.zeros_like(shocks)
    for step in range(1, len(shocks)):
        values[step] = correlation * values[step - 1] + shocks[step]
    return values[100:]


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6, 0.8])
def test_the_interval_holds_the_mean_as_often_as_it_says(correlation):
    values = autoregression(correlation, 100)
    margins = serial_margin(values)
    known = np.isfinite(margins)
    held = (np.abs(values.mean(axis=0)) < margins)[known].mean()
    assert known.mean() > 0.98
    assert 0.92 <= held <= 0.98


def test_the_usual_interval_would_not():
    """The control: what counting every token as independent does at the same correlation."""
    values = autoregression(0.6, 100)
    usual = 1.98 * values.std(axis=0, ddof=1) / 10
    assert (np.abs(values.mean(axis=0)) < usual).mean() < 0.75


def test_effective_count_is_known_for_an_autoregression():
    found = effective_count(autoregression(0.5, 2000, series=200)).mean()
    assert found == pytest.approx(2000 / 3, rel=0.05)


def test_too_little_is_said_to_be_unknown():
    assert np.isnan(serial_margin(np.array([1.0, 2.0])))
    assert np.isnan(serial_margin(np.arange(6.0)))


def test_constant_values_are_sure():
    assert serial_margin(np.ones(10)) == 0.0
