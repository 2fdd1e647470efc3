"""Spaces and scores of replies whose truth is known."""

from __future__ import annotations

import numpy as np

from persona_lens import PersonaSpace, VectorTable
from persona_lens.separability import Separability

D_MODEL = 64


def space_of(
    roles: np.ndarray,
    traits: np.ndarray | None = None,
    *,
    axis: np.ndarray | None = None,
    folds: np.ndarray | None = None,
    fitted: bool = True,
) -> PersonaSpace:
    """A space of role and trait vectors [unit, layer, d_model]; the axis is as given, else along the first role.

    `folds` are of the roles alone, [role, fold, layer, d_model]; the rest has none.
    """
    n_layers, d_model = roles.shape[1:]
    traits = np.empty((0, n_layers, d_model)) if traits is None else traits
    default = roles.mean(axis=0) + (roles[0] - roles.mean(axis=0) if axis is None else axis)
    values = np.concatenate([default[None], roles, traits]).astype(np.float32)
    of_folds = None
    if folds is not None:
        of_folds = np.full((len(values), folds.shape[1], n_layers, d_model), np.nan, np.float32)
        of_folds[0] = default
        of_folds[1 : 1 + len(roles)] = folds
    table = VectorTable(
        values=values,
        names=(
            "default",
            *(f"role_{i}" for i in range(len(roles))),
            *(f"trait_{i}" for i in range(len(traits))),
        ),
        kinds=("default", *["role"] * len(roles), *["trait"] * len(traits)),
        labels=("all", *["all"] * len(roles), *["pos-neg"] * len(traits)),
        counts=np.full(len(values), 10),
        layers=tuple(range(n_layers)),
        folds=of_folds,
    )
    space = PersonaSpace(table, n_resamples=20)
    return space.fit(progress=False) if fitted else space


def flat(n: int, k: int, rng: np.random.Generator, d_model: int = D_MODEL) -> np.ndarray:
    """Gaussian vectors of equal variance in k random orthogonal directions: the population fills k dimensions."""
    basis = np.linalg.qr(rng.normal(size=(d_model, k)))[0]
    return rng.normal(size=(n, k)) @ basis.T


def scores_of(
    onsets: dict[str, np.ndarray],
    *,
    n_layers: int = 12,
    n_folds: int = 6,
    height: float = 0.4,
    noise: float = 0.02,
    n_shuffles: int = 20,
    seed: int = 0,
) -> Separability:
    """Identity that rises over three layers, half-way up at each unit's own depth; NaN depth: noise alone."""
    rng = np.random.default_rng(seed)
    layers = np.arange(n_layers)
    scores, shuffled, names, counts = {}, {}, {}, {}
    for kind, depths in onsets.items():
        rise = np.clip((layers - depths[:, None]) / 3 + 0.5, 0, 1)
        rise = np.where(np.isfinite(depths)[:, None], rise, 0.0)
        shape = len(depths), n_folds, n_layers
        scores["identity", kind] = 0.5 + height * rise[:, None] + noise * rng.normal(size=shape)
        shuffled["identity", kind] = 0.5 + noise / np.sqrt(n_folds) * rng.normal(
            size=(n_shuffles, len(depths), n_layers)
        )
        names[kind] = tuple(f"{kind}_{i}" for i in range(len(depths)))
        counts[kind] = np.full(len(depths), 20)
    return Separability(
        layers=tuple(range(n_layers)),
        names=names,
        scores=scores,
        shuffled=shuffled,
        random={},
        chance={"identity": 0.5},
        counts=counts,
    )
