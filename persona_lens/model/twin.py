"""Copies of a model that share its weights.

TransformerLens wraps a Hugging Face module *in place*: its layers become bridge components, attention is
re-done eagerly, and reading takes about 1.5 times as long (`benchmarks/README.md`). A copy whose parameters and
buffers are the same tensors costs a fraction of a second and a few MiB, so the plain module and the bridge
can live side by side on one set of weights.
"""

from __future__ import annotations

import copy
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from persona_lens.errors import ModelError
from persona_lens.model.own_marks import (
    drop_compiled_forwards,
    is_compiled_module,
    remove_hooks,
)

if TYPE_CHECKING:
    from torch import nn
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel


def shared_copy(module: nn.Module) -> nn.Module:
    """A structural copy of `module` whose parameters and buffers are the same tensors.

    It runs the plain code of what is compiled, and has no hooks.

    Raises:
        ModelError: The module (RWKV) is going to rescale its weights in place when it first runs, under the copy.

    Examples:
        >>> import torch
        >>> linear = torch.nn.Linear(2, 2)
        >>> twin = shared_copy(linear)
        >>> twin is linear, twin.weight is linear.weight
        (False, True)
    """
    if _will_rescale(module):
        raise ModelError(
            f"{type(module).__name__} rescales its weights in place in its first forward pass",
            expected="weights that stay as they are",
            remedy="run it once on any text before you pass it, or set config.rescale_every = 0",
        )
    shared: dict[int, Any] = {
        id(tensor): tensor for tensor in chain(module.parameters(), module.buffers())
    }
    for part in reversed(list(module.modules())):  # what holds others comes after them
        if is_compiled_module(part):
            shared[id(part)] = copy.deepcopy(part._orig_mod, shared)
    twin = copy.deepcopy(module, shared)
    drop_compiled_forwards(twin)
    remove_hooks(twin)  # they belong to the original: on the copy, nobody could take them off again
    return twin


def keep_scale(module: nn.Module) -> None:
    """Have RWKV, before it first runs, leave its weights as they are instead of halving some of them in place."""
    if _will_rescale(module):
        cast("Any", module).config.rescale_every = 0


def _will_rescale(module: nn.Module) -> bool:
    config = getattr(module, "config", None)
    every = getattr(config, "rescale_every", 0)
    done = any(getattr(part, "layers_are_rescaled", False) for part in module.modules())
    return 0 < every < getattr(config, "num_hidden_layers", 0) and not done


def native_twin(bridge: TransformerBridge, attention: str | None = "sdpa") -> PreTrainedModel:
    """The plain Hugging Face module inside `bridge`, unwrapped, on the same weights.

    Args:
        bridge: A bridge with raw weights and no hooks of the user's.
        attention: Attention implementation for the twin (bridges force eager); models that refuse it stay eager.

    Later hooks, `.to()` calls or weight edits on the bridge do not follow to the twin.
    """
    twin = cast("PreTrainedModel", shared_copy(bridge.original_model))
    _strip_bridge_components(twin)
    if attention is not None:
        try:
            twin.set_attn_implementation(attention)
        except ValueError:  # e.g. Gemma 2, whose logit soft-capping sdpa cannot express
            twin.set_attn_implementation("eager")
    return twin.eval()


def _strip_bridge_components(module: nn.Module) -> None:
    from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent  # noqa: PLC0415

    changed = True
    while changed:  # bridges may be nested: an unwrapped child can hold wrapped ones
        changed = False
        for parent in list(module.modules()):
            for name, child in list(parent._modules.items()):
                inner = child
                while (
                    isinstance(inner, GeneralizedComponent) and inner.original_component is not None
                ):
                    inner = inner.original_component
                if inner is not child:
                    parent._modules[name] = inner
                    changed = True
