"""One layer of a fitted space: vectors, directions from the mean of the roles, projections and component scores.

view = space.at(20)
view.directions(space.table.axis_rows()) @ view.axis
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from persona_lens.errors import SpaceError
from persona_lens.space.directions import component_place, direction_vectors
from persona_lens.space.fitting import Fit
from persona_lens.space.naming import Named
from persona_lens.statistics.pca import unit
from persona_lens.vectors import VectorTable


@dataclass(frozen=True, eq=False)
class LayerView:
    """What a fitted space holds at one layer; `Space.at` gives it. All numbers are float64.

    Attributes:
        table: Vectors of the space.
        fit: What was found of them.
        place: Of the layer among those the space holds.

    Examples:
        >>> from persona_lens import PersonaSpace
        >>> view = PersonaSpace.load("smollm2-135m-instruct").at(20)
        >>> view.layer, view.directions(view.table.trait_rows()).shape
        (20, (240, 576))
    """

    table: VectorTable
    fit: Fit
    place: int

    @property
    def layer(self) -> int:
        """Number of the block."""
        return self.table.layers[self.place]

    @property
    def axis(self) -> Float[np.ndarray, " d_model"]:
        """The axis at unit length; Assistant positive."""
        return unit(self.fit.axis[self.place])

    @property
    def components(self) -> Float[np.ndarray, "component d_model"]:
        """Unit components, in PCA coordinates."""
        return self.fit.components[self.place]

    def values(self, rows: Sequence[int]) -> Float[np.ndarray, "row d_model"]:
        """Vectors by their rows in the table, in the units of the residual stream."""
        return self.table.values[list(rows), self.place].astype(np.float64)

    def directions(self, rows: Sequence[int]) -> Float[np.ndarray, "row d_model"]:
        """Unit vectors: default and roles from the mean of the roles; traits, being differences, as they are."""
        values = self.values(rows)
        placed = [place for place, row in enumerate(rows) if self.table.kinds[row] != "trait"]
        values[placed] -= self.fit.role_mean[self.place]
        return unit(values)

    def project(
        self,
        values: Float[np.ndarray, "*batch d_model"],
        onto: Named | Float[np.ndarray, " d_model"],
        differences: Bool[np.ndarray, " *batch"] | None = None,
    ) -> Float[np.ndarray, " *batch"]:
        """Dot products with a unit direction; of a component, its scores.

        Args:
            values: Residual vectors.
            onto: What a name stands for, or a direction.
            differences: Which of the vectors are differences of residual vectors, such as traits.

        Raises:
            SpaceError: As for `coordinates`, or no such component.
        """
        if not isinstance(onto, Named):
            direction = onto
        elif onto.kind == "component":
            component = self.components[component_place(self.fit, onto)]
            return self.coordinates(values, differences) @ component
        else:
            direction = direction_vectors(self.table, self.fit, onto)[self.place]
        return np.asarray(values, np.float64) @ unit(direction)

    def scores(
        self,
        values: Float[np.ndarray, "*batch d_model"],
        differences: Bool[np.ndarray, " *batch"] | None = None,
    ) -> Float[np.ndarray, "*batch component"]:
        """Component scores; of a difference, those of the difference, which is not centred."""
        return self.coordinates(values, differences) @ self.components.T

    def loadings(
        self, differences: Float[np.ndarray, "*batch d_model"]
    ) -> Float[np.ndarray, "*batch component"]:
        """Cosines of differences of residual vectors, such as traits, with the components."""
        scale = self.fit.scaler.scale
        scaled = differences if scale is None else differences / scale[self.place]
        return unit(scaled) @ self.components.T

    def coordinates(
        self,
        values: Float[np.ndarray, "*batch d_model"],
        differences: Bool[np.ndarray, " *batch"] | None = None,
    ) -> Float[np.ndarray, "*batch d_model"]:
        """Residual vectors as PCA sees them; differences of such are scaled like them, but not centred.

        Raises:
            SpaceError: A difference, in a space whose vectors were brought to unit length.
        """
        scaler = self.fit.scaler
        found = scaler(values, self.place)
        if differences is None or not differences.any():
            return found
        if scaler.scaling == "l2":
            raise SpaceError(
                "a trait or direction has no component scores in an l2-scaled space",
                remedy='fit the space with scaling="center"',
            )
        scale = 1.0 if scaler.scale is None else scaler.scale[self.place]
        found[differences] = values[differences] / scale
        return found


def span(layers: tuple[int, ...]) -> str:
    """Layers as a person says them."""
    consecutive = layers == tuple(range(layers[0], layers[-1] + 1))
    return f"{layers[0]} to {layers[-1]}" if consecutive else ", ".join(map(str, layers))
