"""Mean residuals, taken inside the hooks: nothing of a sequence is kept but one vector a layer.

Memory does not grow with the length of the replies: what store-everything-then-pool keeps as
[layer, batch, position, d_model] is here [layer, batch, d_model], in float32 whatever the model's dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from persona_lens.errors import ModelError
from persona_lens.model.backends import Backend, ResidualTap
from persona_lens.model.intervening import Around

Ids = Sequence[int] | Int[np.ndarray, " token"]
"""Token ids of one text."""

MAX_ROWS = 512
"""Rows of a reading batch, however short they are."""


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
        self._places = torch.where(within, order, order[:, :1])
        self._weights = within.float() / counts  # 0/0 = NaN marks rows with nothing to average
        self._means: dict[int, Float[Tensor, "batch d_model"]] = {}
        self.layers = tuple(layers)

    def taps(self) -> dict[int, ResidualTap]:
        """One tap a layer; each returns None, so it only reads."""
        return {layer: self._tap(layer) for layer in self.layers}

    def _tap(self, layer: int) -> ResidualTap:
        def tap(residual: Float[Tensor, "batch position d_model"]) -> None:
            places = self._places.to(residual.device)
            rows = torch.arange(len(places), device=residual.device).unsqueeze(1)
            chosen = residual[rows, places].float()
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
        self._active: Bool[Tensor, " batch"] | None = None
        self._counts: Int[Tensor, " batch"] | None = None
        self._prompt_seen = False
        self.layers = tuple(layers)

    def watch(self, ids: Int[Tensor, "batch position"]) -> None:
        """Take note of the tokens about to be fed (see `Backend.before_forward`)."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        fed = ids[:, -1]
        if self._active is None or self._counts is None:
            self._active = torch.ones_like(fed, dtype=torch.bool)
            self._counts = torch.zeros_like(fed)
        self._active = self._active & ~torch.isin(fed, self._end_ids.to(fed.device))
        self._counts = self._counts + self._active

    def taps(self) -> dict[int, ResidualTap]:
        """One tap a layer; each returns None, so it only reads."""
        return {layer: self._tap(layer) for layer in self.layers}

    def _tap(self, layer: int) -> ResidualTap:
        def tap(residual: Float[Tensor, "batch position d_model"]) -> None:
            if self._active is None:  # the prompt
                return
            active = self._active.to(residual.device).unsqueeze(-1)
            step = residual[:, -1].float().masked_fill(~active, 0.0)
            self._sums[layer] = self._sums[layer] + step if layer in self._sums else step

        return tap

    def result(self, batch: int, d_model: int) -> Float[Tensor, "batch layer d_model"]:
        """The means, on the CPU; rows with an empty reply are NaN."""
        if self._counts is None:
            return torch.full((batch, len(self.layers), d_model), torch.nan)
        sums = torch.stack([self._sums[layer].cpu() for layer in self.layers], dim=1)
        return sums / self._counts.cpu().view(-1, 1, 1)


def right_padded(
    rows: Sequence[Ids], pad_id: int, device: torch.device | str
) -> tuple[Int[Tensor, "batch position"], Bool[Tensor, "batch position"]]:
    """Ids and mask with the pads behind, for reading.

    Examples:
        >>> right_padded([[1, 2], [3]], pad_id=0, device="cpu")[0].tolist()
        [[1, 2], [3, 0]]
    """
    return _padded(rows, pad_id, device, left=False)


def left_padded(
    rows: Sequence[Ids], pad_id: int, device: torch.device | str
) -> tuple[Int[Tensor, "batch position"], Bool[Tensor, "batch position"]]:
    """Ids and mask with the pads in front, for generating.

    Examples:
        >>> left_padded([[1, 2], [3]], pad_id=0, device="cpu")[0].tolist()
        [[1, 2], [0, 3]]
    """
    return _padded(rows, pad_id, device, left=True)


def _padded(
    rows: Sequence[Ids], pad_id: int, device: torch.device | str, *, left: bool
) -> tuple[Tensor, Tensor]:
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for index, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[index, place] = torch.as_tensor(row, dtype=torch.long)
        mask[index, place] = True
    return ids.to(device), mask.to(device)


def token_budget_batches(
    lengths: Sequence[int],
    *,
    budget: int | None = None,
    max_rows: int,
) -> list[list[int]]:
    """Indices of rows, longest first, in batches of at most `max_rows` rows and `budget` tokens, pads included.

    The longest batch comes first, so that a budget too large for the machine fails at once and not after hours.

    Examples:
        >>> token_budget_batches([3, 9, 2, 8], budget=20, max_rows=8)
        [[1, 3], [0, 2]]
    """
    if max_rows < 1:
        raise ModelError("a batch needs rows", expected="at least 1", given=max_rows)
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        longest = max(1, lengths[order[start]])
        rows = max_rows if budget is None else max(1, min(max_rows, budget // longest))
        batches.append(order[start : start + rows])
        start += rows
    return batches


def default_token_budget(device: torch.device) -> int:
    """Tokens of a reading batch: small on a CPU, whose caches they should fit, large where launches cost more.

    Examples:
        >>> default_token_budget(torch.device("cpu"))
        2048
    """
    return 2048 if device.type == "cpu" else 16384


def read_means(
    backend: Backend,
    rows: Sequence[Ids],
    positions: Sequence[Bool[np.ndarray, " token"]],
    *,
    layers: Sequence[int],
    pad_id: int,
    device: torch.device | str,
    token_budget: int,
    around: Around | None = None,
) -> Float[Tensor, "row layer d_model"]:
    """Mean residual of each row over its chosen positions, in batches under a token budget.

    Args:
        around: What to run each batch in, such as interventions.
    """
    means = torch.empty(len(rows), len(layers), backend.d_model)
    lengths = [len(row) for row in rows]
    for batch in token_budget_batches(lengths, budget=token_budget, max_rows=MAX_ROWS):
        ids, mask = right_padded([rows[index] for index in batch], pad_id, device)
        chosen = torch.zeros_like(mask)
        for place, index in enumerate(batch):
            chosen[place, : len(rows[index])] = torch.as_tensor(
                positions[index], device=mask.device
            )
        pool = ReadMeans(chosen, layers)
        with nullcontext() if around is None else around(batch, ids), backend.taps(pool.taps()):
            backend.encode(ids, mask)
        means[batch] = pool.result()
    return means
