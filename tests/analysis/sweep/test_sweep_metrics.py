"""Metrics of vectors: equal to plain loops, and the planted truth within the interval."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from sweep_data import D_MODEL, flat, space_of

from persona_lens import PersonaSpace
from persona_lens.analysis.sweep import sweep
from persona_lens.analysis.sweep.intervals import half_interval


def only(frame: pd.DataFrame, metric: str, kind: str, layer: int = 0, null: str | None = None):
    rows = frame.query("metric == @metric and kind == @kind and layer == @layer")
    if null is not None:
        rows = rows[rows["null"] == null]
    assert len(rows) == 1, rows
    return rows.iloc[0]


def swept(space: PersonaSpace, metrics: list[str], **options) -> pd.DataFrame:
    return sweep(space, metrics=metrics, progress=False, **{"n_draws": 60, **options}).frame


def random_space(seed: int = 0) -> PersonaSpace:
    rng = np.random.default_rng(seed)
    falling = np.linspace(3, 0.2, D_MODEL)
    return space_of(
        rng.normal(size=(30, 3, D_MODEL)) * falling + 1.0,
        rng.normal(size=(14, 3, D_MODEL)) * falling,
        axis=rng.normal(size=(3, D_MODEL)),
    )


# As plain loops give ------------------------------------------------------------------------------


def plain_values(space: PersonaSpace, layer: int) -> dict[tuple[str, str], float]:
    """The same measures, one layer and one kind at a time, with scikit-learn, scipy and numpy."""
    table = space.table
    raw = table.values[:, layer].astype(float)
    axis = raw[0] - raw[table.axis_rows()].mean(axis=0)
    roles, traits = raw[table.axis_rows()], raw[table.trait_rows()]
    roles = roles - roles.mean(axis=0)
    expected: dict[tuple[str, str], float] = {}
    pca = PCA().fit(roles)
    squares = {"role": pca.explained_variance_, "trait": np.linalg.svd(traits)[1] ** 2}
    for kind, values in squares.items():
        expected["participation_ratio", kind] = values.sum() ** 2 / (values**2).sum()
        reached = values.cumsum() / values.sum()
        expected["components_70", kind] = 1 + np.searchsorted(reached, 0.7)
        expected["components_90", kind] = 1 + np.searchsorted(reached, 0.9)
    for kind, vectors in (("role", roles), ("trait", traits)):
        long = np.linalg.norm(vectors, axis=1)
        unit = vectors / long[:, None]
        values = np.linalg.svd(unit)[1] ** 2
        expected["participation_ratio_unit", kind] = values.sum() ** 2 / (values**2).sum()
        expected["components_70_unit", kind] = 1 + np.searchsorted(
            values.cumsum() / values.sum(), 0.7
        )
        expected["axis_cosine", kind] = np.abs(unit @ axis / np.linalg.norm(axis)).mean()
        for name, other in (("similarity_to_next", layer + 1), ("similarity_to_last", -1)):
            there = table.values[:, other].astype(float)
            there = there[table.axis_rows() if kind == "role" else table.trait_rows()]
            there = there - there.mean(axis=0) if kind == "role" else there
            pairs = np.triu_indices(len(unit), 1)
            mine = (unit @ unit.T)[pairs]
            there = there / np.linalg.norm(there, axis=1, keepdims=True)
            expected[name, kind] = np.corrcoef(mine, (there @ there.T)[pairs])[0, 1]
    k = min(10, len(traits) // 2)
    trait_pcs, role_pcs = np.linalg.svd(traits)[2][:k], pca.components_[:k]
    expected["axis_pc1", "trait"] = abs(trait_pcs[0] @ axis) / np.linalg.norm(axis)
    expected["roles_in_traits", "role-trait"] = ((roles @ trait_pcs.T) ** 2).sum() / (
        roles**2
    ).sum()
    expected["traits_in_roles", "role-trait"] = ((traits @ role_pcs.T) ** 2).sum() / (
        traits**2
    ).sum()
    expected["principal_angles", "role-trait"] = np.cos(
        subspace_angles(role_pcs.T, trait_pcs.T)
    ).mean()
    return expected


@pytest.mark.parametrize("layer", [0, 1])
def test_values_are_those_of_a_plain_loop(layer: int) -> None:
    space = random_space()
    expected = plain_values(space, layer)
    frame = swept(space, sorted({name for name, _ in expected}), n_draws=2)
    for (name, kind), value in expected.items():
        rows = frame.query("metric == @name and kind == @kind and layer == @layer")
        np.testing.assert_allclose(rows["value"], value, rtol=1e-5, err_msg=f"{name}, {kind}")


def test_the_axis_and_pc1_of_roles_are_those_of_the_fit() -> None:
    space = random_space()
    row = only(swept(space, ["axis_pc1"]), "axis_pc1", "role", 1, "a role in the default's place")
    entry = space.stability_.iloc[1]
    assert row[["value", "low", "high", "null_mean", "null_95"]].tolist() == pytest.approx(
        entry[["cosine", "cosine_low", "cosine_high", "shuffled_mean", "shuffled_95"]].tolist()
    )


# Planted truth ------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [4, 12])
def test_equal_variances_fill_as_many_dimensions(k: int) -> None:
    rng = np.random.default_rng(k)
    space = space_of(flat(100, k, rng)[:, None], flat(60, k, rng)[:, None])
    frame = swept(space, ["participation_ratio", "components_70", "components_90"], n_draws=200)
    for kind in ("role", "trait"):
        row = only(frame, "participation_ratio", kind)
        assert row["low"] <= k <= row["high"]
        assert row["low"] <= row["value"] <= row["high"]
        assert row["null_mean"] > 1.5 * row["high"], "random directions fill far more"
        for share in (70, 90):
            row = only(frame, f"components_{share}", kind)
            assert row["low"] <= np.ceil(k * share / 100) <= row["high"]


def test_the_interval_covers_where_the_bootstrap_does_not_hold_its_own_estimate() -> None:
    rng = np.random.default_rng(0)
    k, n, n_trials = 20, 60, 60
    covered, narrow, own = 0, 0, 0
    for _ in range(n_trials):
        vectors = flat(n, k, rng)
        value = ratio(vectors)
        draws = np.array([ratio(vectors[rng.permutation(n)[: n // 2]]) for _ in range(60)])
        low, high = half_interval(value, draws, n, scale="inverse", most=D_MODEL)
        covered += low <= k <= high
        narrow += high < 2 * k
        usual = [ratio(vectors[rng.integers(n, size=n)]) for _ in range(60)]
        own += np.quantile(usual, 0.025) <= value <= np.quantile(usual, 0.975)
    assert covered >= 0.9 * n_trials
    assert narrow >= 0.9 * n_trials
    assert own <= 0.1 * n_trials, "repeated units lower the ratio of every resample"


def ratio(vectors: np.ndarray) -> float:
    values = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False) ** 2
    return float(values.sum() ** 2 / (values**2).sum())


def test_one_arrangement_at_two_layers_is_one_and_independent_ones_are_zero() -> None:
    rng = np.random.default_rng(1)
    first, other = rng.normal(size=(2, 40, D_MODEL))
    turn = np.linalg.qr(rng.normal(size=(D_MODEL, D_MODEL)))[0]
    roles = np.stack([first, 3 * first @ turn + 5, other], axis=1)
    metrics = ["similarity_to_next", "similarity_to_last"]
    frame = swept(space_of(roles, roles[:20]), metrics)
    for kind in ("role", "trait"):
        if kind == "role":  # traits are not centred, so that a shift is no freedom of theirs
            same = only(frame, "similarity_to_next", kind, 0)
            assert same["value"] == pytest.approx(1, abs=1e-5)
            assert same["low"] == pytest.approx(1, abs=1e-4)
            assert same["null_95"] < 0.2
        apart = only(frame, "similarity_to_next", kind, 1)
        assert apart["low"] < 0 < apart["high"]
        assert only(frame, "similarity_to_last", kind, 1)["value"] == apart["value"]
    assert set(frame["layer"]) == {0, 1}, "the last layer has no other to be compared with"


def test_roles_within_the_span_of_the_traits() -> None:
    rng = np.random.default_rng(2)
    basis = np.linalg.qr(rng.normal(size=(D_MODEL, 12)))[0].T
    traits = rng.normal(size=(40, 6)) @ basis[:6]
    inside = rng.normal(size=(50, 6)) @ basis[:6]
    outside = rng.normal(size=(50, 6)) @ basis[6:]
    roles = np.stack([inside, outside, inside + outside], axis=1)
    frame = swept(
        space_of(roles, np.stack([traits] * 3, axis=1)),
        ["roles_in_traits", "traits_in_roles", "principal_angles"],
    )
    for metric in ("roles_in_traits", "traits_in_roles"):
        rows = [only(frame, metric, "role-trait", layer) for layer in range(3)]
        assert rows[0]["value"] == pytest.approx(1, abs=1e-4)
        assert rows[1]["value"] == pytest.approx(0, abs=1e-4)
        assert rows[0]["low"] > rows[0]["null_95"]
    half = only(frame, "roles_in_traits", "role-trait", 2)
    assert half["low"] <= 0.5 <= half["high"]
    assert half["value"] > half["null_95"]


def test_noise_shares_no_more_than_chance() -> None:
    rng = np.random.default_rng(3)
    space = space_of(rng.normal(size=(50, 1, D_MODEL)), rng.normal(size=(40, 1, D_MODEL)))
    names = ["roles_in_traits", "traits_in_roles", "principal_angles"]
    for row in swept(space, names).itertuples():
        assert row.value == pytest.approx(row.null_mean, rel=0.15)
    ratio_row = only(swept(space, ["participation_ratio"]), "participation_ratio", "role")
    assert ratio_row["value"] == pytest.approx(ratio_row["null_mean"], rel=0.1)


def test_a_planted_axis_is_found_in_the_traits_and_noise_is_not() -> None:
    rng = np.random.default_rng(4)
    axis = np.eye(1, D_MODEL)[0] * 5
    along = rng.normal(size=(40, 1)) * axis + 0.3 * rng.normal(size=(40, D_MODEL))
    noise = rng.normal(size=(40, D_MODEL))
    space = space_of(
        rng.normal(size=(60, 2, D_MODEL)),
        np.stack([along, noise], axis=1),
        axis=np.stack([axis, axis]),
    )
    frame = swept(space, ["axis_pc1", "axis_cosine"])
    for null in ("random directions", "a role in the default's place"):
        planted = only(frame, "axis_pc1", "trait", 0, null)
        assert planted["value"] > 0.95
        assert planted["low"] > planted["null_95"]
        assert only(frame, "axis_pc1", "trait", 1, null)["low"] < 0.3
        mean = only(frame, "axis_cosine", "trait", 1, null)
        assert mean["value"] == pytest.approx(mean["null_mean"], abs=0.03)
    units = sweep(space, metrics=["axis_cosine"], n_draws=2, progress=False).units
    assert units.query("kind == 'trait' and layer == 0")["value"].median() > 0.8


def test_split_halves_know_how_much_of_a_vector_is_noise() -> None:
    rng = np.random.default_rng(5)
    signal = rng.normal(size=(40, 1, D_MODEL))
    folds = signal[:, None] + 2.0 * rng.normal(size=(40, 8, 1, D_MODEL))
    folds[3, 2:] = np.nan  # a role with few replies
    space = space_of(np.nanmean(folds, axis=1), folds=folds)
    frame = swept(space, ["split_half", "split_half_spearman_brown"])
    half = only(frame, "split_half", "role")
    assert half["low"] <= 1 / (1 + 4 / 4) <= half["high"], "four folds a half, noise variance four"
    assert half["low"] > half["null_95"]
    assert abs(half["null_mean"]) < 0.05
    whole = only(frame, "split_half_spearman_brown", "role")
    assert whole["low"] <= 1 / (1 + 4 / 8) <= whole["high"]
    assert half["n"] == 40


def test_split_halves_of_noise_are_no_better_than_those_of_others() -> None:
    rng = np.random.default_rng(6)
    folds = rng.normal(size=(40, 6, 1, D_MODEL))
    row = only(
        swept(space_of(folds.mean(axis=1), folds=folds), ["split_half"]), "split_half", "role"
    )
    assert row["low"] <= 0 <= row["high"]


def test_random_directions_are_isotropic_whatever_is_left_out() -> None:
    from persona_lens.analysis.sweep.randoms import RandomDirections

    rng = np.random.default_rng(7)
    for n_basis, d_model in ((4, 200), (4, 24)):
        drawn = RandomDirections.draw(30, n_basis, d_model, 300, rng)
        np.testing.assert_allclose(np.linalg.norm(drawn.directions, axis=2), 1, rtol=1e-5)
        assert (drawn.directions[:, :, :n_basis] ** 2).mean() == pytest.approx(1 / d_model, rel=0.1)
        between = drawn.cosines[(slice(None), *np.triu_indices(30, 1))]
        assert (between**2).mean() == pytest.approx(1 / d_model, rel=0.1)
