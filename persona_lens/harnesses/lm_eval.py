"""lm-evaluation-harness on a model under a plan (needs `persona-lens[lm-eval]`).

    from persona_lens.harnesses.lm_eval import PersonaLM

    lm = PersonaLM(model, plan)
    lm_eval.simple_evaluate(lm, tasks=["gsm8k"], apply_chat_template=True)
    print(lm.receipt)                # how many tokens were touched, and by how much

`run_tasks` compares conditions item by item, which is what a price needs.

What is of lm-eval here: tokens, few-shot prompts, batches of replies, cutting at stop sequences, scores. What
is not: every forward pass runs through this package, with float32 logits, so that a plan acts on the tokens it
names whatever the padding, and on no pads and sinks; the module's own generation config (a repetition penalty,
say) is set aside; replies end at every end token of the model, and their thoughts are left out; prompts of the
chat template have no default system prompt unless asked for; texts that lose their beginning are told.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections import defaultdict
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel, StoppingCriteriaList

from persona_lens.errors import EvaluationError, InterventionError
from persona_lens.harnesses.stop_sequences import StopSequences
from persona_lens.harnesses.token_rows import PromptBook
from persona_lens.interventions.plan import checked_plan
from persona_lens.interventions.receipt import Receipt
from persona_lens.interventions.storage import plan_digest
from persona_lens.model.batching import Batches, default_token_budget
from persona_lens.model.finiteness import FiniteWatch, warn_not_finite
from persona_lens.model.origins import warn_of_foreign_weights
from persona_lens.model.reading import Reader
from persona_lens.transcripts.thoughts import heard

try:
    from lm_eval.models import huggingface
except ImportError as error:
    raise EvaluationError(
        "lm-evaluation-harness is not installed", remedy="pip install 'persona-lens[lm-eval]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from persona_lens.interventions import Plan
    from persona_lens.model.persona_model import PersonaModel

Scored = tuple[Any, list[int], list[int]]
"""Texts (None for a piece of a rolling text), ids of the context, ids of what is scored."""


# What registers the class with lm-eval hides its type.
_HFLM: Any = huggingface.HFLM


class PersonaLM(_HFLM):
    """A model for lm-eval, and a plan that acts on it.

    Of a text that is scored, `generated` are the tokens that are scored, as far as they are fed: the last one is
    not, so a plan on `generated` alone cannot change the score of a single token. Of a rolling text all tokens are
    `generated`, in each of its windows. Of replies, the token that completes a stop sequence may be counted.

    Args:
        model: Whose plain module or bridge runs.
        plan: Acts on everything lm-eval has it do; so do plans in force (`model.intervene`) at the time.
        batch_size: Replies at a time; texts that are scored are batched by their tokens.
        max_length: Tokens of a text, the reply included; the model's context by default.
        default_system: Leave the chat template its own default system prompt where a task has none.
        progress: Show lm-eval's progress bars.

    Attributes:
        receipt: What the plan has done so far, all tasks together; None without a plan.
        cut: How many texts were longer than `max_length` so far, and lost their beginning, as lm-eval has it.

    Raises:
        EvaluationError: The model is a HookedTransformer.
        InterventionError: The plan does not fit the model, or is made for single rows.

    Examples:
        >>> from persona_lens import PersonaModel
        >>> from persona_lens.interventions import Direction, Floor, Plan
        >>> model = PersonaModel.load("smollm2-135m-instruct")
        >>> plan = Plan.of(Floor(Direction("up", (12,), np.ones((1, 576))), thresholds=-1e6))
        >>> lm = PersonaLM(model, plan)
        >>> lm.apply_chat_template([{"role": "user", "content": "Hi"}])[:32]
        '<|im_start|>system\\n<|im_end|>\\n<|'
    """

    def __init__(
        self,
        model: PersonaModel,
        plan: Plan | None = None,
        *,
        batch_size: int = 16,
        max_length: int | None = None,
        default_system: bool = False,
        progress: bool = True,
    ) -> None:
        module = model.held.backend.module
        if not isinstance(module, PreTrainedModel):
            raise EvaluationError(
                "lm-eval needs a model of transformers",
                expected="a module, or a TransformerBridge",
                given=type(module).__name__,
            )
        self.receipt: Receipt | None = None
        self.cut = 0
        if plan is not None:
            checked_plan(plan).check(n_layers=model.n_layers, d_model=model.d_model)
            if plan.rows is not None:
                raise InterventionError(
                    "the plan is made for single rows",
                    expected="one strength, and tokens chosen by names",
                    given=f"strengths or masks for {plan.rows} rows",
                    remedy="lm-eval makes the rows: one PersonaLM for each strength",
                )
            caution = warn_of_foreign_weights(plan.origins, model, stacklevel=2)
            self.receipt = Receipt(plan, caution=caution)
        self.persona_model, self.plan, self.progress = model, plan, progress
        self.book = PromptBook(model, default_system=default_system)
        # HFLM never sees the module: what it might run past this class would run without the plan.
        stand_in: Any = SimpleNamespace(device=model.device, config=module.config)
        with _quiet("lm_eval.models.huggingface"):
            super().__init__(
                pretrained=stand_in,
                backend="causal",
                tokenizer=copy.deepcopy(model.tokenizer),  # lm-eval gives it a pad token
                batch_size=batch_size if model.conduct.pads_in_front else 1,
                max_length=max_length or model.context,
            )

    @contextmanager
    def _acting(self) -> Iterator[None]:
        model = self.persona_model
        if self.plan is None or self.receipt is None:
            yield
            return
        with model.interventions.adding(self.plan, self.receipt):
            yield

    # Scores -----------------------------------------------------------------------------------------

    def _loglikelihood_tokens(
        self,
        requests: Sequence[Scored],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        """Log-probability of each continuation, and whether it is the most likely one token by token."""
        model, hidden = self.persona_model, disable_tqdm or not self.progress
        answers: list[tuple[float, bool]] = [(np.nan, False)] * len(requests)
        with self._acting(), model.held.lock, torch.no_grad():
            model.conduct.check_logits()
            longer = sum(len(each[1]) + len(each[2]) > self.max_length + 1 for each in requests)
            self._tell_cut(longer, of=len(requests))
            sharing: dict[tuple[Any, ...], list[int]] = defaultdict(list)
            for number, request in enumerate(requests):
                sharing[self._fed(request)].append(number)
            keys = list(sharing)
            rows = [self.book.scored(text, ids, start) for text, ids, start, _ in keys]
            around = Reader(model).around(rows, as_sampled=True)
            budget = default_token_budget(model.device)
            batches = Batches(model.held.backend, model.pad_id, model.device, budget)
            with tqdm(total=len(requests), desc="scoring", disable=hidden) as bar:
                for batch in batches.of([row.ids for row in rows]):
                    with around(batch.rows, batch.ids):
                        states, _ = batches.backend.advance(batch.ids, batch.mask)
                    for line, row in enumerate(batch.rows):
                        _, ids, _, scored = keys[row]
                        own = states[line, len(ids) - scored : len(ids)]
                        logs = batches.backend.unembed(own).float().log_softmax(dim=-1)
                        for number in sharing[keys[row]]:
                            answers[number] = _score(logs, requests[number][2])
                        bar.update(len(sharing[keys[row]]))
            if any(np.isnan(value) for value, _ in answers):
                broken = Reader(model).first_broken_layer(rows)
                warn_not_finite("log-probabilities", broken, model.dtype)
        for (texts, _, _), answer in zip(requests, answers, strict=True):
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, answer)
        return answers

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As lm-eval has it."""
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm or not self.progress)

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """As lm-eval has it."""
        hidden = disable_tqdm or not self.progress
        return super().loglikelihood_rolling(requests, disable_tqdm=hidden)

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """As lm-eval has it, without thoughts."""
        hidden = disable_tqdm or not self.progress
        return [heard(text).answer for text in super().generate_until(requests, hidden)]

    def tok_batch_encode(
        self, strings: list[str], *args: Any, left_truncate_len: int | None = None, **options: Any
    ) -> Any:
        """As lm-eval has it; prompts that are cut are told."""
        if left_truncate_len is not None:
            longer = sum(len(self.tok_encode(text)) > left_truncate_len for text in strings)
            self._tell_cut(longer, of=len(strings))
        options["left_truncate_len"] = left_truncate_len
        return super().tok_batch_encode(strings, *args, **options)

    def _tell_cut(self, longer: int, *, of: int) -> None:
        self.cut += longer
        if longer:
            warnings.warn(
                f"{longer} of {of} texts do not fit {self.max_length} tokens, the reply included: they lost their "
                "beginning, the first examples or the system prompt",
                RuntimeWarning,
                stacklevel=2,
            )

    def _fed(self, request: Scored) -> tuple[str | None, tuple[int, ...], int, int]:
        """What one row is run on: its prompt, its ids, where the answer begins, and how many tokens are scored.

        The last token is scored and not fed, so answers of one token to one prompt share a row.
        """
        texts, context, continuation = request
        if len(continuation) > self.max_length:
            raise EvaluationError(
                "an answer that is to be scored does not fit the model's context",
                expected=f"at most {self.max_length} tokens",
                given=len(continuation),
            )
        ids = (*context, *continuation)[-(self.max_length + 1) :][:-1]
        start = len(ids) + 1 - len(continuation)
        if texts is None:
            # A rolling text: its first window begins with a token that is not its own, the others do not.
            first = len(context) == 1 and context[0] == self.prefix_token_id
            start = int(first and ids[0] == self.prefix_token_id)
        return None if texts is None else texts[0], ids, start, len(continuation)

    # Replies ----------------------------------------------------------------------------------------

    def _model_generate(
        self, context: torch.Tensor, max_length: int, stop: list[str], **options: Any
    ) -> torch.Tensor:
        """Replies to one batch, pads in front; a row that meets a stop sequence says no more."""
        model = self.persona_model
        mask = options.pop("attention_mask").bool()
        if not options.get("do_sample") and not options.get("temperature"):
            options.update(do_sample=False, temperature=None)
        pad = self.tokenizer.pad_token_id
        options |= {
            "max_length": max_length,
            "eos_token_id": sorted(model.end_ids),
            "pad_token_id": pad,
            "stopping_criteria": StoppingCriteriaList(
                [StopSequences(self.tokenizer, stop, context.shape[1])]
            ),
        }
        with self._acting(), model.held.lock:
            if model.interventions.active:
                model.conduct.check_steps()
            rows = [row[kept].tolist() for row, kept in zip(context, mask, strict=True)]
            prompts = [self.book.waiting(ids) for ids in rows]
            ends = [*model.end_ids, pad]
            call = Reader(model).call(prompts, padding_side="left", end_ids=ends)
            watch = FiniteWatch(model.n_layers)
            backend = model.held.backend
            around = nullcontext() if call is None else call.around(range(len(prompts)))
            with around, backend.taps(watch.taps()):
                sampled = backend.generate(context, mask, **options)
            if watch.broken:
                broken = Reader(model).first_broken_layer(prompts)
                warn_not_finite("replies", broken, model.dtype)
        return sampled

    # What lm-eval asks about it ---------------------------------------------------------------------

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The text of a prompt; a last message of the assistant is what its answer begins with."""
        text, prompt = self.book.written(chat_history)
        self.book.keep(text, self.tok_encode(text), prompt)
        return text

    @property
    def tokenizer_name(self) -> str:
        """Tells lm-eval's cache of prompts who wrote them."""
        own = "default-system" if self.book.default_system else "no-system"
        return f"{self.persona_model.encoder.template_hash}-{own}"

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval's results say of the model: its card, and what acted on it."""
        encoder = self.persona_model.encoder
        return {
            **self.persona_model.card(),
            "plan": None if self.plan is None else str(self.plan),
            "plan_digest": None if self.plan is None else plan_digest(self.plan),
            "default_system": self.book.default_system and encoder.injects_system,
            "injected_text": encoder.injected_text,
        }


def _score(logs: torch.Tensor, continuation: Sequence[int]) -> tuple[float, bool]:
    tokens = torch.tensor(continuation, device=logs.device)
    value = float(logs.gather(1, tokens[:, None]).sum())
    return value, bool((logs.argmax(dim=-1) == tokens).all())


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Without what lm-eval says of arguments that it leaves aside."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
