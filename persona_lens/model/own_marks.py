"""What a user may have put on a module: torch hooks, another `forward`, a compiled one. Found, and told apart.

Hooks and replaced forwards belong to the one module they were put on; a copy would run without them. So a module
that carries any is run as it is. Compiled code is the other way round: it is the same computation, in which hooks
of ours would not be seen, so a copy runs the plain code that was compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_RECORDERS = "transformers."
_OF_LIBRARIES = (_RECORDERS, "accelerate.", "peft.", "transformer_lens.", "persona_lens.")


def hooked_parts(module: nn.Module) -> list[str]:
    """Names of the parts that carry torch hooks of the user's, "" for the module itself.

    Hooks of libraries do not count: those of transformers record outputs and change nothing, those a user adds
    through TransformerLens are listed there (`bridge.list_hooks()`), and ours are there while another thread runs.
    """
    return [name for name, part in module.named_modules() if any(own_hooks(part))]


def own_hooks(part: nn.Module, kinds: Sequence[str] = _HOOKS) -> Iterator[Callable[..., Any]]:
    """The user's forward, pre-forward and backward hooks on one module, or those of some kinds."""
    for kind in kinds:
        yield from (
            hook for hook in getattr(part, kind).values() if not _comes_from(hook, _OF_LIBRARIES)
        )


def remove_hooks(module: nn.Module) -> None:
    """Take all hooks off a copy, in place, but those with which transformers records outputs."""
    for part in module.modules():
        for kind in _HOOKS:
            hooks = getattr(part, kind)
            for key in [key for key, hook in hooks.items() if not _comes_from(hook, _RECORDERS)]:
                del hooks[key]


def any_global_hooks() -> bool:
    """Whether there are hooks on all modules of this process (`register_module_forward_hook` and its like)."""
    return any(getattr(torch_module, f"_global{kind}", None) for kind in _HOOKS)


def replaced_forwards(module: nn.Module) -> dict[str, Callable[..., Any]]:
    """The `forward` of each part that has one of its own instead of its class's, by the name of the part.

    One that is only compiled counts as its class's, and so does what accelerate puts there to move weights.
    """
    found = {}
    for name, part in module.named_modules():
        own = part.__dict__.get("forward")
        if own is None or is_compiled_module(part) or _is_moved_by_accelerate(part):
            continue
        plain = behind_compile(own)
        if not (_is_forward_of_class(plain, part) and plain.__self__ is part):
            found[name] = plain
    return found


def compiled_parts(module: nn.Module) -> list[str]:
    """Names of the parts that torch.compile has wrapped, in whichever way."""
    return [
        name
        for name, part in module.named_modules()
        if is_compiled_module(part)
        or part._compiled_call_impl is not None
        or _is_compiled(part.__dict__.get("forward"))
    ]


def is_compiled_module(part: Any) -> bool:
    """Whether `part` is what `torch.compile(module)` returns."""
    return type(part).__name__ == "OptimizedModule" and hasattr(part, "_orig_mod")


def behind_compile(forward: Any) -> Any:
    """The function that was compiled, or `forward` itself."""
    while _is_compiled(forward):
        forward = forward._torchdynamo_orig_callable
    return forward


def drop_compiled_forwards(module: nn.Module) -> None:
    """Give each part of a copy the plain `forward` back that was compiled, in place."""
    for part in module.modules():
        own = part.__dict__.get("forward")
        if not _is_compiled(own):
            continue
        plain = behind_compile(own)
        del part.__dict__["forward"]
        if isinstance(plain, MethodType) and not _is_forward_of_class(plain, part):
            part.__dict__["forward"] = MethodType(plain.__func__, part)


def is_placed_by_accelerate(module: nn.Module) -> bool:
    """Whether accelerate moves the weights of some part as it runs, with or without a device map."""
    return any(_is_moved_by_accelerate(part) for part in module.modules())


def moved_weights(module: nn.Module) -> dict[str, Any]:
    """Weights that accelerate keeps elsewhere and brings as they are needed, by their name in the `state_dict`."""
    found = {}
    for name, part in module.named_modules():
        outer = getattr(part, "_hf_hook", None)
        for hook in getattr(outer, "hooks", (outer,)):
            kept = getattr(hook, "weights_map", None) or {}
            for own, tensor in part.named_parameters(recurse=False):
                if tensor.device.type == "meta" and own in kept:
                    found[f"{name}.{own}" if name else own] = kept[own]
    return found


def execution_device(embedding: nn.Module, weight: Tensor) -> torch.device:
    """Where a token embedding takes its ids: where it is, or where accelerate brings it."""
    if weight.device.type == "meta":
        outer = getattr(embedding, "_hf_hook", None)
        for hook in getattr(outer, "hooks", (outer,)):
            place = getattr(hook, "execution_device", None)
            if place is not None:
                return torch.device(place)
    return weight.device


def _is_compiled(forward: Any) -> bool:
    return hasattr(forward, "_torchdynamo_orig_callable")


def _is_moved_by_accelerate(part: nn.Module) -> bool:
    return type(getattr(part, "_hf_hook", None)).__module__.startswith("accelerate.")


def _comes_from(hook: Callable[..., Any], library: str | tuple[str, ...]) -> bool:
    return str(getattr(hook, "__module__", "")).startswith(library)


def _is_forward_of_class(forward: Any, part: nn.Module) -> bool:
    return isinstance(forward, MethodType) and forward.__func__ is type(part).forward
