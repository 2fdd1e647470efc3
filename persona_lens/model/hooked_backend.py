"""The `HookedTransformer` of TransformerLens 3 as a backend: its own forward pass, hooks and key-value cache.

TransformerLens 4, which this package is pinned to, has no HookedTransformer any more; nothing here imports it.
Its `generate` takes neither a mask nor a list of end tokens nor logits processors, so replies come from a loop of
our own over `advance`.

Weights as `HookedTransformer.from_pretrained` processes them by default leave the residual stream of RMSNorm
models (Llama, Qwen, Gemma, Mistral) as it was, and take its mean out in LayerNorm models (GPT-2, Pythia, Phi-2).
The latter are refused, since their vectors fit no other copy of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from persona_lens.errors import ModelError
from persona_lens.interventions.hooks import tap_hooks
from persona_lens.model.backends import ResidualTap

_NEUTRAL = {"temperature": (None, 1.0), "top_p": (None, 1.0), "top_k": (None, 0)}


def is_hooked_transformer(held: Any) -> bool:
    """Whether `held` is a HookedTransformer, told by its name: there may be no such class to compare with."""
    return any(base.__name__ == "HookedTransformer" for base in type(held).__mro__)


class HookedBackend:
    """A `HookedTransformer`, used as it is: hooks you add to it act on replies and readings too.

    Args:
        model: A `transformer_lens.HookedTransformer`, processed or not; if its norm is LayerNorm, without
            `center_writing_weights`.

    Raises:
        ModelError: The installed TransformerLens has no HookedTransformer, or the weights are centred.
    """

    def __init__(self, model: Any) -> None:
        if find_spec("transformer_lens.HookedTransformer") is None:
            raise ModelError(
                "HookedTransformer left TransformerLens in 4.0",
                expected="transformer-lens 3.5 for a HookedTransformer",
                remedy="pass the Hugging Face model or a TransformerBridge, or install transformer-lens 3.5.1 "
                "in an environment of its own",
            )
        refuse_centred_weights(model)
        self.model = model
        self.embedding: Float[Tensor, "vocab d_model"] = model.embed.W_E
        self.stop_ids: tuple[int, ...] = ()  # it keeps no generation config; the tokenizer knows
        self.context: int | None = model.cfg.n_ctx
        self.n_layers: int = model.cfg.n_layers
        self.d_model: int = model.cfg.d_model

    @property
    def module(self) -> nn.Module:
        """The HookedTransformer."""
        return self.model

    @contextmanager
    def taps(self, taps: Mapping[int, ResidualTap]) -> Iterator[None]:
        """Attach by hook name, after the hooks there are; only these are removed on leaving."""
        with self.model.hooks(fwd_hooks=tap_hooks(taps)):
            yield

    # No inference mode below: the model may extend its rotary buffers on the way, and the user's own backward
    # pass could not use buffers made in it.

    @torch.no_grad()
    def encode(self, ids: Tensor, mask: Tensor) -> None:
        """Run the blocks only: no unembedding, no KV cache."""
        self.model(ids, attention_mask=mask.long(), stop_at_layer=self.n_layers)

    @torch.no_grad()
    def generate(
        self,
        ids: Int[Tensor, "batch position"],
        mask: Bool[Tensor, "batch position"],
        *,
        max_new_tokens: int,
        eos_token_id: Sequence[int],
        pad_token_id: int,
        do_sample: bool,
        logits_processor: Sequence[Callable[[Tensor, Tensor], Tensor]] = (),
        **warpers: Any,
    ) -> Int[Tensor, "batch longer"]:
        """Continue left-padded ids as transformers' `generate` does: the same steps, draws and pads.

        Args:
            ids: Prompts, pads in front.
            mask: False on pads.
            max_new_tokens: Most tokens a reply gets; generation stops when every row has ended.
            eos_token_id: Tokens that end a row.
            pad_token_id: What rows that have ended are filled with.
            do_sample: Draw from the distribution; else take the likeliest token.
            logits_processor: Applied in order to float32 logits, as `f(ids, logits)`.
            **warpers: `temperature`, `top_p` and `top_k`, which must be neutral: pass a processor.
        """
        for name, value in warpers.items():
            if value not in _NEUTRAL.get(name, ()):
                raise ModelError(
                    f"generation with a HookedTransformer does not know {name}={value!r}",
                    remedy="pass a logits processor, as persona_lens.Sampling does",
                )
        ends = torch.tensor(list(eos_token_id), dtype=torch.long, device=ids.device)
        going = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
        fed, past = ids, None
        for _ in range(max_new_tokens):
            states, past = self.advance(fed, mask, past)
            scores = self.unembed(states[:, -1:]).squeeze(1)
            for process in logits_processor:
                scores = process(ids, scores)
            if do_sample:
                chosen = torch.multinomial(scores.softmax(dim=-1), num_samples=1).squeeze(1)
            else:
                chosen = scores.argmax(dim=-1)
            fed = chosen.where(going, pad_token_id).unsqueeze(1)
            ids = torch.cat([ids, fed], dim=1)
            mask = torch.cat([mask, torch.ones_like(fed, dtype=torch.bool)], dim=1)
            going = going & ~torch.isin(fed.squeeze(1), ends)
            if not going.any():
                break
        return ids

    def generate_on(
        self, ids: Tensor, mask: Tensor, past: Any = None, **options: Any
    ) -> tuple[Tensor, Any]:
        """Not here: `Conduct.keeps_conversations` says so, and nobody asks."""
        raise ModelError("a HookedTransformer keeps nothing from reply to reply")

    @contextmanager
    def before_forward(self, watch: Callable[[Tensor], None]) -> Iterator[None]:
        """Show `watch` the input ids of every forward pass (the prompt first, then one column a step)."""
        handle = self.model.register_forward_pre_hook(lambda _model, args: watch(args[0]))
        try:
            yield
        finally:
            handle.remove()

    @torch.no_grad()
    def advance(self, ids: Tensor, mask: Tensor, past: Any = None) -> tuple[Tensor, Any]:
        """Run the blocks with a KV cache; the states are those after the last block, before the final norm.

        The cache keeps the mask of what it holds and takes that of `ids` along; TransformerLens counts positions
        over both, so pads in front shift nothing.
        """
        if past is None:
            from transformer_lens.cache.key_value_cache import (  # noqa: PLC0415
                TransformerLensKeyValueCache,
            )

            past = TransformerLensKeyValueCache.init_cache(self.model.cfg, ids.device, len(ids))
        states = self.model(
            ids,
            attention_mask=mask[:, -ids.shape[1] :].long(),
            past_kv_cache=past,
            stop_at_layer=self.n_layers,
        )
        return states, past

    @torch.no_grad()
    def select_rows(self, past: Any, rows: Tensor) -> Any:
        """The rows named, chosen in place."""
        for entry in past.entries:
            entry.past_keys, entry.past_values = entry.past_keys[rows], entry.past_values[rows]
        past.previous_attention_mask = past.previous_attention_mask[rows]
        return past

    @torch.no_grad()
    def unembed(self, states: Tensor) -> Tensor:
        """The final norm, the unembedding and the soft cap of Gemma."""
        whole = states.reshape(-1, *states.shape[-2:])  # hooks of the user's expect a batch
        if self.model.cfg.normalization_type is not None:
            whole = self.model.ln_final(whole)
        logits = self.model.unembed(whole).float().reshape(*states.shape[:-1], -1)
        cap: float = self.model.cfg.output_logits_soft_cap
        return cap * (logits / cap).tanh() if cap > 0 else logits

    @torch.no_grad()
    def logits(self, ids: Tensor) -> Tensor:
        """One plain forward pass."""
        return self.model(ids, return_type="logits").float()


def refuse_centred_weights(model: Any) -> None:
    """Refuse LayerNorm models with `center_writing_weights`, which no config flag records.

    Centring makes every row of the embedding sum to zero. The sum of a raw row is about its norm, or more: for
    independent entries the two have the same expected square. In bfloat16 centred rows keep sums of about 0.002
    of the norm.

    Raises:
        ModelError: The embedding is centred and the norm is LayerNorm.
    """
    if model.cfg.normalization_type not in {"LN", "LNPre"}:
        return
    rows = model.embed.W_E.detach().float()
    if rows.sum(dim=-1).norm() < 0.1 * rows.norm():
        raise ModelError(
            "the weights of this HookedTransformer are centred, which moves the residual stream of LayerNorm "
            "models",
            expected="raw weights",
            remedy="load it with HookedTransformer.from_pretrained_no_processing, or with "
            "center_writing_weights=False",
        )
