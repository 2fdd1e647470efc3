"""The forward pass a hook is called from: which columns of its text it runs, and where the prompt of it ends.

TransformerLens hands a hook the residual stream and nothing else, and a list of hooks has no place where a
watcher of the model could be put up and taken down again. What is known of the pass stands in the arguments of the
functions that called the hook: the model's `forward` (the key-value cache, the ids, the mask) and, around it,
`generate` (the prompt). They are looked up in the calling frames, once a pass, and nothing is changed there.

The cache is what makes it exact. It says how many columns came before, so a chunk of a prompt, a step of one
token, candidates that are checked together, a cache that was cut back and a text run anew are all told apart.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from persona_lens.errors import InterventionError

_CACHES = ("past_key_values", "past_kv_cache", "cache_params")
_IDS = ("input_ids", "tokens", "input")
_ASIDE = ("transformers.generation.logits_process", "transformers.generation.stopping_criteria")
"""Modules from which a generation runs texts other than its own, as classifier-free guidance does."""


@dataclass(frozen=True, eq=False)
class Generation:
    """The call of `generate` that a pass belongs to.

    Attributes:
        model: What generates.
        width: Columns of the prompt.
        ids: The prompt; its last columns where the others are in the cache; None where it is embeddings.
        mask: Attention mask of the prompt, if it has one.
        copies: Rows of the batch for each prompt: beams, or several replies.
        reorders: Rows change places from step to step, as in beam search.
    """

    model: object
    width: int
    ids: Int[Tensor, "row column"] | None
    mask: Shaped[Tensor, "row column"] | None
    copies: int = 1
    reorders: bool = False

    def holds(self, ids: Int[Tensor, "row column"] | None, start: int) -> bool:
        """Whether these ids, from column `start` on, are those of the prompt as far as it goes."""
        if ids is None or self.ids is None or len(ids) != len(self.ids):
            return True
        known = self.width - self.ids.shape[1]  # columns before those it names
        low, high = max(start, known), min(start + ids.shape[1], self.width)
        if low >= high:
            return True
        ours = self.ids[:, low - known : high - known]
        return torch.equal(ids[:, low - start : high - start].to(ours.device), ours)


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """What the callers of a hook know of the pass.

    Attributes:
        rows, columns: Size of the batch.
        start: Columns that came before, and are in the cache; None where the cache does not tell.
        cache: The cache; None where the text is run whole.
        ids: What is fed; None where it is embeddings.
        mask: Attention mask of the columns before and of these, where it has that form.
        masked: Whether there is a mask at all.
        positions: Of each token, as the model counts them, where it was told.
        generation: The generation it is a step of, if it is one.
    """

    rows: int
    columns: int
    start: int | None
    cache: object
    ids: Int[Tensor, "row column"] | None
    mask: Shaped[Tensor, "row column"] | None
    masked: bool
    positions: Int[Tensor, "row column"] | None
    generation: Generation | None


def calling_pass(residual: Float[Tensor, "row column d_model"], layer: int) -> ForwardPass | None:
    """The pass in which a hook was given this residual stream, after block `layer`; None outside of any model.

    Raises:
        InterventionError: The model is compiled, and its callers cannot be read.
    """
    block, calls, generations = _calls()
    if not calls:
        return None
    rows, columns = residual.shape[:2]
    cache = next((held for call in calls if (held := _first(call, _CACHES)) is not None), None)
    _refuse_empty_columns(cache, block)
    start = _columns_before(cache, layer, columns)
    masks = [call["attention_mask"] for call in calls if call.get("attention_mask") is not None]
    whole = (rows, columns + (start or 0))
    ids = next((held for call in calls if _fits(held := _first(call, _IDS), (rows, columns))), None)
    told = [call["position_ids"] for call in calls if call.get("position_ids") is not None]
    return ForwardPass(
        rows=rows,
        columns=columns,
        start=start,
        cache=cache,
        ids=None if ids is None or ids.is_floating_point() else ids,
        mask=next((mask for mask in masks if _fits(mask, whole)), None),
        masked=bool(masks),
        positions=next((held for held in reversed(told) if _fits(held, (rows, columns))), None),
        generation=_generation(generations, ids, start),
    )


def _calls() -> tuple[Mapping[str, Any], list[Mapping[str, Any]], list[Generation]]:
    """What the block was given by name, what the model and those around it were, and the generations around these.

    The innermost come first.
    """
    block: Mapping[str, Any] = {}
    calls: list[Mapping[str, Any]] = []
    generations: list[Generation] = []
    for frame in _callers():
        _refuse_compiled(frame.f_code)
        module, function = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        if module in _ASIDE:
            break
        described = _GENERATING.get((module, function))
        if described is not None:
            generations += [found] if (found := described(frame.f_locals)) else []
        elif not generations and function in ("forward", "_forward"):
            names = _arguments(frame.f_code)
            # The model's own, and those around it; those of blocks and hook points know nothing of the text.
            if calls or any(name in names for name in _CACHES):
                held = frame.f_locals
                if isinstance(held.get("self"), nn.Module):
                    calls.append({name: held.get(name) for name in names})
            elif not block and "kwargs" in frame.f_code.co_varnames:
                block = frame.f_locals.get("kwargs") or {}
    return block, calls, generations


def _callers() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _arguments(code: CodeType) -> tuple[str, ...]:
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _refuse_compiled(code: CodeType) -> None:
    # What a frame's code becomes when it is compiled calls the compiled parts by such names.
    if code.co_name.startswith("torch_dynamo_resume_in") or any(
        name.startswith(("__compiled_fn", "__resume_at")) for name in code.co_names
    ):
        raise InterventionError(
            "hooks cannot tell which tokens a compiled model is running",
            expected="a model that is not compiled",
            remedy="leave torch.compile out; in generate, a static cache needs disable_compile=True",
        )


def _refuse_empty_columns(cache: Any, block: Mapping[str, Any]) -> None:
    """The attention of a bridge reads all of a static cache unless a mask hides what is not filled yet."""
    static = any(hasattr(held, "max_cache_len") for held in getattr(cache, "layers", ())[:1])
    if static and "attention_mask" in block and block["attention_mask"] is None:
        raise InterventionError(
            "TransformerLens reads the empty columns of this static cache",
            expected="an attention mask for each block, which eager attention makes",
            given=f"none, with {type(cache).__name__}",
            remedy='leave cache_implementation="static" out, or load the model with '
            'attn_implementation="eager"',
        )


def _first(call: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((call[name] for name in names if call.get(name) is not None), None)


def _fits(held: Any, shape: tuple[int, int]) -> bool:
    return isinstance(held, Tensor) and held.ndim == 2 and tuple(held.shape) == shape


def _columns_before(cache: Any, layer: int, columns: int) -> int | None:
    """Columns in the cache before this pass, which has gone through block `layer` already."""
    if cache is None:
        return 0
    if hasattr(
        cache, "entries"
    ):  # of a HookedTransformer; a frozen one does not take up what is run on it
        entry = cache.entries[layer]
        return entry.past_keys.shape[1] - (0 if entry.frozen else columns)
    # State-space and linear-attention layers do not count columns.
    layers = list(getattr(cache, "layers", ()))
    counting = [at for at, held in enumerate(layers) if hasattr(held, "get_seq_length")]
    if not counting:
        return None
    before = int(layers[counting[0]].get_seq_length()) - (columns if counting[0] <= layer else 0)
    return before if before >= 0 else None


def _generation(
    around: list[Generation], ids: Int[Tensor, "row column"] | None, start: int | None
) -> Generation | None:
    """The generation whose text the pass continues: the outermost one, where one runs within another on one model.

    So a draft that the model makes for itself counts as part of the reply it is drafted for.
    """
    if not around:
        return None
    inner = around[0]
    for outer in reversed(around[1:]):
        if outer.model is inner.model and outer.width <= inner.width and outer.holds(inner.ids, 0):
            return outer
    return inner if start is None or inner.holds(ids, start) else None


def _of_transformers(held: Mapping[str, Any]) -> Generation | None:
    ids, config = held.get("input_ids"), held.get("generation_config")
    given = held.get("model_kwargs") or {}
    mask = given.get("attention_mask")
    mask = mask if isinstance(mask, Tensor) and mask.ndim == 2 else None
    if not isinstance(ids, Tensor) or config is None:
        return None
    widths = [
        held_tensor.shape[1]
        for held_tensor in (ids, held.get("inputs_tensor"), mask)
        if isinstance(held_tensor, Tensor) and held_tensor.ndim >= 2
    ]
    beams = config.num_beams or 1
    return Generation(
        model=held.get("self"),
        # A mask that hides nothing is dropped, and its length kept: prompts may be given without what is cached.
        width=max(*widths, getattr(config, "_mask_length", None) or 0),
        ids=ids,
        mask=mask,
        copies=max(beams, config.num_return_sequences or 1),
        reorders=beams > 1,
    )


def _of_transformer_lens(held: Mapping[str, Any]) -> Generation | None:
    given = next(
        (
            held[name]
            for name in ("input_tokens", "tokens", "input")
            if isinstance(held.get(name), Tensor)
        ),
        None,
    )
    if given is None or given.ndim < 2:
        return None
    width = held.get("ctx_length", given.shape[1])
    mask = held.get("initial_attention_mask")
    return Generation(
        model=held.get("self"),
        width=width,
        ids=None if given.is_floating_point() else given[:, :width],
        mask=mask if isinstance(mask, Tensor) and mask.ndim == 2 else None,
    )


_BRIDGE = "transformer_lens.model_bridge.transformer_bridge"
_HOOKED = "transformer_lens.HookedTransformer"
_GENERATING: dict[tuple[str, str], Callable[[Mapping[str, Any]], Generation | None]] = {
    ("transformers.generation.utils", "generate"): _of_transformers,
    (_BRIDGE, "generate"): _of_transformer_lens,
    (_BRIDGE, "generate_stream"): _of_transformer_lens,
    (_HOOKED, "generate"): _of_transformer_lens,
    (_HOOKED, "generate_stream"): _of_transformer_lens,
}
