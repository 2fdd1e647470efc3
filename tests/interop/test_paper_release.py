"""The paper's release, whichever way its files point, and capping settings written for its code."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from made_release import D_MODEL, N_LAYERS, N_ROLES, THRESHOLDS, WINDOW, write_release

from persona_lens.errors import InterventionError, SpaceError
from persona_lens.interop import read_axis, read_release, write_capping_config
from persona_lens.interventions import Ablate, Add, Band, Ceil, Direction, Floor, Plan

Residuals = dict[int, torch.Tensor]


def drawn_residuals() -> Residuals:
    generator = torch.Generator().manual_seed(7)
    return {layer: 4 * torch.randn(2, 9, D_MODEL, generator=generator) for layer in range(N_LAYERS)}


def as_our_plan(plan: Plan, residuals: Residuals) -> Residuals:
    """What a plan makes of residuals, all tokens."""
    changed = dict(residuals)
    for name, hook in plan.where("all", sinks=True).hooks():
        layer = int(re.findall(r"\d+", name)[0])
        changed[layer] = hook(residuals[layer].clone(), hook=None)
    return changed


def as_released_code(path: Path, experiment: str, residuals: Residuals) -> Residuals:
    """What the released code makes of residuals with a capping file, told in our own words.

    Each intervention in turn: at the layer of its vector, whatever reaches beyond the cap along the unit vector is
    taken away.
    """
    config = torch.load(path, weights_only=True)
    (chosen,) = (entry for entry in config["experiments"] if entry["id"] == experiment)
    changed = dict(residuals)
    for intervention in chosen["interventions"]:
        vector = config["vectors"][intervention["vector"]]
        along = vector["vector"].float()
        along = along / along.norm()
        h = changed[vector["layer"]]
        beyond = torch.relu(h @ along - intervention["cap"])
        changed[vector["layer"]] = h - beyond[..., None] * along
    return changed


def assert_same(found: Residuals, expected: Residuals) -> None:
    for layer, residual in expected.items():
        torch.testing.assert_close(found[layer], residual, rtol=1e-5, atol=2e-5)


def paper_floor(folder: Path, residuals: Residuals) -> Residuals:
    """Equation 1 of the paper on default minus mean of the roles, at the thresholds of the made-up release."""
    default = torch.load(folder / "default_vector.pt").float()
    roles = [torch.load(file).float() for file in (folder / "role_vectors").glob("*.pt")]
    axis = default - torch.stack(roles).mean(0)
    changed = dict(residuals)
    for layer, threshold in THRESHOLDS.items():
        v = axis[layer].bfloat16().float()
        v = v / v.norm()
        below = (residuals[layer] @ v - threshold).clamp(max=0)
        changed[layer] = residuals[layer] - below[..., None] * v
    return changed


# Both orientations ------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", ["assistant", "roles", "none"])
@pytest.mark.parametrize("caps", ["reversed", "positive"])
def test_both_orientations_are_the_same_plan(tmp_path: Path, caps: str, axis: str) -> None:
    folder = write_release(tmp_path / "qwen", caps=caps, axis=axis)
    release = read_release(folder)
    plan = release.plan(WINDOW)

    (step,) = plan.steps
    floor = step.operation
    assert isinstance(floor, Floor)
    assert floor.layers == (2, 3, 4)
    np.testing.assert_allclose(floor.thresholds, list(THRESHOLDS.values()))
    assert floor.direction.name == "assistant"
    cosines = (floor.direction.units * release.axis.at([2, 3, 4]).units).sum(axis=1)
    np.testing.assert_allclose(cosines, 1, atol=1e-4)

    residuals = drawn_residuals()
    changed = as_our_plan(plan, residuals)
    assert_same(changed, paper_floor(folder, residuals))
    assert any((changed[layer] != residuals[layer]).any() for layer in THRESHOLDS)


def test_released_file_does_what_the_released_code_does(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "qwen")
    residuals = drawn_residuals()
    for experiment in (WINDOW, "layers_3:4-p0.01"):
        assert_same(
            as_our_plan(read_release(folder).plan(experiment), residuals),
            as_released_code(folder / "capping_config.pt", experiment, residuals),
        )


@pytest.mark.parametrize(
    ("caps", "operation", "kind"),
    [
        ("reversed", "ceiling", Floor),
        ("reversed", "floor", Ceil),
        ("positive", "ceiling", Ceil),
        ("positive", "floor", Floor),
    ],
)
def test_what_a_cap_does_can_be_told(tmp_path: Path, caps: str, operation: Any, kind: type) -> None:
    folder = write_release(tmp_path / "qwen", caps=caps)
    (step,) = read_release(folder, operation=operation).plan(WINDOW).steps
    assert type(step.operation) is kind
    np.testing.assert_allclose(step.operation.thresholds, list(THRESHOLDS.values()))
    if operation == "ceiling":
        residuals = drawn_residuals()
        assert_same(
            as_our_plan(Plan((step,)), residuals),
            as_released_code(folder / "capping_config.pt", WINDOW, residuals),
        )


def test_vectors_across_the_axis_are_refused_unless_told(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "qwen", caps="across")
    release = read_release(folder)
    assert "neither along nor against the axis" in release.notes[-1]
    with pytest.raises(InterventionError, match=r'(?s)cosine beyond 0\.5.*operation="ceiling"'):
        release.plan(WINDOW)
    told = read_release(folder, operation="ceiling").plan(WINDOW)
    residuals = drawn_residuals()
    assert_same(
        as_our_plan(told, residuals),
        as_released_code(folder / "capping_config.pt", WINDOW, residuals),
    )
    assert told.steps[0].operation.direction.name == "contrast_role_pos3_default1"


def test_notes_say_what_was_turned(tmp_path: Path) -> None:
    as_released = read_release(write_release(tmp_path / "a"))
    assert as_released.notes[0] == "8 roles, 2 traits"
    assert as_released.notes[1].startswith("assistant_axis.pt points to the Assistant")
    assert as_released.notes[2] == "6 capping vectors, 2 experiments"
    assert as_released.notes[3] == (
        "all 6 capping vectors point from the Assistant to the roles (mean cosine with the axis -1.00): "
        "reversed; ceilings became floors, caps changed sign; towards the Assistant, p0.01 is percentile 99, "
        "p0.25 is percentile 75"
    )
    other = read_release(write_release(tmp_path / "b", caps="positive", axis="roles"))
    assert "points from the Assistant to the roles" in other.notes[1]
    assert other.notes[1].endswith("reversed")
    assert other.notes[3] == (
        "all 6 capping vectors point to the Assistant (mean cosine with the axis 1.00): caps are read as the "
        'floors of the paper\'s equation, not as the ceilings of the released code (operation="ceiling")'
    )


# Axis and space ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pipeline", [False, True])
@pytest.mark.parametrize("axis", ["assistant", "roles"])
def test_axis_points_to_the_assistant(tmp_path: Path, axis: str, pipeline: bool) -> None:
    folder = write_release(tmp_path / "qwen", axis=axis, pipeline=pipeline)
    release = read_release(folder)
    assert release.axis.name == "assistant"
    assert release.axis.layers == tuple(range(N_LAYERS))
    space = release.space
    cosines = (release.axis.values * space.axis_).sum(1) / np.linalg.norm(space.axis_, axis=1)
    np.testing.assert_allclose(cosines / release.axis.lengths, 1, atol=1e-4)
    assert release.axis_cosines is not None
    expected = 1 if axis == "assistant" else -1
    np.testing.assert_allclose(release.axis_cosines, expected, atol=1e-4)
    assert space.project("default", 3) > space.project([f"role_{i}" for i in range(8)], 3).mean()


def test_space_holds_the_vectors(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "qwen-3-32b")
    space = read_release(folder).space
    assert space.table.frame()["kind"].value_counts().to_dict() == {
        "role": N_ROLES,
        "trait": 2,
        "default": 1,
    }
    stored = torch.load(folder / "role_vectors" / "role_3.pt").float().numpy()
    np.testing.assert_array_equal(space.vector("role_3"), stored)
    assert space.table.card["reader"]["model"] == "Qwen/Qwen3-32B"
    assert space.table.card["hook_point"] == "blocks.{layer}.hook_resid_post"
    assert space.stability_["axis_questions"].isna().all()


def test_vectors_by_layer_are_read_where_every_layer_is_there(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "qwen-3-32b")
    file = folder / "role_vectors" / "role_3.pt"
    rows = torch.load(file)
    torch.save({layer: rows[layer].clone() for layer in reversed(range(len(rows)))}, file)
    space = read_release(folder).space
    np.testing.assert_array_equal(space.vector("role_3"), rows.float().numpy())
    torch.save({layer: rows[layer].clone() for layer in range(1, len(rows))}, file)
    with pytest.raises(SpaceError, match=r"(?s)role_3\.pt holds no vector as expected"):
        read_release(folder)


def test_a_layer_without_an_axis_is_left_out(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "qwen")
    axis = torch.load(folder / "assistant_axis.pt")
    axis[0] = 0
    torch.save(axis, folder / "assistant_axis.pt")
    release = read_release(folder)
    assert release.axis.layers == (1, 2, 3, 4, 5)
    assert "the axis is zero at 1 layers, which are left out" in release.notes


def test_no_capping_settings_as_for_gemma(tmp_path: Path) -> None:
    release = read_release(write_release(tmp_path / "gemma-2-27b", caps="none"))
    assert release.experiments == ()
    with pytest.raises(InterventionError, match="no capping settings"):
        release.plan(WINDOW)


def test_capping_and_axis_alone_are_enough_for_plans(tmp_path: Path) -> None:
    whole = write_release(tmp_path / "whole")
    part = tmp_path / "part"
    part.mkdir()
    for name in ("assistant_axis.pt", "capping_config.pt"):
        (part / name).write_bytes((whole / name).read_bytes())
    release = read_release(part)
    assert "is taken to point to the Assistant" in release.notes[1]
    assert repr(release.plan(WINDOW)) == repr(read_release(whole).plan(WINDOW))
    with pytest.raises(SpaceError, match="no vector of the default Assistant"):
        _ = release.space


# Refusals ---------------------------------------------------------------------------------------------


class _Trap:
    """Unpickled carelessly, it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize(
    "name", ["assistant_axis.pt", "capping_config.pt", "role_vectors/role_1.pt"]
)
def test_no_pickled_code_is_run(tmp_path: Path, name: str) -> None:
    folder = write_release(tmp_path / "qwen")
    sprung = tmp_path / "sprung"
    torch.save({"vector": _Trap(sprung)}, folder / name)
    with pytest.raises(SpaceError, match="code in it has not been run"):
        read_release(folder)
    assert not sprung.exists()
    torch.load(folder / name, weights_only=False)  # the trap is a real one
    assert sprung.exists()


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "qwen")
    kept = (folder / "role_vectors" / "role_1.pt").read_bytes()
    torch.save(torch.ones(N_LAYERS, D_MODEL + 1), folder / "role_vectors" / "role_1.pt")
    with pytest.raises(SpaceError, match=r"(?s)differ in shape.*role_1 \[6, 17\]"):
        read_release(folder)
    torch.save(torch.ones(D_MODEL), folder / "role_vectors" / "role_1.pt")
    with pytest.raises(SpaceError, match=r"(?s)role_1\.pt holds no vector.*2 dimensions.*\[16\]"):
        read_release(folder)
    (folder / "role_vectors" / "role_1.pt").write_bytes(kept[:200])
    with pytest.raises(SpaceError, match=r"role_1\.pt"):
        read_release(folder)
    (folder / "role_vectors" / "role_1.pt").write_bytes(kept)
    torch.save(torch.randn(N_LAYERS, D_MODEL), folder / "assistant_axis.pt")
    with pytest.raises(SpaceError, match="another direction than default minus mean"):
        read_release(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"vectors": {}}, "is no capping configuration"),
        (torch.ones(3), "is no capping configuration"),
        (
            {"vectors": {"k": {"vector": torch.ones(D_MODEL + 1), "layer": 1}}, "experiments": []},
            "another model than the axis",
        ),
        (
            {
                "vectors": {},
                "experiments": [{"id": "x", "interventions": [{"vector": "k", "cap": 1.0}]}],
            },
            "along vectors it does not hold",
        ),
    ],
)
def test_damaged_capping_settings_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    folder = write_release(tmp_path / "qwen")
    torch.save(content, folder / "capping_config.pt")
    with pytest.raises(InterventionError, match=message):
        read_release(folder)


@pytest.mark.parametrize("kept", [0, 2, 60, -20])
def test_a_file_that_ends_too_early_is_said_to_be_damaged(tmp_path: Path, kept: int) -> None:
    folder = write_release(tmp_path / "qwen")
    file = folder / "assistant_axis.pt"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(
        SpaceError, match=r"assistant_axis\.pt (is damaged|is empty|cannot be read)"
    ):
        read_release(folder)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"hello", "(is damaged|cannot be read)"),
    ],
)
def test_a_text_is_no_torch_file(tmp_path: Path, content: bytes, problem: str) -> None:
    folder = write_release(tmp_path / "qwen")
    (folder / "default_vector.pt").write_bytes(content)
    with pytest.raises(SpaceError, match=rf"default_vector\.pt {problem}"):
        read_release(folder)


def test_interventions_without_a_cap_are_passed_over_as_in_the_released_code(
    tmp_path: Path,
) -> None:
    folder = write_release(tmp_path / "qwen")
    config = torch.load(folder / "capping_config.pt")
    whole = read_release(folder).plan(WINDOW)
    some, key = config["experiments"][0]["interventions"], "layer_0/contrast_role_pos3_default1"
    some += [{"vector": key}, {"vector": key, "cap": None}, {"vector": "gone", "coefficient": 2.0}]
    config["experiments"].append({"id": "added", "interventions": [{"vector": key, "coeff": -1}]})
    torch.save(config, folder / "capping_config.pt")

    release = read_release(folder)
    assert repr(release.plan(WINDOW)) == repr(whole)
    assert release.notes[-1] == (
        f"2 experiments have interventions without a cap, such as {WINDOW} (3): "
        "passed over, as in the released code"
    )
    with pytest.raises(InterventionError, match=r"(?s)'added' caps nothing.*given 1 without one"):
        release.plan("added")


def test_unknown_names_are_met_with_help(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "all" / "qwen-3-32b")
    assert read_release(folder).experiments == (WINDOW, "layers_3:4-p0.01")
    with pytest.raises(InterventionError, match=f"did you mean {WINDOW}"):
        read_release(folder).plan("layers_2:5-p0.50")
    with pytest.raises(SpaceError, match="pass model=, one of qwen-3-32b"):
        read_release(tmp_path / "all")
    with pytest.raises(SpaceError, match="pass model=, one of qwen-3-32b"):
        read_release(tmp_path / "all", model="gemma-2-27b")
    assert read_release(tmp_path / "all", model="qwen-3-32b").experiments
    with pytest.raises(SpaceError, match="no release there"):
        read_release(tmp_path / "nowhere")
    with pytest.raises(InterventionError, match="auto, ceiling or floor"):
        read_release(folder, operation="cap")  # pyright: ignore[reportArgumentType]


# The hub ----------------------------------------------------------------------------------------------


def test_only_one_model_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_release(tmp_path / "qwen-3-32b")
    asked: dict[str, Any] = {}

    def download(repo_id: str, **options: Any) -> str:
        asked.update(options, repo_id=repo_id)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    name = "lu-christina/assistant-axis-vectors"
    release = read_release(name, model="qwen-3-32b", revision="abc")
    assert asked == {
        "repo_id": name,
        "repo_type": "dataset",
        "revision": "abc",
        "allow_patterns": ["qwen-3-32b/*.pt"],
    }
    assert release.card["source"] == name
    wanted = ["qwen-3-32b/role_vectors/pirate.pt"]
    others = ["qwen-3-32b/x.py", "gemma-2-27b/a.pt"]
    chosen = huggingface_hub.utils.filter_repo_objects(
        wanted + others, allow_patterns=asked["allow_patterns"]
    )
    assert list(chosen) == wanted


def test_a_model_the_hub_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path / "nothing-came")
    )
    with pytest.raises(SpaceError, match=r"no release in .*gpt-2"):
        read_release("lu-christina/assistant-axis-vectors", model="gpt-2")


def test_without_network_the_hub_says_so() -> None:
    name = "lu-christina/assistant-axis-vectors"
    with pytest.raises(SpaceError, match=r"(?s)cannot get.*pass the folder"):
        read_release(name, model="qwen-3-32b")
    with pytest.raises(SpaceError, match="one of gemma-2-27b, qwen-3-32b"):
        read_release(name)


# Writing ----------------------------------------------------------------------------------------------


def drawn_direction(name: str, layers: tuple[int, ...], seed: int = 1) -> Direction:
    values = np.random.default_rng(seed).normal(size=(len(layers), D_MODEL))
    return Direction(name, layers, 3 * values)


def test_written_settings_do_the_same_in_the_released_code(tmp_path: Path) -> None:
    axis = drawn_direction("assistant", (1, 2, 3))
    ghost = drawn_direction("ghost", (2, 4), seed=2)
    plans = {
        "layers_1:4-p0.25": Plan.of(Floor(axis, thresholds=[1.0, -2.0, 0.5])),
        "below": Plan.of(Ceil(axis.at([2, 3]), thresholds=[0.4, -0.2])),
        "both": Plan.of(Floor(ghost, thresholds=0.3), Ceil(axis, thresholds=1.0)),
        "in turn": Plan.of(Ceil(ghost, thresholds=0.1), Floor(axis, thresholds=2.0)),
    }
    plans = {name: plan.where("all", sinks=True) for name, plan in plans.items()}
    path = write_capping_config(plans, tmp_path / "capping_config.pt")
    residuals = drawn_residuals()
    for name, plan in plans.items():
        changed = as_our_plan(plan, residuals)
        assert_same(as_released_code(path, name, residuals), changed)
        assert any((changed[layer] != residuals[layer]).any() for layer in plan.layers)


def test_floors_are_written_reversed_like_the_released_ones(tmp_path: Path) -> None:
    axis = drawn_direction("assistant", (1, 2))
    plan = Plan.of(Floor(axis, thresholds=[1.0, -2.0])).where("all", sinks=True)
    path = write_capping_config({"layers_1:3-p0.25": plan}, tmp_path / "capping_config.pt")
    config = torch.load(path, weights_only=True)
    assert list(config["vectors"]) == [
        f"layer_{layer}/contrast_role_pos3_default1" for layer in (1, 2)
    ]
    for place, entry in enumerate(config["vectors"].values()):
        assert entry["layer"] == place + 1
        np.testing.assert_array_equal(entry["vector"].numpy(), -axis.values[place])
    (experiment,) = config["experiments"]
    assert [cap["cap"] for cap in experiment["interventions"]] == [-1.0, 2.0]


def test_settings_survive_the_round_trip(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "qwen")
    release = read_release(folder)
    across = Direction("across", (2,), np.roll(release.axis.at([2]).values, 1, axis=1))
    plans = {
        WINDOW: release.plan(WINDOW),
        "ceiling on the axis": Plan.of(Ceil(release.axis.at([3, 4]), thresholds=0.5)),
        "elsewhere": Plan.of(Floor(across, thresholds=0.2)),
        "stacked": release.plan(WINDOW) + Plan.of(Ceil(release.axis, thresholds=2.0)),
        "on every token": release.plan(WINDOW).where("all", sinks=True),
        "on some": release.plan(WINDOW) + release.plan(WINDOW).where("all", sinks=True),
    }
    with pytest.warns(UserWarning, match="leaves BOS and attention sinks alone"):
        write_capping_config(plans, folder / "capping_config.pt")
    again = read_release(folder)
    residuals = drawn_residuals()
    for name, plan in plans.items():
        assert_same(as_our_plan(again.plan(name), residuals), as_our_plan(plan, residuals))
    for name in plans.keys() - {"elsewhere"}:
        assert repr(again.plan(name)) == repr(plans[name])


def test_plans_that_spare_sinks_are_told_apart(tmp_path: Path) -> None:
    everywhere = Plan.of(Floor(drawn_direction("assistant", (1,)), thresholds=1.0)).where(
        "all", sinks=True
    )
    sparing = everywhere.where("all")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_capping_config({"everywhere": everywhere}, tmp_path / "a.pt")
    for plans in ({"sparing": sparing}, {"mixed": everywhere + sparing}):
        with pytest.warns(UserWarning, match=rf"the plan '{next(iter(plans))}' leaves BOS"):
            write_capping_config(plans, tmp_path / "b.pt")


@pytest.mark.parametrize(
    ("change", "given"),
    [
        (lambda plan: plan.where("generated"), "tokens generated"),
        (lambda plan: plan.where([np.ones(4, dtype=bool)]), "1 mask"),
        (lambda plan: 0.5 * plan, "strength 0.5"),
        (lambda plan: plan * [1.0, 1.0], r"strength \(1.0, 1.0\)"),
        (lambda plan: plan + Plan.of(Ablate(plan.steps[0].operation.direction)), "given ablate"),
        (lambda plan: Plan.of(Add(plan.steps[0].operation.direction, lengths=1.0)), "given add"),
        (
            lambda plan: Plan.of(Band(plan.steps[0].operation.direction, low=0.0, high=1.0)),
            "given band",
        ),
        (lambda plan: Plan(()), "does nothing"),
    ],
)
def test_what_the_format_cannot_say_is_refused(
    tmp_path: Path, change: Callable[[Plan], Plan], given: str
) -> None:
    plan = Plan.of(Floor(drawn_direction("assistant", (1, 2)), thresholds=1.0))
    with pytest.raises(InterventionError, match=f"(?s){given}"):
        write_capping_config({"x": change(plan)}, tmp_path / "capping_config.pt")
    assert not list(tmp_path.iterdir())


# The axis alone ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pipeline", [False, True])
def test_the_axis_is_read_without_the_vectors(tmp_path: Path, pipeline: bool) -> None:
    folder = write_release(tmp_path / "qwen-3-32b", pipeline=pipeline)
    file = folder / ("axis.pt" if pipeline else "assistant_axis.pt")
    content = torch.load(file)
    stored = (content["axis"] if pipeline else content).float().numpy()
    for vectors in ("role_vectors", "vectors", "trait_vectors"):
        for one in (folder / vectors).glob("*.pt"):
            one.write_bytes(b"not fetched")
    for source, model in ((file, None), (folder, None), (tmp_path, "qwen-3-32b")):
        axis = read_axis(source, model=model)
        assert (axis.name, axis.layers) == ("assistant", tuple(range(N_LAYERS)))
        np.testing.assert_array_equal(axis.values, stored)
    release = read_release(folder, vectors=False)
    assert release.plan(WINDOW).layers == (2, 3, 4)
    with pytest.raises(SpaceError, match="no vector of the default Assistant"):
        _ = release.space


def test_only_the_axis_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_release(tmp_path / "qwen-3-32b")
    asked: list[list[str]] = []

    def download(repo_id: str, *, allow_patterns: list[str], **_: Any) -> str:
        asked.append(allow_patterns)
        return str(tmp_path if len(asked) == 1 else tmp_path / "qwen-3-32b")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    read_axis("lu-christina/assistant-axis-vectors", model="qwen-3-32b")
    read_axis("someone/an-axis-of-another-model")
    files = ["assistant_axis.pt", "axis.pt", "capping_config.pt"]
    assert asked == [[f"qwen-3-32b/{file}" for file in files], files]
