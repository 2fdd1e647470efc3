"""A judge behind any OpenAI-compatible chat server.

Examples:
    >>> from persona_lens.endpoints import EndpointSettings
    >>> judge = OpenAIJudge(EndpointSettings(model="qwen3", base_url="http://127.0.0.1:8000/v1"))
    >>> labels = judge_run(RunFolder("runs/first"), judge)  # doctest: +SKIP
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, Literal, get_args

from persona_lens.endpoints import Call, Completion, Endpoint, EndpointSettings, Failure
from persona_lens.errors import PersonaLensError
from persona_lens.judges.answers import (
    EMPTY_ANSWER,
    RoleAnswer,
    TraitAnswer,
    clean,
    read_answer,
    settled,
)
from persona_lens.judges.base import Case, Verdict
from persona_lens.judges.cost import JudgingCost, token_counter
from persona_lens.judges.prompts import (
    PROMPT_VERSION,
    Form,
    judge_messages,
    verbatim_messages,
)

Scoring = Literal["answer", "logits"]

# OpenAI's word for an answer cut by its limit, and those of Anthropic, Gemini and Mistral.
_CUT = ("length", "max_tokens", "max_output_tokens", "model_length")
_ALTERNATIVES = 20  # the most that OpenAI reports
_USUAL_ANSWER = {
    ("role", "json"): '{"score": 3}',
    ("role", "number"): "3",
    ("trait", "json"): '{"refusal": false, "score": 100}',
    ("trait", "number"): "100",
}


class OpenAIJudge:
    """Asks a chat model for its verdict on each reply.

    A server with structured output is held to a JSON object; of others the number is read where the answer states
    it, never from its reasons or its thoughts. What cannot be read is `unparsed`, what does not come is `failed`;
    neither stops the run, and `judge_run(..., retry=True)` asks again.

    Args:
        settings: Server, model and concurrency.
        temperature: 0 makes verdicts as repeatable as the server is; None sends none, for models that refuse it.
        scoring: `answer` takes the number the judge gives. `logits` takes the expected number over the
            alternatives it weighed at that place, as Persona Vectors (arXiv 2507.21509) does for traits: finer,
            and free of the judge's love of round numbers. Refusals and the labels of roles still come from the
            answer, and so does the score where the server reports no alternatives, or where the number stands in
            several places or is several tokens.
        max_tokens: Length at which an answer is cut, thoughts included. A judge that thinks first needs some
            thousand.
        verbatim: Ask with each entry's own judge prompt as it is, as the paper's code does, and hold the server to
            no schema; entries without one are refused. The paper's settings are temperature 1 and 10 tokens.

    Raises:
        PersonaLensError: No such scoring.

    Examples:
        >>> from persona_lens.endpoints import EndpointSettings
        >>> settings = EndpointSettings(model="qwen3", base_url="http://127.0.0.1:8000/v1")
        >>> OpenAIJudge(settings, scoring="logits").card()["scoring"]
        'logits'
    """

    name = "openai"

    def __init__(
        self,
        settings: EndpointSettings,
        *,
        temperature: float | None = 0.0,
        scoring: Scoring = "answer",
        max_tokens: int = 64,
        verbatim: bool = False,
    ) -> None:
        if scoring not in get_args(Scoring):
            raise PersonaLensError("no such scoring", expected="answer or logits", given=scoring)
        self.settings = settings
        self.temperature = temperature
        self.scoring: Scoring = scoring
        self.max_tokens = max_tokens
        self.verbatim = verbatim
        self._form: Form = "json" if scoring == "answer" and not verbatim else "number"

    def card(self) -> dict[str, Any]:
        """Model, host and everything that decides the verdicts; no key."""
        return {
            "judge": "openai",
            "prompt_version": PROMPT_VERSION,
            **self.settings.card(),
            "temperature": self.temperature,
            "scoring": self.scoring,
            "max_tokens": self.max_tokens,
            **({"prompt": "verbatim"} if self.verbatim else {}),
        }

    def verdicts(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        """One verdict for each case, in order of arrival.

        Raises:
            EndpointError: No key, wrong key, no quota, no such model, or a server that seems to be down. All
                verdicts that arrived before have been handed out.
        """
        unasked: deque[tuple[Case, Verdict]] = deque()
        for case, outcome in self._answers(cases, unasked):
            yield case, self._verdict(case, outcome)
            while unasked:
                yield unasked.popleft()
        yield from unasked

    def estimate(
        self,
        sample: Sequence[Case],
        total: int,
        *,
        seconds_per_call: float = 1.0,
        price: tuple[float, float] | None = None,
    ) -> JudgingCost:
        """What judging `total` replies like those in `sample` will cost. Asks the server nothing.

        Args:
            sample: Some replies; the more evenly they are spread over roles and traits the better.
            total: Replies to judge.
            seconds_per_call: What a call takes, if it has been measured.
            price: Per million tokens of prompts and of answers.

        Raises:
            PersonaLensError: The sample is empty.
        """
        if not sample:
            raise PersonaLensError("an estimate needs replies", expected="at least one", given=0)
        how, count = token_counter(self.settings.model)
        asked = [case for case in sample if settled(case) is None]
        asked_for = [self._call(case).messages for case in asked]
        prompts = ["\n\n".join(each["content"] for each in messages) for messages in asked_for]
        answers = [_USUAL_ANSWER[_scale(case), self._form] for case in asked]
        calls = round(total * len(asked) / len(sample))
        return JudgingCost(
            calls=calls,
            prompt_tokens=round(calls * fmean(map(count, prompts))) if asked else 0,
            answer_tokens=round(calls * fmean(map(count, answers))) if asked else 0,
            most_answer_tokens=calls * self.max_tokens,
            counted_by=how,
            concurrency=self.settings.concurrency,
            seconds_per_call=seconds_per_call,
            price=price,
            sample_prompt=prompts[0] if prompts else "",
        )

    def _answers(
        self, cases: Iterable[Case], unasked: deque[tuple[Case, Verdict]]
    ) -> Iterator[tuple[Case, Completion | Failure]]:
        """What the server says of the cases; those it need not see go to `unasked`."""

        def calls() -> Iterator[Call]:
            for case in cases:
                verdict = settled(case)
                if verdict is None:
                    yield self._call(case)
                else:
                    unasked.append((case, verdict))

        for call, outcome in Endpoint(self.settings).map(calls()):
            assert isinstance(call.key, Case)
            yield call.key, outcome

    def _call(self, case: Case) -> Call:
        answer = TraitAnswer if _scale(case) == "trait" else RoleAnswer
        return Call(
            key=case,
            messages=verbatim_messages(case) if self.verbatim else judge_messages(case, self._form),
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            response_format=answer if self._form == "json" else None,
            logprobs=_ALTERNATIVES if self.scoring == "logits" else None,
        )

    def _verdict(self, case: Case, outcome: Completion | Failure) -> Verdict:
        if isinstance(outcome, Failure):
            return Verdict(status="failed", raw=clean(f"{outcome.reason}: {outcome.detail}"))
        if outcome.finish in ("refusal", "content_filter"):
            said = outcome.refusal or outcome.text or outcome.finish
            return Verdict(status="failed", raw=clean(f"the judge refused: {said}"))
        ended = "length" if outcome.finish.lower() in _CUT else outcome.finish
        if not outcome.text.strip():
            return Verdict(status="unparsed", raw=f"{EMPTY_ANSWER} (ended by {ended})")
        verdict = read_answer(case.shard.kind, outcome.text, cut=ended == "length")
        if self.scoring == "logits" and verdict.score is not None:
            return _weighted(verdict, outcome.top_logprobs or ())
        return verdict


def _scale(case: Case) -> str:
    return "trait" if case.shard.kind == "trait" else "role"


def _weighted(verdict: Verdict, tokens: Sequence[Mapping[str, float]]) -> Verdict:
    """The verdict with the expected score over the alternatives to the number that was given.

    Args:
        verdict: As read from the answer.
        tokens: Per token of the answer, log-probabilities of the alternatives, the chosen one first.
    """
    assert verdict.score is not None
    top = 3 if verdict.label is not None else 100
    given = str(int(verdict.score))
    places = [place for place in tokens if next(iter(place), "").strip() == given]
    if (
        len(places) != 1
    ):  # split into several tokens, or said more than once: which was the verdict?
        return verdict
    weights: dict[int, float] = {}
    for token, log_prob in places[0].items():
        number = token.strip()
        if number.isdecimal() and int(number) <= top:
            weights[int(number)] = weights.get(int(number), 0.0) + math.exp(min(log_prob, 0.0))
    mass = sum(weights.values())
    # Single digits alone may be the beginnings of longer numbers, where the tokenizer splits them. And some
    # servers write -9999 or NaN for a probability that they have not computed.
    if (top == 100 and max(weights) < 10) or not 0 < mass < math.inf:
        return verdict
    shares = {number: weights[number] / mass for number in sorted(weights)}
    expected = sum(number * share for number, share in shares.items())
    shown = {str(number): round(share, 4) for number, share in shares.items()}
    raw = json.dumps({"answer": verdict.raw, "probabilities": shown}, ensure_ascii=False)
    return replace(verdict, score=expected, raw=raw)
