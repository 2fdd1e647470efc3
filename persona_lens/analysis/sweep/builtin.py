"""The metrics of vectors that a sweep knows by itself.

Roles are centred on their mean, traits are not. Names that end in `_unit` are of vectors brought to unit length
first (roles after centring), so that a few long ones do not speak for all.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from persona_lens.analysis.sweep.registry import IMPOSTOR, RANDOM, SHUFFLED, metric
from persona_lens.analysis.sweep.views import N_COMPONENTS, LayerPair, LayerVectors

Draws = Float[np.ndarray, " draw"]


@metric("participation_ratio", scale="inverse")
def participation_ratio(view: LayerVectors) -> Draws:
    """Dimensions the vectors fill: (sum of eigenvalues)² / sum of their squares; k equal ones give k."""
    return _participation(view.gram)


@metric("participation_ratio_unit", scale="inverse")
def participation_ratio_unit(view: LayerVectors) -> Draws:
    """The same of vectors of unit length."""
    return _participation(view.cosines)


@metric("components_70", scale="inverse")
def components_70(view: LayerVectors) -> Draws:
    """Principal components needed for 70 % of the variance (of traits: of the squared length)."""
    return _needed(view.spectrum, 0.7)


@metric("components_90", scale="inverse")
def components_90(view: LayerVectors) -> Draws:
    """Principal components needed for 90 % of the variance (of traits: of the squared length)."""
    return _needed(view.spectrum, 0.9)


@metric("components_70_unit", scale="inverse")
def components_70_unit(view: LayerVectors) -> Draws:
    """Principal components needed for 70 % of the squared length of vectors of unit length."""
    return _needed(np.linalg.eigvalsh(view.cosines)[:, ::-1], 0.7)


@metric("axis_pc1", kinds=("trait",), nulls=(IMPOSTOR, RANDOM), scale="absolute")
def axis_pc1(view: LayerVectors) -> Draws:
    """|cos| between the axis and the first principal component; that of roles is `space.stability_`."""
    pc1 = view.component_weights(1)[:, :, 0]
    return np.abs((pc1 * view.onto_axis).sum(axis=1)) / view.axis_norms


@metric("axis_cosine", nulls=(IMPOSTOR, RANDOM), scale="linear")
def axis_cosine(view: LayerVectors) -> Float[np.ndarray, "draw unit"]:
    """|cos| of each unit with the axis; the mean over units."""
    return np.abs(view.axis_cosines)


@metric("similarity_to_next", nulls=(SHUFFLED,), scale="fisher")
def similarity_to_next(view: LayerVectors) -> Draws | None:
    """Representational similarity to the next layer: correlation of the cosines of all pairs of units."""
    return None if view.next is None else _pair_correlation(view.cosines, view.next.cosines)


@metric("similarity_to_last", nulls=(SHUFFLED,), scale="fisher")
def similarity_to_last(view: LayerVectors) -> Draws | None:
    """Representational similarity to the last layer."""
    return None if view.last is None else _pair_correlation(view.cosines, view.last.cosines)


@metric("roles_in_traits", kinds=("role-trait",), scale="share")
def roles_in_traits(pair: LayerPair) -> Draws:
    """Share of the variance of the roles within the span of the first 10 components of the traits."""
    return _share(pair.onto_traits, pair.roles)


@metric("traits_in_roles", kinds=("role-trait",), scale="share")
def traits_in_roles(pair: LayerPair) -> Draws:
    """Share of the squared length of the traits within the span of the first 10 components of the roles."""
    return _share(pair.onto_roles, pair.traits)


@metric("principal_angles", kinds=("role-trait",), scale="absolute")
def principal_angles(pair: LayerPair) -> Draws:
    """Mean cosine of the principal angles between the first 10 components of roles and those of traits."""
    roles = pair.roles.component_weights(pair.affordable(N_COMPONENTS))
    between = roles.transpose(0, 2, 1) @ pair.onto_traits
    return np.linalg.svd(between, compute_uv=False).mean(axis=1)


def _participation(gram: Float[np.ndarray, "draw unit unit"]) -> Draws:
    total = np.trace(gram, axis1=1, axis2=2)
    return total**2 / np.maximum((gram**2).sum(axis=(1, 2)), np.finfo(float).tiny)


def _needed(spectrum: Float[np.ndarray, "draw rank"], share: float) -> Draws:
    reached = spectrum.cumsum(axis=1) / spectrum.sum(axis=1, keepdims=True)
    return (reached < share - 1e-9).sum(axis=1) + 1.0


def _share(projected: Float[np.ndarray, "draw unit k"], view: LayerVectors) -> Draws:
    whole = np.trace(view.gram, axis1=1, axis2=2)
    return (projected**2).sum(axis=(1, 2)) / np.maximum(whole, np.finfo(float).tiny)


def _pair_correlation(
    first: Float[np.ndarray, "draw unit unit"], second: Float[np.ndarray, "draw unit unit"]
) -> Draws:
    """Pearson correlation over pairs of different units: the diagonal is one everywhere and would count."""
    n = first.shape[1]
    pairs = n * (n - 1)

    def off_diagonal(product: np.ndarray) -> Draws:
        diagonal = np.trace(product, axis1=1, axis2=2)
        return (product.sum(axis=(1, 2)) - diagonal) / pairs

    one, two = off_diagonal(first), off_diagonal(second)
    both = off_diagonal(first * second) - one * two
    spread = (off_diagonal(first**2) - one**2) * (off_diagonal(second**2) - two**2)
    return both / np.sqrt(np.maximum(spread, np.finfo(float).tiny))
