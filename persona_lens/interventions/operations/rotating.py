"""`Rotate`: turn towards a direction, at the same norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from persona_lens.interventions.operations.layer_pass import Applied, LayerPass, Move
from persona_lens.interventions.operations.operation import Operation, range_text


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
    travels: ClassVar[tuple[str, ...]] = ("radians",)

    def apply(self, given: LayerPass) -> Applied:
        """Turn the chosen tokens, those near the line of `v` too."""
        h = given.along(self.direction)
        return h.moved(
            self.turn(h.projection, h.norm, h.across, at=h.place, strength=given.strength)
        )

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
        return f"by {range_text(np.degrees(self.radians))} degrees"
