"""Residual streams kept whole: every position of a padded batch, at some layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from persona_lens.model.backends import ResidualTap

Side = Literal["left", "right"]
"""Where the pads of a batch are."""


@dataclass(frozen=True, eq=False)
class Residuals:
    """Residuals of one batch, after every intervention, in the model's own dtype.

    Attributes:
        by_layer: `[batch, position, d_model]` of each layer, on the CPU.
        present: Which positions are no pads.
    """

    by_layer: dict[int, Float[Tensor, "batch position d_model"]]
    present: Bool[np.ndarray, "batch position"]

    def row(self, layer: int, row: int) -> Float[np.ndarray, "token d_model"]:
        """One row without its pads, in float64."""
        return self.by_layer[layer][row].double().numpy()[self.present[row]]

    @property
    def n_rows(self) -> int:
        """Rows of the batch."""
        return len(self.present)


def keep(by_layer: dict[int, Tensor], layer: int) -> ResidualTap:
    """A tap that keeps a copy of what it sees and changes nothing."""

    def tap(residual: Float[Tensor, "batch position d_model"]) -> None:
        by_layer[layer] = residual.detach().cpu().clone()

    return tap
