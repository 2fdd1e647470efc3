"""What can be done to a residual vector, one small class each, the formula in its first line.

`h` is the residual vector of one token, `v` the unit vector of the direction at that layer, `p = <h, v>` the
projection, `s` the strength (1 unless said otherwise). Strength 0 changes nothing, whatever the operation; it may
be one number or one for each row of the batch. Every operation moves a token within the plane of `h` and `v`:
`h <- a h + b v`, and says `a` and `b`.

Examples:
    >>> direction = Direction("assistant", (0,), np.array([[1.0, 0.0]]))
    >>> floor = Floor(direction, thresholds=np.array([2.0]))
    >>> floor.move(torch.tensor([1.5, 3.0]), torch.tensor([9.0, 9.0]), at=0, strength=1.0).shift
    tensor([0.5000, 0.0000])
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from persona_lens.arrays import as_floats
from persona_lens.errors import InterventionError, PersonaLensError
from persona_lens.interventions.directions import Direction

Strength = float | tuple[float, ...]
"""One strength, or one for each row of the batch."""

_MOVING = ("lengths", "targets", "radians")
_LARGEST = 1e18
"""The square of more is too large for float32, in which norms are taken."""

Side = Literal["above", "below"]
Per = Literal["token", "sequence"]


class Move(NamedTuple):
    """`h <- scale h + shift v`; a `scale` of None is 1."""

    shift: Float[Tensor, "batch position"]
    scale: Float[Tensor, "batch position"] | None = None

    def effect(
        self,
        projection: Float[Tensor, "batch position"],
        across: Float[Tensor, "batch position"] | None = None,
    ) -> tuple[Float[Tensor, "batch position"], Float[Tensor, "batch position"]]:
        """Length of the change, and the projection after it.

        Args:
            projection: Of each token, before.
            across: Length of the part of each token orthogonal to `v`; where there is a scale, it is needed.
        """
        if self.scale is None or across is None:
            return self.shift.abs(), projection + self.shift
        after = self.scale * projection + self.shift
        return torch.hypot((self.scale - 1.0) * across, after - projection), after


@dataclass(frozen=True, eq=False)
class Operation(ABC):
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
    per_layer: ClassVar[tuple[str, ...]] = ()
    """Fields that hold one number a layer."""

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
                name in _MOVING
                and np.abs(getattr(self, name)).max() * np.abs(strengths).max() >= _LARGEST
            ):
                raise InterventionError(
                    f"{self.name} would overflow",
                    expected=f"{name} times strength below {_LARGEST:g}",
                    given=f"{_range(getattr(self, name))} times {self.strength}",
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
        finite = name in _MOVING
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

    @abstractmethod
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

    def details(self) -> str:
        """What the operation does, without its name and direction, for people."""
        return ""

    def strength_text(self) -> str:
        """Its own strength, for people; empty where it goes without saying."""
        if isinstance(self.strength, tuple):
            return f"strengths {', '.join(f'{value:g}' for value in self.strength)} by row"
        return f"strength {self.strength:g}" if self.strength != 1.0 or self.name == "add" else ""


@dataclass(frozen=True, eq=False)
class Add(Operation):
    """`h <- h + s l v`: additive steering (paper section 3.2.1).

    Attributes:
        lengths: How far strength 1 pushes at each layer, in units of the residual stream.
        unit: What strength 1 stands for, in words; for people.
    """

    lengths: Float[np.ndarray, " layer"]
    unit: str = "raw"
    name: ClassVar[str] = "add"
    per_layer: ClassVar[tuple[str, ...]] = ("lengths",)

    def move(self, projection, norm, *, at, strength):
        """Push by a fixed length."""
        return Move(_times(torch.full_like(projection, self.lengths[at]), strength))

    def details(self) -> str:
        """The unit of the strength."""
        return f"unit {self.unit}"


@dataclass(frozen=True, eq=False)
class Ablate(Operation):
    """`h <- h - s p v`: project the direction out."""

    name: ClassVar[str] = "ablate"

    def move(self, projection, norm, *, at, strength):
        """Take the projection away."""
        return Move(_times(-projection, strength))


@dataclass(frozen=True, eq=False)
class Set(Operation):
    """`h <- h + s (t - p) v`: bring the projection to a value; with the mean of a population, mean ablation.

    Attributes:
        targets: `t` at each layer.
    """

    targets: Float[np.ndarray, " layer"]
    name: ClassVar[str] = "set"
    per_layer: ClassVar[tuple[str, ...]] = ("targets",)

    def move(self, projection, norm, *, at, strength):
        """Close the gap to the target."""
        return Move(_times(self.targets[at] - projection, strength))

    def details(self) -> str:
        """The targets."""
        return f"to {_range(self.targets)}"


@dataclass(frozen=True, eq=False)
class Floor(Operation):
    """`h <- h + s max(t - p, 0) v`: keep the projection at or above a threshold (paper section 5, equation 1).

    Attributes:
        thresholds: `t` at each layer.
    """

    thresholds: Float[np.ndarray, " layer"]
    name: ClassVar[str] = "floor"
    per_layer: ClassVar[tuple[str, ...]] = ("thresholds",)

    def move(self, projection, norm, *, at, strength):
        """Lift what lies below."""
        return Move(_times((self.thresholds[at] - projection).clamp(min=0), strength))

    def details(self) -> str:
        """The thresholds."""
        return f"at {_range(self.thresholds)}"


@dataclass(frozen=True, eq=False)
class Ceil(Operation):
    """`h <- h - s max(p - t, 0) v`: keep the projection at or below a threshold.

    Attributes:
        thresholds: `t` at each layer.
    """

    thresholds: Float[np.ndarray, " layer"]
    name: ClassVar[str] = "ceil"
    per_layer: ClassVar[tuple[str, ...]] = ("thresholds",)

    def move(self, projection, norm, *, at, strength):
        """Lower what lies above."""
        return Move(_times((self.thresholds[at] - projection).clamp(max=0), strength))

    def details(self) -> str:
        """The thresholds."""
        return f"at {_range(self.thresholds)}"


@dataclass(frozen=True, eq=False)
class Band(Operation):
    """`h <- h + s (clamp(p, low, high) - p) v`: keep the projection within a band.

    Attributes:
        low: Lower end at each layer.
        high: Upper end at each layer.
    """

    low: Float[np.ndarray, " layer"]
    high: Float[np.ndarray, " layer"]
    name: ClassVar[str] = "band"
    per_layer: ClassVar[tuple[str, ...]] = ("low", "high")

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.low > self.high).any():
            raise InterventionError(
                "the band is upside down",
                expected="low at or below high",
                given=f"low {_range(self.low)}, high {_range(self.high)}",
            )

    def move(self, projection, norm, *, at, strength):
        """Bring what lies outside to the nearer end."""
        return Move(_times(projection.clamp(self.low[at], self.high[at]) - projection, strength))

    def details(self) -> str:
        """The two ends."""
        return f"from {_range(self.low)} to {_range(self.high)}"


@dataclass(frozen=True, eq=False)
class Rotate(Operation):
    """`h <- |h| (cos(f - s r) v + sin(f - s r) w)`: turn `h` towards `v` and keep its norm.

    `f` is the angle between `h` and `v`, `w` the unit vector of the part of `h` orthogonal to `v`. The turn ends
    at `v`, or at `-v` for negative strengths. A token on the line of `v`, to a thousandth of its norm, has no
    plane to turn in and stays.

    Attributes:
        radians: `r` at each layer.
    """

    radians: Float[np.ndarray, " layer"]
    name: ClassVar[str] = "rotate"
    per_layer: ClassVar[tuple[str, ...]] = ("radians",)

    def move(self, projection, norm, *, at, strength):
        """Turn within the plane of `h` and `v`."""
        across = (norm.square() - projection.square()).clamp(min=0).sqrt()
        return self.turn(projection, norm, across, at=at, strength=strength)

    def turn(
        self,
        projection: Float[Tensor, "batch position"],
        norm: Float[Tensor, "batch position"],
        across: Float[Tensor, "batch position"],
        *,
        at: int,
        strength: float | Float[Tensor, "batch 1"],
    ) -> Move:
        """`move`, given `across = |h - p v|`, which norm and projection tell only roughly near the line of `v`."""
        before = torch.atan2(across, projection)
        after = (before - self.radians[at] * strength).clamp(0.0, torch.pi)
        flat = (across <= 1e-3 * norm) | (after == before)
        scale = torch.where(flat, 1.0, norm * after.sin() / across.clamp(min=1e-30))
        shift = torch.where(flat, 0.0, norm * after.cos() - scale * projection)
        return Move(shift, scale)

    def details(self) -> str:
        """The angle."""
        return f"by {_range(np.degrees(self.radians))} degrees"


@dataclass(frozen=True, eq=False)
class Gate(Operation):
    """Run another operation only where `p` passes a threshold; its `strength` multiplies that of the other.

    Per token, each token is asked; per sequence, the gate opens at the first chosen token that passes and stays
    open to the end of the sequence, so that a cached and an uncached generation agree.

    Attributes:
        thresholds: At each layer.
        operation: What runs where the gate is open; at the same layers.
        side: `above`: open where `p > t`; `below`: open where `p < t`.
        per: `token` or `sequence`.
    """

    thresholds: Float[np.ndarray, " layer"]
    operation: Operation
    side: Side = "above"
    per: Per = "token"
    name: ClassVar[str] = "gate"
    per_layer: ClassVar[tuple[str, ...]] = ("thresholds",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side not in ("above", "below") or self.per not in ("token", "sequence"):
            raise InterventionError(
                "unknown kind of gate",
                expected="side above or below, per token or sequence",
                given=f"side {self.side}, per {self.per}",
            )
        missing = set(self.direction.layers) - set(self.operation.layers)
        if missing:
            raise InterventionError(
                f"the gated {self.operation.name} is not known at every layer of its gate",
                expected=list(self.direction.layers),
                given=list(self.operation.layers),
                remedy="give both the same layers",
            )
        if isinstance(self.operation, Gate):
            raise InterventionError("a gate cannot guard another gate", expected="one condition")
        if self.operation.direction.d_model != self.direction.d_model:
            raise InterventionError(
                f"the gated {self.operation.name} belongs to a model of another width",
                expected=f"d_model {self.direction.d_model}",
                given=self.operation.direction.d_model,
            )
        object.__setattr__(self, "operation", self.operation.at(self.direction.layers))

    @property
    def strengths(self) -> tuple[Strength, ...]:
        """Its own, and that of the operation it guards."""
        return (self.strength, *self.operation.strengths)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The one that is looked at, and that of the operation it guards."""
        return (self.direction, *self.operation.directions)

    def is_open(
        self, projection: Float[Tensor, "batch position"], *, at: int
    ) -> Bool[Tensor, "batch position"]:
        """Which tokens pass."""
        threshold = self.thresholds[at]
        return projection > threshold if self.side == "above" else projection < threshold

    def at(self, layers: Sequence[int]) -> Operation:
        """The same gate at some of its layers."""
        return replace(super().at(layers), operation=self.operation.at(layers))

    def without_origin(self) -> Operation:
        """The same gate and operation, not telling what their directions were read from."""
        return replace(super().without_origin(), operation=self.operation.without_origin())

    def move(self, projection, norm, *, at, strength):
        """A gate does not move by itself: whoever runs it asks `is_open` and runs `operation`."""
        raise NotImplementedError("run the guarded operation where is_open says so")

    def details(self) -> str:
        """The condition and what it guards."""
        sign = ">" if self.side == "above" else "<"
        inner = self.operation
        said = f"{inner.name} {inner.direction.name!r} {inner.details()}".rstrip()
        said = ", ".join(part for part in (said, inner.strength_text()) if part)
        return f"{sign} {_range(self.thresholds)} per {self.per}: {said}"


OPERATIONS: dict[str, type[Operation]] = {
    operation.name: operation for operation in (Add, Ablate, Set, Floor, Ceil, Band, Rotate, Gate)
}


def own_fields(operation: Operation) -> dict[str, object]:
    """The fields of an operation beside its direction."""
    return {f.name: getattr(operation, f.name) for f in fields(operation) if f.name != "direction"}


def _times(push: Tensor, strength: float | Tensor) -> Tensor:
    """The push at a strength; the strength of most plans is one, and decoding makes many small pushes."""
    return push if isinstance(strength, float) and strength == 1.0 else push * strength


def _numbers(given: object, layers: Sequence[int] = ()) -> Float[np.ndarray, "*any"]:
    """What a user gives for numbers; NaN where they are none, which is refused with the rest."""
    try:
        return as_floats(given, dtype=np.float64, layers=layers)
    except PersonaLensError:
        return np.array(np.nan)


def _range(values: Float[np.ndarray, " layer"]) -> str:
    low, high = float(np.min(values)), float(np.max(values))
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
