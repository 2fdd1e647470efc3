"""The tokens of each row that ran under a plan, with what was done to each: what a receipt with detail holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from persona_lens.interventions.tokens import BatchTokens


@dataclass(frozen=True, eq=False)
class Note:
    """What one pass did at one layer.

    Attributes:
        change: Length of the change over the norm of the residual vector.
        before, after: Projection on the direction.
        counted: Which tokens were to be touched; None for all.
        start: Column of the first token in its sequence.
    """

    change: Float[Tensor, "batch position"]
    before: Float[Tensor, "batch position"]
    after: Float[Tensor, "batch position"]
    counted: Bool[Tensor, "batch position"] | None
    start: int


@dataclass(frozen=True, eq=False)
class TouchedTokens:
    """One row of a call, token by token.

    Attributes:
        row: Its place in the call.
        ids: The tokens that ran: no pads, nothing from the end of the reply on. The last sampled token is not
            among them, since it is never fed back.
        change: Length of the change over the residual norm, for each step and layer of the plan (`places` of the
            receipt); NaN for tokens that were not to be touched.
    """

    row: int
    ids: Int[np.ndarray, " token"]
    change: Float[np.ndarray, "place token"]


def touched_rows(
    places: Sequence[tuple[int, int]],
    notes: Mapping[tuple[int, int], Sequence[Note]],
    tokens: BatchTokens,
    fed: Int[Tensor, "batch column"],
    alive: Bool[Tensor, "batch column"],
) -> list[TouchedTokens]:
    """The rows of one batch.

    Args:
        places: Number of the step and layer, in the order of `TouchedTokens.change`.
        notes: What was noted at each place.
        tokens: The batch as it was described before it ran.
        fed: The ids of all its columns.
        alive: False where a row had ended.
    """
    shape = (len(places), *fed.shape)
    change = np.full(shape, np.nan, dtype=np.float32)
    for index, place in enumerate(places):
        for note in notes.get(place, []):
            values = note.change
            if note.counted is not None:
                values = torch.where(note.counted, values, torch.nan)
            columns = slice(note.start, note.start + values.shape[1])
            change[index, :, columns] = values.float().cpu().numpy()
    ids, kept = fed.cpu().numpy(), alive.cpu().numpy()
    kept[:, : tokens.width] &= tokens.present
    return [
        TouchedTokens(int(place), ids[row, kept[row]], change[:, row, kept[row]])
        for row, place in enumerate(tokens.rows)
    ]
