"""Numbers that are none: told when they are met, with the first layer, instead of passing for empty replies.

float16 ends at 65,504, and residual streams go beyond, by themselves or under a push. From there on everything is
infinite or no number: replies are empty or one token over and over, means and projections are NaN.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from persona_lens.errors import NotFiniteWarning
from persona_lens.model.backends import Backend, ResidualTap


class FiniteWatch:
    """Remembers whether the last token of every pass left the last block as numbers.

    Args:
        n_layers: Blocks of the model.
    """

    def __init__(self, n_layers: int) -> None:
        self._last = n_layers - 1
        self._sums: list[Float[Tensor, ""]] = []

    def taps(self) -> dict[int, ResidualTap]:
        """One tap, which only reads; nothing is copied to the host before it is asked for."""

        def tap(residual: Float[Tensor, "batch position d_model"]) -> None:
            # A sum is finite only if all of it is: products with zero keep it from overflowing by itself.
            self._sums.append((residual[:, -1] * 0.0).sum())

        return {self._last: tap}

    @property
    def broken(self) -> bool:
        """Whether something was infinite or no number."""
        return bool(self._sums) and not bool(torch.stack(self._sums).isfinite().all())


@torch.no_grad()
def first_broken_layer(
    backend: Backend, ids: Iterable[int], device: torch.device | str
) -> int | None:
    """The first block after which some token of a text is no number; None if all of it is sound."""
    sound: dict[int, bool] = {}

    def tap_at(layer: int) -> ResidualTap:
        def tap(residual: Float[Tensor, "batch position d_model"]) -> None:
            sound[layer] = bool(residual.isfinite().all())

        return tap

    tokens = torch.tensor([[int(token) for token in ids]], device=device)
    with backend.taps({layer: tap_at(layer) for layer in range(backend.n_layers)}):
        backend.encode(tokens, torch.ones_like(tokens, dtype=torch.bool))
    return next((layer for layer in sorted(sound) if not sound[layer]), None)


def warn_of_broken_layers(
    values: Float[np.ndarray, "text layer *any"],
    counted: Bool[np.ndarray, " text"],
    layers: Sequence[int],
    dtype: torch.dtype,
    *,
    what: str,
) -> None:
    """Warn where values of texts that have some are not finite.

    Args:
        values: What was read.
        counted: Which texts had a token to read; NaN of the others says that they had none.
        layers: The blocks read.
        dtype: Of the weights.
        what: The values, for people.
    """
    sound = np.isfinite(values.reshape(*values.shape[:2], -1)).all(axis=-1)
    broken = ~sound & counted[:, None]
    if not broken.any():
        return
    texts = int(broken.any(axis=1).sum())
    first = min(layers[int(place)] for place in np.flatnonzero(broken.any(axis=0)))
    warn_not_finite(f"{what} of {texts:,} of {int(counted.sum()):,} texts", first, dtype)


def warn_not_finite(what: str, layer: int | None, dtype: torch.dtype) -> None:
    """Say that numbers are none, from which layer on, and what helps."""
    where = "" if layer is None else f" at layer {layer} on"
    name = str(dtype).removeprefix("torch.")
    remedy = 'load it with dtype="bfloat16" or "float32", or ' if dtype == torch.float16 else ""
    warnings.warn(
        f"{what}: not finite (infinite or no number){where}, in {name}; {remedy}push less, if anything is pushed",
        NotFiniteWarning,
        stacklevel=5,
    )
