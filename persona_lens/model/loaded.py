"""`LoadedModel`: a model, however it is held, with its tokenizer, and what is found out about it once.

It says what a model is; `PersonaModel` adds what it does. What works with models in this room takes this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool

from persona_lens.errors import InterventionError, ModelError
from persona_lens.interventions.hooks import hook_name
from persona_lens.model.adapters import active_adapters, has_adapters
from persona_lens.model.blocks import refuse_declared_streams, refuse_unreadable_blocks
from persona_lens.model.conduct import Conduct, causal_tolerance, probe_texts
from persona_lens.model.held import hold
from persona_lens.model.held_module import HeldModule
from persona_lens.model.hooked_backend import HookedBackend
from persona_lens.model.intervening import Interventions
from persona_lens.model.listening import Listeners
from persona_lens.model.sinks import common_sinks
from persona_lens.notebook import facts_html
from persona_lens.transcripts import Transcript, TranscriptEncoder

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class LoadedModel:
    """A model that is ready to run.

    Its attributes are those of `PersonaModel`, `interventions`, the plans in force in each thread, and
    `listeners`, who hears its replies there.
    """

    def __init__(
        self,
        name: str,
        tokenizer: PreTrainedTokenizerBase,
        *,
        module: PreTrainedModel | HeldModule | None = None,
        bridge: TransformerBridge | None = None,
        hooked: HookedBackend | None = None,
        revision: str | None = None,
        chat_template: str | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.held = hold(module=module, bridge=bridge, hooked=hooked)
        self.name = name
        self.revision = revision
        self.tokenizer = tokenizer
        self.encoder = TranscriptEncoder(
            tokenizer, chat_template=chat_template, template_kwargs=template_kwargs
        )
        self.interventions = Interventions()
        self.listeners = Listeners()
        self._measured: tuple[torch.nn.Module, Conduct] | None = None
        backend = self.held.backend
        self.n_layers = backend.n_layers
        self.d_model = backend.d_model
        self.device = self.held.input_device
        self.dtype = backend.embedding.dtype
        refuse_declared_streams(backend.module)
        if self.device.type != "meta":
            _, short = probe_texts(tokenizer, backend.context)
            tolerance = causal_tolerance(backend.module, self.dtype)
            refuse_unreadable_blocks(self.held.bare, short[:4], self.device, tolerance)

    @property
    def bridge(self) -> TransformerBridge:
        """A `TransformerBridge` on the same weights, built on first use.

        Hooks you add to it act on `generate` and `pooled` of this model as well.

        Raises:
            ModelError: The model is a HookedTransformer, or a module you hold that a bridge would rewrite.

        Examples:
            >>> from persona_lens import PersonaModel
            >>> model = PersonaModel.load("smollm2-135m-instruct")
            >>> said = model.encoder.encode([{"role": "user", "content": "Hi"}])
            >>> tokens = torch.from_numpy(said.ids)[None]
            >>> _, cache = model.bridge.run_with_cache(tokens, names_filter=model.hook_name(20))
            >>> cache[model.hook_name(20)].shape[-1]
            576
        """
        return self.held.bridge(self.name)

    @property
    def has_bridge_hooks(self) -> bool:
        """Whether the bridge (or HookedTransformer) carries hooks of the user's.

        They would act on replies and readings.
        """
        return self.held.has_lens_hooks

    @property
    def has_hooks(self) -> bool:
        """Whether hooks of the user's act on replies and readings: on the bridge, or torch hooks on a module."""
        return self.held.has_hooks

    def hook_name(self, layer: int) -> str:
        """Name of the hook point Persona Lens reads at `layer`.

        Raises:
            ModelError: `layer` is not a block of this model.
        """
        if not 0 <= layer < self.n_layers:
            raise ModelError("no such layer", expected=f"0 to {self.n_layers - 1}", given=layer)
        return hook_name(layer)

    @property
    def context(self) -> int | None:
        """Most tokens it takes; None for no limit."""
        return self.held.backend.context

    def has_room(self, prompt: Transcript, max_new_tokens: int) -> bool:
        """Whether a reply of that many tokens fits behind a prompt."""
        return self.context is None or len(prompt) + max_new_tokens <= self.context

    @cached_property
    def pad_id(self) -> int:
        """The id pads are filled with (always masked)."""
        pad = self.tokenizer.pad_token_id
        if isinstance(pad, int):
            return pad
        return self.end_ids[0] if self.end_ids else 0

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """Tokens that end a reply: those of the generation config, the tokenizer and the chat template."""
        own = (*self.held.backend.stop_ids, self.tokenizer.eos_token_id)
        found = {end for end in own if isinstance(end, int)}
        written = self.encoder.end_of_turn_id
        # What a template writes behind an answer may also stand between a thought and the answer (gpt-oss).
        if written is not None and not (found and written in self.encoder.notation.goes_on):
            found.add(written)
        return tuple(sorted(found))

    @cached_property
    def sinks(self) -> dict[int, float]:
        """Positions that are attention sinks whatever the text, with their least norm over the median norm.

        Tokens that are sinks in one text only (in Gemma 3 some full stops) are not positions to leave out.
        They are measured once, and without the hooks a bridge may carry.
        """
        with self.held.lock:
            return common_sinks(self.held.unhooked, self.encoder, self.device)

    def reply_positions(self, transcript: Transcript) -> Bool[np.ndarray, " token"]:
        """The tokens of the last assistant turn, without thinking, special tokens and attention sinks."""
        positions = transcript.mask("assistant", turn=-1).copy()
        sinks = [position for position in self.sinks if position < len(positions)]
        positions[sinks] = False
        return positions

    @property
    def conduct(self) -> Conduct:
        """What the model's batches allow, measured without plans, and anew where another module runs."""
        backend = self.held.backend
        if self._measured is None or self._measured[0] is not backend.module:
            texts = probe_texts(self.tokenizer, backend.context)
            conduct = Conduct(self.held.bare, texts, self.pad_id, self.device)
            self._measured = backend.module, conduct
        return self._measured[1]

    @property
    def fingerprint(self) -> str:
        """Short hash of architecture, dtype and samples of every weight, and of the adapters that are switched on.

        The same weights give the same hash. A HookedTransformer names and lays out its weights in its own way, so
        its hash is another.

        Raises:
            ModelError: Packed weights of a kind that cannot be told from others.
        """
        return self.held.fingerprint()

    def refuse_interventions(self, doing: str) -> None:
        """Refuse while a plan is in force in this thread.

        Raises:
            InterventionError: What is made now would pass for the model's own.
        """
        if self.interventions.active:
            raise InterventionError(
                f"{doing} while a plan acts on the model",
                expected="the model as it is, because nothing would tell that it was not",
                remedy="leave the `with model.intervene(...)` block first",
            )

    def card(self) -> dict[str, Any]:
        """What an artefact records about the model it came from.

        Raises:
            InterventionError: A plan is in force, which the card would not tell.
        """
        self.refuse_interventions("no record can be made")
        module = self.held.backend.module
        adapters = {"adapters": active_adapters(module)} if has_adapters(module) else {}
        variables = self.encoder.template_kwargs
        return {
            "model": self.name,
            "revision": self.revision,
            "fingerprint": self.fingerprint,
            "architecture": type(module).__name__,
            **adapters,
            "dtype": str(self.dtype).removeprefix("torch."),
            "n_layers": self.n_layers,
            "d_model": self.d_model,
            "template_hash": self.encoder.template_hash,
            **({"template_kwargs": variables} if variables else {}),
        }

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        missing = "" if self.encoder.has_template else ", no chat template"
        return (
            f"{type(self).__name__}({self.name!r}, {self.n_layers} layers, "
            f"d_model {self.d_model}, {dtype} on {self.device}{missing})"
        )

    def _repr_html_(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        encoder = self.encoder
        facts = {
            "architecture": type(self.held.backend.module).__name__,
            "size": f"{self.n_layers} layers, d_model {self.d_model}",
            "runs in": f"{dtype} on {self.device}",
            "hook points": f"{self.hook_name(0)} to {self.hook_name(self.n_layers - 1)}",
            "context": "no limit" if self.context is None else f"{self.context:,} tokens",
            "chat template": "its own" if encoder.has_template else "none: plain turns stand in",
            "system role": "yes" if encoder.supports_system else "no, goes before the user turn",
        }
        return facts_html(f"{type(self).__name__} {self.name}", facts)
