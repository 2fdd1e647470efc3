"""Vector tables: checked when made, equal after a round trip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from persona_lens import VectorTable
from persona_lens.errors import SpaceError
from persona_lens.files import PARTIAL_PREFIX, remove_partials, whole_or_nothing


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
        "about": ({}, {"group": "fantastical"}, {"description": "Unhurried"}),
        "card": {"reader": {"model": "tiny"}},
    }
    return VectorTable(**{**parts, **changes})


def test_a_round_trip_keeps_everything(tmp_path: Path) -> None:
    saved = table()
    loaded = VectorTable.load(saved.save(tmp_path / "deep" / "table"))
    for name in ("values", "counts", "squared_errors", "folds"):
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
