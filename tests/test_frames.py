"""Results as folders: whole or none, of one piece, and of a known version."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from persona_lens.errors import SpaceError
from persona_lens.frames import ResultKind

KIND = ResultKind(
    "census", card="census.json", frames=("people", "houses"), arrays="map.safetensors"
)
PEOPLE = pd.DataFrame({"name": ["Ada", "Bo"], "age": [3, 5]})
HOUSES = pd.DataFrame({"street": ["Main"], "floors": [2]})
MAP = {"height": np.arange(6, dtype=np.float32).reshape(2, 3)}


def saved(folder: Path, year: int = 1801) -> Path:
    return KIND.save(
        folder, {"year": year}, frames={"people": PEOPLE, "houses": HOUSES}, arrays=MAP
    )


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    kept = KIND.load(saved(tmp_path / "new" / "folder"))

    assert kept.card == {"year": 1801}
    pd.testing.assert_frame_equal(kept.frames["people"], PEOPLE)
    pd.testing.assert_frame_equal(kept.frames["houses"], HOUSES)
    np.testing.assert_array_equal(kept.arrays["height"], MAP["height"])


def test_the_index_of_a_frame_is_not_kept(tmp_path: Path) -> None:
    KIND.save(tmp_path, {}, frames={"people": PEOPLE.iloc[::-1], "houses": HOUSES}, arrays=MAP)

    assert KIND.load(tmp_path).frames["people"]["name"].tolist() == ["Bo", "Ada"]
    assert KIND.load(tmp_path).frames["people"].index.tolist() == [0, 1]


def test_new_data_never_lie_under_an_old_card(tmp_path: Path) -> None:
    saved(tmp_path)
    broken = pd.DataFrame({"mixed": [1, "two", object()]})

    with pytest.raises(Exception, match=r"object|convert"):
        KIND.save(tmp_path, {"year": 1811}, frames={"people": PEOPLE, "houses": broken})

    with pytest.raises(SpaceError, match="no census in"):
        KIND.load(tmp_path)


@pytest.mark.parametrize("file", KIND.files)
def test_a_folder_that_lacks_a_file_says_which_there_should_be(file: str, tmp_path: Path) -> None:
    (saved(tmp_path) / file).unlink()

    with pytest.raises(
        SpaceError,
        match=r"(?s)no census in.*census.json, map.safetensors, people.parquet and houses.parquet",
    ):
        KIND.load(tmp_path)


def test_another_version_is_refused_and_a_card_without_one_is_the_first(tmp_path: Path) -> None:
    card = saved(tmp_path) / "census.json"
    written = json.loads(card.read_text())
    assert written["format"] == 1

    card.write_text(json.dumps({**written, "format": 2}))
    with pytest.raises(SpaceError, match=r"(?s)another version.*expected format 1, given 2"):
        KIND.load(tmp_path)

    del written["format"]
    card.write_text(json.dumps(written))
    assert KIND.load(tmp_path).card == {"year": 1801}
