"""Logits of given states, made by the model's own `forward`: nothing of what it does to them is written here anew.

Models scale their logits before or after the output embedding, cap them, or add to them, each in its own words. So
the way from states to logits is the module itself, in a shallow copy in which the decoder is a stand-in that hands
out the states it is given:

    head = OwnHead(module, module.get_decoder())
    head(states)  # what module(...) would make of them

The weights and all other parts are those of the module, which is not changed.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.utils.generic import ModelOutput

from persona_lens.errors import ModelError


@dataclass
class _States(ModelOutput):
    """What the stand-in returns: states, and None for whatever else a decoder may hand out."""

    last_hidden_state: Tensor | None = None

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class OwnHead:
    """From the decoder's states to logits, as the module's `forward` goes.

    Args:
        module: A causal language model.
        decoder: The part of it that makes the states, at any depth.

    Raises:
        ModelError: The decoder is no part of the module, so there is nothing behind it to run.
    """

    def __init__(self, module: nn.Module, decoder: nn.Module) -> None:
        self._stand_in = _shallow(decoder)
        self._stand_in._forward_hooks = OrderedDict()  # the states have been through these
        self._root = _with_part(module, _path(module, decoder), self._stand_in)

    def __call__(self, states: Float[Tensor, "*any d_model"]) -> Float[Tensor, "*any vocab"]:
        """float32 logits, on the device of the output embedding."""
        flat = states.reshape(1, -1, states.shape[-1])
        self._stand_in.forward = lambda *_args, **_options: _States(last_hidden_state=flat)
        try:
            ids = torch.zeros(flat.shape[:2], dtype=torch.long, device=flat.device)
            output = self._root(input_ids=ids, use_cache=False)
        finally:
            del self._stand_in.forward
        return logits_of(output).float().reshape(*states.shape[:-1], -1)


def logits_of(output: Any) -> Float[Tensor, "batch position vocab"]:
    """The logits in what a causal language model returns."""
    return output[0] if isinstance(output, tuple) else output.logits


def _path(module: nn.Module, decoder: nn.Module) -> list[str]:
    for name, part in module.named_modules():
        if part is decoder and name:
            return name.split(".")
    raise ModelError(
        f"cannot make the logits of {type(module).__name__} from its states",
        expected="a decoder inside it, and an output embedding behind that",
        given=f"get_decoder() is a {type(decoder).__name__} that is not a part of it",
    )


def _with_part(module: nn.Module, path: list[str], part: nn.Module) -> nn.Module:
    """A shallow copy of `module` with another part at `path`; only the parts on the way are copied."""
    if not path:
        return part
    twin = _shallow(module)
    first, *rest = path
    twin._modules[first] = _with_part(module.get_submodule(first), rest, part)
    return twin


def _shallow(module: nn.Module) -> Any:
    """The same parts and tensors in a module of its own, which runs its class's `forward`.

    A `forward` bound to the one module, such as accelerate's, would run the whole model. Hooks on what comes out
    stay, for they may change it; those on what goes in have had the real thing.
    """
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    twin._forward_pre_hooks = OrderedDict()
    for name in ("forward", "_old_forward", "_compiled_call_impl"):
        twin.__dict__.pop(name, None)
    return twin
