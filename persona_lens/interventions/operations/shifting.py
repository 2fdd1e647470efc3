"""`Add`, `Ablate` and `Set`: along the direction, from wherever a token lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float

from persona_lens.interventions.operations.operation import Shift, range_text, times


@dataclass(frozen=True, eq=False)
class Add(Shift):
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

    def shift(self, projection, *, at, strength):
        """Push by a fixed length."""
        return times(torch.full_like(projection, float(self.lengths[at])), strength)

    def details(self) -> str:
        """The unit of the strength."""
        return f"unit {self.unit}"


@dataclass(frozen=True, eq=False)
class Ablate(Shift):
    """`h <- h - s p v`: project the direction out."""

    name: ClassVar[str] = "ablate"

    def shift(self, projection, *, at, strength):
        """Take the projection away."""
        return times(-projection, strength)


@dataclass(frozen=True, eq=False)
class Set(Shift):
    """`h <- h + s (t - p) v`: bring the projection to a value; with the mean of a population, mean ablation.

    Attributes:
        targets: `t` at each layer.
    """

    targets: Float[np.ndarray, " layer"]
    name: ClassVar[str] = "set"
    per_layer: ClassVar[tuple[str, ...]] = ("targets",)
    travels: ClassVar[tuple[str, ...]] = ("targets",)

    def shift(self, projection, *, at, strength):
        """Close the gap to the target."""
        return times(torch.rsub(projection, float(self.targets[at])), strength)

    def details(self) -> str:
        """The targets."""
        return f"to {range_text(self.targets)}"
