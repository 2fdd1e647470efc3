"""Directions of a space: of a name at all layers, and as interventions and calibrations use them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import einops
import numpy as np
from jaxtyping import Float

from persona_lens.errors import SpaceError
from persona_lens.space.fitting import Fit
from persona_lens.space.naming import Named
from persona_lens.statistics.pca import unit
from persona_lens.vectors import VectorTable


def direction_vectors(
    table: VectorTable, fit: Fit, found: Named
) -> Float[np.ndarray, "layer d_model"]:
    """A named direction at all layers: the axis, a component, a trait, or a role from the mean of the roles.

    Raises:
        SpaceError: Fewer components, or components that are no directions (`scaling="l2"`).
    """
    if found.kind == "axis":
        return fit.axis
    if found.kind == "component":
        if fit.scaler.scaling == "l2":
            raise SpaceError(
                "components of an l2-scaled space are not directions of the residual stream",
                remedy='fit the space with scaling="center"',
            )
        vectors = fit.components[:, component_place(fit, found)]
        return vectors if fit.scaler.scale is None else vectors / fit.scaler.scale
    vectors = table.values[found.row]
    return vectors if found.kind == "trait" else vectors - fit.role_mean


def component_place(fit: Fit, found: Named) -> int:
    """Where a component stands among those a fit keeps.

    Raises:
        SpaceError: It keeps fewer.
    """
    kept = fit.components.shape[1]
    if not 1 <= found.number <= kept:
        raise SpaceError("no such component", expected=f"pc1 to pc{kept}", given=found.name)
    return found.number - 1


@dataclass(frozen=True, eq=False)
class CalibratedDirections:
    """Some directions at every layer, and how a projection on them becomes the number the space speaks of.

    A projection on the axis is itself; a projection on a component becomes its score, which is centred on the
    roles and in PCA coordinates: `gain * <h, unit> - offset`.

    Attributes:
        names: "axis", "pc1", ..., roles, traits.
        units: Unit vectors.
        gains, offsets: As above; 1 and 0 but for components.
    """

    names: tuple[str, ...]
    units: Float[np.ndarray, "layer direction d_model"]
    gains: Float[np.ndarray, "layer direction"]
    offsets: Float[np.ndarray, "layer direction"]

    def coordinates(
        self, vectors: Float[np.ndarray, "value layer d_model"]
    ) -> Float[np.ndarray, "value layer direction"]:
        """The coordinates of residual vectors."""
        return self.from_projections(np.einsum("nld,lkd->nlk", vectors, self.units, optimize=True))

    def from_projections(
        self, projections: Float[np.ndarray, "value layer direction"]
    ) -> Float[np.ndarray, "value layer direction"]:
        """Coordinates of dot products with the unit vectors."""
        return self.gains * projections - self.offsets

    def to_projection(
        self, coordinates: Float[np.ndarray, " layer"], name: str, layers: Sequence[int]
    ) -> Float[np.ndarray, " layer"]:
        """Dot products with the unit vector of `name`, of coordinates at some layers (by their place)."""
        which = self.names.index(name)
        places = list(layers)
        return (coordinates + self.offsets[places, which]) / self.gains[places, which]


def calibrated_directions(
    table: VectorTable, fit: Fit, named: Sequence[Named]
) -> CalibratedDirections:
    """Named directions as calibrations use them."""
    found = {each.name: each for each in named}
    vectors = np.stack([direction_vectors(table, fit, each) for each in found.values()], axis=1)
    gains = np.ones(vectors.shape[:2])
    offsets = np.zeros_like(gains)
    for which in [which for which, each in enumerate(found.values()) if each.number]:
        gains[:, which] = np.linalg.norm(vectors[:, which], axis=-1)
        offsets[:, which] = einops.einsum(
            fit.scaler.mean, vectors[:, which], "layer d_model, layer d_model -> layer"
        )
    return CalibratedDirections(tuple(found), unit(vectors), gains, offsets)
