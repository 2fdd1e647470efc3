"""The tokens of each row that ran under a plan, with what was done to each: what a receipt with detail holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from persona_lens.interventions.operations.layer_pass import Move
from persona_lens.interventions.tokens import BatchTokens


class Note(NamedTuple):
    """What one pass did at one layer, as it was met: what follows from it is computed when somebody asks.

    Attributes:
        before: Projection on the direction.
        norm: Norm of the residual vector.
        move: Where it went.
        across: Length of its part orthogonal to the direction; known where `move` has a scale.
        counted: Which tokens were to be touched, as booleans or as ones and zeros; None for all.
        start: Column of the first token in its sequence.
        overflown: Where the residual vector no longer fits the model's dtype afterwards; None where all fit.
    """

    before: Float[Tensor, "batch position"]
    norm: Float[Tensor, "batch position"]
    move: Move
    across: Float[Tensor, "batch position"] | None
    counted: Shaped[Tensor, "batch position"] | None
    start: int
    overflown: Bool[Tensor, "batch position"] | None = None

    def finite(self) -> Bool[Tensor, "batch position"]:
        """Which tokens were numbers before and are numbers afterwards."""
        length, after = self.effect()
        finite = self.norm.isfinite() & length.isfinite() & after.isfinite()
        return finite if self.overflown is None else finite & ~self.overflown

    def effect(
        self,
    ) -> tuple[Float[Tensor, "batch position"], Float[Tensor, "batch position"]]:
        """Length of the change over the norm, and projection afterwards."""
        length, after = self.move.effect(self.before, self.across)
        return length / self.norm.clamp(min=1e-30), after

    def detached(self) -> Note:
        """The same without its graph, which would be kept alive."""
        scale, across = self.move.scale, self.across
        move = Move(self.move.shift.detach(), None if scale is None else scale.detach())
        across = None if across is None else across.detach()
        return self._replace(
            before=self.before.detach(), norm=self.norm.detach(), move=move, across=across
        )

    @classmethod
    def together(cls, notes: Sequence[Note]) -> Note:
        """Several notes as one of a single row; batches may differ in size."""

        def joined(parts: Sequence[Tensor | None]) -> Tensor | None:
            known = [part.flatten() for part in parts if part is not None]
            return torch.cat(known).unsqueeze(0) if len(known) == len(parts) else None

        counted = joined([note.seen() for note in notes])
        before, norm = (
            joined([note.before for note in notes]),
            joined([note.norm for note in notes]),
        )
        shift = joined([note.move.shift for note in notes])
        assert before is not None
        assert norm is not None
        assert shift is not None
        move = Move(shift, joined([note.move.scale for note in notes]))
        across = joined([note.across for note in notes])
        return cls(before, norm, move, across, counted, 0, joined([n.overflown for n in notes]))

    def seen(self) -> Bool[Tensor, "batch position"]:
        """Which tokens were to be touched."""
        if self.counted is not None:
            return self.counted.bool()
        return torch.ones_like(self.before, dtype=torch.bool)


@dataclass(frozen=True, eq=False)
class TouchedTokens:
    """One row of a call, token by token.

    Attributes:
        row: Its place in the call.
        ids: The tokens that ran: no pads, nothing from the end of the reply on. The last sampled token is not
            among them, since it is never fed back.
        change: Length of the change over the residual norm, for each step and layer of the plan (`places` of the
            receipt); NaN for tokens that were not to be touched, infinite where they are no numbers.
    """

    row: int
    ids: Int[np.ndarray, " token"]
    change: Float[np.ndarray, "place token"]


def touched_rows(
    changes: Float[np.ndarray, "place batch column"],
    tokens: BatchTokens,
    fed: Int[Tensor, "batch column"],
    alive: Bool[Tensor, "batch column"],
) -> list[TouchedTokens]:
    """The rows of one batch.

    Args:
        changes: Of all its columns, at each of the places of `TouchedTokens.change`.
        tokens: The batch as it was described before it ran.
        fed: The ids of all its columns.
        alive: False where a row had ended.
    """
    ids, kept = fed.cpu().numpy(), alive.cpu().numpy()
    kept[:, : tokens.width] &= tokens.present
    return [
        TouchedTokens(int(place), ids[row, kept[row]], changes[:, row, kept[row]])
        for row, place in enumerate(tokens.rows)
    ]
