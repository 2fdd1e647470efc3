"""Neuronpedia's axes and the folder of its demo: readings, thresholds, orientation, and no pickle."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import save_file

from persona_lens.errors import InterventionError, SpaceError
from persona_lens.interop import (
    NeuronpediaAxis,
    read_neuronpedia_axis,
    read_neuronpedia_persona,
    write_neuronpedia_axis,
)
from persona_lens.interventions import Direction, Floor, Plan

D_MODEL = 12
RNG = np.random.default_rng(0)
TENSORS = {
    name: RNG.normal(size=D_MODEL).astype(np.float32)
    for name in ("direction", "scaler_mean", "pca_mean")
}
MANIFEST = {"author": "lu", "title": "- role-playing ↔️ + assistant-like", "layer": 4}


def write(folder: Path, **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "axis.yaml").write_text(
        yaml.safe_dump(MANIFEST | settings, allow_unicode=True), "utf-8"
    )
    save_file(TENSORS, str(folder / "axis.safetensors"))
    return folder


def reading(x: np.ndarray, *, l2: bool, center: float, below: float, above: float) -> float:
    """One reading by the formula of the format, with plain numbers."""
    held = [float(a) - float(b) for a, b in zip(x, TENSORS["scaler_mean"], strict=True)]
    if l2:
        norm = sum(a * a for a in held) ** 0.5
        held = [a / norm for a in held]
    raw = sum(
        (a - float(b)) * float(c)
        for a, b, c in zip(held, TENSORS["pca_mean"], TENSORS["direction"], strict=True)
    )
    distance = raw - center
    return distance / (above if distance >= 0 else below)


@pytest.mark.parametrize("normalize", ["none", "l2"])
def test_readings_follow_the_formula(normalize: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "a", normalize=normalize, center=0.5, scale_pos=2.0, scale_neg=3.0)
    axis = read_neuronpedia_axis(folder)
    x = RNG.normal(size=(20, D_MODEL)) * 3
    options = {"l2": normalize == "l2", "center": 0.5, "below": 3.0, "above": 2.0}
    x[10:] = TENSORS["scaler_mean"] - 4.0 * TENSORS["direction"] + 0.1 * x[10:]
    expected = [reading(row, **options) for row in x]
    assert min(expected) < 0 < max(expected)
    np.testing.assert_allclose(axis.values(x), expected, rtol=1e-5, atol=1e-6)
    again = read_neuronpedia_axis(write_neuronpedia_axis(axis, tmp_path / "b"))
    np.testing.assert_allclose(again.values(x), expected, rtol=1e-5, atol=1e-6)
    assert again.poles == axis.poles == ("role-playing", "assistant-like")
    assert (again.author, again.layer) == ("lu", 4)


@pytest.mark.parametrize("value", [-0.75, 0.0, 1.5])
def test_a_floor_at_a_reading_leaves_nothing_that_reads_less(value: float, tmp_path: Path) -> None:
    axis = read_neuronpedia_axis(write(tmp_path / "a", center=0.5, scale_pos=2.0, scale_neg=3.0))
    plan = Plan.of(Floor(axis.direction, thresholds=axis.threshold(value)))
    x = RNG.normal(size=(1, 40, D_MODEL)) * 3
    [(_, hook)] = plan.hooks(mask=torch.ones(1, 40), sinks=())
    after = axis.values(hook(torch.from_numpy(x), None)[0].numpy())
    before = axis.values(x[0])
    assert (before < value).any()
    np.testing.assert_allclose(after, np.maximum(before, value), atol=1e-5)


def test_an_axis_without_poles_has_a_title(tmp_path: Path) -> None:
    axis = read_neuronpedia_axis(write(tmp_path / "a", title="Empathy"), name="empathy")
    assert axis.poles == ("", "")
    written = yaml.safe_load(
        (write_neuronpedia_axis(axis, tmp_path / "b") / "axis.yaml").read_text()
    )
    assert written["title"] == "empathy"


def test_unit_vectors_have_no_threshold(tmp_path: Path) -> None:
    axis = read_neuronpedia_axis(write(tmp_path / "a", normalize="l2"))
    with pytest.raises(InterventionError, match="no projection"):
        axis.threshold(0.5)


def test_everything_a_manifest_says_is_kept(tmp_path: Path) -> None:
    render = {"blank_system_prompt": True, "template_kwargs": {"date_string": "26 Jul 2024"}}
    folder = write(tmp_path / "a", scale=2.0, render=render, caveat="few roles")
    tables = {
        "quantile_levels": [0.0, 1.0],
        "quantiles_pos": [0.0, 2.0],
        "quantiles_neg": [0.0, 3.0],
    }
    arrays = {name: np.array(table, np.float32) for name, table in tables.items()}
    save_file(TENSORS | arrays, str(folder / "axis.safetensors"))
    axis = read_neuronpedia_axis(folder, name="kind")
    again = read_neuronpedia_axis(write_neuronpedia_axis(axis, tmp_path / "b"), name="kind")
    for found in (axis, again):
        assert found.scales == (2.0, 2.0)
        assert found.blank_system_prompt
        assert found.template_kwargs == {"date_string": "26 Jul 2024"}
        assert (found.caveat, found.direction.name) == ("few roles", "kind")
        assert found.quantiles is not None
        assert [table.tolist() for table in found.quantiles] == list(tables.values())


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"layer": "deep"}, "holds no axis"),
        ({"author": None, "layer": None}, "holds no axis"),
        ({"scale_pos": 0.0}, "other than zero"),
        ({"normalize": "l1"}, "cannot be read"),
        ({"render": ["x"]}, "holds no axis"),
    ],
)
def test_manifests_of_another_layout_are_refused(
    settings: dict[str, Any], why: str, tmp_path: Path
) -> None:
    with pytest.raises(InterventionError, match=why):
        read_neuronpedia_axis(write(tmp_path / "a", **settings))


def test_files_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    save_file({"direction": TENSORS["direction"]}, str(folder / "axis.safetensors"))
    with pytest.raises(InterventionError, match="scaler_mean"):
        read_neuronpedia_axis(folder)
    save_file(TENSORS | {"quantiles_pos": np.ones(2, np.float32)}, str(folder / "axis.safetensors"))
    with pytest.raises(InterventionError, match="quantile tables"):
        read_neuronpedia_axis(folder)
    (folder / "axis.safetensors").unlink()
    with pytest.raises(InterventionError, match=r"no axis\.safetensors"):
        read_neuronpedia_axis(folder)
    (folder / "axis.yaml").write_text("[1, 2]")
    with pytest.raises(InterventionError, match="no settings"):
        read_neuronpedia_axis(folder)
    (folder / "axis.yaml").write_text("a: [")
    with pytest.raises(InterventionError, match="no YAML"):
        read_neuronpedia_axis(folder)
    with pytest.raises(InterventionError, match=r"no persona\.yaml"):
        read_neuronpedia_persona(folder)


def test_an_axis_is_of_one_layer_and_one_width() -> None:
    with pytest.raises(InterventionError, match="one layer"):
        NeuronpediaAxis(Direction("assistant", (1, 2), np.eye(2, 4)))
    with pytest.raises(InterventionError, match="pca_mean does not fit"):
        NeuronpediaAxis(Direction("assistant", (1,), np.eye(1, 4)), pca_mean=np.ones(3))


class Pickled:
    """What a fitted component is in the demo's folder: an object, and code that runs when it is opened."""

    opened = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, ()


def _open() -> Pickled:
    Pickled.opened += 1
    return Pickled()


def persona(folder: Path, vectors: object) -> Path:
    (folder / "pca").mkdir(parents=True)
    torch.save(vectors, folder / "contrast_vectors.pt")
    (folder / "pca" / "layer3.pt").write_bytes(pickle.dumps(Pickled()))
    content = {
        "blank_system_prompt": True,
        "pc_titles": ["- Role-playing ↔️ + Assistant-like"],
        "contrast_vectors": "contrast_vectors.pt",
        "pca": [{"layer": 5, "file": "pca/layer5.pt"}, {"layer": 3, "file": "pca/layer3.pt"}],
    }
    (folder / "persona.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    return folder


def test_the_axis_of_the_demo_points_to_the_assistant_and_no_pickle_is_opened(
    tmp_path: Path,
) -> None:
    vectors = torch.randn(6, D_MODEL, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = read_neuronpedia_persona(persona(tmp_path / "a", vectors))
    np.testing.assert_array_equal(found.axis.values, -vectors.float().numpy())
    assert (found.axis.layers, found.layers) == (tuple(range(6)), (3, 5))
    assert found.unread == ("pca/layer3.pt", "pca/layer5.pt")
    assert found.blank_system_prompt
    assert found.titles == ("- Role-playing ↔️ + Assistant-like",)
    as_list = read_neuronpedia_persona(persona(tmp_path / "b", dict(enumerate(vectors))))
    np.testing.assert_array_equal(as_list.axis.values, found.axis.values)
    assert Pickled.opened == 0
    with pytest.raises(SpaceError):
        read_neuronpedia_persona(persona(tmp_path / "c", Pickled()))
    assert Pickled.opened == 0


def test_a_persona_of_another_layout_is_refused(tmp_path: Path) -> None:
    folder = persona(tmp_path / "a", torch.ones(2, 3))
    (folder / "persona.yaml").write_text("pca: [{layer: 3}]")
    with pytest.raises(InterventionError, match="holds no persona"):
        read_neuronpedia_persona(folder)
    (folder / "persona.yaml").write_text("pca: []\ncontrast_vectors: none.pt")
    with pytest.raises(SpaceError, match="no such file"):
        read_neuronpedia_persona(folder)
