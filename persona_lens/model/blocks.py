"""The blocks of a decoder: finding them, what they hand on, and models whose blocks cannot be read or steered.

Layer *i* is read and steered where block *i* hands on the residual stream. That takes blocks that run once for
each token, hand on one stream `[batch, position, d_model]`, and depend on nothing that comes later. What does not
is refused with its reason when the model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from persona_lens.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from persona_lens.model.backends import Backend

ResidualTap = Callable[[Float[Tensor, "batch position d_model"]], Tensor | None]
"""Reads the residual stream (returns None) or replaces it (returns a new tensor, never an edited one)."""

_STREAMS = ("altup_num_inputs", "hc_mult")
"""Names configs have for how many streams a block hands on (AltUp, hyper-connections)."""


def find_decoder(module: PreTrainedModel, n_layers: int) -> nn.Module:
    """The part of a causal language model that holds the blocks and knows no output embedding.

    Usually `get_decoder()`, which in some models is the whole model or the output embedding.

    Raises:
        ModelError: No part has blocks.
    """
    parts = (module.get_decoder(), module.base_model, *module.children(), module)
    found = [part for part in parts if _lists(part, n_layers)]
    if not found:
        others = sorted({len(held) for held in module.modules() if isinstance(held, nn.ModuleList)})
        raise ModelError(
            "cannot find the decoder blocks",
            expected=f"one list of {n_layers} blocks inside {type(module).__name__}",
            given=f"lists of {', '.join(map(str, others))}" if others else "no list at all",
            remedy="pass a decoder-only causal language model, each of whose blocks runs once for a token",
        )
    return next((part for part in found if part is not module), module)


def find_blocks(decoder: nn.Module, n_layers: int) -> nn.ModuleList:
    """The decoder's list of blocks: as long as the config says, and of transformers' layers where it has those."""
    lists = _lists(decoder, n_layers)
    # Decoders may keep other lists of that length: rotary embeddings, gates, norms.
    layers = [
        held for held in lists if all(isinstance(one, GradientCheckpointingLayer) for one in held)
    ]
    return (layers or lists)[0]


def _lists(decoder: nn.Module, n_layers: int) -> list[nn.ModuleList]:
    return [
        held
        for held in decoder.modules()
        if isinstance(held, nn.ModuleList) and len(held) == n_layers
    ]


def as_forward_hook(tap: ResidualTap) -> Callable[..., Any]:
    """A forward hook of a block that shows `tap` the residual stream, wherever the block's output has it."""

    def hook(_module: nn.Module, _args: tuple, output: Any) -> Any:
        if isinstance(output, Tensor):
            return tap(output)
        place = next(iter(output)) if isinstance(output, Mapping) else 0
        changed = tap(output[place])
        return None if changed is None else _replaced(output, place, changed)

    return hook


def _replaced(output: Any, place: Any, changed: Tensor) -> Any:
    if isinstance(output, MutableMapping):
        twin = type(output)(**output)
        twin[place] = changed
        return twin
    others = list(output)
    others[place] = changed
    return others if isinstance(output, list) else tuple(others)


def refuse_declared_streams(module: nn.Module) -> None:
    """Refuse models whose config says that a block hands on several streams.

    Raises:
        ModelError: With the number of streams.
    """
    declared: Any = getattr(
        module, "config", None
    )  # a HookedTransformer has none, nor several streams
    config = declared and declared.get_text_config()
    for name in _STREAMS:
        streams = getattr(config, name, None)
        if isinstance(streams, int) and streams > 1:
            raise _several_streams(f"{streams} of them ({name} of {type(config).__name__})")


@torch.no_grad()
def refuse_unreadable_blocks(
    backend: Backend, ids: Sequence[int], device: torch.device, tolerance: float
) -> None:
    """Run a few tokens, and again without the last, to see that blocks can be read and steered.

    Args:
        backend: Runs the model.
        ids: A short text.
        device: Where inputs go.
        tolerance: Root mean square difference that rounding may make, as a fraction of the residuals.

    Raises:
        ModelError: A block runs more or less than once, hands on something else than one residual stream, or a
            token depends on later ones, or it does not run on token ids alone.
    """
    last = backend.n_layers - 1
    if len(ids) < 2:
        return
    try:
        whole, short = (_residuals(backend, part, device) for part in (ids, ids[:-1]))
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"{type(backend.module).__name__} does not run on a few token ids",
            expected="a decoder-only causal language model, and a tokenizer that belongs to it",
            given=(str(error) or type(error).__name__).splitlines()[0],
        ) from error
    for layer in range(backend.n_layers):
        if len(whole[layer]) != 1:
            raise ModelError(
                f"block {layer} runs {len(whole[layer])} times for each token, so that there is no one residual "
                "stream behind it",
                expected="blocks that run once",
                remedy="use a model without recurrent depth",
            )
        shape = tuple(whole[layer][0].shape)
        if shape != (1, len(ids), backend.d_model):
            raise _several_streams(
                f"{list(shape)} behind block {layer} for {len(ids)} tokens of width {backend.d_model}"
            )
    one, other = (found[last][0][:, : len(ids) - 1].float() for found in (whole, short))
    gap = float((one - other).norm() / other.norm())
    if gap > tolerance:  # NaN is not: overflow is told where it is met
        raise ModelError(
            "a token's residual depends on the tokens behind it",
            expected="a causal decoder, read from left to right",
            given=f"residuals that differ by {gap:.2g} of their norm when the last token is left out",
            remedy="pass a causal language model (an encoder may become one with is_decoder=True in its config)",
        )


def _several_streams(given: str) -> ModelError:
    return ModelError(
        "the blocks of this model hand on several streams, not one residual stream",
        expected="[batch, position, d_model] behind each block",
        given=given,
        remedy="use a model with one residual stream",
    )


def _residuals(
    backend: Backend, ids: Sequence[int], device: torch.device
) -> dict[int, list[Tensor]]:
    found: dict[int, list[Tensor]] = {layer: [] for layer in range(backend.n_layers)}
    taps = {layer: _noting(noted) for layer, noted in found.items()}
    tokens = torch.tensor([list(ids)], device=device)
    with backend.taps(taps):
        backend.encode(tokens, torch.ones_like(tokens, dtype=torch.bool))
    return found


def _noting(noted: list[Tensor]) -> ResidualTap:
    def tap(residual: Tensor) -> None:
        noted.append(residual.detach())

    return tap
