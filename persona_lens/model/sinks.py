"""Attention sinks: the few tokens, mostly the first, whose residual norm dwarfs all others.

In SmolLM2 the first token has more than a hundred times the median norm. A mean or a projection that includes
it is about the sink and not about the text, so sinks are left out of every mean unless asked for.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from persona_lens.model.backends import Backend, ResidualTap

SINK_RATIO = 10.0
"""A token is a sink if its norm exceeds this many times the median norm of its text at some layer."""


def sink_positions(
    backend: Backend, ids: list[int], device: torch.device, ratio: float = SINK_RATIO
) -> dict[int, float]:
    """Positions in `ids` whose residual norm exceeds `ratio` times the median, with their largest ratio.

    Args:
        ids: A text of some dozen tokens or more; shorter texts have no meaningful median.
        ratio: Threshold, in multiples of the median norm over the text at the same layer.
    """
    norms: list[Float[Tensor, " position"]] = []

    def tap(residual: Float[Tensor, "batch position d_model"]) -> None:
        norms.append(residual[0].float().norm(dim=-1).cpu())

    taps: dict[int, ResidualTap] = dict.fromkeys(range(backend.n_layers), tap)
    tokens = torch.tensor([ids], device=device)
    with backend.taps(taps):
        backend.encode(tokens, torch.ones_like(tokens, dtype=torch.bool))
    stacked = torch.stack(norms)
    excess = (stacked / stacked.median(dim=-1, keepdim=True).values).amax(dim=0)
    return {
        position: float(excess[position]) for position in (excess > ratio).nonzero()[:, 0].tolist()
    }
