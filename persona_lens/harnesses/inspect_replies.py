"""A batch of Inspect's requests, answered under a plan, with what it did to each reply and where the reply lies.

Requests that sample alike share a call of the model. One that fails is asked again by itself, so that its failure
is its own. Everything that is said of a reply is said of that reply alone, whatever it was batched with:

    output.metadata["persona_lens"]
    {"plan": {"name": "floor 75", "digest": "0f3c...", "steps": [...]},
     "sampling": {"temperature": 0.0, ...}, "dtype": "float32",
     "choices": [{"tokens": 31, "engaged": 0.24, "moved": 0.013, "receipt": [...],
                  "projection": {"reading": "clean", "direction": "axis", "layer": 15, "mean": 6.2, "z": 0.4,
                                 "tokens": 30}}]}

`engaged` is the share of the tokens and layers the plan was to touch (of prompt and reply) that it moved, `moved`
by how much of the residual norm on average, those not moved included. `clean` says that the projection is that of
the finished reply, read again with nothing acting; `z` counts standard deviations of default replies.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ContentReasoning,
    ContentText,
    Logprob,
    Logprobs,
    ModelOutput,
    ModelUsage,
    StopReason,
)

from persona_lens.harnesses.inspect_messages import Wanted
from persona_lens.interventions.receipt import Receipt
from persona_lens.interventions.storage import plan_digest

if TYPE_CHECKING:
    from persona_lens.harnesses.inspect_setup import Setup
    from persona_lens.interventions.touched import TouchedTokens
    from persona_lens.rollouts.reply import Reply
    from persona_lens.transcripts import Transcript

KEY = "persona_lens"
"""Of a reply's metadata."""


@dataclass(frozen=True, eq=False)
class Asked:
    """One request.

    Attributes:
        messages: As encoders take them.
        wanted: How it is to be answered.
    """

    messages: Sequence[dict[str, str]]
    wanted: Wanted


@dataclass(frozen=True, eq=False)
class _Row:
    """A request that can be answered.

    Attributes:
        place: Its place in the batch.
        prompt: What the model is asked.
        wanted: As above, with no more tokens than fit.
        cut_short: Whether that is fewer than were asked for.
    """

    place: int
    prompt: Transcript
    wanted: Wanted
    cut_short: bool


@dataclass(frozen=True, eq=False)
class Answering:
    """Answers batches.

    Attributes:
        setup: Who answers.
        name: Of the model, in outputs.
    """

    setup: Setup
    name: str

    def __call__(
        self, batch: Sequence[Asked], given_up: Callable[[], bool] = lambda: False
    ) -> list[ModelOutput | Exception]:
        """An output, or what went wrong, for each request.

        Args:
            batch: Requests.
            given_up: Says whether nobody waits for them any more; then the model stops at the next token.
        """
        outcomes: dict[int, ModelOutput | Exception] = {}
        groups: dict[Any, list[_Row]] = {}
        for place, asked in enumerate(batch):
            try:
                row = self._row(place, asked)
            except Exception as error:  # noqa: BLE001 - it belongs to this request
                outcomes[place] = error
                continue
            if row is None:
                outcomes[place] = self._too_long()
            else:
                groups.setdefault(_alike(row), []).append(row)
        for rows in groups.values():
            outcomes |= self._answered(rows, given_up)
        return [outcomes[place] for place in range(len(batch))]

    def _row(self, place: int, asked: Asked) -> _Row | None:
        """None where no reply has room."""
        encoder, messages = self.setup.model.encoder, list(asked.messages)
        if messages[0]["role"] == "user":  # no system prompt means none, not the template's own
            messages = [*encoder.messages(messages[0]["content"]), *messages[1:]]
        prompt = encoder.prompt(messages)
        context, most = self.setup.model.context, asked.wanted.sampling.max_new_tokens
        room = most if context is None else min(most, context - len(prompt))
        if room < 1:
            return None
        sampling = asked.wanted.sampling.model_copy(update={"max_new_tokens": room})
        return _Row(place, prompt, replace(asked.wanted, sampling=sampling), room < most)

    def _answered(
        self, rows: Sequence[_Row], given_up: Callable[[], bool]
    ) -> dict[int, ModelOutput | Exception]:
        try:
            outputs = self._outputs(rows, given_up)
        except Exception as error:  # noqa: BLE001 - the others must not suffer for one
            if len(rows) == 1 or given_up():
                return {row.place: error for row in rows}
            each = [self._answered([row], given_up) for row in rows]
            return {place: output for one in each for place, output in one.items()}
        return {row.place: output for row, output in zip(rows, outputs, strict=True)}

    def _outputs(self, rows: Sequence[_Row], given_up: Callable[[], bool]) -> list[ModelOutput]:
        """Outputs of requests that sample alike."""
        model, plan, wanted = self.setup.model, self.setup.plan, rows[0].wanted
        owners = [row for row in rows for _ in range(row.wanted.choices)]
        prompts = [row.prompt for row in owners]
        sampling = wanted.sampling
        if not wanted.seeded and sampling.temperature:
            sampling = sampling.model_copy(update={"seed": secrets.randbits(63)})
        receipt = None if plan is None else Receipt(plan, detail=True)

        def stop(_ids: object) -> None:
            if given_up():
                raise TimeoutError("nobody waits for these replies any more")

        with ExitStack() as stack:
            stack.enter_context(model.held.lock)  # others' tokens are not ours to stop
            stack.enter_context(model.held.backend.before_forward(stop))
            if plan is not None and receipt is not None:
                stack.enter_context(model.interventions.adding(plan, receipt))
            replies = model.generate(
                prompts, sampling, batch_size=self.setup.batch_size, log_probs=wanted.log_probs
            )
        told = [
            _stopped(self.setup, prompt, reply, row.wanted.stops)
            for row, prompt, reply in zip(owners, prompts, replies, strict=True)
        ]
        wholes = [
            model.encoder.with_reply(prompt, reply.ids)
            for prompt, (reply, _) in zip(prompts, told, strict=True)
        ]
        places = self._projections(wholes)
        touched = {} if receipt is None else {each.row: each for each in receipt.tokens()}
        said = []
        for number, (whole, (reply, text)) in enumerate(zip(wholes, told, strict=True)):
            about: dict[str, Any] = {"tokens": len(reply.ids)}
            if receipt is not None:
                about |= _done(receipt, touched[number], len(whole))
            about["projection"] = places[number]
            said.append((whole, reply, text, about))
        outputs, start = [], 0
        for row in rows:
            own = said[start : start + row.wanted.choices]
            start += row.wanted.choices
            outputs.append(self._output(row, own))
        return outputs

    def _output(self, row: _Row, own: Sequence[tuple[Transcript, Reply, str, dict]]) -> ModelOutput:
        tokens = sum(len(reply.ids) for _, reply, _, _ in own)
        thought = sum(int(_thinking(whole).sum()) for whole, _, _, _ in own)
        return ModelOutput(
            model=self.name,
            choices=[self._choice(row, whole, reply, text) for whole, reply, text, _ in own],
            usage=ModelUsage(
                input_tokens=len(row.prompt),
                output_tokens=tokens,
                total_tokens=len(row.prompt) + tokens,
                reasoning_tokens=thought or None,
            ),
            metadata={KEY: {**self._card(row.wanted), "choices": [about for *_, about in own]}},
        )

    def _choice(
        self, row: _Row, whole: Transcript, reply: Reply, text: str
    ) -> ChatCompletionChoice:
        tokenizer = self.setup.model.tokenizer
        thought = str(tokenizer.decode(whole.ids[_thinking(whole)])).strip()
        content: Any = text
        if thought:
            content = [ContentReasoning(reasoning=thought), ContentText(text=text)]
        reason: StopReason = "stop"
        if reply.finish == "length":
            reason = "model_length" if row.cut_short else "max_tokens"
        scores = None
        if reply.log_probs is not None:
            pairs = zip(reply.ids.tolist(), reply.log_probs.tolist(), strict=True)
            scores = Logprobs(
                content=[
                    Logprob(token=str(tokenizer.decode([token])), logprob=score)
                    for token, score in pairs
                ]
            )
        message = ChatMessageAssistant(content=content, model=self.name, source="generate")
        return ChatCompletionChoice(message=message, stop_reason=reason, logprobs=scores)

    def _too_long(self) -> ModelOutput:
        """What Inspect's agents know as a conversation that has outgrown the model."""
        return ModelOutput.from_content(
            self.name,
            f"The conversation does not fit the model's context of {self.setup.model.context} tokens.",
            stop_reason="model_length",
        )

    def _card(self, wanted: Wanted) -> dict[str, Any]:
        plan, sampling = self.setup.plan, wanted.sampling.model_dump()
        if not wanted.seeded:
            sampling["seed"] = None
        steps = [] if plan is None else [str(step) for step in plan.steps]
        named = {"name": self.setup.plan_name, "digest": plan and plan_digest(plan), "steps": steps}
        caution = {"caution": self.setup.caution} if self.setup.caution else {}
        return {
            "plan": None if plan is None else named,
            "sampling": sampling,
            "dtype": str(self.setup.model.dtype).removeprefix("torch."),
            **caution,
        }

    def _projections(self, wholes: Sequence[Transcript]) -> list[dict[str, Any] | None]:
        """Where the replies lie on the axis; None without a space."""
        setup, space = self.setup, self.setup.space
        if space is None:
            return [None] * len(wholes)
        means = setup.model.pooled(wholes, layers=[setup.layer])[:, 0]
        known = np.isfinite(means).all(axis=-1)
        raw, scaled = np.full(len(means), np.nan), np.full(len(means), np.nan)
        if known.any():
            raw[known] = space.project(means[known], setup.layer)
            if not setup.scale_missing:
                scaled[known] = space.project(means[known], setup.layer, units="default")
        missing = {"z_missing": setup.scale_missing} if setup.scale_missing else {}
        return [
            {
                "reading": "clean",
                "direction": "axis",
                "layer": setup.layer,
                "mean": _number(raw[row]),
                "z": _number(scaled[row]),
                **missing,
                "tokens": int(setup.model.reply_positions(whole).sum()),
            }
            for row, whole in enumerate(wholes)
        ]


def _alike(row: _Row) -> Any:
    """Requests with the same key may share a call; a seed is kept only by one that has the call for itself."""
    alone = row.place if row.wanted.seeded and row.wanted.sampling.temperature else None
    sampling = row.wanted.sampling
    settings = (sampling.temperature, sampling.top_p, sampling.max_new_tokens)
    return (settings, row.wanted.log_probs, alone)


def _stopped(
    setup: Setup, prompt: Transcript, reply: Reply, stops: Sequence[str]
) -> tuple[Reply, str]:
    """The reply up to the first of the texts that end it, and its answer."""
    encoder = setup.model.encoder
    found = [place for place in (reply.text.find(stop) for stop in stops) if place >= 0]
    if not found:
        return reply, reply.answer
    end = min(found)
    kept, beyond = 0, len(reply.ids)
    while kept < beyond:  # the most tokens whose text does not reach the end
        middle = (kept + beyond + 1) // 2
        if len(encoder.text_of(reply.ids[:middle])) <= end:
            kept = middle
        else:
            beyond = middle - 1
    scores = None if reply.log_probs is None else reply.log_probs[:kept]
    text = reply.text[:end]
    said = encoder.said_text(prompt, text)
    cut = replace(
        reply, ids=reply.ids[:kept], text=text, finish="stop", log_probs=scores, said=said
    )
    return cut, said.answer


def _done(receipt: Receipt, touched: TouchedTokens, length: int) -> dict[str, Any]:
    """What the plan did to one row, up to a token."""
    change = touched.change[:, :length]
    finite = change[np.isfinite(change)]
    steps = []
    for number, step in enumerate(receipt.plan.steps):
        own = change[[place[0] == number for place in receipt.places]]
        sound, broken = own[np.isfinite(own)], int(np.isinf(own).sum())
        moved = sound[sound > 0]
        steps.append(
            {
                "step": str(step),
                "seen": int(sound.size) + broken,
                "changed": int(moved.size),
                "mean_change": float(moved.mean()) if moved.size else 0.0,
                "max_change": float(moved.max()) if moved.size else 0.0,
                **({"not_finite": broken} if broken else {}),
            }
        )
    return {
        "engaged": float((finite > 0).mean()) if finite.size else 0.0,
        "moved": float(finite.mean()) if finite.size else 0.0,
        "receipt": steps,
    }


def _thinking(whole: Transcript) -> np.ndarray:
    """The tokens of the last turn's thought."""
    return whole.mask("thinking", turn=-1)


def _number(value: float) -> float | None:
    """For JSON, which has no NaN."""
    return float(value) if math.isfinite(value) else None
