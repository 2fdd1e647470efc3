"""The order of the heat maps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from persona_lens.pages.atlas.ordering import clustered
from persona_lens.pages.atlas.units import Units
from persona_lens.persona_space import PersonaSpace


def test_clusters_stand_together() -> None:
    rng = np.random.default_rng(1)
    centres = np.eye(8)[:3] * 5
    roles = {f"r{i}": (centres[i % 3] + 0.1 * rng.normal(size=8))[None] for i in range(12)}
    space = PersonaSpace.from_vectors(roles, default=np.ones((1, 8)), n_resamples=5).fit()
    units = Units.of(space)
    order = clustered(units, units.places("role"))
    clusters = [(place - 1) % 3 for place in order]
    assert sorted(order) == units.places("role")
    assert sum(a != b for a, b in pairwise(clusters)) == 2
