"""A made-up space whose roles are sums of a few of its traits: what a reconstruction should find."""

from __future__ import annotations

import numpy as np

from persona_lens.space import Space
from persona_lens.vectors.table import VectorTable


def planted_space(
    *,
    n_roles: int = 40,
    n_traits: int = 24,
    n_layers: int = 1,
    d_model: int = 64,
    n_folds: int = 4,
    k: int = 2,
    noise: float = 0.05,
    seed: int = 0,
) -> Space:
    """Roles that are sums of k traits, measured with noise in every fold of the questions; fitted.

    Role `i` is the sum of traits `i`, `i + 1`, ..., `i + k - 1` (counted round) with weights 3, 2 and then 1, in
    units of unit traits.

    Args:
        n_roles: Roles.
        n_traits: Traits, random unit vectors.
        n_layers: Layers, alike but for the draw.
        d_model: Width.
        n_folds: Folds of the questions.
        k: Traits of each role; 0 for roles that are nothing but noise.
        noise: Length of the noise of one fold.
        seed: Of everything.

    Examples:
        >>> planted_space().table.folds.shape
        (65, 4, 1, 64)
    """
    rng = np.random.default_rng(seed)
    traits = rng.standard_normal((n_traits, n_layers, d_model))
    traits /= np.linalg.norm(traits, axis=-1, keepdims=True)
    weights = np.zeros((n_roles, n_traits))
    for place, weight in zip(range(k), (3.0, 2.0, *[1.0] * k), strict=False):
        weights[np.arange(n_roles), (np.arange(n_roles) + place) % n_traits] = weight
    roles = np.einsum("rt,tld->rld", weights, traits)
    default = rng.standard_normal((1, n_layers, d_model))
    exact = np.concatenate([default, roles, traits])
    drawn = rng.standard_normal((len(exact), n_folds, n_layers, d_model)) / np.sqrt(d_model)
    folds = (exact[:, None] + noise * drawn).astype(np.float32)
    table = VectorTable(
        values=folds.mean(axis=1),
        names=(
            "default",
            *(f"role_{number}" for number in range(n_roles)),
            *(f"trait_{number}" for number in range(n_traits)),
        ),
        kinds=("default", *["role"] * n_roles, *["trait"] * n_traits),
        labels=("all", *["all"] * n_roles, *["pos-neg"] * n_traits),
        counts=np.full(len(exact), n_folds),
        layers=tuple(range(n_layers)),
        folds=folds,
    )
    return Space(table, n_resamples=5).fit()
