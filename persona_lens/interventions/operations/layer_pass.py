"""What an operation is given to work on, a pass of the model at one layer, and what it says it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from persona_lens.errors import InterventionError
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
    """What an operation made of a pass: its tokens after it, as they lay before it, and where they went."""

    residual: Float[Tensor, "batch position d_model"]
    before: Along
    move: Move

    @property
    def across(self) -> Float[Tensor, "batch position"] | None:
        """Length across the direction before it; only where there is a scale, as nobody needs it otherwise."""
        return None if self.move.scale is None else self.before.across


class Lines:
    """Unit vectors of some directions at a layer, on the device they were last needed on.

    Args:
        directions: Whatever an operation looks at or moves along.
        layer: The block.
    """

    def __init__(self, directions: Sequence[Direction], layer: int) -> None:
        known = tuple(dict.fromkeys(directions))
        self.places = {direction: direction.index(layer) for direction in known}
        self.columns = {direction: column for column, direction in enumerate(known)}
        self._held: dict[tuple[torch.device, torch.dtype], tuple[Tensor, ...]] = {}

    def units(self, like: Tensor) -> tuple[Float[Tensor, " d_model"], ...]:
        """The unit vectors, as the columns say, where and in what `like` is."""
        return self._on(like)[1:]

    def projections(
        self, h: Float[Tensor, "batch position d_model"]
    ) -> tuple[Float[Tensor, "batch position"], ...]:
        """`<h, v>` of each column, by one product for all of them."""
        together = h @ self._on(h)[0]
        return (together,) if len(self.columns) == 1 else together.unbind(-1)

    def _on(self, like: Tensor) -> tuple[Tensor, ...]:
        """What to multiply by, a vector or a matrix of columns, and the unit vectors."""
        key = (like.device, like.dtype)
        if key not in self._held:
            rows = np.stack([held.units[place] for held, place in self.places.items()])
            with torch.inference_mode(False):  # the same hooks may run with gradients later
                units = torch.from_numpy(rows).to(*key)
                by = units[0] if len(units) == 1 else units.T.contiguous()
            self._held[key] = (by, *units)
        return self._held[key]


class LayerPass(NamedTuple):
    """One pass over the next columns of a batch, as it arrives at a layer.

    Attributes:
        residual: `h` of each token.
        start: Column of the first token in its sequence.
        chosen: Which tokens to touch; None for all.
        strength: Of the change, all its factors multiplied.
        lines: The directions of the operation.
        projections: Of each token, on each of them.
        memory: What the operation has kept at this layer from earlier passes over the same sequences: tensors
            whose first dimension is the batch.
        dtype: Of what is handed on.
    """

    residual: Float[Tensor, "batch position d_model"]
    start: int
    chosen: Bool[Tensor, "batch position"] | None
    strength: float | Float[Tensor, "batch 1"]
    lines: Lines
    projections: tuple[Float[Tensor, "batch position"], ...]
    memory: dict[str, Tensor]
    dtype: torch.dtype

    def only(self, passing: Bool[Tensor, "batch position"]) -> LayerPass:
        """The same pass, of whose chosen tokens only some are to be touched."""
        return self._replace(chosen=passing if self.chosen is None else self.chosen & passing)

    def along(self, direction: Direction) -> Along:
        """Its tokens, as they lie to one of the directions of the operation.

        Raises:
            InterventionError: The operation does not name it.
        """
        column = self.lines.columns.get(direction)
        if column is None:
            raise InterventionError(
                f"an operation looks along {direction.name!r}, which it does not name",
                expected="every direction it looks at in its `directions`",
                given=", ".join(repr(held.name) for held in self.lines.columns),
            )
        unit = self.lines.units(self.residual)[column]
        return Along(self, unit, self.projections[column], self.lines.places[direction])


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
        """`|h|`; computed only where an operation or a receipt asks for it."""
        return torch.linalg.vector_norm(self.given.residual, dim=-1)

    @cached_property
    def across(self) -> Float[Tensor, "batch position"]:
        """`|h - p v|`, which norm and projection tell only roughly near the line of `v`."""
        aside = self.given.residual - self.projection.unsqueeze(-1) * self.unit
        return torch.linalg.vector_norm(aside, dim=-1)

    def moved(self, move: Move) -> Applied:
        """The chosen tokens moved, and no bit of the others."""
        h, chosen = self.given.residual, self.given.chosen
        if chosen is not None:
            scale = None if move.scale is None else torch.where(chosen, move.scale, 1.0)
            move = Move(torch.where(chosen, move.shift, 0.0), scale)
        scaled = h if move.scale is None else h * move.scale.unsqueeze(-1)
        residual = shifted(scaled, move.shift, self.unit, self.given.dtype)
        return Applied(residual, self, move)


def shifted(
    h: Float[Tensor, "batch position d_model"],
    shift: Float[Tensor, "batch position"],
    unit: Float[Tensor, " d_model"],
    dtype: torch.dtype,
) -> Float[Tensor, "batch position d_model"]:
    """`h + shift v`, computed as `h` is and rounded once to `dtype`; where launches cost, by one kernel.

    Examples:
        >>> h, v = torch.ones(1, 1, 2), torch.tensor([1.0, 0.0])
        >>> shifted(h, torch.tensor([[2**-9]]), v, torch.bfloat16)
        tensor([[[1., 1.]]], dtype=torch.bfloat16)
    """
    by = shift.unsqueeze(-1)
    if h.dtype == dtype:
        return torch.addcmul(h, by, unit)
    graph = torch.is_grad_enabled() and (h.requires_grad or shift.requires_grad)
    if graph or h.device.type == "cpu":
        return torch.addcmul(h, by, unit).to(dtype)
    return rounded_as_written(h, by, unit, dtype)


def rounded_as_written(
    h: Float[Tensor, "batch position d_model"],
    by: Float[Tensor, "batch position 1"],
    unit: Float[Tensor, " d_model"],
    dtype: torch.dtype,
) -> Float[Tensor, "batch position d_model"]:
    """The same in one kernel of a GPU; a CPU would make a copy of it, and there is no gradient."""
    return torch.addcmul(h, by, unit, out=torch.empty_like(h, dtype=dtype))
