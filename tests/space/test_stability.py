"""Nulls, intervals and split halves, against brute force and against data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from persona_lens.space.gram import COORDINATES, GramGeometry
from persona_lens.space.pca import Spectrum
from persona_lens.space.stability import LayerStability, layer_stability, random_cosine_quantile


def rows(n_roles: int, d_model: int, pull: float, seed: int = 0) -> np.ndarray:
    """A default and roles; `pull` is how far the default lies out on the first component."""
    rng = np.random.default_rng(seed)
    direction = np.eye(d_model)[0]
    roles = rng.normal(size=(n_roles, d_model)) + 4 * rng.normal(size=(n_roles, 1)) * direction
    roles -= roles.mean(0)
    return np.concatenate([[pull * direction + 0.1 * rng.normal(size=d_model)], roles])


def geometry_of(data: np.ndarray) -> GramGeometry:
    gram = data @ data.T
    spectrum = Spectrum.of_gram(gram[1:, 1:], data.shape[1])
    return GramGeometry(gram, spectrum.vectors, spectrum.squares)


def stability_of(data: np.ndarray, folds: np.ndarray | None = None, n: int = 200) -> LayerStability:
    rng = np.random.default_rng(0)
    return layer_stability(geometry_of(data), data.shape[1], folds, n_resamples=n, rng=rng)


def brute_force(roles: np.ndarray, default: np.ndarray) -> float:
    pc1 = PCA(1, svd_solver="full").fit(roles).components_[0]
    axis = default - roles.mean(0)
    return abs(axis @ pc1) / np.linalg.norm(axis)


@pytest.mark.parametrize(("n_roles", "tolerance"), [(15, 1e-5), (3 * COORDINATES, 0.02)])
def test_resamples_equal_brute_force(n_roles: int, tolerance: float) -> None:
    data = rows(n_roles, 200, 3.0)
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(n_roles, np.full(n_roles, 1 / n_roles), size=8)
    weights = np.concatenate([np.zeros((8, 1)), drawn], axis=1)
    geometry = geometry_of(data)
    ours = geometry.pc1_axis_cosines(geometry.resample(weights, np.zeros(8, dtype=int)))
    expected = [brute_force(np.repeat(data[1:], counts, axis=0), data[0]) for counts in drawn]
    np.testing.assert_allclose(ours, expected, atol=tolerance)


def test_halves_equal_brute_force() -> None:
    data = rows(14, 40, 3.0)
    geometry = geometry_of(data)
    half = np.array([[0.0, *([1.0] * 7), *([0.0] * 7)]])
    rest = np.array([[0.0, *([0.0] * 7), *([1.0] * 7)]])
    first, second = (geometry.resample(weights, np.array([0])) for weights in (half, rest))
    axes = [data[0] - data[rows_].mean(0) for rows_ in (slice(1, 8), slice(8, 15))]
    expected = axes[0] @ axes[1] / np.linalg.norm(axes[0]) / np.linalg.norm(axes[1])
    assert geometry.axis_cosines(first.axes, second.axes)[0] == pytest.approx(expected)
    pcs = [
        PCA(1, svd_solver="full").fit(data[r]).components_[0] for r in (slice(1, 8), slice(8, 15))
    ]
    assert abs((first.pc1 * second.pc1).sum()) == pytest.approx(abs(pcs[0] @ pcs[1]), abs=1e-5)


def test_the_default_exchanged_for_a_role_equals_brute_force() -> None:
    data = rows(12, 30, 5.0)
    weights = np.ones((12, 13))
    weights[np.arange(12), np.arange(1, 13)] = 0
    geometry = geometry_of(data)
    ours = geometry.pc1_axis_cosines(geometry.resample(weights, np.arange(1, 13)))
    expected = [brute_force(np.delete(data, row, axis=0), data[row]) for row in range(1, 13)]
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_an_axis_far_out_on_pc1_is_told_from_chance() -> None:
    found = stability_of(rows(40, 60, 30.0))
    assert found.cosine > 0.95
    assert 0.7 < found.cosine_low < found.cosine
    assert found.cosine_low < found.cosine_high < 1
    assert found.shuffled_p < 0.05 < found.shuffled_mean < found.cosine
    assert found.axis_roles > 0.95
    assert np.isnan(found.axis_questions)


def test_an_axis_off_pc1_is_not() -> None:
    data = rows(40, 60, 0.0)
    data[0] = 5 * np.eye(60)[1]
    found = stability_of(data)
    assert found.cosine < found.shuffled_95
    assert found.shuffled_p > 0.5


@pytest.mark.parametrize(("noise", "low", "high"), [(0.05, 0.98, 1.0), (30.0, -0.4, 0.4)])
def test_question_halves_tell_signal_from_noise(noise: float, low: float, high: float) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=80)
    folds = truth + noise * rng.normal(size=(8, 80))
    found = stability_of(rows(10, 80, 3.0), folds, n=20)
    assert low < found.axis_questions < high
    assert found.axis_questions_low <= found.axis_questions <= found.axis_questions_high


def test_the_random_quantile_is_that_of_random_directions() -> None:
    directions = np.random.default_rng(0).normal(size=(200_000, 40))
    cosine = np.abs(directions[:, 0]) / np.linalg.norm(directions, axis=1)
    assert random_cosine_quantile(40, 0.95) == pytest.approx(np.percentile(cosine, 95), rel=0.01)
