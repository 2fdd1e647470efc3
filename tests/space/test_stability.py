"""Nulls, intervals and split halves, against brute force and against data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import sem, t
from sklearn.decomposition import PCA

from persona_lens import PersonaSpace, VectorTable
from persona_lens.space.stability import LayerStability, layer_stability, random_cosine_quantile
from persona_lens.statistics.gram import GramGeometry
from persona_lens.statistics.pca import Spectrum


def rows(n_roles: int, d_model: int, pull: float, seed: int = 0) -> np.ndarray:
    """A default and roles; `pull` is how far the default lies out on the first component."""
    rng = np.random.default_rng(seed)
    direction = np.eye(d_model)[0]
    roles = rng.normal(size=(n_roles, d_model)) + 4 * rng.normal(size=(n_roles, 1)) * direction
    roles -= roles.mean(0)
    return np.concatenate([[pull * direction + 0.1 * rng.normal(size=d_model)], roles])


def geometry_of(data: np.ndarray, on_axis: np.ndarray | None = None) -> GramGeometry:
    gram = data @ data.T
    spectrum = Spectrum.of_gram(gram[1:, 1:], data.shape[1])
    on_axis = np.ones(len(data) - 1, dtype=bool) if on_axis is None else on_axis
    return GramGeometry(gram, spectrum, on_axis)


def stability_of(data: np.ndarray, folds: np.ndarray | None = None, n: int = 200) -> LayerStability:
    rng = np.random.default_rng(0)
    roles = np.arange(len(data) - 1)
    return layer_stability(geometry_of(data), roles, data.shape[1], folds, n_resamples=n, rng=rng)


def brute_force(roles: np.ndarray, default: np.ndarray) -> float:
    pc1 = PCA(1, svd_solver="full").fit(roles).components_[0]
    axis = default - roles.mean(0)
    return abs(axis @ pc1) / np.linalg.norm(axis)


@pytest.mark.parametrize("n_roles", [5, 15, 100])
def test_resamples_equal_brute_force(n_roles: int) -> None:
    data = rows(n_roles, 200, 3.0)
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(n_roles, np.full(n_roles, 1 / n_roles), size=8)
    weights = np.concatenate([np.zeros((8, 1)), drawn], axis=1)
    geometry = geometry_of(data)
    found = geometry.resample(weights, np.zeros(8, dtype=int))
    ours = geometry.cosines(found.pc1, found.axes)
    expected = [brute_force(np.repeat(data[1:], counts, axis=0), data[0]) for counts in drawn]
    np.testing.assert_allclose(ours, expected, atol=1e-3)


@pytest.mark.parametrize("falling", [0.0, 0.8, 4.0])
def test_resamples_are_exact_whether_components_stand_out_or_not(falling: float) -> None:
    rng = np.random.default_rng(3)
    data = rng.normal(size=(61, 40)) * np.arange(1, 41) ** -falling
    data -= data[1:].mean(0)
    drawn = rng.multinomial(60, np.full(60, 1 / 60), size=12)
    geometry = geometry_of(data)
    found = geometry.resample(np.insert(drawn, 0, 0, axis=1), np.zeros(12, dtype=int))
    ours = geometry.cosines(found.pc1, found.axes)
    expected = [brute_force(np.repeat(data[1:], counts, axis=0), data[0]) for counts in drawn]
    np.testing.assert_allclose(ours, expected, atol=1e-3)


def test_the_axis_of_a_resample_is_made_of_the_chosen_rows_and_pca_of_all() -> None:
    data = rows(12, 30, 3.0)
    on_axis = np.arange(12) % 3 > 0
    geometry = geometry_of(data, on_axis)
    counts = np.random.default_rng(2).integers(0, 3, size=12)
    weights = np.concatenate([[0.0], counts])[None]
    found = geometry.resample(weights, np.array([0]))
    drawn = np.repeat(data[1:], counts, axis=0)
    pc1 = PCA(1, svd_solver="full").fit(drawn).components_[0]
    axis = data[0] - np.repeat(data[1:], counts * on_axis, axis=0).mean(0)
    expected = abs(axis @ pc1) / np.linalg.norm(axis)
    np.testing.assert_allclose(geometry.cosines(found.pc1, found.axes), [expected], atol=1e-3)


def test_both_vectors_of_a_role_are_drawn_and_exchanged_together() -> None:
    """Writing every role twice tells nothing new: interval and nulls must not shrink."""
    data = rows(20, 60, 3.0)
    twice = np.concatenate([data, data[1:]])
    both = np.repeat([True, False], 20)
    once = stability_of(data)
    rng = np.random.default_rng(0)
    again = layer_stability(
        geometry_of(twice, both), np.tile(np.arange(20), 2), 60, None, n_resamples=200, rng=rng
    )
    for name in ("cosine", "cosine_low", "shuffled_95", "shuffled_p", "axis_roles"):
        assert getattr(again, name) == pytest.approx(getattr(once, name), abs=0.02), name


def test_halves_equal_brute_force() -> None:
    data = rows(14, 40, 3.0)
    geometry = geometry_of(data)
    half = np.array([[0.0, *([1.0] * 7), *([0.0] * 7)]])
    rest = np.array([[0.0, *([0.0] * 7), *([1.0] * 7)]])
    first, second = (geometry.resample(weights, np.array([0])) for weights in (half, rest))
    axes = [data[0] - data[rows_].mean(0) for rows_ in (slice(1, 8), slice(8, 15))]
    expected = axes[0] @ axes[1] / np.linalg.norm(axes[0]) / np.linalg.norm(axes[1])
    assert geometry.cosines(first.axes, second.axes)[0] == pytest.approx(expected)
    pcs = [
        PCA(1, svd_solver="full").fit(data[r]).components_[0] for r in (slice(1, 8), slice(8, 15))
    ]
    assert abs(geometry.cosines(first.pc1, second.pc1)[0]) == pytest.approx(
        abs(pcs[0] @ pcs[1]), abs=1e-3
    )


def test_the_default_exchanged_for_a_role_equals_brute_force() -> None:
    data = rows(12, 30, 5.0)
    weights = np.ones((12, 13))
    weights[np.arange(12), np.arange(1, 13)] = 0
    geometry = geometry_of(data)
    found = geometry.resample(weights, np.arange(1, 13))
    ours = geometry.cosines(found.pc1, found.axes)
    expected = [brute_force(np.delete(data, row, axis=0), data[row]) for row in range(1, 13)]
    np.testing.assert_allclose(ours, expected, atol=1e-3)


def test_an_axis_far_out_on_pc1_is_told_from_chance() -> None:
    found = stability_of(rows(40, 60, 30.0))
    assert found.cosine > 0.95
    assert 0.7 < found.cosine_low < found.cosine < found.cosine_high < 1
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


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Roles drawn anew from one population: the interval is for the cosine that population has."""
    hits = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        strong, weak = np.eye(12)[:2]
        axis = (strong + weak) / np.sqrt(2)
        roles = rng.normal(size=(60, 12)) + 4 * rng.normal(size=(60, 1)) * strong
        data = np.concatenate([[40 * axis], roles])
        data -= data[1:].mean(0)
        rng = np.random.default_rng(seed)
        found = layer_stability(
            geometry_of(data), np.arange(60), 12, None, n_resamples=100, rng=rng
        )
        hits += found.cosine_low <= 1 / np.sqrt(2) <= found.cosine_high
    assert hits >= 50


def test_a_role_without_a_fold_does_not_cost_the_fold() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(1, 20))
    folds = truth + 0.1 * rng.normal(size=(7, 4, 1, 20))
    folds[0] += 5 * truth
    values = folds.mean(axis=1)
    folds[2, 1] = folds[3, 2] = folds[4, 3] = np.nan
    table = VectorTable(
        values=values.astype(np.float32),
        names=("default", *(f"role_{index}" for index in range(6))),
        kinds=("default", *("role",) * 6),
        labels=("all",) * 7,
        counts=np.ones(7, dtype=int),
        layers=(0,),
        folds=folds.astype(np.float32),
    )
    space = PersonaSpace(table, n_resamples=10).fit()
    assert space.stability_["axis_questions"].iloc[0] > 0.9


def test_margins_are_t_intervals_of_the_distance_from_the_mean_of_the_roles() -> None:
    rng = np.random.default_rng(0)
    folds = rng.normal(size=(6, 5, 1, 8)) + 3 * rng.normal(
        size=(1, 5, 1, 8)
    )  # the second term moves all alike
    table = VectorTable(
        values=folds.mean(axis=1).astype(np.float32),
        names=("default", *(f"role_{index}" for index in range(5))),
        kinds=("default", *("role",) * 5),
        labels=("all",) * 6,
        counts=np.ones(6, dtype=int),
        layers=(0,),
        folds=folds.astype(np.float32),
    )
    space = PersonaSpace(table, n_resamples=10).fit()
    unit = space.axis_[0] / np.linalg.norm(space.axis_[0])
    places = (folds[:, :, 0] @ unit) - (folds[1:, :, 0] @ unit).mean(axis=0)
    for row in range(6):
        low, high = t.interval(0.95, 4, loc=0, scale=sem(places[row]))
        assert space.projection_margins_[row, 0] == pytest.approx((high - low) / 2, rel=1e-4)
