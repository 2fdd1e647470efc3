"""Judges that label answers by a rubric: any OpenAI-compatible server, or a model that is loaded here.

    labels = {"machine": "It speaks as an AI.", "person": "It speaks as anybody else."}
    judge = RubricJudge(EndpointSettings(model="gpt-4.1-mini"), "Who speaks in the reply?", labels)
    Evaluation("who", "Who speaks?", items, [judge], [Measure("people", judge.name, labels=("person",))])

    RubricJudge(PersonaModel.load("qwen3-8b"), "Who speaks in the reply?", labels)   # no server

Prompts, the fences around untrusted text, and how answers are read are those of `persona_lens.evals.rubric`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from persona_lens.endpoints import Call, Completion, Endpoint, EndpointSettings, Failure
from persona_lens.errors import EndpointError, EvaluationError, ModelError, TranscriptError
from persona_lens.evals.outcomes import Answer, ItemJudge, Outcome
from persona_lens.evals.rubric import Rubric
from persona_lens.judges.answers import CUT_OFF, EMPTY_ANSWER, EMPTY_REPLY, clean
from persona_lens.judges.cost import JudgingCost, token_counter
from persona_lens.rollouts.sampling import Sampling

if TYPE_CHECKING:
    from persona_lens.judges.local_judge import AnswerTree
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.transcripts import Transcript

# OpenAI's word for an answer cut by its limit, and those of Anthropic, Gemini and Mistral.
_CUT = ("length", "max_tokens", "max_output_tokens", "model_length")


class RubricJudge:
    """Labels each answer by a rubric; what cannot be read is `unparsed`, what does not come is `failed`.

    A server with structured output is held to a JSON object with one of the labels; of others the label is read
    where the answer states it. A loaded model does not write: the label is the most probable of its answers, and
    `Outcome.raw` holds their probabilities, and how probable it is that it answers with a label at all ("a
    label"). That takes understanding, and SmolLM2-135M has too little of it.

    Args:
        asked: Server and model, or a loaded model. It is asked in its own chat template.
        rubric: What is to be decided, or a ready `Rubric`.
        labels: Names, each with what it means; none with a ready rubric.
        name: Key of frames.
        scores: A number for each label, as `Outcome.score`; none by default.
        empty: Label of an empty reply, which is not shown to the judge; by default it gets none (`not asked`).
        temperature: Of a server: 0 makes labels as repeatable as it is; None sends none, for models that refuse
            it.
        max_tokens: Of a server: length at which an answer is cut, thoughts included. A judge that thinks first
            needs some thousand.

    Raises:
        EvaluationError: The rubric cannot be judged by, or `scores` or `empty` name what is no label.
        ModelError: The template of the loaded model has it think before every answer.

    Examples:
        >>> settings = EndpointSettings(model="qwen3", base_url="http://127.0.0.1:8000/v1")
        >>> labels = {"machine": "It speaks as an AI.", "person": "It speaks as anybody else."}
        >>> judge = RubricJudge(settings, "Who speaks in the reply?", labels, name="speaker")
        >>> judge.name, judge.card()["host"], list(judge.labels)
        ('speaker', '127.0.0.1', ['machine', 'person'])
    """

    def __init__(
        self,
        asked: EndpointSettings | PersonaModel,
        rubric: str | Rubric,
        labels: Mapping[str, str] | None = None,
        *,
        name: str = "rubric",
        scores: Mapping[str, float] | None = None,
        empty: str | None = None,
        temperature: float | None = 0.0,
        max_tokens: int = 64,
    ) -> None:
        if isinstance(rubric, Rubric) == (labels is not None):
            raise EvaluationError(
                "it is not clear by which labels to judge",
                expected="a rubric's text and labels, or a ready Rubric alone",
                given="a Rubric and labels" if labels is not None else "a text alone",
            )
        self.rubric = rubric if isinstance(rubric, Rubric) else Rubric(rubric, dict(labels or {}))
        self.name = name
        self.scores = dict(scores or {})
        self.empty = empty
        strange = sorted({*self.scores, *([empty] if empty else [])} - set(self.rubric.labels))
        if strange:
            raise EvaluationError(
                "what is said of labels names others",
                expected=f"some of {', '.join(self.rubric.labels)}",
                given=", ".join(strange),
            )
        self._asked = (
            _Served(asked, self.rubric, temperature, max_tokens)
            if isinstance(asked, EndpointSettings)
            else _Loaded(asked, self.rubric)
        )
        self._heard: dict[tuple[str, str, str], Outcome] = {}

    @property
    def labels(self) -> Mapping[str, str]:
        """Names, each with what it means."""
        return self.rubric.labels

    def card(self) -> dict[str, Any]:
        """Rubric, model and everything else that decides the labels; no key."""
        return {
            "judge": "rubric",
            **self.rubric.card(),
            "scores": self.scores,
            "empty": self.empty,
            **self._asked.card(),
        }

    def outcomes(self, answers: Sequence[Answer]) -> list[Outcome]:
        """One for each answer, in their order.

        Raises:
            EndpointError: No key, wrong key, no quota, no such model, or a server that seems to be down. What it
                has said before stands: the next call does not ask for it again. A single answer that fails raises
                nothing.
        """
        found: dict[int, Outcome] = {}
        asked: dict[int, Answer] = {}
        for place, answer in enumerate(answers):
            known = self._unasked(answer)
            if known is None:
                asked[place] = answer
            else:
                found[place] = known
        try:
            for place, outcome in self._asked.outcomes(asked.items()):
                found[place] = outcome
        except EndpointError:
            said = {place: found[place] for place in asked if place in found}
            self._heard |= {
                _key(asked[place]): it for place, it in said.items() if it.status != "failed"
            }
            raise
        for answer in answers:
            self._heard.pop(_key(answer), None)
        return [self._scored(found[place]) for place in range(len(answers))]

    def estimate(self, answers: Sequence[Answer], total: int) -> JudgingCost | None:
        """What judging so many replies will cost; None of a loaded model. Asks nobody.

        Args:
            answers: Some that may be given.
            total: How many there will be.
        """
        if not isinstance(self._asked, _Served):
            return None
        how, count = token_counter(self._asked.settings.model)
        prompts = [
            "\n\n".join(each["content"] for each in self.rubric.messages(answer))
            for answer in answers
        ]
        answered = max(count(f'{{"label": "{label}"}}') for label in self.labels)
        return JudgingCost(
            calls=total,
            prompt_tokens=round(total * np.mean([count(prompt) for prompt in prompts])),
            answer_tokens=total * answered,
            most_answer_tokens=total * max(answered, self._asked.max_tokens),
            counted_by=how,
            concurrency=self._asked.settings.concurrency,
            seconds_per_call=1.0,
            price=None,
            sample_prompt=prompts[0],
        )

    def silent(self, why: str) -> ItemJudge:
        """The same judge, which asks nobody: it knows what it said before its server failed.

        Args:
            why: Stands where there is no verdict, as `Outcome.raw` of what is `failed`.
        """
        return _Silent(self, why)

    def _unasked(self, answer: Answer) -> Outcome | None:
        if answer.text.strip():
            return self._heard.get(_key(answer))
        if self.empty is not None:
            return Outcome(self.empty, raw=EMPTY_REPLY)
        return Outcome(status="not asked", raw=EMPTY_REPLY)

    def _scored(self, outcome: Outcome) -> Outcome:
        if outcome.label is None:
            return outcome
        score = self.scores.get(outcome.label)
        return Outcome(outcome.label, score, outcome.status, outcome.raw)


def _key(answer: Answer) -> tuple[str, str, str]:
    """All that a judge is shown."""
    return answer.item.system, answer.item.question, answer.text


@dataclass(frozen=True, eq=False)
class _Silent:
    judge: RubricJudge
    why: str

    @property
    def name(self) -> str:
        return self.judge.name

    def card(self) -> dict[str, Any]:
        return self.judge.card()

    def outcomes(self, answers: Sequence[Answer]) -> list[Outcome]:
        lost = Outcome(status="failed", raw=self.why)
        known = [self.judge._unasked(answer) or lost for answer in answers]
        return [self.judge._scored(each) for each in known]


class _Served:
    """A server that is asked for labels."""

    def __init__(
        self, settings: EndpointSettings, rubric: Rubric, temperature: float | None, max_tokens: int
    ) -> None:
        self.settings, self.rubric = settings, rubric
        self.temperature, self.max_tokens = temperature, max_tokens
        self._endpoint = Endpoint(settings)

    def card(self) -> dict[str, Any]:
        return {
            **self.settings.card(),
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }

    def outcomes(self, answers: Iterable[tuple[int, Answer]]) -> Iterator[tuple[int, Outcome]]:
        """As they arrive."""
        calls = (
            Call(
                key=place,
                messages=self.rubric.messages(answer),
                temperature=self.temperature,
                max_tokens=self.max_tokens,
                response_format=self.rubric.form,
            )
            for place, answer in answers
        )
        for call, outcome in self._endpoint.map(calls):
            assert isinstance(call.key, int)
            yield call.key, self._read(outcome)

    def _read(self, outcome: Completion | Failure) -> Outcome:
        if isinstance(outcome, Failure):
            return Outcome(status="failed", raw=clean(f"{outcome.reason}: {outcome.detail}"))
        if outcome.refusal or outcome.finish in ("refusal", "content_filter"):
            said = outcome.refusal or outcome.text or outcome.finish
            return Outcome(status="failed", raw=clean(f"the judge refused: {said}"))
        cut = outcome.finish.lower() in _CUT
        raw = clean(outcome.text)
        if not raw.strip():
            ended = "length" if cut else outcome.finish
            return Outcome(status="unparsed", raw=f"{EMPTY_ANSWER} (ended by {ended})")
        label = self.rubric.read(raw, cut=cut)
        if label is None:
            return Outcome(status="unparsed", raw=f"{CUT_OFF}: {raw}" if cut else raw)
        return Outcome(label, raw=raw)


class _Loaded:
    """A model that is read by the probabilities of the labels as its answers."""

    def __init__(self, model: PersonaModel, rubric: Rubric) -> None:
        from persona_lens.judges.local_judge import AnswerTree  # noqa: PLC0415 - torch

        asked = model.encoder.prompt(model.encoder.messages("Who?"))
        if model.encoder.opens_thought(asked):
            raise ModelError(
                "this model thinks before it answers, so its next word is no label",
                expected="a chat template that lets it answer at once",
                remedy="have a server run it: RubricJudge(EndpointSettings(...), ..., max_tokens=4000)",
            )
        self.model, self.rubric = model, rubric
        self._tree: AnswerTree = AnswerTree(rubric.labels, model.encoder)
        self._room = Sampling(max_new_tokens=self._tree.width)
        added = model.tokenizer.added_tokens_decoder.values()
        self._control = sorted({str(token) for token in added if token.special})

    def card(self) -> dict[str, Any]:
        return {"model": self.model.card()}

    def outcomes(self, answers: Iterable[tuple[int, Answer]]) -> Iterator[tuple[int, Outcome]]:
        """Prompts that do not fit, or that the template cannot carry, are `failed`."""
        prompts: dict[int, Transcript] = {}
        for place, answer in answers:
            try:
                asked = self.rubric.messages(answer, "bare", control=self._control)
                prompt = self.model.encoder.prompt(asked)
                self.model.check_room([prompt], self._room)
            except (ModelError, TranscriptError) as error:
                yield place, Outcome(status="failed", raw=str(error))
            else:
                prompts[place] = prompt
        rows = len(self._tree.rows)
        log_probs = self.model.log_probs(
            [prompt for prompt in prompts.values() for _ in range(rows)],
            self._tree.rows * len(prompts),
        )
        for number, place in enumerate(prompts):
            shares = self._tree.shares(log_probs[number * rows : (number + 1) * rows])
            yield place, _most_probable(shares)


def _most_probable(shares: Mapping[str, float]) -> Outcome:
    mass = sum(shares.values())
    if not 0 < mass < np.inf:
        return Outcome(status="unparsed", raw=f"the labels have probability {mass}")
    shown = {label: round(share / mass, 4) for label, share in shares.items()}
    raw = json.dumps({**shown, "a label": float(f"{mass:.4g}")})
    return Outcome(max(shares, key=shares.__getitem__), raw=raw)
