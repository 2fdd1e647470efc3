"""What a judge says of an answer, and what a judge of an evaluation is.

    class Long:
        name = "long"

        def card(self):
            return {"words": 20}

        def outcomes(self, answers):
            return [Outcome("long" if len(each.text.split()) >= 20 else "short") for each in answers]

Labels are an evaluation's own. A judge that fails at an answer says so and goes on with the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from persona_lens.evals.items import Item

Status = Literal["ok", "unparsed", "failed", "not asked"]


@dataclass(frozen=True)
class Outcome:
    """What a judge says of one answer.

    Attributes:
        label: One of the evaluation's labels; None if there is none.
        score: A number, on the judge's scale; None if it gives none.
        status: `ok`; `unparsed`, what it said could not be read; `failed`, it did not answer; `not asked`, this
            judge has nothing to say of such an item.
        raw: The judge's own words, or the reason there are none.
    """

    label: str | None = None
    score: float | None = None
    status: Status = "ok"
    raw: str = ""


@dataclass(frozen=True)
class Answer:
    """One reply to an item.

    Attributes:
        item: What was asked.
        text: What the model said, thoughts left out.
        finish: "stop" or "length", as in `Reply`.
    """

    item: Item
    text: str
    finish: str = "stop"


class ItemJudge(Protocol):
    """Says what answers are."""

    @property
    def name(self) -> str:
        """Short, a key of frames."""
        ...

    def card(self) -> dict[str, Any]:
        """All that decides its outcomes, as plain data."""
        ...

    def outcomes(self, answers: Sequence[Answer]) -> Sequence[Outcome]:
        """One for each answer, in their order; of an answer that it fails at, an outcome that says so."""
        ...


@dataclass(frozen=True)
class Exact:
    """A judge that is a function of the answer: no model, no doubt.

    Attributes:
        name: As above.
        decide: Answer to outcome.
        about: What decides outcomes beside the name: raise a version here when the function changes.

    Examples:
        >>> judge = Exact("short", lambda answer: Outcome(score=float(len(answer.text) < 9)))
        >>> judge.outcomes([Answer(Item("a", prefill="I am"), " a ghost.")])[0].score
        0.0
    """

    name: str
    decide: Callable[[Answer], Outcome]
    about: Mapping[str, Any] = field(default_factory=lambda: {"version": 1})

    def card(self) -> dict[str, Any]:
        """Its name and version."""
        return {"name": self.name, **self.about}

    def outcomes(self, answers: Sequence[Answer]) -> list[Outcome]:
        """The function of each."""
        return [self.decide(answer) for answer in answers]
