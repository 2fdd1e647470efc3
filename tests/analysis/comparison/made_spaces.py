"""Spaces whose likeness is known, for the tests of comparisons."""

from __future__ import annotations

import numpy as np

from persona_lens import PersonaSpace

N_ROLES, N_TRAITS, RANK = 60, 24, 8


def parts(
    seed: int, *, n_layers: int = 1, rank: int = RANK
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates of roles, traits and default [unit, layer, rank], each component weaker than the last."""
    rng = np.random.default_rng(seed)
    spread = 2.0 ** -np.arange(rank)
    roles, traits = (rng.normal(size=(n, n_layers, rank)) * spread for n in (N_ROLES, N_TRAITS))
    return roles, traits, 3 * rng.normal(size=(n_layers, rank)) * spread


def space_of(
    roles: np.ndarray,
    traits: np.ndarray,
    default: np.ndarray,
    *,
    prefix: str = "role",
    **options: object,
) -> PersonaSpace:
    """A fitted space of coordinates as they are."""
    return PersonaSpace.from_vectors(
        {f"{prefix}_{i}": vector for i, vector in enumerate(roles)},
        default,
        {f"trait_{i}": vector for i, vector in enumerate(traits)},
        n_resamples=5,
        **options,  # pyright: ignore[reportArgumentType]
    ).fit()


def turned(
    made: tuple[np.ndarray, ...], width: int, seed: int, scale: float = 1.0
) -> list[np.ndarray]:
    """The same coordinates in a wider residual stream: each layer rotated, rescaled, shifted (but for traits)."""
    rng = np.random.default_rng(seed)
    roles, traits, default = made
    n_layers, rank = default.shape
    rotation = np.linalg.qr(rng.normal(size=(n_layers, width, rank)))[0] * scale
    roles, traits = (np.einsum("ulr,lwr->ulw", part, rotation) for part in (roles, traits))
    shift = rng.normal(size=(n_layers, width))
    return [roles + shift, traits, np.einsum("lr,lwr->lw", default, rotation) + shift]
