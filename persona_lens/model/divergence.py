"""How far an intervention moves what a model predicts: KL divergence of next-token distributions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from persona_lens.model.backends import Backend
from persona_lens.model.intervening import Around
from persona_lens.model.pooling import MAX_ROWS, Ids, right_padded, token_budget_batches
from persona_lens.model.scoring import UNEMBEDDED_AT_A_TIME


@torch.no_grad()
def divergences(
    backend: Backend,
    rows: Sequence[Ids],
    positions: Sequence[Bool[np.ndarray, " token"]],
    *,
    without: Around | None,
    acting: Around | None,
    pad_id: int,
    device: torch.device,
    token_budget: int,
) -> list[Float[np.ndarray, " token"]]:
    """KL(without || acting) in nats, of the distribution each chosen token was predicted from.

    Args:
        rows: Token ids.
        positions: Which tokens count, a mask a row; the first token of a row is predicted from nothing and left
            out.
        without, acting: What each batch runs in, for the two sides of the comparison.
    """
    found: dict[int, Float[np.ndarray, " token"]] = {}
    lengths = [len(row) for row in rows]
    for batch in token_budget_batches(lengths, budget=token_budget, max_rows=MAX_ROWS):
        ids, mask = right_padded([rows[index] for index in batch], pad_id, device)
        before = torch.zeros_like(mask)
        for place, index in enumerate(batch):
            chosen = torch.as_tensor(np.asarray(positions[index])[1:].copy(), device=device)
            before[place, : len(chosen)] = chosen
        states = []
        for around in (without, acting):
            with nullcontext() if around is None else around(batch, ids):
                states.append(backend.advance(ids, mask)[0][before])
        values = _kl(backend, *states).cpu().numpy()
        counts = before.sum(dim=1).tolist()
        found.update(zip(batch, np.split(values, np.cumsum(counts)[:-1]), strict=True))
    return [found[index] for index in range(len(rows))]


def _kl(
    backend: Backend,
    without: Float[Tensor, "token d_model"],
    acting: Float[Tensor, "token d_model"],
) -> Float[Tensor, " token"]:
    parts = [without.new_zeros(0, dtype=torch.float32)]
    for start in range(0, len(without), UNEMBEDDED_AT_A_TIME):
        stop = start + UNEMBEDDED_AT_A_TIME
        reference = backend.unembed(without[start:stop]).log_softmax(dim=-1)
        moved = backend.unembed(acting[start:stop]).log_softmax(dim=-1)
        parts.append((reference.exp() * (reference - moved)).sum(dim=-1).to(without.device))
    return torch.cat(parts)
