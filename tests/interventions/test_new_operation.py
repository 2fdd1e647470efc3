"""An operation that the package has never heard of: written here, and at work everywhere operations are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from jaxtyping import Float
from tiny import shared_model

from persona_lens import PersonaModel, Sampling
from persona_lens.errors import InterventionError
from persona_lens.interventions import Direction, Gate, Operation, Plan
from persona_lens.interventions.operations.layer_pass import Move


@dataclass(frozen=True, eq=False)
class Damp(Operation):
    """`h <- h - s k (h - p v)`: shrink whatever is orthogonal to the direction."""

    shares: Float[np.ndarray, " layer"]
    reason: str = "none"
    name: ClassVar[str] = "damp"
    per_layer: ClassVar[tuple[str, ...]] = ("shares",)
    travels: ClassVar[tuple[str, ...]] = ("shares",)
    tells_strength_1: ClassVar[bool] = True

    def move(self, projection, norm, *, at, strength):
        share = torch.full_like(projection, self.shares[at]) * strength
        return Move(share * projection, 1.0 - share)

    def details(self) -> str:
        return f"damped for {self.reason}"


RNG = np.random.default_rng(0)
GHOST = Direction("ghost", (0, 1), RNG.normal(size=(2, 16)))
SAGE = Direction("sage", (0, 1), RNG.normal(size=(2, 16)))
DAMP = Damp(GHOST, shares=np.array([0.5, 0.25]), reason="peace")
PLAN = 0.5 * Plan.of(DAMP) + Plan.of(Gate(SAGE, 0.5, DAMP)).at(1).where("user")


@pytest.fixture
def model() -> PersonaModel:
    return shared_model("llama")


def test_a_plan_of_it_says_what_it_does_and_is_scaled_and_cut() -> None:
    assert repr(PLAN).splitlines()[1:] == [
        "  1. damp 'ghost'; at layers 0-1; tokens all; damped for peace; strength 0.5",
        "  2. gate 'sage'; at layers 1; tokens user; > 0.5 per token: damp 'ghost' damped for peace, strength 1",
    ]
    damp = PLAN.at(1).steps[0].operation
    assert isinstance(damp, Damp)
    assert damp.shares.tolist() == [0.25]
    assert (Plan.of(DAMP) * [1.0, 2.0]).rows == 2


def test_it_runs_and_its_receipt_tells_what_it_did(model: PersonaModel) -> None:
    prompt = model.encoder.prompt([{"role": "user", "content": "Why is it so?"}])
    ids, everywhere = torch.from_numpy(prompt.ids)[None], [np.ones(len(prompt), dtype=bool)]
    _, cache = model.bridge.run_with_cache(ids, names_filter="blocks.0.hook_resid_post")
    h = cache["blocks.0.hook_resid_post"][0].double()
    p = h @ torch.from_numpy(GHOST.units[0])
    aside = h - p[:, None] * torch.from_numpy(GHOST.units[0])
    expected = h - 0.25 * aside
    expected[0] = h[0]  # the first token is a sink
    plan = 0.5 * Plan.of(DAMP.at([0]))
    with model.intervene(plan, detail=True) as receipt:
        mean = model.pooled([prompt], everywhere, layers=[0])[0, 0]
    np.testing.assert_allclose(mean, expected.mean(0), rtol=1e-4, atol=1e-5)
    change = (0.25 * aside.norm(dim=-1) / h.norm(dim=-1))[1:]
    np.testing.assert_allclose(receipt.tokens()[0].change[0, 1:], change, rtol=1e-4)
    row = receipt.frame().iloc[0]
    assert (row["operation"], row["seen"], row["changed"]) == ("damp", *[len(prompt) - 1] * 2)
    assert (
        row["before"] == pytest.approx(row["after"], rel=1e-4) == pytest.approx(float(p[1:].mean()))
    )
    assert "damped for peace; strength 0.5" in receipt._repr_html_()
    seen = []
    with model.bridge.hooks(fwd_hooks=plan.hooks()):
        model.bridge.run_with_hooks(
            ids,
            fwd_hooks=[("blocks.0.hook_resid_post", lambda residual, hook: seen.append(residual))],
        )
    torch.testing.assert_close(seen[0][0].double(), expected, rtol=1e-4, atol=1e-5)


def test_it_acts_alike_when_it_comes_back_from_disk(model: PersonaModel, tmp_path: Path) -> None:
    back = Plan.load(PLAN.save(tmp_path))
    assert repr(back) == repr(PLAN)
    card = json.loads((tmp_path / "plan.json").read_text())
    assert card["steps"][1]["operation"]["operation"]["kind"] == "damp"
    prompts = [model.encoder.prompt([{"role": "user", "content": text}]) for text in ("Hi", "Sea?")]
    told = []
    for plan in (PLAN, back):
        with model.intervene(plan) as receipt:
            replies = model.generate(prompts, Sampling(temperature=0, max_new_tokens=4))
        told.append((str(receipt), [reply.ids.tolist() for reply in replies]))
    assert told[0] == told[1]
    assert "changed 100% of" in told[0][0]


def test_its_numbers_and_its_name_are_checked() -> None:
    with pytest.raises(InterventionError, match="shares of damp is not a number"):
        Damp(GHOST, shares=np.array([np.inf, 0.0]))
    with pytest.raises(InterventionError, match="there is an operation 'floor' already"):
        type("Lift", (Damp,), {"name": "floor"})
