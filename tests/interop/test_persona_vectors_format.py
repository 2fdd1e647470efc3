"""Persona vector files: a row for the embedding, then one a block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from persona_lens.errors import InterventionError, SpaceError
from persona_lens.interop import read_persona_vector, write_persona_vector
from persona_lens.interventions import Direction

N_LAYERS, D_MODEL = 4, 6


def saved(folder: Path, rows: torch.Tensor, name: str = "evil_response_avg_diff.pt") -> Path:
    torch.save(rows, folder / name)
    return folder / name


def test_row_k_plus_one_is_block_k(tmp_path: Path) -> None:
    rows = torch.randn(N_LAYERS + 1, D_MODEL, generator=torch.Generator().manual_seed(0))
    evil = read_persona_vector(saved(tmp_path, rows), n_layers=N_LAYERS)
    assert evil.layers == (0, 1, 2, 3)
    for layer in range(N_LAYERS):
        np.testing.assert_array_equal(evil.values[evil.index(layer)], rows[layer + 1].numpy())


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("evil_response_avg_diff.pt", "evil"),
        ("evil_prompt_avg_diff.pt", "evil"),
        ("my_trait_prompt_last_diff.pt", "my_trait"),
        ("humor.pt", "humor"),
    ],
)
def test_the_name_comes_from_the_file(tmp_path: Path, file: str, name: str) -> None:
    path = saved(tmp_path, torch.ones(N_LAYERS + 1, D_MODEL), file)
    assert read_persona_vector(path).name == name
    assert read_persona_vector(path, "other").name == "other"


def test_a_row_of_zeros_is_a_layer_not_known(tmp_path: Path) -> None:
    rows = torch.ones(N_LAYERS + 1, D_MODEL)
    rows[2] = 0
    assert read_persona_vector(saved(tmp_path, rows)).layers == (0, 2, 3)
    with pytest.raises(InterventionError, match="only zeros"):
        read_persona_vector(saved(tmp_path, torch.zeros(N_LAYERS + 1, D_MODEL)))


def test_written_files_read_back(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(N_LAYERS, D_MODEL))
    backwards = Direction("evil", (3, 2, 1, 0), values)
    path = write_persona_vector(backwards, tmp_path / "evil_response_avg_diff.pt", N_LAYERS)
    rows = torch.load(path, weights_only=True)
    assert rows.dtype == torch.float32
    assert not rows[0].any()
    again = read_persona_vector(path, n_layers=N_LAYERS)
    assert (again.name, again.layers) == ("evil", (0, 1, 2, 3))
    np.testing.assert_array_equal(again.values, backwards.values[::-1])


@pytest.mark.parametrize(
    ("rows", "n_layers", "message"),
    [
        (N_LAYERS, N_LAYERS, "(?s)none for the embedding.*expected 5 rows"),
        (N_LAYERS + 2, N_LAYERS, "(?s)does not belong to this model.*expected 5 rows.*given 6"),
        (1, None, "(?s)expected 2 or more rows"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    tmp_path: Path, rows: int, n_layers: int | None, message: str
) -> None:
    with pytest.raises(InterventionError, match=message):
        read_persona_vector(saved(tmp_path, torch.ones(rows, D_MODEL)), n_layers=n_layers)


def test_other_contents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"(?s)no persona vector.*2 dimensions"):
        read_persona_vector(saved(tmp_path, torch.ones(D_MODEL)))
    with pytest.raises(SpaceError, match="no such file"):
        read_persona_vector(tmp_path / "nothing.pt")
    rows = torch.ones(N_LAYERS + 1, D_MODEL)
    rows[2, 0] = torch.nan  # no reply passed the filter
    with pytest.raises(InterventionError, match=r"(?s)points nowhere.*layers \[1\]"):
        read_persona_vector(saved(tmp_path, rows))


@pytest.mark.parametrize(
    ("layers", "message"),
    [((0, 1, 3), r"none for \[2\]"), ((0, 1, 2, 3, 4), r"layers \[4\] as well")],
)
def test_only_every_layer_can_be_written(
    tmp_path: Path, layers: tuple[int, ...], message: str
) -> None:
    direction = Direction("evil", layers, np.ones((len(layers), D_MODEL)))
    with pytest.raises(InterventionError, match=message):
        write_persona_vector(direction, tmp_path / "evil.pt", N_LAYERS)
    assert not list(tmp_path.iterdir())
