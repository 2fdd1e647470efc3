"""Vectors as people hold them, wherever a space takes some, and what is said about them, saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from persona_lens import PersonaSpace
from persona_lens.errors import SpaceError

RNG = np.random.default_rng(0)
LAYERS = (10, 11)
# Values that bfloat16 holds exactly, so that every form has the same ones.
ROLES = {f"role_{index}": RNG.integers(-64, 64, (2, 8)) / 8 for index in range(6)}
DEFAULT = RNG.integers(0, 64, (2, 8)) / 8


def as_half(vector: np.ndarray) -> Any:
    return torch.tensor(vector, dtype=torch.bfloat16)


FORMS: dict[str, Any] = {
    "bfloat16": as_half,
    "with a gradient": lambda vector: torch.tensor(vector, requires_grad=True),
    "list of tensors": lambda vector: list(as_half(vector)),
    "by layer": lambda vector: {
        np.int64(layer): as_half(row)
        for layer, row in zip(reversed(LAYERS), reversed(vector), strict=True)
    },
    "data frame": pd.DataFrame,
}


def made(form: Any = np.asarray, **options: Any) -> PersonaSpace:
    given = {name: form(vector) for name, vector in ROLES.items()}
    space = PersonaSpace.from_vectors(given, form(DEFAULT), n_resamples=5, **options)
    return space.fit(progress=False)


@pytest.fixture(scope="module")
def plain() -> PersonaSpace:
    return made(layers=LAYERS)


@pytest.mark.parametrize("form", FORMS)
def test_a_space_of_them_is_the_same(form: str, plain: PersonaSpace) -> None:
    space = made(FORMS[form], layers=None if form == "by layer" else LAYERS)
    assert space.layers_ == LAYERS
    assert all(type(layer) is int for layer in space.layers_)
    np.testing.assert_array_equal(space.table.values, plain.table.values)
    np.testing.assert_array_equal(space.axis_, plain.axis_)


@pytest.mark.parametrize("form", FORMS)
def test_queries_and_directions_are_the_same(form: str, plain: PersonaSpace) -> None:
    vector = RNG.integers(-64, 64, (2, 8)) / 8
    given = FORMS[form](vector)
    at = given if form == "by layer" else FORMS[form](vector)
    row = at if form == "by layer" else (at.iloc[0] if form == "data frame" else at[0])
    assert plain.project(row, 10) == plain.project(vector[0], 10)
    assert plain.project("role_1", 10, onto=row) == plain.project("role_1", 10, onto=vector[0])
    pd.testing.assert_frame_equal(plain.nearest(row, 10), plain.nearest(vector[0], 10))
    direction = plain.direction(given)
    assert direction.layers == LAYERS
    np.testing.assert_array_equal(direction.values, vector)
    np.testing.assert_array_equal(plain.direction(given, layers=11).values, vector[1:])
    axis = PersonaSpace(plain.table, n_resamples=5, axis=given).fit(progress=False).axis_
    np.testing.assert_array_equal(axis, vector)


def test_a_direction_by_layer_has_the_layers_it_is_given_at(plain: PersonaSpace) -> None:
    direction = plain.direction({11: as_half(DEFAULT[1])})
    assert direction.layers == (11,)
    with pytest.raises(SpaceError, match=r"(?s)not given at every layer.*none at 10"):
        plain.direction({11: DEFAULT[1]}, layers=[10, 11])


def test_strengths_and_targets_out_of_tensors(plain: PersonaSpace) -> None:
    strength = torch.tensor([0.5, -0.25], dtype=torch.bfloat16, requires_grad=True)
    plan = plain.add("role_1", strength, unit="spread", layers=10)
    assert plan.steps[0].operation.strength == (0.5, -0.25)
    target = plain.set("role_1", to=torch.tensor(2.5, dtype=torch.bfloat16), layers=10)
    assert target.steps[0].operation.targets.tolist() == [2.5]  # pyright: ignore[reportAttributeAccessIssue]


def test_what_does_not_fit_together() -> None:
    by_layer = FORMS["by layer"]
    with pytest.raises(SpaceError, match=r"(?s)at different layers.*10 to 11; 12"):
        PersonaSpace.from_vectors({"a": by_layer(DEFAULT), "b": {12: DEFAULT[0]}}, DEFAULT)
    with pytest.raises(SpaceError, match=r"(?s)vectors of 'a' are no array.*meta device"):
        PersonaSpace.from_vectors({"a": torch.zeros(2, 8, device="meta")}, DEFAULT)
    with pytest.raises(SpaceError, match=r"(?s)not finite.*a"):
        PersonaSpace.from_vectors({"a": as_half(DEFAULT * np.nan)}, DEFAULT)


def test_numpy_in_layers_parameters_and_notes_is_saved(tmp_path: Path) -> None:
    about = {
        "role_1": {"replies": np.int64(3), "share": np.float32(0.5), "seen": np.bool_(True)},
        "role_2": {"group": np.nan, "tags": np.array(["a", "b"])},
    }
    space = made(layers=np.arange(10, 12), about=about, seed=np.int64(3), n_components=np.int64(2))
    loaded = PersonaSpace.load(space.save(tmp_path))
    assert loaded.layers_ == LAYERS
    assert loaded.table.about[2] == {"replies": 3, "share": 0.5, "seen": True}
    assert loaded.table.about[3] == {"group": None, "tags": ["a", "b"]}
    assert (loaded.seed, loaded.n_components) == (3, 2)


def test_notes_that_cannot_be_saved_are_refused_at_once() -> None:
    with pytest.raises(SpaceError, match=r"(?s)cannot be saved.*text, numbers"):
        made(about={"role_1": {"made by": object()}})
