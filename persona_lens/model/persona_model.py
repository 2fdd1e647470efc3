"""`PersonaModel`: one face over the models TransformerLens loads.

Bulk work (replies, pooled residuals) runs on the plain Hugging Face module; `model.bridge` is a
`TransformerBridge` on the same weights for everything TransformerLens can do. Both agree on every residual.
A `HookedTransformer` (TransformerLens 3) has no such module inside, so everything runs on it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float

from persona_lens.errors import InterventionError, ModelError
from persona_lens.interventions.hooks import hook_name
from persona_lens.interventions.plan import Plan, checked_plan
from persona_lens.interventions.receipt import Receipt
from persona_lens.model.adapters import active_adapters, adapter_settings, has_adapters
from persona_lens.model.backends import Backend, BridgeBackend, NativeBackend
from persona_lens.model.blocks import refuse_declared_streams, refuse_unreadable_blocks
from persona_lens.model.checking import (
    checked_layers,
    checked_positions,
    checked_replies,
    checked_units,
)
from persona_lens.model.conduct import Conduct, rounding
from persona_lens.model.context import check_context
from persona_lens.model.divergence import divergences
from persona_lens.model.fingerprint import fingerprint
from persona_lens.model.finiteness import (
    FiniteWatch,
    first_broken_layer,
    warn_not_finite,
    warn_of_broken_layers,
)
from persona_lens.model.generation import Generator
from persona_lens.model.hardware import DtypeName, choose_device, choose_dtype
from persona_lens.model.held_module import (
    HeldModule,
    is_placed_or_quantised,
    plain_module,
    refuse_marks_above_the_decoder,
)
from persona_lens.model.hooked_backend import HookedBackend, is_hooked_transformer
from persona_lens.model.inputs import check_message, check_transcripts
from persona_lens.model.intervening import Around, Call, Interventions
from persona_lens.model.loading import (
    load_tokenizer,
    load_weights,
    nothing_installed,
    quiet_transformers,
    resolve_source,
)
from persona_lens.model.origins import warn_of_foreign_weights
from persona_lens.model.own_marks import (
    execution_device,
    hooked_parts,
    moved_weights,
    own_hooks,
    replaced_forwards,
)
from persona_lens.model.pooling import Ids, default_token_budget, read_means
from persona_lens.model.projecting import TokenProjections, read_projections
from persona_lens.model.scoring import reply_log_probs, transcript_log_probs
from persona_lens.model.sinks import sink_positions
from persona_lens.model.twin import native_twin, shared_copy
from persona_lens.rollouts.reply import Reply
from persona_lens.rollouts.sampling import Sampling
from persona_lens.transcripts import Transcript, TranscriptEncoder

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_SINK_PROBES = (
    "The ferry leaves at nine and takes an hour to cross the bay. On most days the water is calm, "
    "and people read, drink coffee, or watch the gulls follow the boat to the other side.",
    "Cut two onions and let them soften in butter. Add rice, stir until it shines, pour in hot broth a ladle "
    "at a time, and keep stirring; after twenty minutes it should be creamy but not soft.",
    "Why do some bridges hum in strong wind? Air that streams past a cable sheds small whirls, first on one "
    "side and then on the other, and their rhythm can meet the pitch at which the cable likes to swing.",
)

_SINK_SYSTEM = "You write short and plain answers about everyday things."


class PersonaModel:
    """A decoder-only language model, ready to play personas and to have its residual stream read.

    Use `PersonaModel.load`. Layer *i* always means the residual stream after block *i*,
    `blocks.{i}.hook_resid_post` (paper section 2.1: "post-MLP residual stream").

    Attributes:
        name: The name the model was loaded by.
        revision: Hub revision or version of the embedded weights, if known.
        n_layers: Number of blocks.
        d_model: Width of the residual stream.
        device: Where inputs go.
        dtype: Dtype of the weights; means are float32 whatever it is.
        tokenizer: The tokenizer, never changed.
        encoder: Turns messages into ids and token groups (`persona_lens.transcripts`).
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
        if [module, bridge, hooked].count(None) != 2:
            raise ModelError(
                "a PersonaModel needs a module, a bridge or a HookedTransformer",
                expected="one of the three",
            )
        if bridge is not None:
            _refuse_processed_weights(bridge)
        self.name = name
        self.revision = revision
        self.tokenizer = tokenizer
        self.encoder = TranscriptEncoder(
            tokenizer, chat_template=chat_template, template_kwargs=template_kwargs
        )
        self._bridge = bridge
        self._hooked = hooked
        self._held = module if isinstance(module, HeldModule) else None
        self._own = None if isinstance(module, HeldModule) else module
        self._native: NativeBackend | None = None
        self._fingerprint_before_wrapping: str | None = None
        self._adapters_in_bridge: tuple[str, ...] = ()
        self._measured: tuple[Any, Conduct] | None = None
        self._interventions = Interventions()
        self._lock = (
            threading.RLock()
        )  # hooks are state of the module: two threads would see each other's
        self.n_layers = self._backend.n_layers
        self.d_model = self._backend.d_model
        self.device = self._input_device()
        self.dtype = self._backend.embedding.dtype
        self._refuse_unreadable()

    def _refuse_unreadable(self) -> None:
        """Refuse models whose blocks hand on no single, causal residual stream."""
        if self._hooked is None:
            refuse_declared_streams(cast("PreTrainedModel", self._backend.module))
        if self.device.type != "meta":
            refuse_unreadable_blocks(
                self._bare_backend,
                self._probe_texts[1][:4],
                self.device,
                tolerance=self._causal_tolerance,
            )

    @property
    def _causal_tolerance(self) -> float:
        """Activations that are quantised for a whole text at a time depend a little on all of it."""
        parts = self._backend.module.modules()
        quantised = any(type(part).__module__.startswith("torch.ao.") for part in parts)
        return 0.3 if quantised else 10 * rounding(self.dtype)

    @property
    def _probe_texts(self) -> tuple[list[int], list[int]]:
        """Ids of two short texts, the longer one first; ordinary text, since special tokens can ask for images."""
        long, short, _ = (
            self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in _SINK_PROBES
        )
        room = self._backend.context or 64
        return list(long)[: min(24, room // 2)], list(short)[: min(9, room // 4)]

    @property
    def _conduct(self) -> Conduct:
        """What the model's batches allow, measured without plans, and anew where another module runs."""
        running = self._backend.module
        if self._measured is None or self._measured[0] is not running:
            conduct = Conduct(self._bare_backend, self._probe_texts, self.pad_id, self.device)
            self._measured = running, conduct
        return self._measured[1]

    @classmethod
    def load(
        cls,
        source: Any,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        device: str | torch.device | None = None,
        device_map: Any = None,
        dtype: DtypeName | torch.dtype = "auto",
        revision: str | None = None,
        chat_template: str | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        trust_remote_code: bool = False,
    ) -> PersonaModel:
        """Load a model by name or path, or wrap one you hold.

        Args:
            source: An embedded name (`persona_lens.model.EMBEDDED`), a hub name, a folder, a `.gguf` file, a
                LoRA adapter (folder or hub name; needs `peft`), a Hugging Face causal language model, a
                `PeftModel`, a `TransformerBridge`, or (with TransformerLens 3) a `HookedTransformer`. Objects you
                hold are not changed; torch hooks on them and the adapters switched on act here as well.
                `random:NAME` has the architecture and tokenizer of NAME and random weights (`random:NAME:1`
                others): a control.
            tokenizer: Needed with an object that brings none; else overrides the one found.
            device: `cuda`, `cpu`, ...; the fastest there is by default.
            device_map: Spread a large model over devices (needs `accelerate`); excludes `device`.
            dtype: `auto` takes bfloat16 where the hardware is fast at it, else float32.
            revision: Hub revision.
            chat_template: Overrides the tokenizer's template, e.g. to read with a base model in the
                format of its instruct sibling.
            template_kwargs: Variables for the template, such as `{"enable_thinking": True}` or
                `{"reasoning_effort": "low"}`; they are on the card. Thinking is off unless told otherwise.
            trust_remote_code: Let the hub repository run its own Python code.

        Raises:
            ModelError: Nothing loadable, no tokenizer, or weights that TransformerLens may have centred, which
                moves the residual stream of LayerNorm models: a bridge in compatibility mode, a processed
                HookedTransformer with LayerNorm.
            DownloadError: Embedded weights could not be fetched.
            TranscriptError: A template that cannot be used, or a variable that it does not know.

        Examples:
            >>> model = PersonaModel.load("smollm2-135m-instruct")
            >>> model.n_layers, model.d_model, model.hook_name(20)
            (30, 576, 'blocks.20.hook_resid_post')
        """
        if not isinstance(source, str | Path):
            return cls._wrap(source, tokenizer, chat_template, template_kwargs)
        if device is not None and device_map is not None:
            raise ModelError("device and device_map exclude each other", remedy="give one of them")
        target = choose_device(device)
        chosen_dtype = choose_dtype(dtype, target)
        with quiet_transformers():
            found = resolve_source(source, revision)
            tokenizer = tokenizer or load_tokenizer(found, trust_remote_code=trust_remote_code)
            module = load_weights(
                found,
                dtype=chosen_dtype,
                device=target if device_map is None else None,
                device_map=device_map,
                trust_remote_code=trust_remote_code,
            )
        return cls(
            found.name,
            tokenizer,
            module=module,
            revision=found.revision or getattr(module.config, "_commit_hash", None),
            chat_template=chat_template,
            template_kwargs=template_kwargs,
        )

    @classmethod
    def _wrap(
        cls,
        held: Any,
        tokenizer: PreTrainedTokenizerBase | None,
        chat_template: str | None,
        template_kwargs: Mapping[str, Any] | None,
    ) -> PersonaModel:
        from transformer_lens.model_bridge import TransformerBridge  # noqa: PLC0415
        from transformers import PreTrainedModel  # noqa: PLC0415

        template = {"chat_template": chat_template, "template_kwargs": template_kwargs}
        if is_hooked_transformer(held):
            hooked = HookedBackend(held)
            name = held.cfg.model_name
            tokenizer = tokenizer or _find_tokenizer(held.cfg.tokenizer_name, name)
            return cls(name, tokenizer, hooked=hooked, **template)
        if isinstance(held, TransformerBridge):
            name, tokenizer = _named_with_tokenizer(held.original_model, tokenizer)
            return cls(name, tokenizer, bridge=held, **template)
        module = plain_module(held)
        if not isinstance(module, PreTrainedModel):
            raise ModelError(
                "cannot wrap this object",
                expected="a name, a path, a transformers PreTrainedModel, a PeftModel, a TransformerBridge or a "
                "HookedTransformer",
                given=type(held).__name__,
            )
        name, tokenizer = _named_with_tokenizer(module, tokenizer)
        return cls(name, tokenizer, module=HeldModule(module), **template)

    @property
    def _backend(self) -> Backend:
        """What bulk work runs on: the plain module, unless the bridge carries hooks of the user's."""
        if self._hooked is not None:
            return self._hooked
        bridge = self._bridge
        if bridge is not None and (self.has_bridge_hooks or self._module is None):
            backend = BridgeBackend(bridge)
            _refuse_hooked_blocks(backend)
            return backend
        return self._native_backend

    @property
    def _module(self) -> PreTrainedModel | None:
        """The plain module; None where only a bridge can run."""
        if self._held is not None:
            return self._held.running()
        if self._own is None and self._bridge is not None and not self._bridge_has_to_run:
            self._own = native_twin(self._bridge)
        return self._own

    def _input_device(self) -> torch.device:
        weight = self._backend.embedding
        if self._hooked is not None:
            return weight.device
        module = cast("PreTrainedModel", self._backend.module)
        return execution_device(module.get_input_embeddings(), weight)

    @property
    def _bridge_has_to_run(self) -> bool:
        """Whether the user's bridge holds what a plain twin would not."""
        module = cast("PreTrainedModel", cast("TransformerBridge", self._bridge).original_model)
        return (
            self.has_bridge_hooks
            or is_placed_or_quantised(module)
            or has_adapters(module)
            or bool(replaced_forwards(module))
        )

    @property
    def _native_backend(self) -> NativeBackend:
        module = cast("PreTrainedModel", self._module)
        if self._native is None or self._native.module is not module:
            self._native = NativeBackend(module)
        return self._native

    @property
    def bridge(self) -> TransformerBridge:
        """A `TransformerBridge` on the same weights, built on first use.

        Hooks you add to it act on `generate` and `pooled` of this model as well.

        Raises:
            ModelError: The model is a HookedTransformer, or a module you hold that a bridge would rewrite.

        Examples:
            >>> model = PersonaModel.load("smollm2-135m-instruct")
            >>> said = model.encoder.encode([{"role": "user", "content": "Hi"}])
            >>> tokens = torch.from_numpy(said.ids)[None]
            >>> _, cache = model.bridge.run_with_cache(tokens, names_filter=model.hook_name(20))
            >>> cache[model.hook_name(20)].shape[-1]
            576
        """
        if self._hooked is not None:
            raise ModelError(
                "a HookedTransformer has no bridge",
                remedy="use the HookedTransformer you passed: its hooks act on this model as well",
            )
        if self._held is not None and self._held.marked:
            raise ModelError(
                "the module you hold carries torch hooks or a forward of its own, which a bridge would lose",
                remedy="take them off, or boot a bridge yourself and pass it to PersonaModel.load",
            )
        module = cast("PreTrainedModel", self._own if self._held is None else self._module)
        if self._bridge is None:
            self._bridge = self._built_bridge(module)
            self._adapters_in_bridge = adapter_settings(module)
        elif module is not None and adapter_settings(module) != self._adapters_in_bridge:
            raise ModelError(
                "adapters were switched since the bridge was built, which still has the others",
                remedy="switch them back, or load the model again: PersonaModel.load(...)",
            )
        return self._bridge

    def _built_bridge(self, module: PreTrainedModel) -> TransformerBridge:
        from transformer_lens.model_bridge.sources import (  # noqa: PLC0415
            build_bridge_from_module,
        )

        if not is_placed_or_quantised(module):
            module = cast("PreTrainedModel", shared_copy(module))
        elif self._held is None:  # of the names the weights have before they are wrapped in place
            self._fingerprint_before_wrapping = self.fingerprint
        else:
            raise ModelError(
                "a bridge would rewrite the quantised or device-mapped module you passed",
                remedy="boot the bridge yourself and pass it to PersonaModel.load",
            )
        with nothing_installed(), quiet_transformers():
            bridge = build_bridge_from_module(
                module, type(module).__name__, hf_config=module.config, model_name=self.name
            )
        self._native = None  # its blocks may have been wrapped in place
        return bridge

    def hook_name(self, layer: int) -> str:
        """Name of the hook point Persona Lens reads at `layer`.

        Raises:
            ModelError: `layer` is not a block of this model.
        """
        if not 0 <= layer < self.n_layers:
            raise ModelError("no such layer", expected=f"0 to {self.n_layers - 1}", given=layer)
        return hook_name(layer)

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
        own = (*self._backend.stop_ids, self.tokenizer.eos_token_id)
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
        # One probe has no system prompt: what is a sink only where the template puts it is no position.
        probes = [
            self.encoder.messages(text, system=_SINK_SYSTEM if number else "")
            for number, text in enumerate(_SINK_PROBES)
        ]
        with self._lock:
            backend = self._unhooked_backend
            found = [
                sink_positions(
                    backend,
                    self.encoder.encode(probe).ids[: backend.context].tolist(),
                    self.device,
                )
                for probe in probes
            ]
        everywhere = set.intersection(*(set(positions) for positions in found))
        return {place: min(positions[place] for positions in found) for place in sorted(everywhere)}

    @property
    def _unhooked_backend(self) -> Backend:
        """What runs without the user's hooks, where a copy on the same weights can be made."""
        if self._hooked is None and self.has_bridge_hooks:
            bridge = cast("TransformerBridge", self._bridge)
            if not is_placed_or_quantised(bridge.original_model):
                return NativeBackend(self._module or native_twin(bridge))
        return self._backend

    @property
    def _bare_backend(self) -> Backend:
        """What is measured on: no hook on it is anybody's, where a copy on the same weights can be made."""
        backend = self._unhooked_backend
        held_as_it_is = self._held is not None and self._held.stays
        if type(backend) is not NativeBackend or held_as_it_is:
            return backend
        if is_placed_or_quantised(backend.module):
            return backend
        return NativeBackend(cast("PreTrainedModel", shared_copy(backend.module)))

    def generate(
        self,
        prompts: Sequence[Transcript],
        sampling: Sampling | None = None,
        *,
        layers: Sequence[int] | None = None,
        batch_size: int = 64,
        log_probs: bool = False,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> list[Reply]:
        """Sample one reply a prompt, batched, with a KV cache; interventions in force act on it.

        Args:
            prompts: From `encoder.prompt(...)`.
            sampling: The paper's settings by default.
            layers: Pool the residual stream over each reply at these layers while it is generated; equal to
                reading the finished reply, for less than a tenth of the time.
            batch_size: Replies at a time.
            log_probs: Note the log-probability of every sampled token, for about 2 % of the time.
            on_batch: Called with the number of replies and tokens of each finished batch.

        Examples:
            >>> model = PersonaModel.load("smollm2-135m-instruct")
            >>> prompt = model.encoder.prompt([{"role": "user", "content": "What is the capital of France?"}])
            >>> "Paris" in model.generate([prompt], Sampling(temperature=0, max_new_tokens=12))[0].text
            True
        """
        check_transcripts(prompts, "prompt")
        if layers is not None:
            layers = checked_layers(layers, self.n_layers)
        if not prompts:
            return []
        sampling = sampling or Sampling()
        self.check_room(prompts, sampling)
        with self._lock:
            if self._interventions.active:
                self._conduct.check_steps()
            together = len(prompts) == 1 or self._conduct.pads_in_front
            generator = Generator(
                self._backend,
                self.tokenizer,
                self.end_ids,
                self.pad_id,
                self.device,
                watch=(watch := FiniteWatch(self.n_layers)),
            )
            try:
                replies = generator.sample(
                    [prompt.ids for prompt in prompts],
                    sampling,
                    layers=layers,
                    batch_size=batch_size if together else 1,
                    log_probs=log_probs,
                    around=self._around(prompts, padding_side="left", end_ids=self.end_ids),
                    on_batch=on_batch,
                )
            except RuntimeError as error:  # torch refuses to draw from what are no probabilities
                if watch.broken:
                    raise self._nothing_to_draw(prompts) from error
                raise
            if watch.broken:
                warn_not_finite("replies", self._first_broken_layer(prompts), self.dtype)
        told = [self._heard(prompt, reply) for prompt, reply in zip(prompts, replies, strict=True)]
        return told if layers is None else self._without_thinking(prompts, told, layers)

    def log_probs(
        self,
        prompts: Sequence[Transcript],
        replies: Sequence[Ids],
        *,
        token_budget: int | None = None,
    ) -> list[Float[np.ndarray, " token"]]:
        """Natural log-probability of each token of each reply, were it the answer to the prompt beside it.

        Prompts that occur more than once are computed once a batch, so many replies to few prompts are cheap.

        Args:
            prompts: From `encoder.prompt(...)`.
            replies: Token ids, without the token that ends a reply.
            token_budget: Tokens of a batch; by default what suits the device.

        Examples:
            >>> model = PersonaModel.load("smollm2-135m-instruct")
            >>> prompt = model.encoder.prompt([{"role": "user", "content": "What is the capital of France?"}])
            >>> answers = ["The capital of France is Paris.", "The capital of France is Rome."]
            >>> paris, rome = model.log_probs([prompt, prompt], model.tokenizer(answers)["input_ids"])
            >>> bool(paris.sum() > rome.sum())
            True
        """
        check_transcripts(prompts, "prompt")
        _check_generating(prompts)
        said = checked_replies(replies, prompts, len(self._backend.embedding))
        if not prompts:
            return []
        lengths = [len(prompt) + len(ids) for prompt, ids in zip(prompts, said, strict=True)]
        check_context(
            lengths,
            self._backend.context,
            problem="prompts and replies do not fit the model's context",
            remedy="shorten them",
        )
        budget = token_budget or default_token_budget(self.device)
        with self._lock:
            self._conduct.check_logits()
            if self._interventions.active or not self._conduct.shares_prompts:
                whole = self._with_replies(prompts, said)
                values = transcript_log_probs(
                    self._backend,
                    [transcript.ids for transcript in whole],
                    [len(prompt) for prompt in prompts],
                    around=self._around(whole, padding_side="right", as_sampled=True),
                    pad_id=self.pad_id,
                    device=self.device,
                    token_budget=budget,
                )
            else:
                values = reply_log_probs(
                    self._backend,
                    [prompt.ids.tolist() for prompt in prompts],
                    said,
                    pad_id=self.pad_id,
                    device=self.device,
                    token_budget=budget,
                )
        self._warn_of_nan(values, prompts, "log-probabilities")
        return values

    def check_room(self, prompts: Sequence[Transcript], sampling: Sampling) -> None:
        """Refuse prompts that cannot be answered.

        Raises:
            ModelError: A transcript does not wait for a reply, or prompt and reply exceed the model's context.
        """
        _check_generating(prompts)
        room = (len(prompt) + sampling.max_new_tokens for prompt in prompts)
        check_context(
            room,
            self._backend.context,
            problem="prompt and reply do not fit the model's context",
            remedy="lower max_new_tokens or shorten the prompt",
        )

    @property
    def has_bridge_hooks(self) -> bool:
        """Whether the bridge (or HookedTransformer) carries hooks of the user's.

        They would act on replies and readings.
        """
        if self._hooked is not None:
            return _lists_own_hooks(self._hooked.model)
        bridge = self._bridge
        return bridge is not None and (
            _lists_own_hooks(bridge) or bool(hooked_parts(bridge.original_model))
        )

    @property
    def has_hooks(self) -> bool:
        """Whether hooks of the user's act on replies and readings: on the bridge, or torch hooks on a module."""
        return self.has_bridge_hooks or (self._held is not None and self._held.hooked)

    def _heard(self, prompt: Transcript, reply: Reply) -> Reply:
        """The reply with what of it is answer; its text keeps the marks of thoughts."""
        said = self.encoder.said(prompt, reply.ids)
        return replace(reply, text=self.encoder.text_of(reply.ids), said=said)

    def _without_thinking(
        self, prompts: Sequence[Transcript], replies: list[Reply], layers: Sequence[int]
    ) -> list[Reply]:
        """Read those replies again of which not every token is the assistant's answer."""
        whole = self._with_replies(prompts, [reply.ids for reply in replies])
        mixed = [
            index
            for index, (transcript, reply) in enumerate(zip(whole, replies, strict=True))
            if transcript.mask("assistant", turn=-1).sum() != len(reply.ids)
        ]
        read = [whole[index] for index in mixed]
        means = self._pooled(
            read,
            [self.reply_positions(transcript) for transcript in read],
            layers=tuple(layers),
            rows=mixed,
            n_rows=len(prompts),
        )
        for index, mean in zip(mixed, means, strict=True):
            replies[index] = replace(replies[index], mean=mean)
        return replies

    def _first_broken_layer(self, texts: Sequence[Transcript]) -> int | None:
        """Where numbers stop being some, without a plan; under one, its receipt tells."""
        layers = [first_broken_layer(self._backend, text.ids, self.device) for text in texts[:4]]
        return min((layer for layer in layers if layer is not None), default=None)

    def _warn_of_nan(
        self,
        values: Sequence[Float[np.ndarray, " token"]],
        texts: Sequence[Transcript],
        what: str,
    ) -> None:
        if any(np.isnan(each).any() for each in values):
            with self._lock:
                layer = self._first_broken_layer(texts)
            warn_not_finite(what, layer, self.dtype)

    def _nothing_to_draw(self, prompts: Sequence[Transcript]) -> ModelError:
        layer = self._first_broken_layer(prompts)
        where = "" if layer is None else f" at layer {layer} on"
        return ModelError(
            f"no reply can be sampled: the residual stream is not finite{where}",
            expected="numbers that the dtype can hold",
            given=str(self.dtype).removeprefix("torch."),
            remedy='load it with dtype="bfloat16" or "float32"; under a plan, look at its receipt',
        )

    def _with_replies(
        self, prompts: Sequence[Transcript], replies: Sequence[Ids]
    ) -> list[Transcript]:
        return [
            self.encoder.with_reply(prompt, np.asarray(reply))
            for prompt, reply in zip(prompts, replies, strict=True)
        ]

    def chat(self, message: str, system: str = "", sampling: Sampling | None = None) -> str:
        """Answer one message.

        Examples:
            >>> model = PersonaModel.load("smollm2-135m-instruct")
            >>> isinstance(model.chat("Who are you?", system="You are a ghost.",
            ...                       sampling=Sampling(max_new_tokens=8)), str)
            True
        """
        check_message(message, system)
        prompt = self.encoder.prompt(self.encoder.messages(message, system=system))
        return self.generate([prompt], sampling)[0].text

    def pooled(
        self,
        transcripts: Sequence[Transcript],
        positions: Sequence[Bool[np.ndarray, " token"]] | None = None,
        *,
        layers: Sequence[int] | None = None,
        token_budget: int | None = None,
    ) -> Float[np.ndarray, "transcript layer d_model"]:
        """Mean residual of each transcript over its last assistant turn, or over the positions given.

        Interventions in force act before the residual stream is read.

        Args:
            transcripts: From `encoder.encode(...)` or `encoder.with_reply(...)`.
            positions: One mask a transcript. Attention sinks are taken out of the default choice.
            layers: Blocks to read; all by default.
            token_budget: Tokens in a batch, pads included; by default what suits the device.

        Returns:
            float32; NaN where a transcript has no position to average. Where the residual stream is not finite a
            warning says at which layers.

        Source: paper section 2.1.2.
        """
        check_transcripts(transcripts, "encode")
        wanted = range(self.n_layers) if layers is None else layers
        chosen_layers = checked_layers(wanted, self.n_layers)
        self._check_readable(transcripts)
        masks = self._positions(transcripts, positions)
        return self._pooled(transcripts, masks, layers=chosen_layers, token_budget=token_budget)

    def _check_readable(self, transcripts: Sequence[Transcript]) -> None:
        check_context(map(len, transcripts), self._backend.context)

    def _positions(
        self, transcripts: Sequence[Transcript], positions: Any
    ) -> list[Bool[np.ndarray, " token"]]:
        if positions is not None:
            return checked_positions(positions, transcripts)
        return [self.reply_positions(transcript) for transcript in transcripts]

    def _pooled(
        self,
        transcripts: Sequence[Transcript],
        positions: Sequence[Bool[np.ndarray, " token"]],
        *,
        layers: tuple[int, ...],
        token_budget: int | None = None,
        rows: Sequence[int] | None = None,
        n_rows: int | None = None,
    ) -> Float[np.ndarray, "transcript layer d_model"]:
        """`pooled`, of all rows of a call or, read once more, of the sampled `rows` of one with `n_rows`."""
        if not transcripts:
            return np.empty((0, len(layers), self.d_model), dtype=np.float32)
        again = rows is not None
        around = self._around(
            transcripts,
            padding_side="right",
            rows=rows,
            n_rows=n_rows,
            as_sampled=again,
            noted=not again,
        )
        with self._lock:
            means = read_means(
                self._backend,
                [transcript.ids for transcript in transcripts],
                positions,
                layers=layers,
                pad_id=self.pad_id,
                device=self.device,
                token_budget=token_budget or default_token_budget(self.device),
                around=around,
            ).numpy()
        read = np.array([np.any(mask) for mask in positions])
        warn_of_broken_layers(means, read, layers, self.dtype, what="means")
        return means

    def projections(
        self,
        transcripts: Sequence[Transcript],
        units: Float[np.ndarray, "layer direction d_model"],
        *,
        layers: Sequence[int],
        positions: Sequence[Bool[np.ndarray, " token"]] | None = None,
        token_budget: int | None = None,
    ) -> list[TokenProjections]:
        """Projection of every token of the last assistant turn, or of the positions given, on some directions.

        Args:
            transcripts: From `encoder.encode(...)` or `encoder.with_reply(...)`.
            units: Unit vectors of the directions at each of `layers`.
            layers: Blocks to read.
            positions: One mask a transcript. Attention sinks are taken out of the default choice.
            token_budget: Tokens in a batch, pads included; by default what suits the device.

        Examples:
            >>> model = PersonaModel.load("smollm2-135m-instruct")
            >>> said = model.encoder.encode([{"role": "user", "content": "Is water wet?"},
            ...                              {"role": "assistant", "content": "Yes."}])
            >>> model.projections([said], np.eye(1, 576)[None], layers=[12])[0].values.shape
            (2, 1, 1)
        """
        check_transcripts(transcripts, "encode")
        chosen_layers = checked_layers(layers, self.n_layers)
        directions = checked_units(units, len(chosen_layers), self.d_model)
        self._check_readable(transcripts)
        masks = self._positions(transcripts, positions)
        if not transcripts:
            return []
        around = self._around(transcripts, padding_side="right")
        with self._lock:
            found = read_projections(
                self._backend,
                [transcript.ids for transcript in transcripts],
                masks,
                directions,
                layers=chosen_layers,
                pad_id=self.pad_id,
                device=self.device,
                token_budget=token_budget or default_token_budget(self.device),
                around=around,
            )
        read = np.array([len(tokens.norms) > 0 for tokens in found])
        sums = np.stack([tokens.norms.sum(axis=0) for tokens in found])
        warn_of_broken_layers(sums, read, chosen_layers, self.dtype, what="projections")
        return found

    @contextmanager
    def intervene(self, plan: Plan, *, detail: bool = False) -> Iterator[Receipt]:
        """Have a plan act on everything this model does in the block: `generate`, `chat`, `pooled`, `log_probs`,
        `kl`.

        Blocks nest, the inner plan acting on what the outer one left. Other threads are not affected, and the
        model is as it was afterwards, whatever happened. What you run on `model.bridge` yourself is not affected
        either: there, use `plan.hooks()`.

        Args:
            plan: Checked against the model at once.
            detail: Keep the change of every token, for `receipt.tokens()` and its HTML view.

        Yields:
            The receipt, which says what the plan did so far.

        Raises:
            InterventionError: The plan does not fit the model.

        Warns:
            ForeignWeightsWarning: Directions of it were read from other weights, as the receipt says too.

        Examples:
            >>> from persona_lens.interventions import Ablate, Direction, Plan
            >>> model = PersonaModel.load("smollm2-135m-instruct")
            >>> plan = Plan.of(Ablate(Direction("ghost", (12,), np.ones((1, 576)))))
            >>> with model.intervene(plan.where("generated")) as receipt:
            ...     _ = model.chat("Hi", sampling=Sampling(max_new_tokens=4, temperature=0))
            >>> int(receipt.frame()["seen"].sum())  # the last of four sampled tokens is never fed back
            3
        """
        checked_plan(plan).check(n_layers=self.n_layers, d_model=self.d_model)
        tokenizer = self.tokenizer  # a receipt that is kept should not keep the weights
        receipt = Receipt(
            plan,
            detail=detail,
            decode=lambda ids: str(tokenizer.decode(ids)),
            caution=warn_of_foreign_weights(plan.origins, self, stacklevel=3),
        )
        with self._interventions.adding(plan, receipt):
            yield receipt

    def _around(
        self,
        transcripts: Sequence[Transcript],
        *,
        padding_side: str,
        end_ids: Sequence[int] = (),
        rows: Sequence[int] | None = None,
        n_rows: int | None = None,
        as_sampled: bool = False,
        noted: bool = True,
    ) -> Around | None:
        """What each batch of a call runs in, if a plan is in force; arguments as for `Call`."""
        if not self._interventions.active:
            return None
        return Call(
            self._backend,
            tuple(self._interventions.active),
            transcripts,
            padding_side=padding_side,
            sinks=tuple(self.sinks),
            bos_id=cast("int | None", self.tokenizer.bos_token_id),
            end_ids=end_ids,
            rows=rows,
            n_rows=n_rows,
            as_sampled=as_sampled,
            noted=noted,
        ).around

    def kl(
        self,
        plan: Plan,
        transcripts: Sequence[Transcript],
        *,
        token_budget: int | None = None,
    ) -> list[Float[np.ndarray, " token"]]:
        """How far a plan moves the next-token distributions, in nats, KL(without || with) at each reply token.

        Args:
            plan: What to compare with no plan; plans in force act on both.
            transcripts: Finished conversations; what counts is the last assistant turn.
            token_budget: Tokens of a batch; by default what suits the device.

        Examples:
            >>> from persona_lens.interventions import Add, Direction, Plan
            >>> model = PersonaModel.load("smollm2-135m-instruct")
            >>> said = model.encoder.encode([{"role": "user", "content": "Is water wet?"},
            ...                              {"role": "assistant", "content": "Yes, it is."}])
            >>> push = Plan.of(Add(Direction("ghost", (12,), np.ones((1, 576))), lengths=20.0))
            >>> bool(model.kl(push, [said])[0].mean() > 0)
            True
        """
        check_transcripts(transcripts, "encode")
        budget = token_budget or default_token_budget(self.device)
        checked_plan(plan).check(n_layers=self.n_layers, d_model=self.d_model)
        self._check_readable(transcripts)
        warn_of_foreign_weights(plan.origins, self, stacklevel=2)
        without = self._around(transcripts, padding_side="right")
        with self._interventions.adding(plan, Receipt(plan)):
            acting = self._around(transcripts, padding_side="right")
        with self._lock:
            self._conduct.check_logits()
            values = divergences(
                self._backend,
                [transcript.ids for transcript in transcripts],
                [transcript.mask("assistant", turn=-1) for transcript in transcripts],
                without=without,
                acting=acting,
                pad_id=self.pad_id,
                device=self.device,
                token_budget=budget,
            )
        self._warn_of_nan(values, transcripts, "KL divergences")
        return values

    def reply_positions(self, transcript: Transcript) -> Bool[np.ndarray, " token"]:
        """The tokens of the last assistant turn, without thinking, special tokens and attention sinks."""
        positions = transcript.mask("assistant", turn=-1).copy()
        sinks = [position for position in self.sinks if position < len(positions)]
        positions[sinks] = False
        return positions

    @property
    def fingerprint(self) -> str:
        """Short hash of architecture, dtype and samples of every weight, and of the adapters that are switched on.

        The same weights give the same hash. A HookedTransformer names and lays out its weights in its own way, so
        its hash is another.

        Raises:
            ModelError: Packed weights of a kind that cannot be told from others.
        """
        return self._fingerprint_before_wrapping or self._fingerprint_in(None)

    def _fingerprint_in(self, dtype: torch.dtype | None) -> str:
        if self._hooked is not None:  # only parameters: its buffers grow with the longest text seen
            held = {name: part.detach() for name, part in self._hooked.module.named_parameters()}
            return fingerprint(held, rounded_to=dtype)
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
            rounded_to=dtype,
        )

    def refuse_interventions(self, doing: str) -> None:
        """Refuse while a plan is in force in this thread.

        Raises:
            InterventionError: What is made now would pass for the model's own.
        """
        if self._interventions.active:
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
        module = self._backend.module
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
        return (
            f"PersonaModel({self.name!r}, {self.n_layers} layers, d_model {self.d_model}, "
            f"{dtype} on {self.device})"
        )


def _lists_own_hooks(lens: Any) -> bool:
    return any(
        not _is_of_the_lens(handle) for held in lens.list_hooks().values() for handle in held
    )


def _is_of_the_lens(handle: Any) -> bool:
    """Whether TransformerLens itself has put a hook there, as its adapters of some architectures do."""
    home = getattr(getattr(handle, "user_hook", None), "__module__", None) or ""
    return home.partition(".")[0] == "transformer_lens"


def _check_generating(prompts: Sequence[Transcript]) -> None:
    if not all(prompt.generating for prompt in prompts):
        raise ModelError(
            "a transcript does not wait for a reply",
            expected="transcripts from encoder.prompt(...)",
        )


def _named_with_tokenizer(
    module: Any, tokenizer: PreTrainedTokenizerBase | None
) -> tuple[str, PreTrainedTokenizerBase]:
    source = module.config.name_or_path
    name = source or type(module).__name__
    tokenizer = tokenizer or _find_tokenizer(source, name)
    return "+".join([name, *active_adapters(module)]), tokenizer


def _find_tokenizer(source: str | None, name: str) -> PreTrainedTokenizerBase:
    """The tokenizer as published: the one TransformerLens holds is rewritten to add BOS."""
    from transformers import AutoTokenizer  # noqa: PLC0415

    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(source or "")
    except (OSError, ValueError) as error:
        raise ModelError(f"no tokenizer found for {name!r}", remedy="pass tokenizer=...") from error


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


def _refuse_processed_weights(bridge: TransformerBridge) -> None:
    if bridge.compatibility_mode or getattr(bridge, "_weights_processed", False):
        raise ModelError(
            "this bridge is in compatibility mode, whose centred weights move the residual stream of "
            "LayerNorm models",
            expected="a TransformerBridge with raw weights",
            remedy="boot a fresh bridge and do not call enable_compatibility_mode() on it",
        )
