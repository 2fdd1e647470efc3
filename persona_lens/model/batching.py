"""Texts in padded batches: pads behind for reading, in front for generating, as many tokens as suit the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from persona_lens.errors import ModelError
from persona_lens.model.backends import Backend

Ids = Sequence[int] | Int[np.ndarray, " token"]
"""Token ids of one text."""

MAX_ROWS = 512
"""Rows of a reading batch, however short they are."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Texts that run together.

    Attributes:
        rows: Which of the call's texts they are.
        ids: The texts, pads behind.
        mask: False on pads.
    """

    rows: list[int]
    ids: Int[Tensor, "batch position"]
    mask: Bool[Tensor, "batch position"]

    def chosen(
        self, positions: Sequence[Bool[np.ndarray, " token"]]
    ) -> Bool[Tensor, "batch position"]:
        """The masks of these texts, out of one for each text of the call; False from the end of each mask on."""
        chosen = torch.zeros_like(self.mask)
        for line, row in enumerate(self.rows):
            own = torch.as_tensor(positions[row], device=chosen.device)
            chosen[line, : len(own)] = own
        return chosen


@dataclass(frozen=True, eq=False)
class Batches:
    """How texts are cut into batches, and what runs them.

    Attributes:
        backend: Runs them.
        pad_id: What pads are filled with.
        device: Where inputs go.
        token_budget: Tokens of a batch, pads included.
    """

    backend: Backend
    pad_id: int
    device: torch.device
    token_budget: int

    def of(self, texts: Sequence[Ids]) -> Iterator[Batch]:
        """The texts in batches, the longest first."""
        lengths = [len(ids) for ids in texts]
        for rows in token_budget_batches(lengths, budget=self.token_budget, max_rows=MAX_ROWS):
            yield Batch(rows, *right_padded([texts[row] for row in rows], self.pad_id, self.device))


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
    for line, row in enumerate(rows):
        taken = slice(width - len(row), width) if left else slice(0, len(row))
        ids[line, taken] = torch.as_tensor(row, dtype=torch.long)
        mask[line, taken] = True
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
