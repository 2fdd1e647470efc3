"""`Direction`: a named vector at every layer it is known for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float

from persona_lens.arrays import as_floats
from persona_lens.errors import InterventionError
from persona_lens.interventions.blocks import block_number
from persona_lens.interventions.origin import Origin


@dataclass(frozen=True, eq=False)
class Direction:
    """A vector at each of some layers; positive is the way to what the name says.

    Attributes:
        name: What the vectors point to, such as "assistant" or "trickster".
        layers: The block each vector belongs to: the residual stream after it, `blocks.{i}.hook_resid_post`.
        values: The vectors, in units of the residual stream; operations use their unit vectors. Given as array,
            tensor or list of such, or as a mapping from layer to vector.
        origin: The model they were read from, if known: on other weights, plans along them warn.

    Raises:
        InterventionError: Shapes that do not fit, a layer given twice, or a vector that is zero or not finite.

    Examples:
        >>> ghost = Direction("ghost", (3, 4), np.array([[3.0, 4.0], [0.0, 2.0]]))
        >>> ghost.lengths, ghost.units[0]
        (array([5., 2.]), array([0.6, 0.8]))
    """

    name: str
    layers: tuple[int, ...]
    values: Float[np.ndarray, "layer d_model"]
    origin: Origin | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(map(block_number, self.layers)))
        values = as_floats(
            self.values,
            f"the vectors of {self.name!r}",
            error=InterventionError,
            layers=self.layers,
        )
        object.__setattr__(self, "values", values)
        if self.values.ndim != 2 or len(self.values) != len(self.layers) or not self.layers:
            raise InterventionError(
                f"the vectors of {self.name!r} do not fit its layers",
                expected=f"[{len(self.layers) or 'at least 1'}, d_model]",
                given=list(self.values.shape),
            )
        if len(set(self.layers)) < len(self.layers):
            raise InterventionError(f"{self.name!r} has a layer twice", given=list(self.layers))
        broken = [
            layer
            for layer, length in zip(self.layers, self.lengths, strict=True)
            if not (np.isfinite(length) and length > 0)
        ]
        if broken:
            raise InterventionError(
                f"a vector of {self.name!r} points nowhere",
                expected="finite vectors other than zero",
                given=f"layers {broken}",
                remedy="leave these layers out",
            )

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.values.shape[1]

    @cached_property
    def lengths(self) -> Float[np.ndarray, " layer"]:
        """Euclidean length of each vector, float64."""
        return np.linalg.norm(self.values.astype(np.float64), axis=1)

    @cached_property
    def units(self) -> Float[np.ndarray, "layer d_model"]:
        """The vectors at length one, float64."""
        return self.values.astype(np.float64) / self.lengths[:, None]

    def index(self, layer: int) -> int:
        """Place of a layer in `layers`.

        Raises:
            InterventionError: The direction is not known there.
        """
        if layer not in self.layers:
            raise InterventionError(
                f"{self.name!r} is not known at this layer",
                expected=spans(self.layers),
                given=layer,
            )
        return self.layers.index(layer)

    def at(self, layers: Iterable[int]) -> Direction:
        """The direction at some of its layers only."""
        chosen = [self.index(layer) for layer in layers]
        layers = tuple(self.layers[place] for place in chosen)
        return replace(self, layers=layers, values=self.values[chosen])

    def random(self, seed: int = 0) -> Direction:
        """A random direction of the same lengths at the same layers, drawn independently at each: a matched
        control.

        Examples:
            >>> ghost = Direction("ghost", (3, 4), np.eye(2, 64))
            >>> control = ghost.random(seed=1)
            >>> control.name, control.lengths.round(6)
            ('random 1', array([1., 1.]))
        """
        drawn = np.random.default_rng([seed, self.d_model]).standard_normal(self.values.shape)
        drawn *= (self.lengths / np.linalg.norm(drawn, axis=1))[:, None]
        return Direction(f"random {seed}", self.layers, drawn)


def spans(layers: Sequence[int]) -> str:
    """Layers as a person says them.

    Examples:
        >>> spans([3, 4, 5, 9])
        '3-5, 9'
    """
    parts: list[list[int]] = []
    for layer in sorted(layers):
        if parts and layer == parts[-1][-1] + 1:
            parts[-1].append(layer)
        else:
            parts.append([layer])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts)


def percent(part: int, whole: int) -> str:
    """A share as a person says it: neither none nor all where it is not quite.

    Examples:
        >>> percent(0, 900), percent(1, 900), percent(450, 900), percent(899, 900)
        ('0%', '<1%', '50%', '>99%')
    """
    if 0 < part < 0.005 * whole:
        return "<1%"
    return ">99%" if 0.995 * whole < part < whole else f"{part / whole:.0%}"
