"""Who is on the atlas, and under which names."""

from __future__ import annotations

import numpy as np

from persona_lens.pages.atlas.units import Units
from persona_lens.persona_space import PersonaSpace


def test_units_are_default_roles_traits(units: Units) -> None:
    described = units.described()
    assert described[0]["name"] == "default Assistant"
    assert [entry["kind"] for entry in described] == ["default"] + ["role"] * 32 + ["trait"] * 9
    keys = [entry["key"] for entry in described]
    assert len(set(keys)) == len(keys), "links must be unambiguous"
    assert "pirate (somewhat)" in keys
    assert len(units.places("role")) == 30, "the axis is made of those fully in role"
    assert [entry["onAxis"] for entry in described if entry["label"] == "somewhat"] == [False] * 2


def test_names_that_would_look_alike_keep_their_underscores() -> None:
    rng = np.random.default_rng(0)
    roles = {name: rng.normal(size=(1, 8)) for name in ("sea_dog", "sea dog", "old_hand")}
    space = PersonaSpace.from_vectors(roles, default=np.ones((1, 8)), n_resamples=5).fit()
    names = [entry["name"] for entry in Units.of(space).described()]
    assert names == ["default Assistant", "sea_dog", "sea dog", "old hand"]
