"""A judge on this machine: any loaded model, read by the probabilities of its possible answers.

Examples:
    >>> from persona_lens import PersonaModel
    >>> judge = LocalJudge(PersonaModel.load("smollm2-135m-instruct"))
    >>> labels = judge_run(RunFolder("runs/first"), judge)  # doctest: +SKIP
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from persona_lens.errors import ModelError, TranscriptError
from persona_lens.judges.answers import LABEL_OF, settled
from persona_lens.judges.base import Case, Verdict
from persona_lens.judges.prompts import PROMPT_VERSION, judge_messages
from persona_lens.model.batching import default_token_budget, token_budget_batches
from persona_lens.rollouts.sampling import Sampling

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.transcripts import Transcript, TranscriptEncoder

_CASES_AT_A_TIME = 256
_ROWS_OF_A_BATCH = 256  # as `PersonaModel.log_probs` has them at most

_REFUSAL = "REFUSAL"
_ROLE_ANSWERS = [str(score) for score in range(4)]
_TRAIT_ANSWERS = [*(str(score) for score in range(0, 101, 10)), _REFUSAL]


class LocalJudge:
    """Lets a model judge without writing a word: its verdict is in the probabilities of its answers.

    The model reads the prompts that `OpenAIJudge` sends. Its answers to a role are 0, 1, 2 and 3, to a trait 0,
    10, ..., 100 and REFUSAL; `Verdict.score` is the expected score over the numbers. The label of a role is that
    of the most likely answer, what the model would say at temperature 0: the expectation is not rounded, because
    a judge that is torn between 1 and 3 has not seen a 2. A trait is refused where REFUSAL is likelier than all
    numbers together. `Verdict.raw` holds the probabilities, and how probable it is that the model answers in this
    form at all ("on the scale").

    Judging takes understanding, and SmolLM2-135M has too little of it: over six pairs of a reply wholly in its
    role and a flat Assistant's answer, it expects 0.01 less of the role on average, on the scale of 0 to 3, and
    only 6 % of its answers are on the scale. Use a model of some billions of parameters, or hold its labels
    against those of a second judge.

    Args:
        model: Any model. It is asked in its own chat template, without thinking where that can be switched off.

    Raises:
        ModelError: Its template has it think before every answer.

    Examples:
        >>> from persona_lens import PersonaModel
        >>> LocalJudge(PersonaModel.load("smollm2-135m-instruct")).card()["model"]["model"]
        'smollm2-135m-instruct'
    """

    name = "local"

    def __init__(self, model: PersonaModel) -> None:
        asked = model.encoder.prompt(model.encoder.messages("How far?"))
        if model.encoder.opens_thought(asked):
            raise ModelError(
                "this model thinks before it answers, so its next word is no verdict",
                expected="a chat template that lets it answer at once",
                remedy="have a server run it and ask that: OpenAIJudge(..., max_tokens=4000)",
            )
        self.model = model
        self._answers = {
            "role": AnswerTree(_ROLE_ANSWERS, model.encoder),
            "trait": AnswerTree(_TRAIT_ANSWERS, model.encoder),
        }
        width = max(tree.width for tree in self._answers.values())
        self._room = Sampling(max_new_tokens=width)
        added = model.tokenizer.added_tokens_decoder.values()
        self._control = sorted({str(token) for token in added if token.special})

    def card(self) -> dict[str, Any]:
        """The prompts and the model."""
        return {"judge": "local", "prompt_version": PROMPT_VERSION, "model": self.model.card()}

    def verdicts(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        """One verdict for each case; they are taken some hundred at a time and judged in batches of like length.

        A prompt that does not fit the model's context, or that its chat template cannot carry, is `failed`.
        """
        remaining = iter(cases)
        while taken := list(islice(remaining, _CASES_AT_A_TIME)):
            asked: dict[str, list[tuple[Case, Transcript]]] = {"role": [], "trait": []}
            for case in taken:
                prompt = settled(case) or self._prompt(case)
                if isinstance(prompt, Verdict):
                    yield case, prompt
                else:
                    asked["trait" if case.shard.kind == "trait" else "role"].append((case, prompt))
            for scale, pairs in asked.items():
                yield from self._judged(self._answers[scale], pairs)

    def _prompt(self, case: Case) -> Transcript | Verdict:
        """The prompt, or why there is none."""
        try:
            prompt = self.model.encoder.prompt(judge_messages(case, control=self._control))
            self.model.check_room([prompt], self._room)
        except (ModelError, TranscriptError) as error:
            return Verdict(status="failed", raw=str(error))
        return prompt

    def _judged(
        self, answers: AnswerTree, pairs: Sequence[tuple[Case, Transcript]]
    ) -> Iterator[tuple[Case, Verdict]]:
        # Each batch is one call that holds all answers to its prompts, so that no prompt is computed twice.
        rows = len(answers.rows)
        sizes = [rows * (len(prompt) + answers.width) for _, prompt in pairs]
        batches = token_budget_batches(
            sizes,
            budget=default_token_budget(self.model.device),
            max_rows=_ROWS_OF_A_BATCH // rows,
        )
        for places in batches:
            batch = [pairs[place] for place in places]
            log_probs = self.model.log_probs(
                [prompt for _, prompt in batch for _ in range(rows)],
                answers.rows * len(batch),
                token_budget=len(batch) * max(sizes[place] for place in places),
            )
            for number, (case, _) in enumerate(batch):
                shares = answers.shares(log_probs[number * rows : (number + 1) * rows])
                yield case, _verdict(shares)


class AnswerTree:
    """The answers that a judge may give, as tokens, and their probabilities.

    The probability of an answer is that of a reply which begins with it and does not go on to a longer answer:
    where digits are tokens, what goes from "10" on to "100" is taken off "10". These events exclude each other, so
    their probabilities can be compared as they are, and an answer of more tokens is at no disadvantage that would
    have to be made up for.

    Args:
        answers: The answers.
        encoder: Of the judge, for the tokens that an answer has at the beginning of a reply.

    Attributes:
        rows: What has to be scored after each prompt. No row is the beginning of another, and all have one length
            (the last token is repeated), so that the rows of a prompt stay together in a batch.
        width: That length.

    Examples:
        >>> from persona_lens import PersonaModel
        >>> encoder = PersonaModel.load("smollm2-135m-instruct").encoder
        >>> tree = AnswerTree(["1", "10", "100"], encoder)
        >>> [encoder.tokenizer.decode(row) for row in tree.rows]
        ['100']
        >>> {answer: round(share, 3) for answer, share in tree.shares([np.log([0.9, 0.6, 0.5])]).items()}
        {'1': 0.36, '10': 0.27, '100': 0.27}
    """

    def __init__(self, answers: Iterable[str], encoder: TranscriptEncoder) -> None:
        self._ids = {answer: _reply_ids(answer, encoder) for answer in answers}
        known = set(self._ids.values())
        whole = [
            ids for ids in known if not any(ids != it and ids == it[: len(ids)] for it in known)
        ]
        self.width = max(map(len, whole))
        self.rows = [[*ids, *ids[-1:] * (self.width - len(ids))] for ids in sorted(whole)]

    def shares(self, log_probs: Sequence[Float[np.ndarray, " token"]]) -> dict[str, float]:
        """The probability of each answer, given the natural log-probabilities of the tokens of `rows`.

        Returns:
            Numbers of at most 1 in sum; the rest is for replies that are none of the answers.
        """
        reached = {
            tuple(row[:length]): float(np.exp(scores[:length].sum(dtype=np.float64)))
            for row, scores in zip(self.rows, log_probs, strict=True)
            for length in range(1, self.width + 1)
        }
        shares = {}
        for answer, ids in self._ids.items():
            further = [path for path in reached if path[:-1] == ids and self._leads_on(path)]
            shares[answer] = max(0.0, reached[ids] - sum(reached[path] for path in further))
        return shares

    def _leads_on(self, path: tuple[int, ...]) -> bool:
        """Whether a longer answer begins with these tokens; those that fill up a row lead nowhere."""
        return any(ids[: len(path)] == path for ids in self._ids.values())


def _reply_ids(answer: str, encoder: TranscriptEncoder) -> tuple[int, ...]:
    """The tokens of an answer where a reply begins, with the space that some templates put there."""
    asked = encoder.messages("How far?")
    prompt = encoder.prompt(asked).ids
    whole = encoder.encode([*asked, {"role": "assistant", "content": answer}])
    said = whole.mask("assistant", turn=-1).nonzero()[0]
    # A template may write more before a reply it asks for than before one that is there: thinking left out.
    start = len(prompt) if np.array_equal(whole.ids[: len(prompt)], prompt) else said[0]
    return tuple(whole.ids[start : said[-1] + 1].tolist())


def _verdict(shares: Mapping[str, float]) -> Verdict:
    """The verdict of a judge that gives each answer this probability."""
    mass = sum(shares.values())
    if not 0 < mass < np.inf:
        return Verdict(status="unparsed", raw=f"the answers have probability {mass}")
    shown = {answer: round(share / mass, 4) for answer, share in shares.items()}
    raw = json.dumps({**shown, "on the scale": round(mass, 4)})
    numbers = {int(answer): share for answer, share in shares.items() if answer != _REFUSAL}
    if shares.get(_REFUSAL, 0.0) > mass / 2:
        return Verdict(refused=True, raw=raw)
    expected = sum(number * share for number, share in numbers.items()) / sum(numbers.values())
    likeliest = max(numbers, key=numbers.__getitem__)
    label = None if _REFUSAL in shares else LABEL_OF[likeliest]
    return Verdict(label=label, score=expected, raw=raw)
