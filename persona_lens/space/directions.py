"""Directions of a space as interventions and calibrations use them: unit vectors of the residual stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


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
