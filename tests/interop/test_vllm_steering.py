"""JSON of the steering fork of vLLM, against its documented formula computed here, and read back."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from persona_lens.errors import InterventionError
from persona_lens.interop import read_steering_module, steering_fields, write_steering_module
from persona_lens.interventions import (
    Ablate,
    Add,
    Band,
    Ceil,
    Direction,
    Floor,
    Gate,
    Plan,
    Rotate,
    Set,
)

D_MODEL = 16
BASIS = np.linalg.qr(np.random.default_rng(0).normal(size=(D_MODEL, D_MODEL)))[0].T
EVERYWHERE = {"sinks": True}


def along(*rows: int, layers: tuple[int, ...] = (2,)) -> Direction:
    """Orthogonal directions by number, at lengths other than one."""
    return Direction("drawn", layers, BASIS[list(rows)] * 3.0)


def theirs(
    fields: dict[str, Any], phase: str, layer: int, residual: np.ndarray, infix: str = "steering_"
) -> np.ndarray:
    """The formula of the fork: add what is to be added, then all clamps from one reading."""
    h = residual.astype(np.float64)
    for prefix in ("", f"{phase}_"):
        blob = fields.get(f"{prefix}{infix}vectors", {}).get("post_block")
        if blob is not None:
            raw = np.frombuffer(base64.b64decode(blob["data"]), blob["dtype"])
            for held, row in zip(blob["layer_indices"], raw.reshape(blob["shape"]), strict=True):
                h = h + row * (held == layer)
    correction = np.zeros_like(h)
    for prefix in ("", f"{phase}_"):
        blob = fields.get(f"{prefix}{infix}clamps", {}).get("post_block")
        if blob is None:
            continue
        raw = np.frombuffer(base64.b64decode(blob["data"]), blob["dtype"]).reshape(blob["shape"])
        for i, held in enumerate(blob["layer_indices"]):
            v = raw[i] / np.linalg.norm(raw[i])
            low, high = (np.nan if end is None else end for end in blob["bounds"][i])
            p = h @ v
            gap = np.fmin(np.fmax(p, low), high) - p
            correction += (held == layer) * blob["strengths"][i] * gap[:, None] * v
    return h + correction


def ours(plan: Plan, phase: str, layer: int, residual: np.ndarray) -> np.ndarray:
    """The same by our hooks: the whole row as a prompt, or one token after a prompt of 8."""
    n = len(residual)
    before = 0 if phase == "prefill" else 8
    mask = torch.ones(1, n if phase == "prefill" else before)
    h = torch.from_numpy(np.vstack([np.zeros((before, D_MODEL)), residual])).float()[None]
    steps = [Plan((step,)) for step in plan.steps if layer in step.operation.layers]
    [(_, hook)] = sum((step.at(layer) for step in steps), Plan(())).hooks(mask=mask)
    if before:
        h = torch.cat(
            [hook(h[:, :before], None), *(hook(t, None) for t in h[:, before:].split(1, 1))], 1
        )
    else:
        h = hook(h, None)
    return h[0, before:].double().numpy()


PLANS = {
    "add": Plan.of(Add(along(0), lengths=2.0, strength=-1.5), Add(along(3), lengths=1.0)),
    "floor": Plan.of(Floor(along(0), thresholds=1.0)),
    "half-ceil": Plan.of(Ceil(along(0), thresholds=-0.5, strength=0.5)),
    "band": Plan.of(Band(along(0), low=-0.5, high=0.25)),
    "set": Plan.of(Set(along(0), targets=2.0, strength=0.25)),
    "ablate": Plan.of(Ablate(along(0))),
    "add-then-clamp": Plan.of(Add(along(0), lengths=2.0), Ceil(along(0), thresholds=0.5)),
    "orthogonal": Plan.of(*(Floor(along(row), thresholds=0.5) for row in range(4))),
    "push-aside": Plan.of(Floor(along(0), thresholds=0.5), Add(along(1), lengths=2.0)),
    "floor-and-ceil": Plan.of(Floor(along(0), thresholds=-0.2), Ceil(along(0), thresholds=0.2)),
}


@pytest.mark.parametrize("kind", PLANS)
def test_fields_mean_there_what_the_plan_means_here(kind: str) -> None:
    residual = np.random.default_rng(1).normal(size=(12, D_MODEL)) * 2
    for names, phases in (
        ("all", ("prefill", "decode")),
        ("prompt", ("prefill",)),
        ("generated", ("decode",)),
    ):
        plan = PLANS[kind].where(names, sinks=True)
        fields = steering_fields(plan)
        for phase in ("prefill", "decode"):
            found = theirs(fields, phase, 2, residual)
            assert (np.abs(found - residual).max() > 0.1) == (phase in phases)
            np.testing.assert_allclose(found, ours(plan, phase, 2, residual), atol=1e-5)


@pytest.mark.parametrize("kind", PLANS)
def test_a_plan_read_back_acts_the_same(kind: str, tmp_path: Path) -> None:
    plan = PLANS[kind].where("all", sinks=True) + Plan.of(
        Ablate(Direction("late", (3, 5), BASIS[[8, 9]]), strength=0.5)
    ).where("generated")
    file = write_steering_module(plan, tmp_path / "drawn.json")
    content = json.loads(file.read_text())
    assert set(content) <= {"vectors", "clamps", "decode_clamps"}
    residual = np.random.default_rng(2).normal(size=(12, D_MODEL)) * 2
    for read in (read_steering_module(file), read_steering_module(steering_fields(plan))):
        assert read.layers == (2, 3, 5)
        for layer in read.layers:
            expected = ours(plan, "decode", layer, residual)
            np.testing.assert_allclose(ours(read, "decode", layer, residual), expected, atol=1e-5)
            np.testing.assert_allclose(
                theirs(content, "decode", layer, residual, ""), expected, atol=1e-5
            )
    assert {step.operation.direction.name for step in read_steering_module(file).steps} == {"drawn"}


near = Direction("near", (2,), [BASIS[0] + 0.1 * BASIS[1]])
REFUSED = {
    "turns the residual": Plan.of(Rotate(along(0), radians=0.1)),
    "no words for a condition": Plan.of(Gate(along(0), thresholds=0.0, operation=Ablate(along(0)))),
    "a request is one row": np.array([0.5, 1.0]) * Plan.of(Ablate(along(0))),
    "from 0 to 1": Plan.of(Ablate(along(0), strength=1.5)),
    "not orthogonal": Plan.of(Ablate(along(0)), Ablate(near)),
    "clamps again": Plan.of(Floor(along(0), thresholds=0.0), Floor(along(0), thresholds=1.0)),
    "additions come before": Plan.of(Floor(along(0), thresholds=0.0), Add(near, lengths=1.0)),
    "more than there is room": Plan.of(*(Ablate(along(row)) for row in range(5))),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_the_fork_cannot_do_is_refused_with_its_step(why: str, tmp_path: Path) -> None:
    plan = REFUSED[why].where("all", sinks=True)
    pattern = rf"step {len(plan)} [^\n]*{re.escape(why)}"
    with pytest.raises(InterventionError, match=pattern):
        steering_fields(plan)
    with pytest.raises(InterventionError, match=pattern):
        write_steering_module(plan, tmp_path / "none.json")
    assert not list(tmp_path.iterdir())


def test_clamps_of_different_phases_do_not_clash() -> None:
    one, other = Plan.of(Ablate(along(0))), Plan.of(Ablate(near))
    plan = one.where("prompt", sinks=True) + other.where("generated")
    assert set(steering_fields(plan)) == {"prefill_steering_clamps", "decode_steering_clamps"}
    with pytest.raises(InterventionError, match="not orthogonal"):
        steering_fields(one.where("all", sinks=True) + other.where("generated"))
    five = Plan.of(*(Ablate(along(row)) for row in range(5))).where("generated")
    assert steering_fields(five, max_directions=5)


@pytest.mark.parametrize(
    ("where", "why"),
    [
        (("all",), "attention sinks"),
        (("prompt",), "attention sinks"),
        (("last",), "neither"),
        (("user",), "neither"),
    ],
)
def test_tokens_that_the_fork_cannot_choose_are_refused(where: tuple[str], why: str) -> None:
    plan = Plan.of(Ablate(along(0)))
    with pytest.raises(InterventionError, match=why):
        steering_fields(plan.where(*where))
    with pytest.raises(InterventionError, match="does nothing"):
        steering_fields(0.0 * plan.where("generated"))
    masks = [np.ones(4, dtype=bool)]
    with pytest.raises(InterventionError, match="neither"):
        steering_fields(plan.where(masks, sinks=True))


def test_files_of_others_are_read(tmp_path: Path) -> None:
    file = tmp_path / "ghost.json"
    content = {
        "vectors": {"post_block": {"2": [3.0, 4.0], "4": {"vector": [0.0, 1.0], "scale": -2.0}}},
        "prefill_vectors": None,
        "clamps": {
            "post_block": {
                "2": [
                    {"vector": [2.0, 0.0], "max": 4.0},
                    {"vector": [0.0, 1.0], "value": 8.0, "strength": 0.5},
                ]
            }
        },
    }
    file.write_text(json.dumps(content))
    plan = read_steering_module(file)
    add, ceil, pin = (step.operation for step in plan.steps)
    assert isinstance(add, Add)
    assert isinstance(ceil, Ceil)
    assert isinstance(pin, Set)
    assert (add.layers, add.lengths.tolist()) == ((2, 4), [5.0, -2.0])
    assert (ceil.thresholds.tolist(), pin.targets.tolist(), pin.strength) == ([4.0], [8.0], 0.5)
    assert all(step.where.sinks for step in plan.steps)
    again = read_steering_module(json.loads(write_steering_module(plan, file).read_text()))
    assert repr(again).replace("steering", "ghost") == repr(plan)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"clamps": {"pre_attn": {}}}, "pre_attn"),
        ({"clamps": {"post_block": {"2": [{"vector": [1.0, 0.0]}]}}}, "without ends"),
        (
            {"clamps": {"post_block": {"2": [{"vector": [1.0, 0.0], "min": 2.0, "max": 1.0}]}}},
            "upside",
        ),
        ({"clamps": {"post_block": [1]}}, "no steering of vLLM as expected"),
        ({"messages": []}, "holds no steering"),
        (
            {
                "clamps": {"post_block": {"2": [{"vector": [1.0, 0.0], "min": 2.0}]}},
                "decode_clamps": {"post_block": {"2": [{"vector": [1.0, 1.0], "min": 2.0}]}},
            },
            "at once",
        ),
    ],
)
def test_other_content_is_refused(content: object, why: str, tmp_path: Path) -> None:
    file = tmp_path / "ghost.json"
    file.write_text(json.dumps(content))
    with pytest.raises(InterventionError, match=why):
        read_steering_module(str(file))
    with pytest.raises(InterventionError, match="no such file"):
        read_steering_module(tmp_path / "none.json")
