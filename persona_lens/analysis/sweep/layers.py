"""The geometry of one layer: the axis, the roles and the traits, known by their inner products.

Everything a sweep measures of vectors lies in the span of these, so a layer is read from the table once, and
what follows no longer depends on the width of the residual stream.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from persona_lens.errors import SpaceError
from persona_lens.space import Space


class LayerGeometry:
    """Axis, roles (centred on their mean) and traits of one layer, float64, in the units of the residual stream.

    Args:
        axis: Default minus mean of the roles.
        roles: One vector a role; their mean is taken off here.
        traits: Positive minus negative mean, not centred.

    Attributes:
        coordinates: Axis, roles and traits in an orthonormal basis that holds them, no wider than there are rows.
        n: Units of each kind.
        d_model: Width of the residual stream.

    Examples:
        >>> geometry = LayerGeometry(np.ones(4), np.eye(3, 4), np.eye(2, 4))
        >>> geometry.gram("trait")
        array([[1., 0.],
               [0., 1.]])
    """

    def __init__(
        self,
        axis: Float[np.ndarray, " d_model"],
        roles: Float[np.ndarray, "role d_model"],
        traits: Float[np.ndarray, "trait d_model"],
    ) -> None:
        self.d_model = len(axis)
        self.n = {"role": len(roles), "trait": len(traits)}
        ends = 1 + len(roles), 1 + len(roles) + len(traits)
        self._rows = {"role": slice(1, ends[0]), "trait": slice(ends[0], ends[1])}
        together = np.concatenate([axis[None], roles, traits], dtype=np.float64)
        together[self._rows["role"]] -= together[self._rows["role"]].mean(axis=0)
        if self.d_model > len(together):
            together = np.asarray(np.linalg.qr(together.T, mode="r")).T
        self.coordinates: Float[np.ndarray, "row basis"] = together
        self._inner = together @ together.T

    def vectors(self, kind: str) -> Float[np.ndarray, "unit basis"]:
        """The units of a kind."""
        return self.coordinates[self._rows[kind]]

    def gram(self, kind: str) -> Float[np.ndarray, "unit unit"]:
        """Inner products of the units of a kind."""
        return self._inner[self._rows[kind], self._rows[kind]]

    def norms(self, kind: str) -> Float[np.ndarray, " unit"]:
        """Lengths of the units of a kind."""
        return np.sqrt(np.diagonal(self.gram(kind)))

    @property
    def cross(self) -> Float[np.ndarray, "role trait"]:
        """Inner products of roles with traits."""
        return self._inner[self._rows["role"], self._rows["trait"]]

    def onto_axis(self, kind: str) -> Float[np.ndarray, " unit"]:
        """Inner products of the units of a kind with the axis."""
        return self._inner[0, self._rows[kind]]

    @property
    def axis_norm(self) -> float:
        """Length of the axis."""
        return float(np.sqrt(self._inner[0, 0]))


class Layers:
    """The layers of a fitted space, read when they are asked for, the last few kept.

    Args:
        space: Fitted. Roles are those the axis is made of, one vector a role; traits one vector a trait.
        kept: Layers kept at hand, beside the last one.

    Raises:
        SpaceError: Not fitted.
    """

    def __init__(self, space: Space, kept: int = 6) -> None:
        if not hasattr(space, "axis_"):
            raise SpaceError("this space is not fitted", remedy="call space.fit() first")
        table = space.table
        self._space = space
        self.numbers = table.layers
        self.d_model = table.d_model
        self.rows = {"role": table.axis_rows(), "trait": table.trait_rows()}
        self.at = lru_cache(maxsize=kept)(self._read)
        self.last = self._read(len(self.numbers) - 1)

    def names(self, kind: str) -> tuple[str, ...]:
        """The units of a kind."""
        return tuple(self._space.table.names[row] for row in self.rows[kind])

    def _read(self, place: int) -> LayerGeometry:
        values = self._space.table.values
        return LayerGeometry(
            self._space.axis_[place],
            values[self.rows["role"], place],
            values[self.rows["trait"], place],
        )
