"""Mean residuals, taken inside the hooks: nothing of a sequence is kept but one vector a layer.

Memory does not grow with the length of the replies: what store-everything-then-pool keeps as
[layer, batch, position, d_model] is here [layer, batch, d_model], in float32 whatever the model's dtype.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from persona_lens.model.backends import ResidualTap


class ReadMeans:
    """Taps that average the residual stream over chosen positions of a batch, layer by layer.

    Args:
        positions: Which positions count, `Bool[batch position]`.
        layers: Blocks to read.

    After the forward pass, `result()` has `Float[batch layer d_model]`; rows without a position are NaN.
    """

    def __init__(self, positions: Bool[Tensor, "batch position"], layers: Sequence[int]) -> None:
        counts = positions.sum(dim=-1, keepdim=True)
        # Only the chosen positions are touched, brought to the front of each row: of a conversation, the reply is
        # the smaller part, and pads can hold anything. Shorter rows repeat their first place with weight zero.
        width = max(1, int(counts.max()))
        order = positions.to(torch.int8).argsort(dim=-1, descending=True, stable=True)[:, :width]
        within = torch.arange(width, device=positions.device) < counts
        self._columns = torch.where(within, order, order[:, :1])
        self._weights = within.float() / counts  # 0/0 = NaN marks rows with nothing to average
        self._means: dict[int, Float[Tensor, "batch d_model"]] = {}
        self.layers = tuple(layers)

    def taps(self) -> dict[int, ResidualTap]:
        """One tap a layer; each returns None, so it only reads."""
        return {layer: self._tap(layer) for layer in self.layers}

    def _tap(self, layer: int) -> ResidualTap:
        def tap(residual: Float[Tensor, "batch position d_model"]) -> None:
            columns = self._columns.to(residual.device)
            rows = torch.arange(len(columns), device=residual.device).unsqueeze(1)
            chosen = residual[rows, columns].float()
            weights = self._weights.to(residual.device).unsqueeze(1)
            self._means[layer] = torch.bmm(weights, chosen).squeeze(1)

        return tap

    def result(self) -> Float[Tensor, "batch layer d_model"]:
        """The means, on the CPU."""
        return torch.stack([self._means[layer].cpu() for layer in self.layers], dim=1)


class DecodeMeans:
    """Taps that average the residual stream over the reply while it is being generated.

    Args:
        end_ids: Tokens that end a reply; they and what follows do not count.
        layers: Blocks to read.

    The prompt's forward pass is left out, each decoding step adds the token that was fed. The last sampled token
    is never fed, so the caller asks `generate` for one token more than it wants and drops it.
    """

    def __init__(self, end_ids: Int[Tensor, " ends"], layers: Sequence[int]) -> None:
        self._end_ids = end_ids
        self._sums: dict[int, Float[Tensor, "batch d_model"]] = {}
        self._active: Bool[Tensor, " kept"] | None = None
        self._counts: Int[Tensor, " batch"] | None = None
        self._places: Int[Tensor, " kept"] | None = None
        self._n_rows = 0
        self.layers = tuple(layers)

    def watch(self, ids: Int[Tensor, "batch position"]) -> None:
        """Take note of the tokens about to be fed (see `Backend.before_forward`)."""
        if not self._n_rows:
            self._n_rows = len(ids)
            return
        fed = ids[:, -1]
        if self._active is None or self._counts is None:
            self._active = torch.ones_like(fed, dtype=torch.bool)
            self._counts = fed.new_zeros(self._n_rows)
        self._active = self._active & ~torch.isin(fed, self._end_ids.to(fed.device))
        self._counts = self._added(self._counts, self._active.to(self._counts))

    def keep(self, places: Int[Tensor, " kept"]) -> None:
        """Go on with some of the rows; what was read of the others stays."""
        self._places = places if self._places is None else self._places[places]
        if self._active is not None:
            self._active = self._active[places.to(self._active.device)]

    def _added(self, sums: Tensor, step: Tensor) -> Tensor:
        """Sums of all rows, with a step of those that are there."""
        if self._places is None:
            return sums + step
        return sums.index_add(0, self._places.to(sums.device), step)

    def taps(self) -> dict[int, ResidualTap]:
        """One tap a layer; each returns None, so it only reads."""
        return {layer: self._tap(layer) for layer in self.layers}

    def _tap(self, layer: int) -> ResidualTap:
        def tap(residual: Float[Tensor, "batch position d_model"]) -> None:
            if self._active is None:  # the prompt
                return
            active = self._active.to(residual.device).unsqueeze(-1)
            step = residual[:, -1].float().masked_fill(~active, 0.0)
            if layer not in self._sums:
                self._sums[layer] = step.new_zeros(self._n_rows, step.shape[-1])
            self._sums[layer] = self._added(self._sums[layer], step)

        return tap

    def result(self, batch: int, d_model: int) -> Float[Tensor, "batch layer d_model"]:
        """The means, on the CPU; rows with an empty reply are NaN."""
        if self._counts is None:
            return torch.full((batch, len(self.layers), d_model), torch.nan)
        sums = torch.stack([self._sums[layer].cpu() for layer in self.layers], dim=1)
        return sums / self._counts.cpu().view(-1, 1, 1)
