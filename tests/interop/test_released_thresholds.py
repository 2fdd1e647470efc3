"""A release as a space: the axis of its file, and its thresholds as percentiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from made_release import D_MODEL, N_LAYERS, THRESHOLDS, WINDOW, write_release

from persona_lens import PersonaSpace
from persona_lens.errors import SpaceError
from persona_lens.interop import read_release
from persona_lens.interventions import Floor
from persona_lens.plots import persona_map


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A release whose axis is not what its rounded vectors give: off by a twentieth of its length."""
    folder = write_release(tmp_path / "qwen")
    axis = torch.load(folder / "assistant_axis.pt").float()
    aside = torch.randn(axis.shape, generator=torch.Generator().manual_seed(5))
    aside *= 0.05 * axis.norm(dim=1, keepdim=True) / aside.norm(dim=1, keepdim=True)
    torch.save((axis + aside).bfloat16(), folder / "assistant_axis.pt")
    return folder


def stored(file: Path) -> np.ndarray:
    return torch.load(file).float().numpy().astype(np.float64)


def recomputed(folder: Path) -> np.ndarray:
    roles = [stored(file) for file in sorted((folder / "role_vectors").glob("*.pt"))]
    return stored(folder / "default_vector.pt") - np.mean(roles, axis=0)


def test_the_axis_of_the_file_is_the_axis(folder: Path) -> None:
    space = read_release(folder).space
    axis = stored(folder / "assistant_axis.pt")
    np.testing.assert_array_equal(space.axis_, axis.astype(np.float32))
    np.testing.assert_allclose(space.recomputed_axis_, recomputed(folder), atol=1e-5)
    unit = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    role = stored(folder / "role_vectors" / "role_1.pt")
    for layer in range(N_LAYERS):
        assert space.project("role_1", layer) == pytest.approx(role[layer] @ unit[layer], abs=1e-5)
        pc1 = space.components_[layer, 0].astype(np.float64)
        assert space.axis_pc1_cosine_[layer] == pytest.approx(pc1 @ unit[layer], abs=1e-4)
    np.testing.assert_array_equal(space.direction().values, space.axis_)
    pushed = space.add(unit="raw", layers=3).steps[0].operation
    np.testing.assert_allclose(pushed.lengths, [np.linalg.norm(axis[3])], rtol=1e-6)
    persona_map(space, 3)


def test_the_recomputed_axis_is_reported_beside_it(folder: Path) -> None:
    release = read_release(folder)
    table = release.axis_table
    axis, ours = stored(folder / "assistant_axis.pt"), recomputed(folder)
    lengths = np.linalg.norm(axis, axis=1)
    np.testing.assert_allclose(table["length"], lengths, rtol=1e-6)
    np.testing.assert_allclose(
        table["cosine"], (axis * ours).sum(1) / lengths / np.linalg.norm(ours, axis=1), atol=1e-6
    )
    np.testing.assert_allclose(
        table["difference"], np.linalg.norm(ours - axis, axis=1) / lengths, atol=1e-6
    )
    assert 0.04 < table["difference"].max() < 0.06
    assert f"up to {table['difference'].max():.1%} of its length apart" in release.notes[1]
    assert "the file's is the axis" in release.notes[1]


def test_an_axis_that_points_to_the_roles_is_turned_first(tmp_path: Path) -> None:
    one = read_release(write_release(tmp_path / "a", axis="roles"))
    other = read_release(write_release(tmp_path / "b"))
    np.testing.assert_array_equal(one.space.axis_, other.space.axis_)
    assert one.axis_table["difference"].max() < 0.01


def test_where_the_file_has_no_axis_it_is_computed(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "qwen")
    axis = torch.load(folder / "assistant_axis.pt")
    axis[2] = 0
    torch.save(axis, folder / "assistant_axis.pt")
    space = read_release(folder).space
    np.testing.assert_array_equal(space.axis_[2], space.recomputed_axis_[2])
    (folder / "assistant_axis.pt").unlink()
    release = read_release(folder)
    np.testing.assert_array_equal(release.space.axis_, release.space.recomputed_axis_)
    with pytest.raises(SpaceError, match="only one axis"):
        _ = release.axis_table


@pytest.mark.parametrize("caps", ["reversed", "positive"])
def test_released_thresholds_are_percentiles_of_the_space(tmp_path: Path, caps: str) -> None:
    release = read_release(write_release(tmp_path / "qwen", caps=caps))
    percentile = 75 if caps == "reversed" else 25  # p0.25 is along the vector as stored
    for space in (release.space, PersonaSpace.load(release.space.save(tmp_path / "space"))):
        plan = space.floor(percentile=percentile)
        (step,) = plan.steps
        assert isinstance(step.operation, Floor)
        assert plan.layers == tuple(THRESHOLDS)  # the layers a threshold is known at
        np.testing.assert_allclose(step.operation.thresholds, list(THRESHOLDS.values()), atol=1e-6)
        np.testing.assert_allclose(
            step.operation.thresholds, release.plan(WINDOW).steps[0].operation.thresholds
        )
        assert f"percentile {percentile} of replies (all, as released)" in repr(plan)
        one = space.floor(percentile=100 - 1 if caps == "reversed" else 1, layers=3)
        np.testing.assert_allclose(one.steps[0].operation.thresholds, [THRESHOLDS[3]], atol=1e-6)


def test_what_was_not_released_is_not_made_up(tmp_path: Path) -> None:
    space = read_release(write_release(tmp_path / "qwen")).space
    with pytest.raises(SpaceError, match=r"(?s)percentile 80 is not known.*expected 75 "):
        space.floor(percentile=80)
    with pytest.raises(SpaceError, match=r"(?s)percentile 76.5 is not known"):
        space.floor(percentile=76.5)
    with pytest.raises(SpaceError, match=r"(?s)not known at layers 0.*layers with a threshold"):
        space.floor(percentile=75, layers=[0, 2])
    with pytest.raises(SpaceError, match="no replies of population 'roles'"):
        space.floor(percentile=75, population="roles")
    with pytest.raises(SpaceError, match="not calibrated on tokens"):
        space.floor(percentile=75, of="tokens")
    with pytest.raises(SpaceError, match=r"(?s)no percentiles of replies are known along 'pc1'"):
        space.floor("pc1", percentile=75)
    with pytest.raises(SpaceError, match="spread of default replies is not known"):
        space.project("role_1", 3, units="default")


def test_values_that_contradict_each_other_and_other_directions_are_no_percentiles(
    tmp_path: Path,
) -> None:
    folder = write_release(tmp_path / "qwen")
    config = torch.load(folder / "capping_config.pt")
    key = "layer_2/contrast_role_pos3_default1"
    config["experiments"].append({"id": "x-p0.25", "interventions": [{"vector": key, "cap": 9.0}]})
    torch.save(config, folder / "capping_config.pt")
    assert read_release(folder).space.floor(percentile=75).layers == (3, 4)
    across = read_release(write_release(tmp_path / "across", caps="across"), operation="ceiling")
    assert across.space.calibration_ is None


def test_an_axis_has_to_fit_the_vectors() -> None:
    rng = np.random.default_rng(0)
    roles = {f"role_{i}": rng.normal(size=(2, D_MODEL)) for i in range(4)}
    default = np.ones((2, D_MODEL))
    for axis in (np.ones((3, D_MODEL)), np.zeros((2, D_MODEL)), np.full((2, D_MODEL), np.nan)):
        with pytest.raises(SpaceError, match="this axis does not fit the vectors"):
            PersonaSpace.from_vectors(roles, default, axis=axis).fit()


def test_a_release_can_be_used_as_the_released_code_uses_it(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "qwen")
    release = read_release(folder, tokens="paper")
    assert release.space.table.card["reader"]["tokens"] == "paper"
    for plan in (release.plan(WINDOW), release.space.floor(percentile=75), release.space.add()):
        assert plan.steps[0].where.sinks
    assert "unit vector as stored" in repr(release.space.add())
    with pytest.raises(SpaceError, match="no such choice of tokens"):
        read_release(folder, tokens="all")  # pyright: ignore[reportArgumentType]
