"""Roles planted as sums of few traits are rebuilt from them alone; noise is rebuilt from nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted import planted_space

from persona_lens import PersonaSpace
from persona_lens.analysis.composition import Reconstruction, reconstruct
from persona_lens.analysis.composition.dictionaries import (
    MATCHED,
    mixtures,
    principal_coordinates,
    shuffled_atoms,
)
from persona_lens.analysis.composition.halves import halves, question_halves, rows_of
from persona_lens.errors import SpaceError

KS = range(1, 7)


def curve(result: Reconstruction, column: str = "r2", **chosen: object) -> np.ndarray:
    frame = result.frame
    wanted = {"layer": 0, "held_out": "questions", "method": "omp", "dictionary": "traits"}
    for name, value in {**wanted, **chosen}.items():
        frame = frame.loc[frame[name] == value]
    return frame.sort_values("k")[column].to_numpy()


@pytest.fixture(scope="module")
def planted() -> Reconstruction:
    space = planted_space(n_roles=60, n_traits=40, n_layers=2, d_model=96, k=3, noise=0.3)
    return reconstruct(space, ks=KS, n_random=4, progress=False)


@pytest.mark.parametrize("method", ["omp", "nnls"])
def test_the_curve_breaks_at_the_planted_number(planted: Reconstruction, method: str) -> None:
    r2 = curve(planted, method=method)
    assert r2[2] > 0.85  # the mean role, which is no sum of few traits, is taken away
    assert r2[2] - r2[1] > 0.03
    assert np.abs(np.diff(r2[2:])).max() < 0.02
    assert curve(planted, "low", method=method)[2] < r2[2] < curve(planted, "high")[2]


def test_few_traits_find_more_of_what_repeats_than_any_control(planted: Reconstruction) -> None:
    share = curve(planted, "share")
    assert share[2] > 0.85
    for dictionary in ("random directions", MATCHED, "shuffled traits", "PCs"):
        assert curve(planted, "share_high", dictionary=dictionary)[2] < 0.7
    lasso = curve(planted, method="lasso")
    assert (lasso[:2] < curve(planted)[:2]).all()  # shrunken, until there are atoms to spare
    gain = planted.gain().query("layer == 0 and method == 'omp' and k == 3")
    assert (gain.query("held_out == 'questions'")["low"] > 0.3).all()
    assert (gain.query("held_out == 'questions'")["q"] < 0.01).all()


def test_one_small_set_of_traits_cannot_serve_all_roles(planted: Reconstruction) -> None:
    assert (curve(planted, held_out="roles") < curve(planted) - 0.2).all()
    assert set(planted.frame.query("held_out == 'roles'")["method"]) == {"omp"}


def test_a_shared_set_of_traits_is_found_for_roles_never_seen() -> None:
    space = planted_space(n_roles=40, n_traits=30, k=0, noise=0.0)
    rng = np.random.default_rng(1)
    roles, traits = rows_of(space.table)
    folds, values = space.table.folds, space.table.values
    assert folds is not None
    three = values[traits][[4, 11, 23]]
    made = np.einsum("rt,tld->rld", rng.normal(size=(40, 3)), three).astype(np.float32)
    folds[roles], values[roles] = made[:, None], made
    result = reconstruct(space, ks=KS, methods=["omp"], n_random=2, progress=False)
    r2 = curve(result, held_out="roles")
    assert r2[1] < 0.95
    np.testing.assert_allclose(r2[2:], 1, atol=1e-6)
    np.testing.assert_allclose(curve(result, held_out="roles", dictionary="PCs")[2:], 1, atol=1e-6)
    assert curve(result, held_out="roles", dictionary="random directions")[2] < 0.3


def test_pure_noise_is_rebuilt_from_nothing() -> None:
    space = planted_space(n_roles=80, n_traits=30, k=0, noise=1.0)
    frame = reconstruct(space, ks=KS, n_random=4, progress=False).frame
    assert (frame["r2"] < 0.02).all()
    assert (frame["low"] < 0).all()
    assert (frame["ceiling"] < -0.8).all()  # of two independent noises: -1
    assert (frame["signal"].abs() < 0.1).all()


def test_ceiling_and_signal_are_those_of_the_halves() -> None:
    space = planted_space(n_roles=200, d_model=256, k=2, noise=2.0, n_folds=2)
    result = reconstruct(space, ks=[1], methods=["omp"], n_random=1, progress=False)
    # Each role: weights 3 and 2 of nearly orthogonal traits (less the mean role), noise of length 2 in each half.
    roles, _ = rows_of(space.table)
    exact = planted_space(n_roles=200, d_model=256, k=2, noise=0.0).table.values[roles, 0]
    power = ((exact - exact.mean(axis=0)) ** 2).sum(axis=1).mean()
    np.testing.assert_allclose(curve(result, "signal"), power / (power + 4), atol=0.03)
    np.testing.assert_allclose(curve(result, "ceiling"), 1 - 8 / (power + 4), atol=0.06)


def test_two_folds_suffice_and_one_does_not() -> None:
    space = planted_space(n_folds=2)
    result = reconstruct(space, ks=[1, 2], methods=["omp"], n_random=2, progress=False)
    assert curve(result)[1] > 0.9
    assert result.card["halvings"] == 1
    for folds in (None, space.table.folds[:, :1]):  # pyright: ignore[reportOptionalSubscript]
        bare = PersonaSpace(replace(space.table, folds=folds), n_resamples=5)
        with pytest.raises(SpaceError, match=r"(?s)at least two folds.*from_run"):
            reconstruct(bare, progress=False)


def test_roles_and_traits_without_replies_in_a_half_do_not_count() -> None:
    space = planted_space(n_folds=2)
    folds = space.table.folds
    assert folds is not None
    roles, traits = rows_of(space.table)
    folds[roles[0], 0] = np.nan
    folds[traits[-1], 1] = np.nan
    result = reconstruct(space, ks=[1, 2], n_random=2, progress=False)
    assert set(result.frame["n"]) == {len(roles) - 1}
    assert space.table.names[roles[0]] not in set(result.roles["role"])
    assert np.isfinite(result.frame[["r2", "low", "high", "share"]]).all(axis=None)


def test_frames_agree_and_are_kept(planted: Reconstruction, tmp_path: Path) -> None:
    frame, roles = planted.frame, planted.roles
    assert len(frame) == 2 * len(KS) * (3 * 4 + 1 + 5)
    sums = roles.groupby(["layer", "held_out", "dictionary", "method", "k"], observed=True)[
        ["error", "norm", "along", "repeats"]
    ].sum()
    keys = ["layer", "held_out", "dictionary", "method", "k"]
    joined = frame.set_index(keys).join(pd.DataFrame(sums))
    np.testing.assert_allclose(joined["r2"], 1 - joined["error"] / joined["norm"], atol=1e-5)
    np.testing.assert_allclose(joined["share"], joined["along"] / joined["repeats"], atol=1e-5)
    assert (frame["low"] <= frame["high"]).all()
    again = Reconstruction.load(planted.save(tmp_path / "kept"))
    pd.testing.assert_frame_equal(again.frame, frame)
    pd.testing.assert_frame_equal(again.gain(), planted.gain())
    assert again.card == planted.card
    with pytest.raises(SpaceError, match="no reconstruction in"):
        Reconstruction.load(tmp_path)


def test_gain_is_the_difference_of_the_curves(planted: Reconstruction) -> None:
    for measure in ("share", "r2"):
        gain = planted.gain(measure=measure).query(
            "layer == 0 and held_out == 'questions' and method == 'omp'"
        )
        difference = curve(planted, measure) - curve(planted, measure, dictionary=MATCHED)
        # Traits are measured in all halves, a draw in some: the curves weigh halves a little differently.
        np.testing.assert_allclose(gain.sort_values("k")["gain"], difference, atol=0.02)
    with pytest.raises(SpaceError, match=r"(?s)no such control.*given horoscopes"):
        planted.gain("horoscopes")  # pyright: ignore[reportArgumentType]
    with pytest.raises(SpaceError, match="no such measure"):
        planted.gain(measure="p")  # pyright: ignore[reportArgumentType]


def test_what_makes_no_sense_is_refused() -> None:
    space = planted_space()
    for options in ({"ks": [0]}, {"ks": []}, {"methods": ["ridge"]}):
        with pytest.raises(SpaceError, match="no such reconstruction"):
            reconstruct(space, progress=False, **options)  # pyright: ignore[reportArgumentType]
    with pytest.raises(SpaceError, match="layer not in this space"):
        reconstruct(space, layers=[7], progress=False)
    bare = PersonaSpace(space.table.select(kind="role"), n_resamples=5)
    with pytest.raises(SpaceError, match="roles and traits are both needed"):
        reconstruct(bare, progress=False)


# What it is made of ---------------------------------------------------------------------------------


def test_halves_are_even_and_centred() -> None:
    splits = question_halves(6, 4)
    assert splits.shape == (4, 6)
    assert (splits.sum(axis=1) == 3).all()
    assert splits[:, 0].all()  # so that no split is another turned round
    assert len({tuple(split) for split in splits}) == 4
    table = planted_space().table
    roles, traits = rows_of(table)
    first, second = halves(table, roles, traits, 0, question_halves(4, 1))
    np.testing.assert_array_equal(first.roles, second.others)
    np.testing.assert_allclose(first.roles.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(first.traits, axis=1), 1)


def test_shuffled_traits_keep_the_variance_along_their_axes() -> None:
    rng = np.random.default_rng(0)
    traits = rng.normal(size=(40, 5)) @ rng.normal(size=(5, 30))
    traits /= np.linalg.norm(traits, axis=1, keepdims=True)
    coordinates, axes = principal_coordinates(traits)
    shuffled = shuffled_atoms(coordinates, axes, rng)
    np.testing.assert_allclose(np.linalg.norm(shuffled, axis=1), 1)
    spectra = [(atoms @ axes[:5].T).var(axis=0) for atoms in (traits, shuffled)]
    np.testing.assert_allclose(spectra[1].sum(), spectra[0].sum(), rtol=0.1)
    assert np.abs(np.log(spectra[1] / spectra[0])).max() < 1
    assert np.abs(shuffled @ traits.T).max(axis=1).mean() < 0.95


def test_mixtures_have_the_covariance_of_the_roles_in_training() -> None:
    rng = np.random.default_rng(0)
    roles = rng.normal(size=(12, 4)) * [5, 2, 1, 0.5]
    training = np.arange(12) < 9
    atoms = mixtures(rng.normal(size=(20_000, 12)), training) @ roles
    expected = np.cov(roles[training].T) * 8
    np.testing.assert_allclose(np.cov(atoms.T), expected, atol=0.05 * expected.max())
