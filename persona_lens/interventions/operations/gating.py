"""`Gate`: another operation, where a projection passes a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from persona_lens.errors import InterventionError
from persona_lens.interventions.directions import Direction
from persona_lens.interventions.operations.layer_pass import Applied, LayerPass
from persona_lens.interventions.operations.operation import History, Operation, Strength, range_text

Side = Literal["above", "below"]
Per = Literal["token", "sequence"]

_NEVER = torch.iinfo(torch.int64).max
_HISTORY = History(
    "whether a gate per sequence had opened",
    "for which rows a gate per sequence has opened",
    "use a gate per token",
)


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

    @property
    def history(self) -> History | None:
        """Whether it has opened before, per sequence; or what the operation it guards must know."""
        return _HISTORY if self.per == "sequence" else self.operation.history

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

    def apply(self, given: LayerPass) -> Applied:
        """Run the guarded operation where the gate is open."""
        h = given.along(self.direction)
        passing = self.is_open(h.projection, at=h.place)
        if self.per == "sequence":
            passing = _opened(given, passing)
        return self.operation.apply(given.only(passing))

    def details(self) -> str:
        """The condition and what it guards."""
        sign = ">" if self.side == "above" else "<"
        inner = self.operation
        said = f"{inner.name} {inner.direction.name!r} {inner.details()}".rstrip()
        said = ", ".join(part for part in (said, inner.strength_text()) if part)
        return f"{sign} {range_text(self.thresholds)} per {self.per}: {said}"


def _opened(
    given: LayerPass, passing: Bool[Tensor, "batch position"]
) -> Bool[Tensor, "batch position"]:
    """From which token on a gate per sequence is open, now and in the passes before."""
    passing = passing if given.chosen is None else passing & given.chosen
    columns = torch.arange(given.start, given.start + passing.shape[1], device=passing.device)
    opened = torch.where(passing, columns, _NEVER).amin(dim=1)
    before = given.memory.get("opened")
    if before is not None:
        # What opened at columns that are run anew, or were cut off, has not opened yet.
        before = before.to(opened.device)
        opened = torch.where(before < given.start, before, opened)
    given.memory["opened"] = opened
    return columns >= opened.unsqueeze(1)
