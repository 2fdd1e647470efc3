"""A module of the user's: run as it is where it carries something of theirs, else a copy on the same weights.

The copy is what keeps "what you hold is not changed": eval mode, another attention, hooks of ours. But torch
hooks, a replaced `forward`, adapters that can be switched and weights that something moves belong to the one
module. Whether there are any is looked up each time, so hooks that are added or removed later count from then on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

from transformers import PreTrainedModel

from persona_lens.errors import ModelError
from persona_lens.model.adapters import has_adapters, is_peft_model, without_wrapper
from persona_lens.model.own_marks import (
    any_global_hooks,
    compiled_parts,
    hooked_parts,
    is_compiled_module,
    is_placed_by_accelerate,
    replaced_forwards,
)
from persona_lens.model.twin import shared_copy


@dataclass(frozen=True, eq=False)
class OwnModule:
    """A module that was loaded here. Nobody else has it, so it is run as it is, and may be wrapped in place."""

    module: PreTrainedModel
    stays: ClassVar[bool] = False
    marked: ClassVar[bool] = False
    hooked: ClassVar[bool] = False

    def running(self) -> PreTrainedModel:
        """What to run now."""
        return self.module


class HeldModule:
    """A module that somebody else may change, hook or switch at any time.

    Args:
        module: A causal language model of transformers.

    Raises:
        ModelError: It is to be run as it is, and that would give other replies than readings.
    """

    def __init__(self, module: PreTrainedModel) -> None:
        self.module = module
        self._copy: PreTrainedModel | None = None
        self.running()

    def running(self) -> PreTrainedModel:
        """What to run now.

        Raises:
            ModelError: The module itself would have to run, and cannot: in training mode, compiled, or with
                something on the whole of it that only `generate` would meet.
        """
        if not self.stays:
            if self._copy is None:
                self._copy = cast("PreTrainedModel", shared_copy(self.module).eval())
            return self._copy
        self._refuse_half_runs()
        return self.module

    @property
    def stays(self) -> bool:
        """Whether a copy would be something else than the module."""
        return self.marked or is_placed_or_quantised(self.module) or has_adapters(self.module)

    @property
    def marked(self) -> bool:
        """Whether it carries torch hooks, or a `forward` that is not its class's."""
        return self.hooked or bool(replaced_forwards(self.module))

    @property
    def hooked(self) -> bool:
        """Whether torch hooks of the user's fire when it runs, those on all modules included."""
        return any_global_hooks() or bool(hooked_parts(self.module))

    def _refuse_half_runs(self) -> None:
        if self.module.training:
            raise ModelError(
                "the module you hold is in training mode, and one with hooks, adapters, a forward of its own, a "
                "device map or quantised weights is used as it is",
                remedy="call module.eval() first",
            )
        compiled = compiled_parts(self.module)
        if compiled:
            raise ModelError(
                f"{_named(compiled[0])} is compiled, and what is compiled does not see hooks that come and go",
                expected="a module that is compiled and nothing else, or one that is not compiled",
                remedy="pass the module as it was before torch.compile",
            )
        refuse_marks_above_the_decoder(self.module)


def refuse_marks_above_the_decoder(module: PreTrainedModel) -> None:
    """Refuse hooks and forwards on what holds the decoder: replies would pass them, and readings would not.

    Raises:
        ModelError: There are some.
    """
    decoder = module.get_decoder()
    above = {
        name
        for name, part in module.named_modules()
        if part is not decoder and any(inner is decoder for inner in part.modules())
    }
    forwards = replaced_forwards(module)
    for name in above.intersection(forwards):
        raise ModelError(
            f"{_named(name)} has a `forward` of its own, which replies would run and readings would pass by",
            expected="the forward of its class, or a compiled one",
            given=getattr(forwards[name], "__qualname__", type(forwards[name]).__name__),
            remedy="take it off (del module.forward), or put what it does on a block",
        )
    for name in above.intersection(hooked_parts(module)):
        raise ModelError(
            f"{_named(name)} carries torch hooks, which replies would run and readings would pass by",
            expected="hooks on the decoder, its blocks or parts of them, or on the output embedding",
            remedy="remove them, or put them there",
        )


def is_mapped_or_quantised(module: Any) -> bool:
    """Whether transformers has loaded it with a device map, or quantised."""
    return any(getattr(module, mark, None) for mark in ("hf_device_map", "hf_quantizer"))


def is_placed_or_quantised(module: Any) -> bool:
    """Whether a weight-sharing copy would break: accelerate's hooks hold the module they were made for."""
    return is_mapped_or_quantised(module) or is_placed_by_accelerate(module)


def plain_module(held: Any) -> Any:
    """The module behind `torch.compile` and behind a PeftModel; any other object as it is.

    Raises:
        ModelError: A PeftModel whose adapters are not in the layers.
    """
    if is_compiled_module(held):
        return plain_module(held._orig_mod)
    return plain_module(without_wrapper(held)) if is_peft_model(held) else held


def _named(part: str) -> str:
    return f"the part {part} of this module" if part else "this module"
