"""Attention sinks: the few tokens, mostly the first, whose residual norm dwarfs all others.

In SmolLM2 the first token has more than a hundred times the median norm. A mean or a projection that includes
it is about the sink and not about the text, so sinks are left out of every mean unless asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from persona_lens.model.backends import Backend, ResidualTap

if TYPE_CHECKING:
    from persona_lens.transcripts import TranscriptEncoder

PROBES = (
    "The ferry leaves at nine and takes an hour to cross the bay. On most days the water is calm, "
    "and people read, drink coffee, or watch the gulls follow the boat to the other side.",
    "Cut two onions and let them soften in butter. Add rice, stir until it shines, pour in hot broth a ladle "
    "at a time, and keep stirring; after twenty minutes it should be creamy but not soft.",
    "Why do some bridges hum in strong wind? Air that streams past a cable sheds small whirls, first on one "
    "side and then on the other, and their rhythm can meet the pitch at which the cable likes to swing.",
)
"""Ordinary texts to measure on."""

_SYSTEM = "You write short and plain answers about everyday things."

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


def common_sinks(
    backend: Backend, encoder: TranscriptEncoder, device: torch.device
) -> dict[int, float]:
    """Positions that are sinks in every probe, with their least ratio."""
    # One probe has no system prompt: what is a sink only where the template puts it is no position.
    probes = [
        encoder.messages(text, system=_SYSTEM if number else "")
        for number, text in enumerate(PROBES)
    ]
    found = [
        sink_positions(backend, encoder.encode(probe).ids[: backend.context].tolist(), device)
        for probe in probes
    ]
    everywhere = set.intersection(*(set(positions) for positions in found))
    return {
        position: min(positions[position] for positions in found) for position in sorted(everywhere)
    }
