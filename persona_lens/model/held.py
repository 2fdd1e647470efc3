"""The ways a model is held: a module, a TransformerBridge, a HookedTransformer. Nobody else knows which.

    held = hold(module=module)
    held.backend        # what bulk work runs on now
    held.bare           # what is measured on: no hook on it is anybody's
    held.bridge(name)   # TransformerLens on the same weights, built on first use

Hooks that are added or removed later count from then on.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from persona_lens.errors import ModelError
from persona_lens.model.adapters import adapter_settings, has_adapters
from persona_lens.model.backends import Backend, BridgeBackend, NativeBackend
from persona_lens.model.fingerprint import fingerprint
from persona_lens.model.held_module import (
    HeldModule,
    OwnModule,
    is_mapped_or_quantised,
    is_placed_or_quantised,
    refuse_marks_above_the_decoder,
)
from persona_lens.model.hooked_backend import HookedBackend
from persona_lens.model.loading import nothing_installed, quiet_transformers
from persona_lens.model.own_marks import (
    execution_device,
    hooked_parts,
    moved_weights,
    own_hooks,
    replaced_forwards,
)
from persona_lens.model.twin import native_twin, shared_copy

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel


def hold(
    *,
    module: PreTrainedModel | HeldModule | None = None,
    bridge: TransformerBridge | None = None,
    hooked: HookedBackend | None = None,
) -> Held:
    """Hold a model that was loaded here, or one of the user's.

    Raises:
        ModelError: None of the three or several, or a bridge in compatibility mode.
    """
    if [module, bridge, hooked].count(None) == 2:
        if hooked is not None:
            return _AsHooked(hooked)
        if bridge is not None:
            return _AsBridge(bridge)
        if module is not None:
            return _AsModule(module if isinstance(module, HeldModule) else OwnModule(module))
    raise ModelError(
        "a PersonaModel needs a module, a bridge or a HookedTransformer",
        expected="one of the three",
    )


class Held(ABC):
    """One way of holding a model of transformers; what it says of itself is looked up each time.

    Attributes:
        lock: Hooks are state of the module, and two threads would see each other's: whoever runs it takes this.
        own_lens: The HookedTransformer that everything runs on; None where there may be a bridge.
        wrapped_in_place: Whether a bridge has given the weights other names than they were loaded by.
    """

    def __init__(self, *, bridge: TransformerBridge | None = None, own_lens: Any = None) -> None:
        self.lock = threading.RLock()
        self.own_lens = own_lens
        self.wrapped_in_place = False
        self._bridge = bridge
        self._native: NativeBackend | None = None

    @property
    @abstractmethod
    def _module(self) -> PreTrainedModel | None:
        """The plain module; None where only a bridge can run."""

    @property
    def backend(self) -> Backend:
        """What bulk work runs on: the plain module, unless a bridge has hooks of the user's or has to run."""
        module = None if self.has_lens_hooks else self._module
        if module is None:
            backend = BridgeBackend(cast("TransformerBridge", self._bridge))
            _refuse_hooked_blocks(backend)
            return backend
        if self._native is None or self._native.module is not module:
            self._native = NativeBackend(module)
        return self._native

    @property
    def unhooked(self) -> Backend:
        """What runs without the user's hooks, where a copy on the same weights can be made."""
        bridge = self._bridge
        if bridge is None or not self.has_lens_hooks:
            return self.backend
        if is_placed_or_quantised(bridge.original_model):
            return self.backend
        module = self._module
        return NativeBackend(native_twin(bridge) if module is None else module)

    @property
    def bare(self) -> Backend:
        """What is measured on: no hook on it is anybody's, where a copy on the same weights can be made."""
        backend = self.unhooked
        if type(backend) is not NativeBackend or self._runs_as_it_is:
            return backend
        if is_placed_or_quantised(backend.module):
            return backend
        return NativeBackend(cast("PreTrainedModel", shared_copy(backend.module)))

    @property
    def _runs_as_it_is(self) -> bool:
        """Whether a copy would be something else than what the user holds."""
        return False

    @property
    def input_device(self) -> torch.device:
        """Where ids go: where the embedding is, or is brought to."""
        backend = self.backend
        embedding = cast("PreTrainedModel", backend.module).get_input_embeddings()
        return execution_device(embedding, backend.embedding)

    @property
    def has_lens_hooks(self) -> bool:
        """Whether the bridge or HookedTransformer carries hooks of the user's."""
        bridge = self._bridge
        return bridge is not None and (
            _lists_own_hooks(bridge) or bool(hooked_parts(bridge.original_model))
        )

    @property
    def has_hooks(self) -> bool:
        """Whether hooks of the user's act, those of torch on a module included."""
        return self.has_lens_hooks

    @property
    def roots(self) -> list[nn.Module]:
        """Modules that together hold every part a hook may be on."""
        bridge = self._bridge
        inside = [] if bridge is None else [bridge, bridge.original_model]
        return [self.backend.module, *inside]

    @property
    def would_wrap_in_place(self) -> bool:
        """Whether the bridge, if it were built now, would wrap the module that bulk work runs on."""
        return False

    @abstractmethod
    def bridge(self, name: str) -> TransformerBridge:
        """A bridge on the same weights, built on first use under a name.

        Raises:
            ModelError: There can be none.
        """

    def fingerprint(self, rounded_to: torch.dtype | None = None) -> str:
        """Short hash of the weights, as they are or as they would be in another dtype."""
        module = self._module
        if module is None:
            # A bridge of the user's; its own names and aliases are not those of the weights.
            bridge = cast("TransformerBridge", self._bridge)
            module = cast("PreTrainedModel", bridge.original_model)
            if not is_placed_or_quantised(module):
                module = native_twin(bridge)
        forwards = [
            f"{name}.forward is {getattr(forward, '__qualname__', type(forward).__name__)}"
            for name, forward in replaced_forwards(module).items()
        ]
        return fingerprint(
            {**module.state_dict(), **moved_weights(module)},
            settings=[*adapter_settings(module), *forwards],
            rounded_to=rounded_to,
        )


class _AsHooked(Held):
    """A HookedTransformer: it has no plain module, and everything runs on it."""

    def __init__(self, hooked: HookedBackend) -> None:
        super().__init__(own_lens=hooked.model)
        self._backend = hooked

    @property
    def _module(self) -> None:
        return None

    @property
    def backend(self) -> HookedBackend:
        return self._backend

    @property
    def input_device(self) -> torch.device:
        return self._backend.embedding.device

    @property
    def has_lens_hooks(self) -> bool:
        return _lists_own_hooks(self.own_lens)

    def bridge(self, name: str) -> TransformerBridge:
        raise ModelError(
            "a HookedTransformer has no bridge",
            remedy="use the HookedTransformer you passed: its hooks act on this model as well",
        )

    def fingerprint(self, rounded_to: torch.dtype | None = None) -> str:
        # Only parameters: its buffers grow with the longest text seen.
        weights = {name: part.detach() for name, part in self._backend.module.named_parameters()}
        return fingerprint(weights, rounded_to=rounded_to)


class _AsBridge(Held):
    """A bridge of the user's: the plain module inside it runs, on the same weights, while that is the same."""

    def __init__(self, bridge: TransformerBridge) -> None:
        if bridge.compatibility_mode or getattr(bridge, "_weights_processed", False):
            raise ModelError(
                "this bridge is in compatibility mode, whose centred weights move the residual stream of "
                "LayerNorm models",
                expected="a TransformerBridge with raw weights",
                remedy="boot a fresh bridge and do not call enable_compatibility_mode() on it",
            )
        super().__init__(bridge=bridge)
        self._given = bridge
        self._twin: PreTrainedModel | None = None

    @property
    def _module(self) -> PreTrainedModel | None:
        if self._twin is None and not self._has_to_run:
            self._twin = native_twin(self._given)
        return self._twin

    @property
    def _has_to_run(self) -> bool:
        """Whether the bridge holds what a plain twin would not."""
        module = cast("PreTrainedModel", self._given.original_model)
        return (
            self.has_lens_hooks
            or is_placed_or_quantised(module)
            or has_adapters(module)
            or bool(replaced_forwards(module))
        )

    def bridge(self, name: str) -> TransformerBridge:
        return self._given


class _AsModule(Held):
    """A module of ours or of the user's, beside which a bridge is built when it is asked for."""

    def __init__(self, source: OwnModule | HeldModule) -> None:
        super().__init__()
        self._source = source
        self._fingerprint_before_wrapping: str | None = None
        self._adapters_in_bridge: tuple[str, ...] = ()

    @property
    def _module(self) -> PreTrainedModel:
        return self._source.running()

    @property
    def _runs_as_it_is(self) -> bool:
        return self._source.stays

    @property
    def has_hooks(self) -> bool:
        return self.has_lens_hooks or self._source.hooked

    @property
    def would_wrap_in_place(self) -> bool:
        return self._bridge is None and is_mapped_or_quantised(self._module)

    def bridge(self, name: str) -> TransformerBridge:
        if self._source.marked:
            raise ModelError(
                "the module you hold carries torch hooks or a forward of its own, which a bridge would lose",
                remedy="take them off, or boot a bridge yourself and pass it to PersonaModel.load",
            )
        module = self._module
        if self._bridge is None:
            self._bridge = self._built_bridge(module, name)
            self._adapters_in_bridge = adapter_settings(module)
        elif adapter_settings(module) != self._adapters_in_bridge:
            raise ModelError(
                "adapters were switched since the bridge was built, which still has the others",
                remedy="switch them back, or load the model again: PersonaModel.load(...)",
            )
        return self._bridge

    def _built_bridge(self, module: PreTrainedModel, name: str) -> TransformerBridge:
        from transformer_lens.model_bridge.sources import (  # noqa: PLC0415
            build_bridge_from_module,
        )

        if not is_placed_or_quantised(module):
            module = cast("PreTrainedModel", shared_copy(module))
        elif isinstance(self._source, OwnModule):  # names of weights change with the wrapping
            self._fingerprint_before_wrapping = self.fingerprint()
            self.wrapped_in_place = True
        else:
            raise ModelError(
                "a bridge would rewrite the quantised or device-mapped module you passed",
                remedy="boot the bridge yourself and pass it to PersonaModel.load",
            )
        with nothing_installed(), quiet_transformers():
            bridge = build_bridge_from_module(
                module, type(module).__name__, hf_config=module.config, model_name=name
            )
        self._native = None  # its blocks may have been wrapped in place
        return bridge

    def fingerprint(self, rounded_to: torch.dtype | None = None) -> str:
        before = None if rounded_to is not None else self._fingerprint_before_wrapping
        return before or super().fingerprint(rounded_to)


def _lists_own_hooks(lens: Any) -> bool:
    return any(
        not _is_of_the_lens(handle) for held in lens.list_hooks().values() for handle in held
    )


def _is_of_the_lens(handle: Any) -> bool:
    """Whether TransformerLens itself has put a hook there, as its adapters of some architectures do."""
    home = getattr(getattr(handle, "user_hook", None), "__module__", None) or ""
    return home.partition(".")[0] == "transformer_lens"


def _refuse_hooked_blocks(backend: BridgeBackend) -> None:
    module = backend.module
    refuse_marks_above_the_decoder(module)
    for name in hooked_parts(module):
        part = module.get_submodule(name)
        is_block = any(part is block for block in backend.layers)
        if is_block and any(own_hooks(part, ["_forward_hooks"])):
            raise ModelError(
                f"the block {name!r} of the bridge carries torch hooks, which run after its hook points",
                expected="hooks at hook points: bridge.add_hook(name, function)",
                remedy="remove them with the handles that register_forward_hook and its like returned",
            )
