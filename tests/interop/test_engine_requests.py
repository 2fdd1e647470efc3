"""Requests to interp-engine's server: its own reader takes them, and they act as the plan does."""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path

import interp_engine
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from interp_engine.server import ServerConfig, create_app
from interp_engine.server.schemas import CaptureRequest, encode_tensor
from tiny import tiny_module, tiny_tokenizer

from persona_lens.errors import InterventionError
from persona_lens.interop import read_engine_request, to_interp_engine, write_engine_request
from persona_lens.interventions import Ablate, Add, Band, Ceil, Direction, Floor, Plan, Rotate, Set

D_MODEL = 16
IDS = list(range(3, 23))


def drawn(seed: int, layers: tuple[int, ...] = (0, 1, 2)) -> Direction:
    values = np.random.default_rng(seed).normal(size=(len(layers), D_MODEL)) * 3
    return Direction("drawn", layers, values)


EVERYTHING = Plan.of(
    Add(drawn(0), lengths=[1.0, 5.0, 0.0], strength=-0.5),
    Floor(drawn(1, (0, 2)), thresholds=[3.0, 2.0]),
    Ablate(drawn(2, (1,)), strength=0.5),
    Set(drawn(3, (2,)), targets=2.0, strength=0.5),
    Band(drawn(4), low=-1.0, high=[0.5, -1.0, np.inf]),
    Ceil(drawn(5), thresholds=1.0),
).where("all", sinks=True)


@pytest.fixture(scope="module")
def engine() -> interp_engine.EagerModel:
    return interp_engine.EagerModel(
        "tiny",
        hf_model=tiny_module("llama"),
        tokenizer=tiny_tokenizer(),
        device="cpu",
        dtype="float32",
    )


def residuals(plan: Plan, engine: interp_engine.EagerModel) -> dict[str, torch.Tensor]:
    points = [f"resid_post.{layer}" for layer in range(3)]
    with to_interp_engine(plan, IDS).on(engine):
        found = interp_engine.capture(engine, torch.tensor([IDS]), points)
    return {point: found[point] for point in points}


@pytest.mark.parametrize("where", ["all", "prompt"])
def test_a_plan_read_back_acts_the_same(
    where: str, engine: interp_engine.EagerModel, tmp_path: Path
) -> None:
    plan = EVERYTHING.where(where, sinks=True)
    read = read_engine_request(write_engine_request(plan, tmp_path / "drawn.json"))
    assert {step.where.names for step in read.steps} == {(where,)}
    one, other = residuals(plan, engine), residuals(read, engine)
    for address, tensor in one.items():
        torch.testing.assert_close(other[address], tensor, atol=1e-5, rtol=1e-5)
    again = write_engine_request(read, tmp_path / "again.json")
    assert json.loads(again.read_text()).keys() == {"steering", "steer_generated"}


def test_the_server_does_what_the_plan_says(
    engine: interp_engine.EagerModel, tmp_path: Path
) -> None:
    body = json.loads(write_engine_request(EVERYTHING, tmp_path / "request.json").read_text())
    config = ServerConfig("tiny", backend="eager", warmup=False)
    with TestClient(create_app(config, loader=lambda: engine)) as client:
        for _ in range(200):
            if client.get("/health").status_code == 200:
                break
            time.sleep(0.05)
        asked = {"prompt_token_ids": IDS, "points": ["resid_post.2"], "steering": body["steering"]}
        given = CaptureRequest.model_validate(asked).model_dump()
        answer = client.post("/v1/capture", json=given).json()["activations"]["resid_post.2"]
    expected = residuals(EVERYTHING, engine)["resid_post.2"][0]
    plain = residuals(Plan(()), engine)["resid_post.2"][0]
    assert answer["data"] != encode_tensor(plain).data
    found = np.frombuffer(base64.b64decode(answer["data"]), dtype="<f4")
    np.testing.assert_allclose(found.reshape(expected.shape), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (Plan.of(Ablate(drawn(0))), "leaves attention sinks alone"),
        (Plan.of(Ablate(drawn(0))).where("generated", sinks=True), "no position mask"),
        (Plan.of(Rotate(drawn(0), radians=0.1)).where("all", sinks=True), "turns the residual"),
        (EVERYTHING + EVERYTHING.where("prompt", sinks=True), "step 7.*other tokens"),
        (0.5 * Plan.of(Ceil(drawn(0), thresholds=0.0)).where("all", sinks=True), "strength 0.5"),
        (0.0 * EVERYTHING, "does nothing"),
    ],
)
def test_what_a_request_cannot_say_is_refused(plan: Plan, why: str, tmp_path: Path) -> None:
    with pytest.raises(InterventionError, match=why):
        write_engine_request(plan, tmp_path / "request.json")
    assert not list(tmp_path.iterdir())


def entry(**given: object) -> dict[str, object]:
    return {"steering": [{"layers": {"1": [{"vector": [1.0, 2.0], **given}]}}]}


def test_requests_of_others_are_read(tmp_path: Path) -> None:
    vector = torch.tensor([1.5, -2.0])
    file = tmp_path / "theirs.json"
    for dtype in ("float32", "float16", "bfloat16"):
        packed = encode_tensor(vector, dtype).model_dump()
        held = entry(method="additive", scale=2.0, vector=packed)
        file.write_text(json.dumps(held))
        add = read_engine_request(file).steps[0].operation
        assert isinstance(add, Add)
        assert add.direction.name == "theirs"
        assert add.direction.values.tolist() == [[1.5, -2.0]]
        assert add.lengths.tolist() == [5.0]
    file.write_text(json.dumps(entry(method="orthogonal", coeff=0.25)))
    half = read_engine_request(file, name="mine").steps[0].operation
    assert isinstance(half, Ablate)
    assert (half.strength, half.direction.name) == (0.75, "mine")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (entry(method="swap", target=[1.0, 0.0]), "no words for"),
        (entry(method="norm_scaled_add", strength=1.0), "no words for"),
        (entry(method="projection_cap", min=2.0, max=1.0), "upside down"),
        ({"steering": [{"point": "z", "layers": {}}]}, "after a block"),
        ({"steering": [{"stream": 1, "layers": {}}]}, "streams"),
        ({"prompt": "Hi"}, "no request with steering"),
        ([1], "no request with steering"),
    ],
)
def test_other_content_is_refused(content: object, why: str, tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(content))
    with pytest.raises(InterventionError, match=re.compile(why)):
        read_engine_request(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InterventionError, match="no such file"):
        read_engine_request(tmp_path / "none.json")
