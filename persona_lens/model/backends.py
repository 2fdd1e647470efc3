"""One small protocol over the ways a decoder can be run: plain module, TransformerLens bridge, HookedTransformer.

Layer *i* is always the output of decoder block *i*, the residual stream after the block
(`blocks.{i}.hook_resid_post`; the paper's "post-MLP residual"). Bulk work goes through `NativeBackend`,
exploration and the user's own hooks through `BridgeBackend`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from inspect import signature
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import GenerationConfig

from persona_lens.interventions.hooks import tap_hooks
from persona_lens.model.blocks import ResidualTap, as_forward_hook, find_blocks, find_decoder
from persona_lens.model.context import context_limit
from persona_lens.model.own_head import OwnHead, logits_of

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import Cache, PreTrainedModel

__all__ = ["Backend", "BridgeBackend", "NativeBackend", "ResidualTap"]


class Backend(Protocol):
    """What the rest of the package needs of a decoder.

    Whatever can offer this can be a `PersonaModel`: see `NativeBackend`, `BridgeBackend` and, for the
    HookedTransformer of TransformerLens 3, `persona_lens.model.hooked_backend`.

    Attributes:
        embedding: The token embedding; tells where inputs go and the dtype.
        stop_ids: Tokens that end a generation by the model's own settings.
        context: Most tokens the model takes, if it says so.
    """

    embedding: Float[Tensor, "vocab d_model"]
    stop_ids: tuple[int, ...]
    context: int | None
    n_layers: int
    d_model: int

    @property
    def module(self) -> nn.Module:
        """Holds the weights."""
        ...

    def taps(self, taps: Mapping[int, ResidualTap]) -> Any:
        """Context manager: call `taps[layer]` on the residual stream after each block."""
        ...

    def encode(
        self, ids: Int[Tensor, "batch position"], mask: Bool[Tensor, "batch position"]
    ) -> None:
        """Run the blocks on right-padded ids, without unembedding and without a KV cache."""
        ...

    def generate(
        self,
        ids: Int[Tensor, "batch position"],
        mask: Bool[Tensor, "batch position"],
        **options: Any,
    ) -> Int[Tensor, "batch longer"]:
        """Continue left-padded ids with a KV cache; `options` are those of transformers' `generate`."""
        ...

    def generate_on(
        self,
        ids: Int[Tensor, "batch position"],
        mask: Bool[Tensor, "batch position"],
        past: Any = None,
        **options: Any,
    ) -> tuple[Int[Tensor, "batch longer"], Any]:
        """The same behind the keys and values in `past`; `ids` and `mask` cover both.

        Returns:
            Ids and sampled ids, and the keys and values of all of them but the last. Do not use `past` again.
        """
        ...

    def before_forward(self, watch: Callable[[Tensor], None]) -> Any:
        """Context manager: show `watch` the input ids of every forward pass."""
        ...

    def advance(
        self,
        ids: Int[Tensor, "batch new"],
        mask: Bool[Tensor, "batch position"],
        past: Any = None,
    ) -> tuple[Float[Tensor, "batch new d_model"], Any]:
        """Run `ids` after the keys and values in `past`; positions count the tokens in `mask`, which covers both.

        Returns:
            The states `unembed` takes, on the device of `ids` wherever the blocks are, and the keys and values,
            which now include those of `ids`: None if the model keeps something else. Do not use `past` again.
        """
        ...

    def select_rows(self, past: Any, rows: Int[Tensor, " chosen"]) -> Any:
        """Keys and values of the rows named, in that order, repeated where a row is named again."""
        ...

    def unembed(self, states: Float[Tensor, "*any d_model"]) -> Float[Tensor, "*any vocab"]:
        """float32 logits of the states `advance` returns, on the device of the output embedding."""
        ...

    def logits(self, ids: Int[Tensor, "batch position"]) -> Float[Tensor, "batch position vocab"]:
        """float32 logits of whole texts without pads, as the model itself makes them: what `unembed` equals."""
        ...


class NativeBackend:
    """The plain Hugging Face module: sdpa attention, transformers' `generate`, raw forward hooks."""

    def __init__(self, module: PreTrainedModel) -> None:
        self._module = module
        weight: Any = module.get_input_embeddings().weight
        # A quantised embedding makes its weight when asked.
        self.embedding = cast("Tensor", weight() if callable(weight) else weight)
        self.stop_ids = _stop_ids(module)
        config = module.config.get_text_config()
        self.n_layers = int(config.num_hidden_layers)
        self.decoder = find_decoder(module, self.n_layers)
        self.d_model = int(config.hidden_size)
        self.context = context_limit(config)
        self.layers = find_blocks(self.decoder, self.n_layers)
        parameters = signature(self.decoder.forward).parameters
        self._takes_positions = "position_ids" in parameters

    @property
    def module(self) -> PreTrainedModel:
        """The whole model."""
        return self._module

    @contextmanager
    def taps(self, taps: Mapping[int, ResidualTap]) -> Iterator[None]:
        """Attach forward hooks to the decoder blocks; all are removed on leaving, whatever happens."""
        with ExitStack() as stack:
            for layer, tap in taps.items():
                handle = self.layers[layer].register_forward_hook(as_forward_hook(tap))
                stack.callback(handle.remove)
            yield

    @torch.inference_mode()
    def encode(self, ids: Tensor, mask: Tensor) -> None:
        """Run the inner decoder only: no unembedding, no KV cache."""
        options: dict[str, Any] = {"attention_mask": mask.long(), "use_cache": False}
        if self._takes_positions:
            options["position_ids"] = _positions(mask)
        self.decoder(input_ids=ids, **options)

    @torch.inference_mode()
    def generate(self, ids: Tensor, mask: Tensor, **options: Any) -> Tensor:
        """`generate` of transformers, which unembeds only the last position of the prompt.

        The module's generation config is set aside for the call: a repetition penalty or beams in it would change
        the replies without being asked for, and without being recorded.
        """
        return self._generated(ids, mask, options)

    def _generated(self, ids: Tensor, mask: Tensor, options: Mapping[str, Any]) -> Any:
        configured = self._module.generation_config
        self._module.generation_config = GenerationConfig()
        try:
            return self._module.generate(input_ids=ids, attention_mask=mask.long(), **options)  # pyright: ignore[reportCallIssue]
        finally:
            self._module.generation_config = configured

    @torch.inference_mode()
    def generate_on(
        self, ids: Tensor, mask: Tensor, past: Cache | None = None, **options: Any
    ) -> tuple[Tensor, Cache]:
        """`generate` of transformers, which runs only the columns that are not in the cache."""
        held = {} if past is None else {"past_key_values": past}
        whole = {**options, **held, "return_dict_in_generate": True}
        output = self._generated(ids, mask, whole)
        return output.sequences, output.past_key_values

    @contextmanager
    def before_forward(self, watch: Callable[[Tensor], None]) -> Iterator[None]:
        """Show `watch` the input ids of every forward pass (the prompt first, then one column a step)."""

        def pre_hook(_module: nn.Module, _args: tuple, kwargs: dict[str, Any]) -> None:
            watch(kwargs["input_ids"])

        handle = self._module.register_forward_pre_hook(pre_hook, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    @torch.inference_mode()
    def advance(
        self, ids: Tensor, mask: Tensor, past: Cache | None = None
    ) -> tuple[Tensor, Cache | None]:
        """Run the inner decoder with a KV cache; the states are those after the final norm."""
        options: dict[str, Any] = {"attention_mask": mask.long(), "use_cache": True}
        if self._takes_positions:
            options["position_ids"] = _positions(mask)[:, -ids.shape[1] :]
        if past is not None:  # models without keys and values do not know the word
            options["past_key_values"] = past
        output = self.decoder(input_ids=ids, **options)
        kept = getattr(output, "past_key_values", None)
        return output[0].to(ids.device), kept

    @torch.inference_mode()
    def select_rows(self, past: Cache, rows: Tensor) -> Cache:
        """The rows named, chosen in place by transformers."""
        past.reorder_cache(cast("torch.LongTensor", rows))
        return past

    @torch.inference_mode()
    def unembed(self, states: Tensor) -> Tensor:
        """What the module's own `forward` makes of them, whatever scales or caps it has."""
        return self._head(states)

    @cached_property
    def _head(self) -> OwnHead:
        return OwnHead(self._module, self.decoder)

    @torch.inference_mode()
    def logits(self, ids: Tensor) -> Tensor:
        """One plain forward pass."""
        return logits_of(self._module(input_ids=ids, use_cache=False)).float()


class BridgeBackend(NativeBackend):
    """A `TransformerBridge`: the wrapped module runs, so every hook on the bridge fires too."""

    def __init__(self, bridge: TransformerBridge) -> None:
        super().__init__(bridge.original_model)  # pyright: ignore[reportArgumentType]
        self.bridge = bridge

    @contextmanager
    def taps(self, taps: Mapping[int, ResidualTap]) -> Iterator[None]:
        """Attach through the bridge, so that taps and the user's hooks run in the order they were added."""
        with self.bridge.hooks(fwd_hooks=tap_hooks(taps)):  # pyright: ignore[reportArgumentType]
            yield


def _positions(mask: Bool[Tensor, "batch position"]) -> Int[Tensor, "batch position"]:
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


def _stop_ids(module: PreTrainedModel) -> tuple[int, ...]:
    config = module.generation_config
    configured = None if config is None else config.eos_token_id
    if configured is None:
        return ()
    return tuple(configured) if isinstance(configured, list) else (configured,)
