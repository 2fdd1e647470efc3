"""Steering requests of Neuronpedia: what its server makes of them with interp-engine acts as the plan does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import interp_engine
import numpy as np
import pytest
import torch
from tiny import tiny_module, tiny_tokenizer

from persona_lens.errors import InterventionError
from persona_lens.interop import (
    neuronpedia_fields,
    read_neuronpedia_request,
    to_interp_engine,
    write_neuronpedia_request,
)
from persona_lens.interventions import Ablate, Add, Band, Ceil, Direction, Floor, Plan, Rotate, Set

D_MODEL = 16
IDS = list(range(3, 23))
POINT = "resid_post.2"


def drawn(seed: int, layers: tuple[int, ...] = (0, 1, 2)) -> Direction:
    values = np.random.default_rng(seed).normal(size=(len(layers), D_MODEL)) * 3
    return Direction("drawn", layers, values)


@pytest.fixture(scope="module")
def engine() -> interp_engine.EagerModel:
    return interp_engine.EagerModel(
        "tiny",
        hf_model=tiny_module("llama"),
        tokenizer=tiny_tokenizer(),
        device="cpu",
        dtype="float32",
    )


def served(fields: dict[str, Any], engine: interp_engine.EagerModel) -> torch.Tensor:
    """What the server's own code makes of a request: a spec a vector, in order, and no mask."""
    kinds = {
        "SIMPLE_ADDITIVE": lambda v, c: interp_engine.AddSpec(
            vector=v, scale=c, normalize=fields["normalize_steering"]
        ),
        "ORTHOGONAL_DECOMP": lambda v, c: interp_engine.OrthogonalDecompSpec(vector=v, coeff=c),
        "PROJECTION_CAP": lambda v, c: interp_engine.ProjectionCapSpec(vector=v, max=c),
    }
    specs = [
        interp_engine.SteeringSpec.at(
            interp_engine.tlens_hook_to_point(held["hook"]),
            kinds[fields["steer_method"]](
                held["steering_vector"], fields["strength_multiplier"] * held["strength"]
            ),
        )
        for held in fields["vectors"]
    ]
    with interp_engine.steer(engine, specs, prompt_token_ids=IDS):
        return interp_engine.capture(engine, torch.tensor([IDS]), [POINT])[POINT][0]


def acted(plan: Plan, engine: interp_engine.EagerModel) -> torch.Tensor:
    with to_interp_engine(plan, IDS).on(engine):
        return interp_engine.capture(engine, torch.tensor([IDS]), [POINT])[POINT][0]


PLANS = {
    "add": Plan.of(Add(drawn(0), lengths=[2.0, -3.0, 1.0]), Add(drawn(1, (1,)), lengths=4.0)),
    "ablate": Plan.of(Ablate(drawn(0), strength=0.5), Ablate(drawn(1, (2,)))),
    "caps": Plan.of(
        Floor(drawn(0), thresholds=3.0),
        Ceil(drawn(1), thresholds=-1.0),
        Band(drawn(2, (0, 2)), low=-0.5, high=0.5),
        Set(drawn(3, (1,)), targets=2.0),
        Ablate(drawn(4, (2,))),
    ),
}


@pytest.mark.parametrize("kind", PLANS)
def test_a_request_acts_as_its_plan_and_so_does_the_plan_read_back(
    kind: str, engine: interp_engine.EagerModel, tmp_path: Path
) -> None:
    plan = PLANS[kind].where("all", sinks=True)
    expected = acted(plan, engine)
    assert (expected - acted(Plan(()), engine)).abs().max() > 0.1
    torch.testing.assert_close(
        served(neuronpedia_fields(plan), engine), expected, atol=2e-5, rtol=1e-5
    )
    file = write_neuronpedia_request(plan, tmp_path / "drawn.json")
    read = read_neuronpedia_request(file)
    torch.testing.assert_close(acted(read, engine), expected, atol=2e-5, rtol=1e-5)
    assert all(step.where.names == ("all",) and step.where.sinks for step in read.steps)


def test_a_cap_against_the_axis_is_read_as_a_floor_along_it(tmp_path: Path) -> None:
    axis = Direction("assistant", (1, 2), drawn(0).values[1:])
    plan = Plan.of(Floor(axis, thresholds=[1.5, 2.5])).where("all", sinks=True)
    file = write_neuronpedia_request(plan, tmp_path / "cap.json")
    turned = read_neuronpedia_request(file, axis=axis)
    assert repr(turned) == repr(plan)
    np.testing.assert_array_equal(turned.steps[0].operation.direction.values, axis.values)
    plain = read_neuronpedia_request(file).steps[0].operation
    assert isinstance(plain, Ceil)
    assert plain.thresholds.tolist() == [-1.5, -2.5]
    wide = Direction("assistant", (1,), np.ones((1, 3)))
    with pytest.raises(InterventionError, match="another width"):
        read_neuronpedia_request(file, axis=wide)


def test_special_tokens_are_a_choice_of_both() -> None:
    groups = ("system", "user", "assistant", "thinking", "template")
    plan = Plan.of(Ablate(drawn(0))).where(*groups, sinks=True)
    fields = neuronpedia_fields(plan)
    assert fields["steer_special_tokens"] is False
    assert neuronpedia_fields(plan.where("all", sinks=True))["steer_special_tokens"] is True
    assert read_neuronpedia_request(fields).steps[0].where.names == groups


def test_requests_of_others_are_read() -> None:
    held = {"hook": "blocks.3.hook_resid_pre", "steering_vector": [3, 4], "strength": 2}
    content = {"steer_method": "SIMPLE_ADDITIVE", "vectors": [held], "strength_multiplier": 1.5}
    [step] = read_neuronpedia_request(content, name="ghost").steps
    assert isinstance(step.operation, Add)
    assert (step.operation.layers, step.operation.lengths.tolist()) == ((2,), [15.0])
    [step] = read_neuronpedia_request({**content, "normalize_steering": True}).steps
    assert isinstance(step.operation, Add)
    assert step.operation.lengths.tolist() == [3.0]


REFUSED = {
    "turns the residual": Plan.of(Rotate(drawn(0), radians=0.1)),
    "another kind": Plan.of(Add(drawn(0), lengths=1.0), Ceil(drawn(1), thresholds=1.0)),
    "a cap is whole": Plan.of(Ceil(drawn(1), thresholds=1.0, strength=0.5)),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_a_request_cannot_say_is_refused_with_its_step(why: str) -> None:
    plan = REFUSED[why].where("all", sinks=True)
    with pytest.raises(InterventionError, match=rf"step {len(plan)} [^\n]*{re.escape(why)}"):
        neuronpedia_fields(plan)


@pytest.mark.parametrize(
    ("where", "sinks", "why"),
    [
        ("all", False, "attention sinks"),
        ("generated", True, "chooses tokens"),
        ("user", True, "chooses tokens"),
    ],
)
def test_tokens_that_the_server_cannot_choose_are_refused(
    where: str, sinks: bool, why: str
) -> None:
    plan = Plan.of(Ablate(drawn(0)))
    with pytest.raises(InterventionError, match=why):
        neuronpedia_fields(plan.where(where, sinks=sinks))
    every = plan.where("all", sinks=True)
    groups = ("system", "user", "assistant", "thinking", "template")
    with pytest.raises(InterventionError, match=r"step 2.*other tokens"):
        neuronpedia_fields(every + plan.where(*groups, sinks=True))
    with pytest.raises(InterventionError, match="does nothing"):
        neuronpedia_fields(0.0 * every)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"steer_method": "PROJECTION_CAP", "features": [{"index": 3}]}, "features by number"),
        (
            {"steer_method": "TURN", "vectors": [{"hook": "blocks.1.hook_resid_post"}]},
            "no steering request",
        ),
        (
            {
                "steer_method": "PROJECTION_CAP",
                "vectors": [
                    {"hook": "blocks.0.hook_resid_pre", "steering_vector": [1.0], "strength": 1.0}
                ],
            },
            "after a block",
        ),
        (
            {
                "steer_method": "PROJECTION_CAP",
                "vectors": [
                    {"hook": "blocks.0.attn.hook_z", "steering_vector": [1.0], "strength": 1.0}
                ],
            },
            "after a block",
        ),
        ([1], "no steering request"),
    ],
)
def test_other_content_is_refused(content: object, why: str, tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(content))
    with pytest.raises(InterventionError, match=why):
        read_neuronpedia_request(file)
    with pytest.raises(InterventionError, match="no such file"):
        read_neuronpedia_request(tmp_path / "none.json")
