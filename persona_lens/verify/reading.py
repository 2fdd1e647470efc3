"""Every residual of a padded batch, pads included, with or without a plan: what the checks look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from persona_lens.interventions import Plan, Receipt
from persona_lens.model.backends import ResidualTap
from persona_lens.model.pooling import left_padded, right_padded
from persona_lens.transcripts import Transcript

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel

Side = Literal["left", "right"]


@dataclass(frozen=True, eq=False)
class Reading:
    """Residuals of one batch, after every intervention, in the model's own dtype.

    Attributes:
        blocks: By layer, `[batch, position, d_model]` on the CPU.
        present: Which positions are no pads.
        receipt: Of the plan, if there was one.
    """

    blocks: dict[int, Float[Tensor, "batch position d_model"]]
    present: Bool[np.ndarray, "batch position"]
    receipt: Receipt | None = None

    def row(self, layer: int, index: int) -> Float[np.ndarray, "token d_model"]:
        """One row without its pads, in float64."""
        block = self.blocks[layer][index].double().numpy()
        return block[self.present[index]]

    @property
    def n_rows(self) -> int:
        """Rows of the batch."""
        return len(self.present)


def read(
    model: PersonaModel,
    transcripts: Sequence[Transcript],
    plan: Plan | None = None,
    *,
    layers: Iterable[int] | None = None,
    side: Side = "right",
) -> Reading:
    """Run a batch once, as the model's own readings do, and keep every residual.

    Args:
        model: To be read.
        transcripts: The rows.
        plan: Acts before the residuals are read.
        layers: Which blocks; all by default.
        side: Where the pads are.
    """
    pad = right_padded if side == "right" else left_padded
    ids, mask = pad([transcript.ids for transcript in transcripts], model.pad_id, model.device)
    blocks: dict[int, Tensor] = {}
    wanted = range(model.n_layers) if layers is None else layers
    taps = {layer: keep(blocks, layer) for layer in wanted}
    # The model's own way to run a batch under a plan: no public method hands out single residuals, pads and all.
    with nullcontext() if plan is None else model.intervene(plan) as receipt, model._lock:
        around = model._around(transcripts, padding_side=side)
        with (
            nullcontext() if around is None else around(range(len(transcripts)), ids),
            model._backend.taps(taps),
        ):
            if side == "right":
                model._backend.encode(ids, mask)
            else:
                model._backend.advance(ids, mask)
    return Reading(blocks, mask.cpu().numpy(), receipt)


def keep(blocks: dict[int, Tensor], layer: int) -> ResidualTap:
    """A tap that keeps a copy of what it sees and changes nothing."""

    def tap(residual: Float[Tensor, "batch position d_model"]) -> None:
        blocks[layer] = residual.detach().cpu().clone()

    return tap


def relative_difference(
    found: Reading, expected: Reading, *, leaving_out: Iterable[int] = ()
) -> float:
    """Root mean square difference over that of the residuals, of the worst row and layer.

    Args:
        found: Compared, row by row, pads left out.
        expected: With the same rows and layers.
        leaving_out: Positions that do not count: attention sinks, which are so long that nothing else would.
    """
    worst = 0.0
    for layer in expected.blocks:
        for index in range(expected.n_rows):
            one, other = found.row(layer, index), expected.row(layer, index)
            counted = ~np.isin(np.arange(len(other)), list(leaving_out))
            with np.errstate(invalid="ignore"):  # NaN and infinity are for the caller to judge
                gap = np.square(one - other)[counted].sum() / np.square(other)[counted].sum()
            worst = float(np.maximum(worst, np.sqrt(gap)))  # keeps NaN, as max() would not
    return worst


def largest_difference(
    found: Reading, expected: Reading, places: Bool[np.ndarray, "batch position"] | None = None
) -> float:
    """Largest absolute difference of any number, 0 if two readings of one batch are the same to the bit.

    Args:
        found: Compared, at the layers of `expected`.
        expected: A reading of the same batch.
        places: Where to look; every token by default, no pads.
    """
    chosen = torch.from_numpy(expected.present if places is None else places)
    worst = torch.zeros((), dtype=torch.float64)
    for layer, block in expected.blocks.items():
        one, other = found.blocks[layer][chosen].double(), block[chosen].double()
        gap = (one - other).abs().masked_fill(one.isnan() & other.isnan(), 0.0)
        if gap.numel():
            worst = torch.maximum(worst, gap.max())
    return float(worst)


def not_finite(reading: Reading) -> int:
    """How many numbers at its tokens are NaN or infinite."""
    present = torch.from_numpy(reading.present)
    return sum(int((~block[present].isfinite()).sum()) for block in reading.blocks.values())


def row_of(reading: Reading, index: int) -> Reading:
    """One row of a batch, as a batch."""
    one = slice(index, index + 1)
    blocks = {layer: block[one] for layer, block in reading.blocks.items()}
    return Reading(blocks, reading.present[one])
