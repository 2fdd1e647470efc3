"""Every residual of a padded batch, pads included, with or without a plan: what the checks look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool

from persona_lens.interventions import Plan, Receipt
from persona_lens.model.residuals import Residuals, Side
from persona_lens.transcripts import Transcript

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel


@dataclass(frozen=True, eq=False)
class Reading(Residuals):
    """Residuals of one batch, and what a plan did there.

    Attributes:
        receipt: Of the plan, if there was one.
    """

    receipt: Receipt | None = None


def read(
    model: PersonaModel,
    transcripts: Sequence[Transcript],
    plan: Plan | None = None,
    *,
    layers: Sequence[int] | None = None,
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
    with nullcontext() if plan is None else model.intervene(plan) as receipt:
        found = model.residuals(transcripts, layers=layers, padding_side=side)
    return Reading(found.by_layer, found.present, receipt)


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
    for layer in expected.by_layer:
        for row in range(expected.n_rows):
            one, other = found.row(layer, row), expected.row(layer, row)
            counted = ~np.isin(np.arange(len(other)), list(leaving_out))
            with np.errstate(invalid="ignore"):  # NaN and infinity are for the caller to judge
                gap = np.square(one - other)[counted].sum() / np.square(other)[counted].sum()
            worst = float(np.maximum(worst, np.sqrt(gap)))  # keeps NaN, as max() would not
    return worst


def largest_difference(
    found: Reading, expected: Reading, positions: Bool[np.ndarray, "batch position"] | None = None
) -> float:
    """Largest absolute difference of any number, 0 if two readings of one batch are the same to the bit.

    Args:
        found: Compared, at the layers of `expected`.
        expected: A reading of the same batch.
        positions: Where to look; every token by default, no pads.
    """
    chosen = torch.from_numpy(expected.present if positions is None else positions)
    worst = torch.zeros((), dtype=torch.float64)
    for layer, residual in expected.by_layer.items():
        one, other = found.by_layer[layer][chosen].double(), residual[chosen].double()
        gap = (one - other).abs().masked_fill(one.isnan() & other.isnan(), 0.0)
        if gap.numel():
            worst = torch.maximum(worst, gap.max())
    return float(worst)


def not_finite(reading: Reading) -> int:
    """How many numbers at its tokens are NaN or infinite."""
    present = torch.from_numpy(reading.present)
    return sum(int((~each[present].isfinite()).sum()) for each in reading.by_layer.values())


def row_of(reading: Reading, row: int) -> Reading:
    """One row of a batch, as a batch."""
    one = slice(row, row + 1)
    by_layer = {layer: residual[one] for layer, residual in reading.by_layer.items()}
    return Reading(by_layer, reading.present[one])
