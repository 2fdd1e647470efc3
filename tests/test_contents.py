"""Pointers, empty files and folders in the place of files are named as such, whatever is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.contents import check_content
from persona_lens.errors import InterventionError, PersonaLensError, SpaceError
from persona_lens.files import read_json, read_tensors, write_json, write_tensors
from persona_lens.interop.control_vector import read_control_vector
from persona_lens.interop.torch_files import read_torch
from persona_lens.interventions import Ablate, Direction, Plan
from persona_lens.vectors.table import VectorTable
from tests.tiny import tiny_folder

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 1200\n"


@pytest.fixture(scope="module")
def space_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    roles = {f"role_{index}": rng.normal(size=(1, 8)) for index in range(19)}
    space = PersonaSpace.from_vectors(roles, np.ones((1, 8)), n_resamples=5).fit()
    return space.save(tmp_path_factory.mktemp("spaces") / "whole")


def copied(folder: Path, to: Path, name: str, content: str) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        if file.is_file():
            (to / file.name).write_bytes(file.read_bytes())
    assert (to / name).is_file()
    (to / name).write_text(content, "utf-8")
    return to


@pytest.mark.parametrize(
    ("content", "message"),
    [(POINTER, r"(?s)Git LFS pointer.*git lfs pull"), ("", "is empty"), ("{broken", "is damaged")],
)
@pytest.mark.parametrize(
    "name", ["card.json", "space.safetensors", "vectors.json", "vectors.safetensors"]
)
def test_a_space_names_the_file_that_is_none(
    space_folder: Path, tmp_path: Path, name: str, content: str, message: str
) -> None:
    broken = copied(space_folder, tmp_path / "broken", name, content)
    with pytest.raises(SpaceError, match=message) as caught:
        PersonaSpace.load(broken)
    assert name in str(caught.value)


def test_a_plan_names_the_file_that_is_none(tmp_path: Path) -> None:
    plan = Plan.of(Ablate(Direction("ghost", (0,), np.ones((1, 8)))))
    plan.save(tmp_path)
    (tmp_path / "plan.safetensors").write_text(POINTER)
    with pytest.raises(InterventionError, match=r"plan\.safetensors is a Git LFS pointer"):
        Plan.load(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_model_folder_names_the_file_that_is_none(tmp_path: Path, name: str) -> None:
    folder = tiny_folder(tmp_path / "tiny", "llama")
    (folder / name).write_text(POINTER)
    with pytest.raises(PersonaLensError, match=rf"{name} is a Git LFS pointer"):
        PersonaModel.load(folder)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("model.gguf", PersonaModel.load),
        ("axis.pt", read_torch),
        ("pirate.gguf", read_control_vector),
        ("any.json", lambda path: read_json(path, SpaceError)),
        ("any.safetensors", lambda path: read_tensors(path, SpaceError)),
    ],
)
def test_files_of_every_kind_are_looked_at_first(
    tmp_path: Path, name: str, read: Callable[[Path], Any]
) -> None:
    path = tmp_path / name
    path.write_text(POINTER)
    with pytest.raises(PersonaLensError, match="is a Git LFS pointer"):
        read(path)
    path.write_text("")
    with pytest.raises(PersonaLensError, match="is empty"):
        read(path)


def test_a_folder_is_no_file_and_a_file_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="is a folder"):
        check_content(tmp_path, SpaceError)
    file = tmp_path / "space.json"
    file.write_text("{}")
    for load in (PersonaSpace.load, VectorTable.load):
        with pytest.raises(SpaceError, match=r"no space in|no vectors in"):
            load(file)


def test_whole_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, None]})
    assert read_json(tmp_path / "a.json", SpaceError) == {"b": [1, None]}
    write_tensors(tmp_path / "a.safetensors", {"b": np.arange(3.0)})
    np.testing.assert_array_equal(
        read_tensors(tmp_path / "a.safetensors", SpaceError)["b"], np.arange(3.0)
    )
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json", SpaceError)
