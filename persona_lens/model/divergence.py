"""How far an intervention moves what a model predicts: KL divergence of next-token distributions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from persona_lens.model.backends import Backend
from persona_lens.model.batching import Batches, Ids
from persona_lens.model.intervening import Around
from persona_lens.model.scoring import UNEMBEDDED_AT_A_TIME


@torch.no_grad()
def divergences(
    batches: Batches,
    rows: Sequence[Ids],
    positions: Sequence[Bool[np.ndarray, " token"]],
    *,
    without: Around,
    acting: Around,
) -> list[Float[np.ndarray, " token"]]:
    """KL(without || acting) in nats, of the distribution each chosen token was predicted from.

    Args:
        batches: Run the rows.
        rows: Token ids.
        positions: Which tokens count, a mask a row; the first token of a row is predicted from nothing and left
            out.
        without, acting: What each batch runs in, for the two sides of the comparison.
    """
    found: dict[int, Float[np.ndarray, " token"]] = {}
    predicting = [np.asarray(mask)[1:].copy() for mask in positions]
    for batch in batches.of(rows):
        before = batch.chosen(predicting)
        states = []
        for around in (without, acting):
            with around(batch.rows, batch.ids):
                states.append(batches.backend.advance(batch.ids, batch.mask)[0][before])
        values = _kl(batches.backend, *states).cpu().numpy()
        counts = before.sum(dim=1).tolist()
        found.update(zip(batch.rows, np.split(values, np.cumsum(counts)[:-1]), strict=True))
    return [found[row] for row in range(len(rows))]


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
