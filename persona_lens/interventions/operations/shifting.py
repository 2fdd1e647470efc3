"""`Add`, `Ablate` and `Set`: along the direction, from wherever a token lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float

from persona_lens.interventions.operations.layer_pass import Move
from persona_lens.interventions.operations.operation import Operation, range_text, times


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
    travels: ClassVar[tuple[str, ...]] = ("lengths",)
    tells_strength_1: ClassVar[bool] = True

    def move(self, projection, norm, *, at, strength):
        """Push by a fixed length."""
        return Move(times(torch.full_like(projection, self.lengths[at]), strength))

    def details(self) -> str:
        """The unit of the strength."""
        return f"unit {self.unit}"


@dataclass(frozen=True, eq=False)
class Ablate(Operation):
    """`h <- h - s p v`: project the direction out."""

    name: ClassVar[str] = "ablate"

    def move(self, projection, norm, *, at, strength):
        """Take the projection away."""
        return Move(times(-projection, strength))


@dataclass(frozen=True, eq=False)
class Set(Operation):
    """`h <- h + s (t - p) v`: bring the projection to a value; with the mean of a population, mean ablation.

    Attributes:
        targets: `t` at each layer.
    """

    targets: Float[np.ndarray, " layer"]
    name: ClassVar[str] = "set"
    per_layer: ClassVar[tuple[str, ...]] = ("targets",)
    travels: ClassVar[tuple[str, ...]] = ("targets",)

    def move(self, projection, norm, *, at, strength):
        """Close the gap to the target."""
        return Move(times(self.targets[at] - projection, strength))

    def details(self) -> str:
        """The targets."""
        return f"to {range_text(self.targets)}"
