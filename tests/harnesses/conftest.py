"""What tests of harnesses share: a tiny model, something that pushes it, and a space it is read in."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import shared_module, tiny_tokenizer

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.interventions import Add, Direction, Floor, Plan


@pytest.fixture(scope="session")
def tiny() -> PersonaModel:
    """A random Llama of 3 layers."""
    return PersonaModel.load(shared_module("llama"), tokenizer=tiny_tokenizer())


@pytest.fixture(scope="session")
def push(tiny: PersonaModel) -> Plan:
    """A push of every token, and a floor that moves some of them."""
    up = np.random.default_rng(0).normal(size=(1, tiny.d_model))
    direction = Direction("up", (1,), up)
    return Plan.of(Floor(direction, thresholds=0.5)) + Plan.of(
        Add(direction.random(1), lengths=2.0)
    ).where("generated")


@pytest.fixture(scope="session")
def tiny_space(tiny: PersonaModel) -> PersonaSpace:
    """A space of made-up vectors, which has no scale of default replies."""
    rng = np.random.default_rng(0)
    shape = (tiny.n_layers, tiny.d_model)
    roles = {f"role_{number}": rng.normal(size=shape) for number in range(20)}
    return PersonaSpace.from_vectors(roles, default=rng.normal(size=shape)).fit()
