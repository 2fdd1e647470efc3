"""What an operation is given to work on, a pass of the model at one layer, and what it says it did."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from persona_lens.interventions.directions import Direction


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


class Applied(NamedTuple):
    """What an operation made of a pass; projection, norm and the length across it are those before."""

    residual: Float[Tensor, "batch position d_model"]
    projection: Float[Tensor, "batch position"]
    norm: Float[Tensor, "batch position"]
    across: Float[Tensor, "batch position"] | None
    move: Move


class LayerPass(NamedTuple):
    """One pass over the next columns of a batch, as it arrives at a layer.

    Attributes:
        residual: `h` of each token.
        layer: The block it comes from.
        start: Column of the first token in its sequence.
        chosen: Which tokens to touch; None for all.
        strength: Of the change, all its factors multiplied.
        units: Unit vectors at this layer, kept on the device they were last needed on.
        memory: What the operation has kept at this layer from earlier passes over the same sequences: tensors
            whose first dimension is the batch.
    """

    residual: Float[Tensor, "batch position d_model"]
    layer: int
    start: int
    chosen: Bool[Tensor, "batch position"] | None
    strength: float | Float[Tensor, "batch 1"]
    units: dict[tuple[Direction, torch.device, torch.dtype], Float[Tensor, " d_model"]]
    memory: dict[str, Tensor]

    def only(self, passing: Bool[Tensor, "batch position"]) -> LayerPass:
        """The same pass, of whose chosen tokens only some are to be touched."""
        return self._replace(chosen=passing if self.chosen is None else self.chosen & passing)

    def along(self, direction: Direction) -> Along:
        """Its tokens, as they lie to a direction."""
        h, place = self.residual, direction.index(self.layer)
        key = (direction, h.device, h.dtype)
        if key not in self.units:
            with torch.inference_mode(False):  # the same hooks may run with gradients later
                self.units[key] = torch.from_numpy(direction.units[place]).to(h.device, h.dtype)
        return Along(self, self.units[key], h @ self.units[key], place)


@dataclass(eq=False)
class Along:
    """The tokens of a pass, as they lie to a direction.

    Attributes:
        given: The pass.
        unit: `v`.
        projection: `<h, v>`.
        place: Of the layer in those of the direction.
    """

    given: LayerPass
    unit: Float[Tensor, " d_model"]
    projection: Float[Tensor, "batch position"]
    place: int

    @cached_property
    def norm(self) -> Float[Tensor, "batch position"]:
        """`|h|`."""
        return torch.linalg.vector_norm(self.given.residual, dim=-1)

    @cached_property
    def across(self) -> Float[Tensor, "batch position"]:
        """`|h - p v|`, which norm and projection tell only roughly near the line of `v`."""
        aside = self.given.residual - self.projection.unsqueeze(-1) * self.unit
        return torch.linalg.vector_norm(aside, dim=-1)

    def moved(self, move: Move) -> Applied:
        """The chosen tokens moved, and no bit of the others."""
        h, chosen = self.given.residual, self.given.chosen
        across = None if move.scale is None else self.across
        if chosen is not None:
            scale = None if move.scale is None else torch.where(chosen, move.scale, 1.0)
            move = Move(torch.where(chosen, move.shift, 0.0), scale)
        scaled = h if move.scale is None else h * move.scale.unsqueeze(-1)
        residual = torch.addcmul(scaled, move.shift.unsqueeze(-1), self.unit)
        return Applied(residual, self.projection, self.norm, across, move)
