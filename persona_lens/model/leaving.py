"""Batches whose rows leave as their replies end: a row that is over costs as much as one that goes on.

    tokens, there = generate_leaving(backend, ids, mask, followers, max_new_tokens=512, ...)

`generate` of transformers stops once a share of the rows is over, the keys and values of the others are cut out,
and it goes on with these. Whatever keeps something of each row follows (`Follower`): draws, means, plans.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import StoppingCriteria

from persona_lens.model.backends import Backend

IDLE = 1 / 8
"""Share of rows that are over, from which on they leave. Cutting costs about what adding a column does."""


class Follower(Protocol):
    """Keeps something of each row of a batch."""

    def keep(self, places: Int[Tensor, " kept"]) -> None:
        """Go on with some of the rows that were there, in this order."""
        ...


def generate_leaving(
    backend: Backend,
    ids: Int[Tensor, "batch position"],
    mask: Bool[Tensor, "batch position"],
    followers: Sequence[Follower],
    *,
    max_new_tokens: int,
    eos_token_id: Sequence[int],
    pad_token_id: int,
    **options: Any,
) -> tuple[Int[Tensor, "batch longer"], Int[Tensor, " there"]]:
    """Continue left-padded ids as `Backend.generate` does.

    Args:
        backend: Runs the rows; one that `Conduct.lets_rows_leave`.
        ids: Prompts, pads in front.
        mask: False on pads.
        followers: What has to be told which rows go on.
        max_new_tokens: Most tokens a reply gets.
        eos_token_id: Tokens that end a row.
        pad_token_id: What rows that have ended are filled with.
        **options: Others of transformers' `generate`.

    Returns:
        Prompts and replies, and the rows that were there to the end.
    """
    width, longest = ids.shape[1], ids.shape[1] + max_new_tokens
    ends = torch.tensor(list(eos_token_id), dtype=torch.long, device=ids.device)
    whole = ids.new_full((len(ids), longest), pad_token_id)
    whole[:, :width] = ids
    there = torch.arange(len(ids), device=ids.device)
    past: Any = None
    while True:
        start = ids.shape[1]
        ids, past = backend.generate_on(
            ids,
            mask,
            past,
            max_new_tokens=longest - start,
            eos_token_id=list(eos_token_id),
            pad_token_id=pad_token_id,
            stopping_criteria=[_ManyOver(ends, max(1, round(IDLE * len(ids))))],
            **options,
        )
        stop = ids.shape[1]
        whole[there, start:stop] = ids[:, start:]
        going = (~torch.isin(ids[:, start:], ends).any(dim=1)).nonzero()[:, 0]
        if stop == longest or not len(going):
            return whole[:, :stop], there
        new = torch.ones((len(going), stop - start), dtype=torch.bool, device=mask.device)
        ids, mask, there = ids[going], torch.cat([mask[going], new], dim=1), there[going]
        past = backend.select_rows(past, going)
        for follower in followers:
            follower.keep(going)


class _ManyOver(StoppingCriteria):
    """Stops all rows once so many of them are over; nothing is copied to the host."""

    def __init__(self, ends: Int[Tensor, " end"], many: int) -> None:
        self._ends = ends
        self._many = many
        self._over: Bool[Tensor, " row"] | None = None

    def __call__(
        self,
        input_ids: Int[Tensor, "row position"],
        scores: object,
        **_options: Any,
    ) -> Any:
        """True for every row, or for none: `Bool[row]`."""
        over = torch.isin(input_ids[:, -1], self._ends)
        self._over = over if self._over is None else self._over | over
        return (self._over.sum() >= self._many).expand(len(over))
