"""Paths that cannot be used are refused before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from persona_lens.errors import PathError
from persona_lens.paths import PARTIAL_PREFIX, check_path, check_target


def test_a_new_path_in_a_new_folder_is_fine(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "space"
    assert check_target(str(target)) == target
    assert not target.parent.exists()


@pytest.mark.parametrize("check", [check_path, check_target])
@pytest.mark.parametrize("path", ["", "  ", "x" * 300, "/".join(["y" * 200] * 30), "a\0b"])
def test_a_path_that_no_file_system_takes_is_refused(check, path: str) -> None:
    with pytest.raises(PathError):
        check(path)


def test_a_name_is_refused_that_has_no_room_while_it_is_written(tmp_path: Path) -> None:
    longest = 255 - len(PARTIAL_PREFIX)
    assert check_path(tmp_path / ("x" * longest))
    with pytest.raises(PathError, match="too long"):
        check_target(tmp_path / ("x" * longest))


def test_nothing_is_written_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PathError):
        check_target(tmp_path / "file" / "space")


def test_a_folder_that_is_read_only_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(PathError, match=r"(?s)no permission to write.*given"):
        check_target(tmp_path / "new" / "space")


def test_a_long_path_is_shown_short() -> None:
    with pytest.raises(PathError) as caught:
        check_path("x" * 3000)
    assert len(str(caught.value)) < 200
