"""`Operation`: what every operation says of itself. A new one is a subclass, and nothing else has to know of it.

    >>> @dataclass(frozen=True, eq=False)
    ... class Flip(Operation):
    ...     "`h <- h - 2 s p v`: mirror the projection."
    ...     name = "flip"
    ...     def move(self, projection, norm, *, at, strength):
    ...         return Move(-2.0 * projection * strength)
    >>> from persona_lens.interventions import Plan
    >>> Plan.of(Flip(Direction("ghost", (3,), np.eye(1, 8)), strength=0.5))
    Plan of 1 step
      1. flip 'ghost'; at layers 3; tokens all; strength 0.5

What it asks of a token beside projection and norm goes into `apply`, its numbers by layer into `per_layer`.
One that only adds and looks at the projection alone is a `Shift`, which needs no norm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from persona_lens.arrays import as_floats
from persona_lens.errors import InterventionError, PersonaLensError
from persona_lens.interventions.directions import Direction
from persona_lens.interventions.operations.layer_pass import Applied, LayerPass, Move
from persona_lens.interventions.origin import Origin

Strength = float | tuple[float, ...]
"""One strength, or one for each row of the batch."""

_LARGEST = 1e18
"""The square of more is too large for float32, in which norms are taken."""

_KINDS: dict[str, type[Operation]] = {}
"""The operations there are, by the names that saved plans know them by."""


class History(NamedTuple):
    """What an operation must know of earlier passes, in words for where nobody knows it, and what to do then."""

    whether: str
    rows: str
    remedy: str


@dataclass(frozen=True, eq=False)
class Operation:
    """One change of the residual stream along one direction.

    Attributes:
        direction: Along which; its layers are the layers acted on.
        strength: Factor of the change; 0 is the identity.
        about: Where its numbers come from, and what to expect of them; shown with the plan.
    """

    direction: Direction
    strength: Strength = field(default=1.0, kw_only=True)
    about: str = field(default="", kw_only=True)

    name: ClassVar[str]
    """What receipts and saved plans call it; one class each."""
    per_layer: ClassVar[tuple[str, ...]] = ()
    """Fields that hold one number a layer."""
    travels: ClassVar[tuple[str, ...]] = ()
    """Those of them that say how far strength 1 moves: finite, as thresholds need not be."""
    tells_strength_1: ClassVar[bool] = False
    """Whether a strength of 1 is worth telling, as where 1 is not simply all of it."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" not in vars(cls) or cls.__name__.startswith("_"):
            return  # private classes are in no saved plan
        held = _KINDS.setdefault(cls.name, cls)
        if (held.__module__, held.__qualname__) != (cls.__module__, cls.__qualname__):
            raise InterventionError(
                f"there is an operation {cls.name!r} already",
                expected="a name of its own",
                given=f"{cls.__qualname__} beside {held.__module__}.{held.__qualname__}",
            )
        _KINDS[cls.name] = cls  # a notebook's cell may run again

    def __post_init__(self) -> None:
        strengths = np.atleast_1d(_numbers(self.strength))
        if strengths.ndim != 1 or not len(strengths) or not (np.abs(strengths) < _LARGEST).all():
            raise InterventionError(
                f"{self.name} has no usable strength",
                expected="a finite number, or one for each row of the batch",
                given=self.strength,
            )
        single = _numbers(self.strength).ndim == 0
        object.__setattr__(
            self, "strength", float(strengths[0]) if single else tuple(strengths.tolist())
        )
        for name in self.per_layer:
            object.__setattr__(self, name, self._one_a_layer(name))
            if (
                name in self.travels
                and np.abs(getattr(self, name)).max() * np.abs(strengths).max() >= _LARGEST
            ):
                raise InterventionError(
                    f"{self.name} would overflow",
                    expected=f"{name} times strength below {_LARGEST:g}",
                    given=f"{range_text(getattr(self, name))} times {self.strength}",
                )

    def _one_a_layer(self, name: str) -> Float[np.ndarray, " layer"]:
        values = _numbers(getattr(self, name), layers=self.layers)
        values = np.full(len(self.direction.layers), values) if values.ndim == 0 else values
        if values.shape != (len(self.direction.layers),):
            raise InterventionError(
                f"{name} of {self.name} does not fit its direction",
                expected=f"one number for each of {len(self.direction.layers)} layers",
                given=f"shape {list(values.shape)}",
            )
        # An infinite threshold is one that is never met, or always; nothing can be moved an infinite way.
        finite = name in self.travels
        if np.isnan(values).any() or (finite and np.isinf(values).any()):
            raise InterventionError(
                f"{name} of {self.name} is not a number",
                expected="finite numbers" if finite else "numbers",
                given=getattr(self, name),
            )
        return values

    @property
    def layers(self) -> tuple[int, ...]:
        """The blocks whose output is changed."""
        return self.direction.layers

    @property
    def strengths(self) -> tuple[Strength, ...]:
        """The factors that multiply to the strength of the change."""
        return (self.strength,)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Every direction that it looks at or moves along."""
        return (self.direction,)

    @property
    def history(self) -> History | None:
        """What it must know of earlier passes; None where it looks at each token by itself."""
        return None

    def at(self, layers: Sequence[int]) -> Operation:
        """The same operation at some of its layers."""
        chosen = [self.direction.index(layer) for layer in layers]
        kept = {name: getattr(self, name)[chosen] for name in self.per_layer}
        return replace(self, direction=self.direction.at(layers), **kept)

    def without_origin(self) -> Operation:
        """The same operation, not telling what its directions were read from."""
        return replace(self, direction=replace(self.direction, origin=None))

    def scaled(self, factor: float | Sequence[float] | Float[np.ndarray, " row"]) -> Operation:
        """The same operation, `factor` times as strong; a factor a row gives a strength a row."""
        held, by = _numbers(self.strength), _numbers(factor)
        if held.ndim and by.ndim and held.shape != by.shape:
            raise InterventionError(
                f"{self.name} has a strength for each row already, of another number of rows",
                expected=f"one factor, or {len(held)}",
                given=len(by),
            )
        product = held * by
        strength = float(product) if product.ndim == 0 else tuple(product.tolist())
        return replace(self, strength=strength)

    def apply(self, given: LayerPass) -> Applied:
        """Change the chosen tokens of a pass, each as `move` says."""
        h = given.along(self.direction)
        move = self.move(h.projection, h.norm, at=h.place, strength=given.strength)
        return h.moved(move)

    def move(
        self,
        projection: Float[Tensor, "batch position"],
        norm: Float[Tensor, "batch position"],
        *,
        at: int,
        strength: float | Float[Tensor, "batch 1"],
    ) -> Move:
        """Where a token with this projection and norm goes.

        Args:
            projection: `<h, v>`.
            norm: `|h|`.
            at: Place of the layer in `layers`.
            strength: Factor of the change.
        """
        raise NotImplementedError(f"{self.name} has no move, and no apply of its own")

    def details(self) -> str:
        """What the operation does, without its name and direction, for people."""
        return ""

    def strength_text(self) -> str:
        """Its own strength, for people; empty where it goes without saying."""
        if isinstance(self.strength, tuple):
            return f"strengths {', '.join(f'{value:g}' for value in self.strength)} by row"
        told = self.strength != 1.0 or self.tells_strength_1
        return f"strength {self.strength:g}" if told else ""

    def stored(self, key: str, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
        """What a saved plan holds of it; `restored` reads it.

        Args:
            key: Begins the names of its arrays.
            tensors: Where to put them.
        """
        tensors[f"{key}.direction"] = self.direction.values
        entry: dict[str, Any] = {
            "kind": self.name,
            "direction": self.direction.name,
            "layers": self.direction.layers,
        }
        if self.direction.origin is not None:
            entry["origin"] = self.direction.origin.stored()
        for name in (held.name for held in fields(self) if held.name != "direction"):
            value = getattr(self, name)
            if name in self.per_layer:
                tensors[f"{key}.{name}"] = np.asarray(value)
            else:
                nested = isinstance(value, Operation)
                entry[name] = value.stored(f"{key}.{name}", tensors) if nested else value
        return entry


class Shift(Operation):
    """An operation that adds a multiple of the direction and looks at nothing but the projection.

    So no norm is computed for it where no receipt asks for one.
    """

    def apply(self, given: LayerPass) -> Applied:
        """Shift the chosen tokens of a pass."""
        h = given.along(self.direction)
        return h.moved(Move(self.shift(h.projection, at=h.place, strength=given.strength)))

    def move(self, projection, norm, *, at, strength):
        """The shift, at no scale."""
        return Move(self.shift(projection, at=at, strength=strength))

    def shift(
        self,
        projection: Float[Tensor, "batch position"],
        *,
        at: int,
        strength: float | Float[Tensor, "batch 1"],
    ) -> Float[Tensor, "batch position"]:
        """How far a token with this projection is moved along the direction; arguments as for `move`."""
        raise NotImplementedError(f"{self.name} has no shift")


def restored(entry: Mapping[str, Any], key: str, tensors: Mapping[str, np.ndarray]) -> Operation:
    """The operation of which `stored` gave this entry.

    Raises:
        InterventionError: Of a kind that there is not; that of a script's own must be imported first.
    """
    kind = _KINDS.get(entry["kind"])
    if kind is None:
        raise InterventionError(
            "unknown operation in a saved plan",
            expected=", ".join(_KINDS),
            given=entry["kind"],
        )
    direction = Direction(
        entry["direction"],
        tuple(entry["layers"]),
        tensors[f"{key}.direction"],
        origin=Origin(**entry["origin"]) if "origin" in entry else None,
    )
    given: dict[str, Any] = {name: tensors[f"{key}.{name}"] for name in kind.per_layer}
    for name, value in entry.items():
        if name in ("kind", "direction", "layers", "origin"):
            continue
        if isinstance(value, dict):
            given[name] = restored(value, f"{key}.{name}", tensors)
        else:
            given[name] = tuple(value) if isinstance(value, list) else value
    return kind(direction=direction, **given)


def times(push: Tensor, strength: float | Tensor) -> Tensor:
    """The push at a strength; the strength of most plans is one, and decoding makes many small pushes."""
    return push if isinstance(strength, float) and strength == 1.0 else push * strength


def range_text(values: Float[np.ndarray, " layer"]) -> str:
    """Numbers by layer, for people.

    Examples:
        >>> range_text(np.array([2.0, 2.0])), range_text(np.array([3.0, 1.5]))
        ('2', '1.5 to 3')
    """
    low, high = float(np.min(values)), float(np.max(values))
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def _numbers(given: object, layers: Sequence[int] = ()) -> Float[np.ndarray, "*any"]:
    """What a user gives for numbers; NaN where they are none, which is refused with the rest."""
    try:
        return as_floats(given, dtype=np.float64, layers=layers)
    except PersonaLensError:
        return np.array(np.nan)
