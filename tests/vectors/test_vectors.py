"""Vector tables: checked when made, equal after a round trip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from persona_lens import VectorTable
from persona_lens.errors import SpaceError
from persona_lens.files import PARTIAL_PREFIX, remove_partials, whole_or_nothing
from persona_lens.vectors.packing import pack, unpack


def table(**changes) -> VectorTable:
    rng = np.random.default_rng(0)
    parts = {
        "values": rng.normal(size=(3, 2, 4)).astype(np.float32),
        "names": ("default", "ghost", "calm"),
        "kinds": ("default", "role", "trait"),
        "labels": ("all", "all", "pos-neg"),
        "counts": np.array([9, 4, 8]),
        "layers": (5, 7),
        "squared_errors": rng.random((3, 2)).astype(np.float32),
        "folds": rng.normal(size=(3, 2, 2, 4)).astype(np.float32),
        "fold_counts": np.array([[5, 4], [2, 2], [4, 4]]),
        "about": ({}, {"group": "fantastical"}, {"description": "Unhurried"}),
        "card": {"reader": {"model": "tiny"}},
    }
    return VectorTable(**{**parts, **changes})


def test_a_round_trip_keeps_everything(tmp_path: Path) -> None:
    saved = table()
    loaded = VectorTable.load(saved.save(tmp_path / "deep" / "table"))
    for name in ("values", "counts", "squared_errors", "folds", "fold_counts"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(saved, name))
    for name in ("names", "kinds", "labels", "layers", "about", "card"):
        assert getattr(loaded, name) == getattr(saved, name)


def test_selection_keeps_rows_together() -> None:
    roles = table().select(kind="role")
    assert roles.names == ("ghost",)
    np.testing.assert_array_equal(roles.values[0], table().values[1])
    np.testing.assert_array_equal(roles.folds[0], table().folds[1])
    assert roles.about[0]["group"] == "fantastical"
    assert table().frame()["replies"].tolist() == [9, 4, 8]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": np.zeros((3, 4))}, r"(?s)wrong shape.*\[vector, layer, d_model\].*\[3, 4\]"),
        ({"names": ("default", "ghost")}, r"(?s)`names`.*expected 3, given 2"),
        ({"layers": (1,)}, r"(?s)`layers`.*expected 2, each once, given \[1\]"),
        ({"folds": np.zeros((3, 2, 5, 4))}, "`folds` does not fit"),
        ({"kinds": ("default", "role", "mood")}, r"(?s)unknown kind.*mood"),
        ({"values": np.full((3, 2, 4), np.nan)}, r"(?s)not finite.*default, ghost, calm"),
        (
            {"names": ("a", "a", "b"), "kinds": ("role",) * 3, "labels": ("all",) * 3},
            "a vector occurs twice",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        table(**changes)


def test_a_folder_without_a_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="no vectors in"):
        VectorTable.load(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_partial(tmp_path: Path) -> None:
    target = tmp_path / "card.json"
    target.write_text("old")

    def fail() -> None:
        with whole_or_nothing(target) as partial:
            partial.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_partials_of_killed_processes_are_removed(tmp_path: Path) -> None:
    leftover = tmp_path / f"{PARTIAL_PREFIX}1-x.parquet"
    leftover.write_text("half")
    (tmp_path / "whole.parquet").write_text("whole")
    remove_partials(tmp_path)
    assert (tmp_path / "whole.parquet").exists()
    assert not leftover.exists()


def measured(n_vectors: int = 60, n_folds: int = 6) -> VectorTable:
    """Roles far from zero in one huge dimension, traits around zero, folds of unequal size, some of them empty."""
    rng = np.random.default_rng(1)
    kinds = np.array(["default", *["role"] * (n_vectors // 2), *["trait"] * (n_vectors // 2 - 1)])
    far = rng.normal(size=(3, 16)) * np.r_[3000.0, np.ones(15)]
    counts = rng.integers(1, 5, size=(n_vectors, n_folds))
    counts[2, 1] = counts[3, ::2] = 0
    folds = (
        rng.normal(size=(n_vectors, n_folds, 3, 16)) + (kinds != "trait")[:, None, None, None] * far
    )
    folds[counts == 0] = np.nan
    weights = counts[..., None, None] / counts.sum(axis=1)[:, None, None, None]
    return VectorTable(
        values=np.nansum(folds * weights, axis=1).astype(np.float32),
        names=tuple(f"v{i}" for i in range(n_vectors)),
        kinds=tuple(kinds),
        labels=tuple("pos-neg" if kind == "trait" else "all" for kind in kinds),
        counts=counts.sum(axis=1),
        layers=(0, 1, 2),
        folds=folds.astype(np.float32),
        fold_counts=counts,
    )


def test_two_halves_weigh_the_replies_alike() -> None:
    whole = measured()
    halved = whole.halved()
    assert halved.folds is not None
    assert halved.fold_counts is not None
    share = halved.fold_counts / halved.counts[:, None]
    known = np.nan_to_num(halved.folds) * share[..., None, None]
    np.testing.assert_allclose(known.sum(axis=1), whole.values, atol=2e-3)
    assert np.isnan(halved.folds[3, 0]).all()
    assert np.isfinite(halved.folds[2]).all()
    with pytest.raises(SpaceError, match="folds of these vectors are not known"):
        table(folds=None).halved()


def test_a_compact_table_is_small_and_close(tmp_path: Path) -> None:
    whole = measured()
    loaded = VectorTable.load(whole.save(tmp_path / "compact", compact=True))
    halved = whole.halved()
    spread = np.ptp(whole.values[:31], axis=0)
    assert (np.abs(loaded.values[:31] - whole.values[:31]) <= spread / 250).all()
    traits = np.linalg.norm((loaded.values - whole.values)[31:], axis=2)
    assert (traits < 0.02 * np.linalg.norm(whole.values[31:], axis=2)).all()
    assert loaded.folds is not None
    assert halved.folds is not None
    np.testing.assert_array_equal(np.isnan(loaded.folds), np.isnan(halved.folds))
    apart = np.linalg.norm(np.nan_to_num(loaded.folds - halved.folds), axis=-1)
    assert apart.max() < 0.1  # the folds themselves have a noise of 4 a vector
    sizes = [
        (folder / "vectors.safetensors").stat().st_size
        for folder in (tmp_path / "compact", whole.save(tmp_path / "plain"))
    ]
    assert sizes[0] < sizes[1] / 5
    again = VectorTable.load(loaded.save(tmp_path / "again", compact=True))
    np.testing.assert_allclose(again.values, loaded.values, rtol=1e-5, atol=1e-3)


def test_packing_takes_any_finite_number() -> None:
    for low, high in ((1e-44, 2e-44), (-3e38, 3e38), (5.0, 5.0)):
        values = np.array([[[low]], [[high]]], dtype=np.float32)
        groups = np.zeros(2, dtype=int)
        again = unpack(pack(values, groups), groups)
        np.testing.assert_allclose(again, values, rtol=0.01, atol=1e-37)
    with pytest.raises(SpaceError, match="not finite"):
        pack(np.full((1, 1, 1), np.nan), np.zeros(1, dtype=int))
