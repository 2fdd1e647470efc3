"""The space as a user meets it: fit, project, compare, save, open, and be told what is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from persona_lens import PersonaSpace, RunFolder
from persona_lens.errors import SpaceError
from persona_lens.runs import reply_means
from persona_lens.runs.vectors import question_order
from persona_lens.space.calibration import LEVELS, POPULATIONS, Calibration, Part


@pytest.fixture
def space() -> PersonaSpace:
    rng = np.random.default_rng(0)
    roles = {f"role_{index}": rng.normal(size=(2, 16)) + 3 for index in range(8)}
    traits = {"calm": rng.normal(size=(2, 16))}
    return PersonaSpace.from_vectors(
        roles, default=rng.normal(size=(2, 16)) + 4, traits=traits, layers=[4, 9], n_resamples=20
    ).fit()


def test_the_axis_is_default_minus_the_mean_of_the_roles(space: PersonaSpace) -> None:
    roles = np.stack([space.vector(f"role_{index}") for index in range(8)])
    np.testing.assert_allclose(space.axis_, space.vector("default") - roles.mean(0), rtol=1e-5)
    assert space.project("default", 4) > space.project([f"role_{i}" for i in range(8)], 4).mean()


def test_layers_are_named_by_block_and_counted_from_the_end(space: PersonaSpace) -> None:
    vector = space.vector("role_3")
    assert space.project("role_3", 9) == pytest.approx(space.project(vector[1], 9))
    assert space.project("role_3", -1) == space.project("role_3", 9)
    with pytest.raises(SpaceError, match=r"(?s)layer not in this space.*expected 4, 9, given 5"):
        space.project("role_3", 5)


def test_projections_in_all_units_and_directions(space: PersonaSpace) -> None:
    names = [f"role_{index}" for index in range(8)]
    stored = np.stack([space.vector(name)[0] for name in names])
    unit = space.axis_[0] / np.linalg.norm(space.axis_[0])
    np.testing.assert_allclose(space.project(names, 4), stored @ unit, rtol=1e-5)
    z = space.project(names, 4, units="roles")
    assert (z.mean(), z.std(ddof=1)) == (pytest.approx(0, abs=1e-9), pytest.approx(1))
    np.testing.assert_allclose(
        space.project(names, 4, onto="pc2"), space.transform(names, 4)[:, 1], rtol=1e-6
    )
    np.testing.assert_allclose(
        space.project(stored, 4, onto=np.eye(16)[3] * 7), stored[:, 3], rtol=1e-5
    )
    calm = space.vector("calm")[0]
    np.testing.assert_allclose(
        space.project(names, 4, onto="calm"), stored @ calm / np.linalg.norm(calm), rtol=1e-5
    )


def test_nearest_is_by_centred_cosine(space: PersonaSpace) -> None:
    found = space.nearest("role_0", 4, k=3)
    centred = {f"role_{i}": space.vector(f"role_{i}")[0] - space.role_mean_[0] for i in range(8)}

    def cosine(name: str) -> float:
        a, b = centred["role_0"], centred[name]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    expected = sorted((name for name in centred if name != "role_0"), key=cosine, reverse=True)[:3]
    assert found["name"].tolist() == expected
    np.testing.assert_allclose(found["cosine"], [cosine(name) for name in expected], rtol=1e-4)
    assert set(space.nearest("role_0", 4, k=20, kind=None)["kind"]) == {"role", "trait"}
    same = space.nearest(space.vector("role_5")[0], 4, k=1)
    assert same["name"].tolist() == ["role_5"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.vector("role_99"), r"(?s)no vector named 'role_99'.*did you mean role_"),
        (lambda s: s.project("role_1", 4, onto="pc99"), r"(?s)no such component.*pc1 to pc7"),
        (
            lambda s: s.project("role_1", 4, units="miles"),
            r"(?s)unknown units.*raw, roles or default",
        ),
        (
            lambda s: s.project("role_1", 4, units="default"),
            r'(?s)no spread of default.*units="roles"',
        ),
        (lambda s: s.project(np.zeros((2, 3)), 4), r"(?s)wrong width.*\[..., 16\]"),
        (lambda s: s.project("role_1", 4, onto=np.zeros(3)), r"(?s)direction has the wrong shape"),
        (lambda s: s.nearest("role_1", 4, kind="mood"), "no vectors of kind 'mood'"),
    ],
)
def test_errors_say_what_to_do(space: PersonaSpace, call, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        call(space)


def test_an_unfitted_space_says_so() -> None:
    space = PersonaSpace.from_vectors({"a": np.zeros((1, 4))}, default=np.ones((1, 4)))
    with pytest.raises(SpaceError, match=r"(?s)not fitted.*call space.fit\(\) first"):
        space.project("a", 0)
    with pytest.raises(SpaceError, match=r"(?s)needs roles.*at least 3.*given 1"):
        space.fit()
    assert "not fitted" in repr(space)
    assert "space.fit()" in space._repr_html_()


def test_shapes_and_scalings_are_checked() -> None:
    with pytest.raises(SpaceError, match="vectors differ in shape"):
        PersonaSpace.from_vectors({"a": np.zeros((2, 4))}, default=np.zeros((1, 4)))
    roles = {name: np.random.default_rng(0).normal(size=(1, 4)) for name in "abc"}
    with pytest.raises(SpaceError, match=r"(?s)unknown scaling.*center, zscore, l2"):
        PersonaSpace.from_vectors(roles, default=np.ones((1, 4)), scaling="minmax").fit()


@pytest.mark.parametrize("scaling", ["center", "zscore", "l2"])
def test_a_saved_space_answers_alike(tmp_path: Path, scaling: str) -> None:
    rng = np.random.default_rng(0)
    roles = {f"role_{index}": rng.normal(size=(3, 12)) for index in range(6)}
    space = PersonaSpace.from_vectors(
        roles, default=np.ones((3, 12)), scaling=scaling, n_resamples=20
    ).fit()
    opened = PersonaSpace.load(space.save(tmp_path / "space"))
    np.testing.assert_array_equal(opened.axis_, space.axis_)
    np.testing.assert_array_equal(opened.components_, space.components_)
    np.testing.assert_array_equal(opened.transform(["role_2"], 1), space.transform(["role_2"], 1))
    np.testing.assert_allclose(
        opened.stability_.to_numpy(float), space.stability_.to_numpy(float), equal_nan=True
    )
    np.testing.assert_array_equal(opened.n_components_70_, space.n_components_70_)
    np.testing.assert_array_equal(opened.fit().components_, space.components_)
    assert not list(tmp_path.rglob("*.pkl"))


def test_a_folder_without_a_space_and_a_newer_one_say_so(
    tmp_path: Path, space: PersonaSpace
) -> None:
    with pytest.raises(SpaceError, match=r"(?s)no space in.*persona-lens fit"):
        PersonaSpace.load(tmp_path)
    card = space.save(tmp_path / "space") / "card.json"
    card.write_text(re.sub(r'"format": \d+', '"format": 99', card.read_text()))
    with pytest.raises(SpaceError, match=r"(?s)another version of Persona Lens.*given 99"):
        PersonaSpace.load(tmp_path / "space")


@pytest.mark.embedded
def test_the_real_axis_runs_from_role_play_to_the_assistant(small_space: PersonaSpace) -> None:
    for layer in (18, 24):
        ranking = small_space.ranking(layer)
        assistant = ranking["group"] == "assistant"
        assert ranking[assistant]["projection"].mean() > ranking[~assistant]["projection"].mean()
        assert small_space.project("default", layer) > ranking["projection"].mean()
        assert (ranking["low"] <= ranking["projection"]).all()
        assert (ranking["projection"] <= ranking["high"]).all()


@pytest.mark.embedded
def test_calibration_is_the_distribution_of_real_replies(
    small_run: Path, small_space: PersonaSpace
) -> None:
    layer = small_space.layer_index(20)
    manifest = RunFolder(small_run).manifest()
    held_out = set(question_order(manifest)[1::2])
    read = [part for part in reply_means(RunFolder(small_run)) if part[0].kind == "default"]
    replies = [means for _, _, means in read]
    held = np.array([request.question_id in held_out for _, some, _ in read for request in some])
    projections = small_space.project(np.concatenate(replies)[:, layer], 20)
    calibration = small_space.calibration_
    assert calibration is not None
    place = POPULATIONS.index("default")
    assert calibration.counts[place].tolist() == [20, 20]
    assert len(projections) == 40
    np.testing.assert_allclose(calibration.means[place, layer, 0], projections.mean(), rtol=1e-4)
    for half, chosen in enumerate((~held, held)):
        np.testing.assert_allclose(
            calibration.quantiles[place, half, layer, 0],
            np.percentile(projections[chosen], LEVELS),
            rtol=1e-4,
            atol=1e-4,
        )
    z = small_space.project(np.concatenate(replies)[:, layer], 20, units="default")
    assert abs(z.mean()) < 1e-3
    assert z.std(ddof=1) == pytest.approx(1, abs=1e-3)


@pytest.mark.embedded
def test_a_real_space_survives_the_disk_and_shows_itself(
    small_space: PersonaSpace, tmp_path: Path
) -> None:
    opened = PersonaSpace.load(small_space.save(tmp_path / "space"))
    np.testing.assert_array_equal(opened.axis_, small_space.axis_)
    assert opened.calibration_ is not None
    html = opened._repr_html_()
    assert "smollm2-135m-instruct" in html
    assert html.count("<tr>") > 5
    assert opened.table.card["reader"]["dtype"] == "float32"


def test_vectors_may_come_as_lists(space: PersonaSpace) -> None:
    vector = space.vector("role_3")[0]
    assert space.project(vector.tolist(), 4) == pytest.approx(space.project("role_3", 4))


def test_a_save_that_is_killed_midway_leaves_no_space_that_opens(
    space: PersonaSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = space.save(tmp_path / "space")
    monkeypatch.setattr("persona_lens.frames.write_tensors", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        space.save(folder)
    with pytest.raises(SpaceError, match="no space in"):
        PersonaSpace.load(folder)


def test_streamed_calibration_is_the_plain_one() -> None:
    rng = np.random.default_rng(0)
    parts = [
        Part(
            population,
            rng.random(size) < 0.5,
            rng.normal(size=(size, 2, 3)) * 3 + 1,
            rng.random((size, 2)),
        )
        for population, size in (("role", 5), ("role", 1), ("default", 40), ("role", 17))
    ]
    found = Calibration.of(parts, ("axis", "pc1", "pc2"))
    assert found is not None
    for population, chosen in (
        ("role", [part for part in parts if part.population == "role"]),
        ("all", parts),
    ):
        values = np.concatenate([part.values for part in chosen])
        held = np.concatenate([part.held_out for part in chosen])
        norms = np.concatenate([part.norms for part in chosen])
        place = POPULATIONS.index(population)
        assert found.counts[place].tolist() == [(~held).sum(), held.sum()]
        np.testing.assert_allclose(found.means[place], values.mean(0), rtol=1e-5)
        np.testing.assert_allclose(found.deviations[place], values.std(0, ddof=1), rtol=1e-5)
        np.testing.assert_allclose(found.norms[place], norms.mean(0), rtol=1e-5)
        for half, mask in enumerate((~held, held)):
            expected = np.moveaxis(np.percentile(values[mask], LEVELS, axis=0), 0, -1)
            np.testing.assert_allclose(found.quantiles[place, half], expected, rtol=1e-4, atol=1e-5)
    assert np.isnan(found.means[POPULATIONS.index("trait")]).all()


@pytest.mark.embedded
def test_a_loaded_space_fits_again_from_its_run(small_space: PersonaSpace, tmp_path: Path) -> None:
    opened = PersonaSpace.load(small_space.save(tmp_path / "space")).fit()
    assert opened.calibration_ is not None
    np.testing.assert_allclose(opened.calibration_.means, small_space.calibration_.means)
