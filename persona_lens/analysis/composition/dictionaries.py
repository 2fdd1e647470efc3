"""What a role vector may be built from: traits, and controls with as many atoms to choose from.

Choosing a few of 240 directions always explains something. Each control leaves one thing out:

- `random directions`: isotropic. What choosing among so many directions explains by itself.
- `matched random directions`: random mixtures of the roles, so drawn with the covariance of the role vectors.
  Roles lie in a low-dimensional space, and any directions of that space do well; traits must do better than
  these. A role is never rebuilt from mixtures that hold some of it.
- `shuffled traits`: each coordinate of the traits (along their own principal axes) permuted among the traits and
  given random signs. Subspace and variance along each axis are kept; which coordinates occur together in one
  trait, which makes it that trait, is lost. Shuffling layers instead would compare with another subspace.
- `PCs`: the first principal components of the roles, the best k directions there are for the vectors learnt from.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from persona_lens.statistics.pca import Spectrum, unit

Dictionary = Literal[
    "traits", "random directions", "matched random directions", "shuffled traits", "PCs"
]

TRAITS: Dictionary = "traits"
RANDOM: Dictionary = "random directions"
MATCHED: Dictionary = "matched random directions"
SHUFFLED: Dictionary = "shuffled traits"
PCS: Dictionary = "PCs"

Atoms = Float[np.ndarray, "atom d_model"]


def random_atoms(n_atoms: int, d_model: int, rng: np.random.Generator) -> Atoms:
    """Isotropic random unit vectors."""
    return unit(rng.standard_normal((n_atoms, d_model)))


def mixtures(
    drawn: Float[np.ndarray, "atom role"], training: Bool[np.ndarray, " role"]
) -> Float[np.ndarray, "atom role"]:
    """Weights of the training roles, about their mean, in directions drawn with their covariance.

    Args:
        drawn: Standard normal.
        training: Roles that are mixed.

    Examples:
        >>> mixtures(np.array([[1.0, 0.0, 5.0]]), np.array([True, True, False]))
        array([[ 0.5, -0.5,  0. ]])
    """
    weights = drawn * training
    return weights - training * weights.sum(axis=1, keepdims=True) / training.sum()


def shuffled_atoms(coordinates: Atoms, axes: Atoms, rng: np.random.Generator) -> Atoms:
    """Traits with their coordinates along some axes shuffled among them, at unit length.

    Args:
        coordinates: Of the traits, along `axes`; see `principal_coordinates`.
        axes: Orthonormal.
        rng: Of the permutations and signs.

    Examples:
        >>> shuffled = shuffled_atoms(*principal_coordinates(np.eye(4, 8)), np.random.default_rng(0))
        >>> shuffled.shape, float(np.abs(shuffled[:, 4:]).max())
        ((4, 8), 0.0)
    """
    permuted = rng.permuted(coordinates, axis=0)
    return unit((permuted * rng.choice([-1.0, 1.0], size=permuted.shape)) @ axes)


def principal_coordinates(
    traits: Atoms,
) -> tuple[Float[np.ndarray, "trait axis"], Float[np.ndarray, "axis d_model"]]:
    """Coordinates of the traits along their own principal axes (not centred), and these axes."""
    left, lengths, axes = np.linalg.svd(traits, full_matrices=False)
    return left * lengths, axes


def component_atoms(
    roles: Float[np.ndarray, "role d_model"], training: Bool[np.ndarray, " role"], k: int
) -> Atoms:
    """The first k principal components of the training roles, or as many as they have."""
    centred = roles[training] - roles[training].mean(axis=0)
    spectrum = Spectrum.of_gram(centred @ centred.T, roles.shape[1])
    return spectrum.components(centred, k)
