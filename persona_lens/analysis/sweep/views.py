"""What a metric sees: the units of one kind at one layer, in many draws at once.

A draw is all units (the value), a random half of them (the interval), or what chance would give (the null). A
metric need not know which: it takes a view and returns a number for each draw. Where all draws share an array
(the units, when only the axis is exchanged; this layer, when the units of the next one are shuffled), it has
one draw, and numpy's broadcasting does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from persona_lens.analysis.sweep.layers import LayerGeometry
from persona_lens.analysis.sweep.randoms import RandomDirections

N_COMPONENTS = 10
ROUNDING = 1e-5


@dataclass(frozen=True, eq=False)
class Drawn:
    """Units of the space, where a view has its numbers from; nothing is centred yet.

    Attributes:
        geometry: Of the layer.
        kind: `role` or `trait`.
        rows: Which units each draw has.
        impostors: Roles that stand in the default's place, one a draw; None leaves the axis as it is.
    """

    geometry: LayerGeometry
    kind: str
    rows: Int[np.ndarray, "draw unit"]
    impostors: Int[np.ndarray, " draw"] | None = None

    def gram(self) -> Float[np.ndarray, "draw unit unit"]:
        """Inner products."""
        return self.geometry.gram(self.kind)[self.rows[:, :, None], self.rows[:, None, :]]

    def vectors(self) -> Float[np.ndarray, "draw unit basis"]:
        """The vectors themselves."""
        return self.geometry.vectors(self.kind)[self.rows]

    def onto_axis(self) -> Float[np.ndarray, "draw unit"]:
        """Inner products with the axis; that of an impostor points along its own centred vector."""
        if self.impostors is None:
            return self.geometry.onto_axis(self.kind)[self.rows]
        inner = self.geometry.gram("role") if self.kind == "role" else self.geometry.cross
        return inner[self.impostors[:, None], self.rows]

    def axis_norms(self) -> Float[np.ndarray, " draw"]:
        """Length of the axis."""
        if self.impostors is None:
            return np.full(len(self.rows), self.geometry.axis_norm)
        return self.geometry.norms("role")[self.impostors]


@dataclass(frozen=True, eq=False)
class Random:
    """Random directions with the norms of the units of the space."""

    geometry: LayerGeometry
    kind: str
    drawn: RandomDirections

    def gram(self) -> Float[np.ndarray, "draw unit unit"]:
        """Inner products."""
        norms = self.geometry.norms(self.kind)
        return self.drawn.cosines * norms[:, None] * norms

    def vectors(self) -> Float[np.ndarray, "draw unit basis"]:
        """The vectors themselves."""
        return self.drawn.directions * self.geometry.norms(self.kind)[:, None]

    def onto_axis(self) -> Float[np.ndarray, "draw unit"]:
        """Inner products with the axis."""
        axis = self.geometry.coordinates[0]
        along = self.drawn.directions[:, :, : len(axis)] @ axis
        return along * self.geometry.norms(self.kind)

    def axis_norms(self) -> Float[np.ndarray, " draw"]:
        """Length of the axis."""
        return np.full(len(self.drawn.cosines), self.geometry.axis_norm)


class LayerVectors:
    """The units of one kind at one layer, in a batch of draws: what a metric sees.

    Roles are centred on their mean in each draw; traits, being differences, are not. The axis is that of the whole
    space in every draw, except in the null where a role takes the default's place.

    Args:
        units: Where the numbers come from.
        centred: Take the mean of each draw off.
        n_whole: Units there are in all, of which a draw may hold half.
        next: The same units at the next layer of the space, if there is one.
        last: The same units at its last layer, if this is another.

    Examples:
        >>> geometry = LayerGeometry(np.ones(4), np.eye(3, 4), np.eye(2, 4))
        >>> view = LayerVectors(Drawn(geometry, "trait", np.array([[0, 1]])), centred=False)
        >>> view.gram.shape, view.spectrum
        ((1, 2, 2), array([[1., 1.]]))
    """

    def __init__(
        self,
        units: Drawn | Random,
        *,
        centred: bool,
        n_whole: int | None = None,
        next: LayerVectors | None = None,
        last: LayerVectors | None = None,
    ) -> None:
        self._units = units
        self.centred = centred
        self._n_whole = n_whole
        self.next = next
        self.last = last

    @cached_property
    def gram(self) -> Float[np.ndarray, "draw unit unit"]:
        """Inner products of the units, about their mean if centred."""
        gram = np.asarray(self._units.gram(), dtype=np.float64)
        if self.centred:
            means = gram.mean(axis=2)
            gram = gram - means[:, :, None] - means[:, None, :]
            gram += means.mean(axis=1)[:, None, None]
        return gram

    @cached_property
    def vectors(self) -> Float[np.ndarray, "draw unit basis"]:
        """The units in some orthonormal basis of the layer's span: lengths and angles hold, coordinates do not."""
        vectors = self._units.vectors()
        return vectors - vectors.mean(axis=1, keepdims=True) if self.centred else vectors

    @property
    def n_units(self) -> int:
        """Units in a draw."""
        return self.gram.shape[1]

    @cached_property
    def norms(self) -> Float[np.ndarray, "draw unit"]:
        """Lengths."""
        return np.sqrt(np.maximum(np.diagonal(self.gram, axis1=1, axis2=2), 0.0))

    @cached_property
    def cosines(self) -> Float[np.ndarray, "draw unit unit"]:
        """Cosines between the units; a vector of length zero has cosine zero with all."""
        scale = _inverse(self.norms)
        return self.gram * scale[:, :, None] * scale[:, None, :]

    @cached_property
    def decomposition(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues `[draw, rank]` and eigenvectors `[draw, unit, rank]` of the Gram matrix, leading first."""
        values, vectors = np.linalg.eigh(self.gram)
        return np.maximum(values[:, ::-1], 0.0), vectors[:, :, ::-1]

    @cached_property
    def spectrum(self) -> Float[np.ndarray, "draw rank"]:
        """Sums of squares along the principal components, leading first."""
        if "decomposition" in self.__dict__:
            return self.decomposition[0]
        return np.maximum(np.linalg.eigvalsh(self.gram)[:, ::-1], 0.0)

    @cached_property
    def onto_axis(self) -> Float[np.ndarray, "draw unit"]:
        """Inner products of the units with the axis."""
        onto = np.asarray(self._units.onto_axis(), dtype=np.float64)
        return onto - onto.mean(axis=1, keepdims=True) if self.centred else onto

    @property
    def axis_norms(self) -> Float[np.ndarray, " draw"]:
        """Length of the axis."""
        return self._units.axis_norms()

    @property
    def axis_cosines(self) -> Float[np.ndarray, "draw unit"]:
        """Cosines of the units with the axis."""
        return self.onto_axis * _inverse(self.norms) * _inverse(self.axis_norms)[:, None]

    def affordable(self, k: int) -> int:
        """`k`, or as many components as half of the units have: a half must not have fewer than the whole."""
        whole = self.n_units if self._n_whole is None else self._n_whole
        return max(1, min(k, whole // 2 - self.centred))

    def component_weights(self, k: int) -> Float[np.ndarray, "draw unit k"]:
        """How the first `k` principal components, of unit length, are put together from the units.

        Components that are nothing but the rounding of float32 vectors have weights of zero.
        """
        values, vectors = self.decomposition
        scale = _inverse(np.sqrt(values), ROUNDING)[:, None, :k]
        return vectors[:, :, :k] * scale


@dataclass(eq=False)
class LayerPair:
    """Roles and traits at one layer, in a batch of draws: what a metric of kind "role-trait" sees."""

    roles: LayerVectors
    traits: LayerVectors

    def affordable(self, k: int) -> int:
        """`k`, or as many components as half of the roles and half of the traits have."""
        return min(self.roles.affordable(k), self.traits.affordable(k))

    @cached_property
    def cross(self) -> Float[np.ndarray, "draw role trait"]:
        """Inner products of roles (about their mean) with traits."""
        roles, traits = self.roles._units, self.traits._units
        if isinstance(roles, Drawn) and isinstance(traits, Drawn):
            cross = roles.geometry.cross[roles.rows[:, :, None], traits.rows[:, None, :]]
            return cross - cross.mean(axis=1, keepdims=True)
        mine, theirs = self.roles.vectors, self.traits.vectors
        width = min(
            mine.shape[2], theirs.shape[2]
        )  # what one has beyond is orthogonal to the other
        return mine[:, :, :width] @ theirs[:, :, :width].transpose(0, 2, 1)

    @cached_property
    def onto_traits(self) -> Float[np.ndarray, "draw role k"]:
        """Roles along the first components of the traits."""
        return self.cross @ self.traits.component_weights(self.affordable(N_COMPONENTS))

    @cached_property
    def onto_roles(self) -> Float[np.ndarray, "draw trait k"]:
        """Traits along the first components of the roles."""
        weights = self.roles.component_weights(self.affordable(N_COMPONENTS))
        return self.cross.transpose(0, 2, 1) @ weights


def _inverse(values: np.ndarray, rounding: float = 1e-12) -> np.ndarray:
    """One over the values; zero for what is zero but for rounding."""
    least = rounding * np.max(values, axis=-1, keepdims=True, initial=0.0)
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > least)
