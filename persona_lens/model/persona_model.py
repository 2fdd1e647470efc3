"""`PersonaModel`: one face over the models TransformerLens loads.

Bulk work (replies, pooled residuals) runs on the plain Hugging Face module; `model.bridge` is a
`TransformerBridge` on the same weights for everything TransformerLens can do. Both agree on every residual.
A `HookedTransformer` (TransformerLens 3) has no such module inside, so everything runs on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from persona_lens.errors import InterventionError, ModelError
from persona_lens.interventions.plan import Plan, checked_plan
from persona_lens.interventions.receipt import Receipt
from persona_lens.model.batching import Ids
from persona_lens.model.checking import checked_layers
from persona_lens.model.context import check_context
from persona_lens.model.generation import replies_to
from persona_lens.model.hardware import DtypeName, choose_device, choose_dtype
from persona_lens.model.inputs import check_message, check_transcripts, check_waiting
from persona_lens.model.loaded import LoadedModel
from persona_lens.model.loading import (
    load_tokenizer,
    load_weights,
    quiet_transformers,
    resolve_source,
    wrapped,
)
from persona_lens.model.memory import Memory
from persona_lens.model.origins import warn_of_foreign_weights
from persona_lens.model.projecting import TokenProjections
from persona_lens.model.reading import Reader
from persona_lens.model.residuals import Residuals, Side
from persona_lens.rollouts.reply import Reply
from persona_lens.rollouts.sampling import Sampling
from persona_lens.transcripts import Transcript

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class PersonaModel(LoadedModel):
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
        held: What runs it, however you hold it (`persona_lens.model.held`).
    """

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
        template = {"chat_template": chat_template, "template_kwargs": template_kwargs}
        if not isinstance(source, str | Path):
            return cls(**wrapped(source, tokenizer), **template)
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
        known = found.revision or getattr(module.config, "_commit_hash", None)
        return cls(found.name, tokenizer, module=module, revision=known, **template)

    def generate(
        self,
        prompts: Sequence[Transcript],
        sampling: Sampling | None = None,
        *,
        layers: Sequence[int] | None = None,
        before: bool = False,
        batch_size: int = 64,
        log_probs: bool = False,
        memory: Memory | None = None,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> list[Reply]:
        """Sample one reply a prompt, batched, with a KV cache; interventions in force act on it.

        Args:
            prompts: From `encoder.prompt(...)`.
            sampling: The paper's settings by default.
            layers: Pool the residual stream over each reply at these layers while it is generated; equal to
                reading the finished reply, for less than a tenth of the time.
            before: Pool too what plans in force found at those layers, as `Reply.before`.
            batch_size: Replies at a time.
            log_probs: Note the log-probability of every sampled token, for about 2 % of the time.
            memory: Keeps keys and values of conversations for their next turn (`persona_lens.model.memory`).
            on_batch: Called with the number of replies and tokens of each finished batch.

        Examples:
            >>> model = PersonaModel.load("smollm2-135m-instruct")
            >>> prompt = model.encoder.prompt([{"role": "user", "content": "What is the capital of France?"}])
            >>> "Paris" in model.generate([prompt], Sampling(temperature=0, max_new_tokens=12))[0].text
            True
        """
        check_transcripts(prompts, "prompt")
        chosen = None if layers is None else checked_layers(layers, self.n_layers)
        if not prompts:
            return []
        sampling = sampling or Sampling()
        self.check_room(prompts, sampling)
        return replies_to(
            self,
            prompts,
            sampling,
            layers=chosen,
            before=before,
            batch_size=batch_size,
            log_probs=log_probs,
            memory=memory,
            on_batch=on_batch,
        )

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

    def check_room(self, prompts: Sequence[Transcript], sampling: Sampling) -> None:
        """Refuse prompts that cannot be answered.

        Raises:
            ModelError: A transcript does not wait for a reply, or prompt and reply exceed the model's context.
        """
        check_waiting(prompts)
        room = (len(prompt) + sampling.max_new_tokens for prompt in prompts)
        check_context(
            room,
            self.held.backend.context,
            problem="prompt and reply do not fit the model's context",
            remedy="lower max_new_tokens or shorten the prompt",
        )

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
        return Reader(self, token_budget).log_probs(prompts, replies)

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
        return Reader(self, token_budget).pooled(transcripts, positions, layers)

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
        return Reader(self, token_budget).projections(transcripts, units, layers, positions)

    def residuals(
        self,
        transcripts: Sequence[Transcript],
        *,
        layers: Sequence[int] | None = None,
        padding_side: Side = "right",
    ) -> Residuals:
        """Every residual of the transcripts run as one batch, pads included, after interventions in force.

        Args:
            transcripts: Few enough for one batch; all of it is kept.
            layers: Blocks to read; all by default.
            padding_side: Where the pads are; on the left the model runs as it does when it replies.

        Examples:
            >>> model = PersonaModel.load("smollm2-135m-instruct")
            >>> said = model.encoder.encode([{"role": "user", "content": "Hi"}])
            >>> model.residuals([said], layers=[12]).row(12, 0).shape == (len(said), 576)
            True
        """
        return Reader(self).residuals(transcripts, layers, padding_side)

    def logits(self, transcript: Transcript) -> Float[Tensor, "token vocab"]:
        """float32 logits of the token after each, by one plain forward pass; interventions in force act on it.

        Examples:
            >>> model = PersonaModel.load("smollm2-135m-instruct")
            >>> prompt = model.encoder.prompt([{"role": "user", "content": "What is the capital of France?"}])
            >>> model.tokenizer.decode([int(model.logits(prompt)[-1].argmax())])
            'The'
        """
        return Reader(self).logits(transcript)

    @contextmanager
    def intervene(
        self, plan: Plan, *, detail: bool = False, receipt: Receipt | None = None
    ) -> Iterator[Receipt]:
        """Have a plan act on everything this model does in the block: `generate`, `chat`, `pooled`, `log_probs`,
        `kl`.

        Blocks nest, the inner plan acting on what the outer one left. Other threads are not affected, and the
        model is as it was afterwards, whatever happened. What you run on `model.bridge` yourself is not affected
        either: there, use `plan.hooks()`.

        Args:
            plan: Checked against the model at once.
            detail: Keep the change of every token, for `receipt.tokens()` and its HTML view.
            receipt: Of an earlier block with this plan, which goes on counting; by default a new one.

        Yields:
            The receipt, which says what the plan did so far.

        Raises:
            InterventionError: The plan does not fit the model, or the receipt is of another.

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
        if receipt is None:
            receipt = Receipt(
                plan,
                detail=detail,
                decode=lambda ids: str(tokenizer.decode(ids)),
                caution=warn_of_foreign_weights(plan.origins, self, stacklevel=3),
            )
        elif receipt.plan is not plan:
            raise InterventionError("the receipt is of another plan", remedy="begin a new one")
        with self.interventions.adding(plan, receipt):
            yield receipt

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
        return Reader(self, token_budget).kl(plan, transcripts)
