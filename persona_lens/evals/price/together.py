"""The three evaluations as one: one run, one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from persona_lens.evals.evaluation import Evaluation
from persona_lens.evals.outcomes import Answer, ItemJudge, Outcome
from persona_lens.evals.price.arithmetic import arithmetic
from persona_lens.evals.price.formats import formats
from persona_lens.evals.price.instructions import instructions
from persona_lens.rollouts.sampling import Sampling


def price(first: int | None = None, seed: int = 0) -> Evaluation:
    """Instructions, arithmetic and forms: 330 items, whose answers programs check.

    Args:
        first: Only so many items of each of the three.
        seed: Of the drawn numbers.

    Examples:
        >>> evaluation = price(first=3)
        >>> len(evaluation.items), [measure.name for measure in evaluation.measures][:2]
        (9, ['all instructions followed', 'instructions followed'])
    """
    parts = [
        instructions(first),
        arithmetic(seed=seed) if first is None else arithmetic(first, seed),
        formats(first, seed=seed),
    ]
    return Evaluation(
        "price",
        "What it costs",
        [item for part in parts for item in part.items],
        [Among(judge, part.name) for part in parts for judge in part.judges],
        [
            replace(measure, where={"task": part.name})
            for part in parts
            for measure in part.measures
        ],
        Sampling(temperature=0, max_new_tokens=256),
        "our own",
    )


@dataclass(frozen=True)
class Among:
    """A judge of items of one task, in an evaluation that has others too.

    Attributes:
        judge: Says what their answers are.
        task: The task.
    """

    judge: ItemJudge
    task: str

    @property
    def name(self) -> str:
        """That of the judge."""
        return self.judge.name

    def card(self) -> dict[str, Any]:
        """That of the judge, and the task."""
        return {**self.judge.card(), "task": self.task}

    def outcomes(self, answers: Sequence[Answer]) -> list[Outcome]:
        """Those of the judge; of items of other tasks, that it is not asked."""
        own = [answer for answer in answers if answer.item.about["task"] == self.task]
        said = iter(self.judge.outcomes(own))
        return [
            next(said) if answer.item.about["task"] == self.task else Outcome(status="not asked")
            for answer in answers
        ]
