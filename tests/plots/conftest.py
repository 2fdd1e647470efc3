"""A made-up space with known structure: groups along a first direction, some roles in tight clusters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from persona_lens.persona_space import PersonaSpace

GROUPS = ("assistant", "human", "fantastical", None)
SYLLABLES = (
    "an",
    "ber",
    "cor",
    "dal",
    "eth",
    "fin",
    "gor",
    "hul",
    "iva",
    "jon",
    "kel",
    "lum",
    "mor",
)


def name_of(number: int) -> str:
    first, second, third = number % 13, (number // 13 + number) % 13, (number * 7 + 3) % 13
    return f"{SYLLABLES[first]}{SYLLABLES[second]}{SYLLABLES[third] if number % 3 else ''}_{number}"


def build_space(
    n_roles: int, n_traits: int = 16, d_model: int = 32, n_layers: int = 4
) -> PersonaSpace:
    """Roles in three groups (and some in none) with decaying variances; question folds for intervals."""
    rng = np.random.default_rng(7)
    spread = 6.0 * 0.75 ** np.arange(d_model)
    centres = {group: rng.normal(size=d_model) * spread for group in GROUPS}
    roles, about = {}, {}
    for number in range(n_roles):
        group = GROUPS[number % 3] if number % 10 else None
        noise = rng.normal(size=(n_layers, d_model)) * spread * 0.7
        name = name_of(number)
        roles[name] = 5.0 + centres[group] + noise
        about[name] = {"description": f"Someone called {name} who <likes> to be tested at length."}
        if group:
            about[name]["group"] = group
    traits = {f"trait_{i}": rng.normal(size=(n_layers, d_model)) * spread for i in range(n_traits)}
    for name in list(traits)[::4]:  # some traits tell the groups apart, in whatever units
        traits[name] = traits[name] * 0.1 + centres["assistant"] - centres["fantastical"]
    default = 5.0 + centres["assistant"] * 1.5 + np.zeros((n_layers, d_model))
    space = PersonaSpace.from_vectors(roles, default, traits, about=about, n_resamples=20)
    values = space.table.values
    noise = rng.normal(size=(len(values), 4, n_layers, d_model))
    noise -= noise.mean(axis=1, keepdims=True)
    folds = (values[:, None] + noise).astype(np.float32)
    return space.fit(replace(space.table, folds=folds, counts=np.full(len(values), 20)))


@pytest.fixture(scope="session")
def make_space() -> Callable[..., PersonaSpace]:
    return build_space


@pytest.fixture(scope="session")
def space() -> PersonaSpace:
    return build_space(48)


@pytest.fixture(scope="session")
def large_space() -> PersonaSpace:
    return build_space(275, n_layers=2)
