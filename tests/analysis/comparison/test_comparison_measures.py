from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.stats import pearsonr, spearmanr

from persona_lens.analysis.comparison.estimates import sign_free
from persona_lens.analysis.comparison.pairs import (
    centred_gram,
    cosines,
    pair_correlations,
    pair_estimate,
)
from persona_lens.analysis.comparison.places import rank_correlation
from persona_lens.analysis.comparison.procrustes import held_out_r2
from persona_lens.statistics import draw_counts
from persona_lens.statistics.correlations import weighted_correlations


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_weighted_correlations_are_those_of_repeated_units(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(2, 20, 3)) + 100
    counts = draw_counts(20, 5, rng)
    found = weighted_correlations(x, y, counts)
    for row, draws in zip(counts.astype(int), found, strict=True):
        rows = np.repeat(np.arange(20), row)
        expected = [pearsonr(x[rows, k], y[rows, k]).statistic for k in range(3)]
        np.testing.assert_allclose(draws, expected, atol=1e-8)


def test_ranks_are_those_of_spearman(rng: np.random.Generator) -> None:
    x = rng.normal(size=30)
    y = np.round(x + rng.normal(size=30), 0)  # with ties
    orders = np.stack([rng.permutation(30) for _ in range(4)])
    found = rank_correlation(x, y, draw_counts(30, 50, rng), orders)
    assert found.value == pytest.approx(spearmanr(x, y).statistic)
    np.testing.assert_allclose(found.null, [spearmanr(x, y[order]).statistic for order in orders])


def test_pairs_of_a_unit_with_itself_do_not_count(rng: np.random.Generator) -> None:
    a, b = (cosines(rng.normal(size=(12, 5))) for _ in range(2))
    counts = draw_counts(12, 1, rng)
    rows = np.repeat(np.arange(12), counts[0].astype(int))
    others = rows[:, None] != rows[None, :]
    expected = pearsonr(a[np.ix_(rows, rows)][others], b[np.ix_(rows, rows)][others])[0]
    low, high = pair_estimate(a, b, counts, np.zeros(3)).interval
    assert low == pytest.approx(expected)
    assert high == pytest.approx(expected)


def test_mantel_permutes_rows_and_columns_alike(rng: np.random.Generator) -> None:
    a, b = (np.stack([cosines(rng.normal(size=(9, 4))) for _ in range(n)]) for n in (2, 3))
    order = rng.permutation(9)
    values, null = pair_correlations(a, b, order[None])
    upper = np.triu_indices(9, k=1)
    for i in range(2):
        for j in range(3):
            expected = pearsonr(a[i][upper], b[j][upper])[0]
            assert values[i, j] == pytest.approx(expected, abs=1e-6)
            by_chance = pearsonr(a[i][upper], b[j][np.ix_(order, order)][upper])[0]
            assert null[0, i, j] == pytest.approx(by_chance, abs=1e-6)


def test_cka_of_unrelated_wide_vectors_has_no_bias(rng: np.random.Generator) -> None:
    found = []
    for _ in range(40):
        first, second = (centred_gram(rng.normal(size=(15, 300))) for _ in range(2))
        found.append(pair_estimate(first, second, np.ones((1, 15)), np.zeros(1)).value)
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(40)
    assert np.std(found) < 0.2


def test_cka_is_the_textbook_one_for_many_units(rng: np.random.Generator) -> None:
    x = rng.normal(size=(800, 5)) * [3, 2, 1, 1, 1]
    y = x @ rng.normal(size=(5, 4)) + rng.normal(size=(800, 4))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    textbook = (np.linalg.norm(x.T @ y) ** 2) / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)
    found = pair_estimate(centred_gram(x), centred_gram(y), np.ones((1, 800)), np.zeros(1)).value
    assert found == pytest.approx(textbook, abs=0.01)


def test_procrustes_is_that_of_scipy_on_held_out_units(rng: np.random.Generator) -> None:
    a = rng.normal(size=(40, 3))
    b = 2 * a @ np.linalg.qr(rng.normal(size=(3, 3)))[0] + 0.5 * rng.normal(size=(40, 3)) + 4
    folds = np.arange(40) % 5

    def one_way(x: np.ndarray, y: np.ndarray) -> float:
        errors = squares = 0.0
        for fold in range(5):
            train, test = folds != fold, folds == fold
            mean_x, mean_y = x[train].mean(axis=0), y[train].mean(axis=0)
            rotation, size = orthogonal_procrustes(x[train] - mean_x, y[train] - mean_y)
            scale = size / ((x[train] - mean_x) ** 2).sum()
            foretold = scale * (x[test] - mean_x) @ rotation + mean_y
            errors += ((y[test] - foretold) ** 2).sum()
            squares += ((y[test] - mean_y) ** 2).sum()
        return 1 - errors / squares

    orders = np.stack([np.arange(40), rng.permutation(40)])
    found = held_out_r2(a, b, np.ones((1, 40)), orders, folds)
    assert found.value == pytest.approx((one_way(a, b) + one_way(b, a)) / 2)
    assert found.interval.low == pytest.approx(found.value)
    shuffled = (one_way(a, b[orders[1]]) + one_way(b[orders[1]], a)) / 2
    np.testing.assert_allclose(found.null, [found.value, shuffled])
    assert shuffled < 0.1


def test_the_interval_of_a_size_starts_at_zero_where_the_sign_is_open() -> None:
    found = sign_free(-0.1, np.linspace(-0.5, 0.3, 101), np.array([-0.2, 0.1]))
    assert found.value == pytest.approx(0.1)
    assert found.interval.low == 0.0
    assert found.interval.high == pytest.approx(0.48)
    np.testing.assert_allclose(found.null, [0.2, 0.1])
