"""No judge model at all: was this reply written by someone who had read the role's prompt?

The model that wrote a reply says how likely it is under the role's system prompt and under a default one. The
score of a role reply is the mean log-likelihood ratio of its tokens, in nats:

    score = 1/T * sum_t [ log p(y_t | role prompt, question, y_<t) - log p(y_t | default prompt, question, y_<t) ]

What counts as high is read off replies the default Assistant gave to the same questions, scored as if they had
been given under the role's prompt. A reply is "fully" or "somewhat" in role if its score is above the threshold
that only 1 % or 10 % of such replies pass; so both labels have a stated false-positive rate, and no judge's
taste enters.

A trait reply is scored by the posterior probability, times 100, that the positive and not the negative prompt of
its pair was behind it, both being equally likely beforehand. There is nothing to calibrate.

    judge = LikelihoodJudge(model)              # the model that wrote the replies
    judge_run(RunFolder("runs/first"), judge)

What it measures is influence of the prompt, not good acting: a reply that repeats the prompt's words scores high.

Thoughts are not read: their tokens are left out, so that the answer stands behind an empty thought, and only its
own tokens count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from persona_lens.errors import RunError, TranscriptError
from persona_lens.judges.answers import settled
from persona_lens.judges.base import Case, Verdict
from persona_lens.judges.null_thresholds import NullThresholds
from persona_lens.rollouts.plan import Shard
from persona_lens.transcripts import Group
from persona_lens.transcripts.continuing import Continuation

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.transcripts import Transcript

METHOD_VERSION = 1
CASES_AT_A_TIME = 256
"""Replies scored together: prompts that recur among them run once."""


class LikelihoodJudge:
    """Judges by the log-likelihood ratio of a reply under its own prompt and under another.

    Args:
        model: The model that wrote the replies.
        somewhat: False-positive rate: the share of default replies that get this label, or more.
        fully: The same for this label.
        baseline: System prompt of the default Assistant that role prompts are compared with.
        max_tokens: Tokens of an answer that are scored, from the first.
        nulls: Default replies scored in each shard of a role.
        token_budget: Tokens of a batch; by default what suits the device.

    Raises:
        RunError: Rates that are not 0 < fully <= somewhat < 1.

    Source: of the question, the doubts about judges in reviews of arXiv 2601.10387; the method is ours.
    """

    name = "likelihood"

    def __init__(
        self,
        model: PersonaModel,
        *,
        somewhat: float = 0.1,
        fully: float = 0.01,
        baseline: str = "",
        max_tokens: int = 48,
        nulls: int = 4,
        token_budget: int | None = None,
    ) -> None:
        if not 0 < fully <= somewhat < 1:
            raise RunError(
                "false-positive rates must grow from fully to somewhat",
                expected="0 < fully <= somewhat < 1",
                given=f"fully={fully}, somewhat={somewhat}",
            )
        self.model = model
        self.somewhat = somewhat
        self.fully = fully
        self.baseline = baseline
        self.max_tokens = max_tokens
        self.nulls = nulls
        self.token_budget = token_budget
        self._thresholds: NullThresholds | None = None

    def card(self) -> dict[str, Any]:
        """What decides the verdicts."""
        return {
            "method": "mean log-likelihood ratio against the default prompt",
            "version": METHOD_VERSION,
            "model": self.model.card(),
            "false_positive_rates": {"somewhat": self.somewhat, "fully": self.fully},
            "baseline": self.baseline,
            "max_tokens": self.max_tokens,
            "nulls": self.nulls,
        }

    # Thresholds ---------------------------------------------------------------------------------------

    def nulls_wanted(self, shard: Shard) -> int:
        """Some default replies for every shard of a role; traits need none."""
        return min(self.nulls, len(shard.requests)) if shard.kind == "role" else 0

    def calibrate(self, nulls: Iterable[Case]) -> dict[str, Any]:
        """Score default replies under role prompts, and read the thresholds off them."""
        names: list[str] = []
        scores: list[float] = []
        for chunk in _chunks(nulls):
            # Their own prompts were default ones, so what was noted when they were sampled does not apply.
            ratios = self._ratios(chunk, own_known=False)
            for case, ratio in zip(chunk, ratios, strict=True):
                if ratio is not None:
                    names.append(case.shard.name)
                    scores.append(ratio)
        thresholds = NullThresholds.of_scores(
            names, np.array(scores), {"fully": self.fully, "somewhat": self.somewhat}
        )
        return thresholds.as_dict()

    def restore(self, calibration: Mapping[str, Any]) -> None:
        """Take over stored thresholds."""
        self._thresholds = NullThresholds.from_dict(calibration)

    # Verdicts -----------------------------------------------------------------------------------------

    def verdicts(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        """Verdicts in the order of the cases, a few hundred at a time.

        Raises:
            RunError: Not calibrated.
        """
        if self._thresholds is None:
            raise RunError(
                "the likelihood judge has no thresholds yet",
                remedy="label a run with judge_run(run, judge), which calibrates it first",
            )
        for chunk in _chunks(cases):
            ratios = self._ratios(chunk, own_known=True)
            for case, ratio in zip(chunk, ratios, strict=True):
                yield case, self._verdict(case, ratio)

    def _verdict(self, case: Case, ratio: float | None) -> Verdict:
        assert self._thresholds is not None
        given = settled(case)
        if given is not None:
            return given
        if ratio is None:
            return Verdict(status="failed", raw="the reply has no tokens")
        if case.shard.kind == "trait":
            return Verdict(score=ratio)
        label = self._thresholds.label(case.shard.name, ratio)
        return Verdict(label=label, score=ratio)

    # Scores -------------------------------------------------------------------------------------------

    def _ratios(self, cases: Sequence[Case], *, own_known: bool) -> list[float | None]:
        """Score of each case; None where there is no answer."""
        prompt = cache(self._prompt)
        answers = [self._answer(case, prompt) for case in cases]
        own: list[Float[np.ndarray, " token"] | None] = [
            case.reply.log_probs
            if own_known and case.reply.has_ids and answer.whole_reply
            else None
            for case, answer in zip(cases, answers, strict=True)
        ]
        missing = [index for index, known in enumerate(own) if known is None]
        asked = [(cases[index].shard.system, cases[index].question) for index in missing]
        # A case's own prompt is compared with the default's, or with that of the trait's other side.
        asked += [
            (case.opposite if case.shard.kind == "trait" else self.baseline, case.question)
            for case in cases
        ]
        scored = self.model.log_probs(
            [prompt(*pair) for pair in asked],
            [answers[i].ids for i in missing] + [answer.ids for answer in answers],
            token_budget=self.token_budget,
        )
        for index, values in zip(missing, scored, strict=False):
            own[index] = values
        others = scored[len(missing) :]
        return [
            self._score(case, answer, one, other)
            for case, answer, one, other in zip(cases, answers, own, others, strict=True)
        ]

    def _score(
        self,
        case: Case,
        answer: _Answer,
        own: Float[np.ndarray, " token"] | None,
        other: Float[np.ndarray, " token"],
    ) -> float | None:
        if own is None or not answer.counted.any():
            return None
        ratio = np.asarray(own[: len(other)], dtype=np.float64) - other
        ratio = ratio[answer.counted]
        if case.shard.kind != "trait":
            return float(ratio.mean())
        for_positive = ratio.sum() if case.shard.side == "positive" else -ratio.sum()
        return float(100 / (1 + np.exp(-np.clip(for_positive, -50, 50))))

    def _answer(self, case: Case, prompt_of: Callable[[str, str], Transcript]) -> _Answer:
        """The tokens of the answer, behind the marks of an empty thought if there was one."""
        reply, encoder = case.reply, self.model.encoder
        if reply.has_ids and reply.thought == "none":
            return _Answer.of(reply.ids, np.ones(len(reply.ids), dtype=bool), self.max_tokens)
        prompt = prompt_of(case.shard.system, case.question)
        if reply.has_ids:
            whole = encoder.with_reply(prompt, reply.ids)
            said = whole.groups[len(prompt) :]
            kept = said != Group.THINKING.code
            answer = said[kept] == Group.ASSISTANT.code
            return _Answer.of(reply.ids[kept], answer, self.max_tokens)
        lead = encoder.lead_ids(prompt)
        if not lead:
            with suppress(TranscriptError):  # else the text has no tokens of its own there
                behind = self._continuation.ids(prompt, reply.answer)
                said = encoder.with_reply(prompt, behind).groups[len(prompt) :]
                return _Answer.of(behind, said == Group.ASSISTANT.code, self.max_tokens)
        written = self.model.tokenizer(reply.answer, add_special_tokens=False)["input_ids"]
        ids = np.array([*lead, *written], dtype=np.int64)  # pyright: ignore[reportGeneralTypeIssues]
        return _Answer.of(ids, np.arange(len(ids)) >= len(lead), self.max_tokens)

    @cached_property
    def _continuation(self) -> Continuation:
        return Continuation(self.model.encoder, end_ids=self.model.end_ids)

    def _prompt(self, system: str, question: str) -> Transcript:
        encoder = self.model.encoder
        return encoder.prompt(encoder.messages(question, system=system))


@dataclass(frozen=True, eq=False)
class _Answer:
    """What is scored of a reply.

    Attributes:
        ids: Tokens behind the prompt, without thoughts.
        counted: Which of them are the answer's.
        whole_reply: Whether these are the first tokens of the reply as it was sampled.
    """

    ids: list[int]
    counted: Bool[np.ndarray, " token"]
    whole_reply: bool

    @classmethod
    def of(
        cls, ids: Int[np.ndarray, " token"], answer: Bool[np.ndarray, " token"], most: int
    ) -> _Answer:
        """The first `most` tokens of the answer, and what stands before them."""
        within = np.cumsum(answer) <= most
        return cls(ids[within].tolist(), answer[within], bool(answer.all()))


def _chunks(cases: Iterable[Case]) -> Iterator[list[Case]]:
    iterator = iter(cases)
    while chunk := list(islice(iterator, CASES_AT_A_TIME)):
        yield chunk
