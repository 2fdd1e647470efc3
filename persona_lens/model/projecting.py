"""Projections of single tokens on a few directions, taken inside the hooks: of a token, only those numbers are
kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from persona_lens.model.backends import ResidualTap


@dataclass(frozen=True, eq=False)
class TokenProjections:
    """The chosen tokens of one text.

    Attributes:
        values: Dot products with unit directions, in units of the residual stream.
        norms: Norms of the residual vectors.
    """

    values: Float[np.ndarray, "token layer direction"]
    norms: Float[np.ndarray, "token layer"]


class ReadProjections:
    """Taps that project chosen positions of a batch on directions, layer by layer, in float32.

    Args:
        positions: Which positions count.
        units: Unit vectors, for each of `layers`.
        layers: Blocks to read.

    After the forward pass, `result()` has the projections of each row.
    """

    def __init__(
        self,
        positions: Bool[Tensor, "batch position"],
        units: Float[np.ndarray, "layer direction d_model"],
        layers: Sequence[int],
    ) -> None:
        self._positions = positions
        self._units = torch.from_numpy(units).float()
        self._read: dict[int, tuple[Tensor, Tensor]] = {}
        self.layers = tuple(layers)

    def taps(self) -> dict[int, ResidualTap]:
        """One tap a layer; each returns None, so it only reads."""
        return {layer: self._tap(place, layer) for place, layer in enumerate(self.layers)}

    def _tap(self, place: int, layer: int) -> ResidualTap:
        def tap(residual: Float[Tensor, "batch position d_model"]) -> None:
            tokens = residual[self._positions.to(residual.device)].float()
            values = tokens @ self._units[place].to(residual.device).T
            self._read[layer] = values.cpu(), tokens.norm(dim=-1).cpu()

        return tap

    def result(self) -> list[TokenProjections]:
        """Of each row, the positions chosen."""
        read = [self._read[layer] for layer in self.layers]
        ends = np.cumsum(self._positions.sum(dim=1).cpu().numpy())[:-1]
        values, norms = (
            np.split(torch.stack(parts, dim=1).numpy(), ends) for parts in zip(*read, strict=True)
        )
        return [TokenProjections(*both) for both in zip(values, norms, strict=True)]
