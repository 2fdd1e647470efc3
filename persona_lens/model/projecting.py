"""Projections of single tokens on a few directions, taken inside the hooks: of a token, only those numbers are
kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from persona_lens.model.backends import Backend, ResidualTap
from persona_lens.model.intervening import Around
from persona_lens.model.pooling import MAX_ROWS, Ids, right_padded, token_budget_batches


@dataclass(frozen=True, eq=False)
class TokenProjections:
    """The chosen tokens of one text.

    Attributes:
        values: Dot products with unit directions, in units of the residual stream.
        norms: Norms of the residual vectors.
    """

    values: Float[np.ndarray, "token layer direction"]
    norms: Float[np.ndarray, "token layer"]


def read_projections(
    backend: Backend,
    rows: Sequence[Ids],
    positions: Sequence[Bool[np.ndarray, " token"]],
    units: Float[np.ndarray, "layer direction d_model"],
    *,
    layers: Sequence[int],
    pad_id: int,
    device: torch.device,
    token_budget: int,
    around: Around | None = None,
) -> list[TokenProjections]:
    """Project the chosen positions of each row on the directions of each layer, in float32.

    Args:
        rows: Token ids.
        positions: Which count, a mask a row.
        units: Unit vectors, for each of `layers`.
        around: What to run each batch in, such as interventions.
    """
    found: dict[int, TokenProjections] = {}
    lengths = [len(row) for row in rows]
    for batch in token_budget_batches(lengths, budget=token_budget, max_rows=MAX_ROWS):
        ids, mask = right_padded([rows[index] for index in batch], pad_id, device)
        chosen = torch.zeros_like(mask)
        for place, index in enumerate(batch):
            chosen[place, : lengths[index]] = torch.as_tensor(positions[index], device=device)
        read: dict[int, tuple[Tensor, Tensor]] = {}

        def tap(layer: int, chosen: Tensor = chosen, read: dict = read) -> ResidualTap:
            unit = torch.from_numpy(units[layers.index(layer)]).float()

            def look(residual: Float[Tensor, "batch position d_model"]) -> None:
                tokens = residual[chosen.to(residual.device)].float()
                values = tokens @ unit.to(residual.device).T
                read[layer] = values.cpu(), tokens.norm(dim=-1).cpu()

            return look

        taps = {layer: tap(layer) for layer in layers}
        with nullcontext() if around is None else around(batch, ids), backend.taps(taps):
            backend.encode(ids, mask)
        values = torch.stack([read[layer][0] for layer in layers], dim=1).numpy()
        norms = torch.stack([read[layer][1] for layer in layers], dim=1).numpy()
        ends = np.cumsum(chosen.sum(dim=1).cpu().numpy())[:-1]
        parts = zip(np.split(values, ends), np.split(norms, ends), strict=True)
        found.update(
            zip(batch, (TokenProjections(value, norm) for value, norm in parts), strict=True)
        )
    return [found[index] for index in range(len(rows))]
