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
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from persona_lens.errors import RunError
from persona_lens.judges.answers import settled
from persona_lens.judges.base import Case, Verdict
from persona_lens.judges.null_thresholds import NullThresholds
from persona_lens.rollouts.plan import Shard

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
        max_tokens: Tokens of a reply that are scored, from the first.
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
        """Score of each case; None for an empty reply."""
        replies = [self._tokens(case) for case in cases]
        own: list[Float[np.ndarray, " token"] | None] = [
            case.reply.log_probs if own_known and case.reply.has_ids else None for case in cases
        ]
        missing = [index for index, known in enumerate(own) if known is None]
        asked = [(cases[index].shard.system, cases[index].question) for index in missing]
        asked += [(self._other_system(case), case.question) for case in cases]
        known = {pair: self._prompt(*pair) for pair in dict.fromkeys(asked)}
        prompts = [known[pair] for pair in asked]
        scored = self.model.log_probs(
            prompts, [replies[i] for i in missing] + replies, token_budget=self.token_budget
        )
        for index, values in zip(missing, scored, strict=False):
            own[index] = values
        others = scored[len(missing) :]
        return [
            self._score(case, one, other)
            for case, one, other in zip(cases, own, others, strict=True)
        ]

    def _score(
        self,
        case: Case,
        own: Float[np.ndarray, " token"] | None,
        other: Float[np.ndarray, " token"],
    ) -> float | None:
        if own is None or not len(other):
            return None
        ratio = np.asarray(own[: len(other)], dtype=np.float64) - other
        if case.shard.kind != "trait":
            return float(ratio.mean())
        for_positive = ratio.sum() if case.shard.side == "positive" else -ratio.sum()
        return float(100 / (1 + np.exp(-np.clip(for_positive, -50, 50))))

    def _tokens(self, case: Case) -> list[int]:
        if case.reply.has_ids:
            return case.reply.ids[: self.max_tokens].tolist()
        ids = self.model.tokenizer(case.reply.text, add_special_tokens=False)["input_ids"]
        return list(ids)[: self.max_tokens]  # pyright: ignore[reportArgumentType]

    def _other_system(self, case: Case) -> str:
        """The prompt a case's own is compared with: the default's, or that of the trait's other side."""
        if case.shard.kind != "trait":
            return self.baseline
        return case.opposite

    def _prompt(self, system: str, question: str) -> Transcript:
        encoder = self.model.encoder
        return encoder.prompt(encoder.messages(question, system=system))


def _chunks(cases: Iterable[Case]) -> Iterator[list[Case]]:
    iterator = iter(cases)
    while chunk := list(islice(iterator, CASES_AT_A_TIME)):
        yield chunk
