"""A judge made of others, each for one kind of item: a family of prefills, a question that is asked.

JudgeByKind("category", "family", {"purpose": by_purposes, "traits": by_traits})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from persona_lens.errors import EndpointError, EvaluationError
from persona_lens.evals.outcomes import Answer, ItemJudge, Outcome
from persona_lens.evals.standing import silenced


@dataclass(frozen=True, eq=False)
class JudgeByKind:
    """A judge of several kinds of item, each judged by a judge of its own.

    Attributes:
        name: Key in frames.
        by: What items have in `about` that says which judge is theirs, such as "family".
        judges: By its values.
        others: Items with other values are `not asked`, instead of refused.
    """

    name: str
    by: str
    judges: Mapping[str, ItemJudge]
    others: bool = False
    _heard: dict[tuple[str, str], Outcome] = field(default_factory=dict, repr=False)

    def card(self) -> dict[str, Any]:
        """All of them."""
        return {
            "name": self.name,
            "by": self.by,
            "judges": {key: judge.card() for key, judge in self.judges.items()},
        }

    def outcomes(self, answers: Sequence[Answer]) -> list[Outcome]:
        """One each, in their order.

        Raises:
            EvaluationError: An item is of a kind that it has no judge for.
        """
        places: dict[str, list[int]] = {}
        for place, answer in enumerate(answers):
            places.setdefault(str(answer.item.about.get(self.by)), []).append(place)
        unknown = sorted({*places} - {*self.judges})
        if unknown and not self.others:
            raise EvaluationError(
                f"there is no judge for a {self.by} of items",
                expected=", ".join(self.judges),
                given=", ".join(unknown),
                remedy="give one for it, too",
            )
        none = Outcome(status="not asked", raw=f"of no such {self.by}")
        found = {place: none for kind in unknown for place in places.pop(kind)}
        for kind, mine in places.items():
            asked = [place for place in mine if _key(answers[place]) not in self._heard]
            found |= {place: self._heard[_key(answers[place])] for place in {*mine} - {*asked}}
            try:
                said = self.judges[kind].outcomes([answers[place] for place in asked])
            except EndpointError:
                # What the judge of another kind has said is paid for.
                self._heard.update({_key(answers[place]): it for place, it in found.items()})
                raise
            found.update(zip(asked, said, strict=True))
        for answer in answers:
            self._heard.pop(_key(answer), None)
        return [found[place] for place in range(len(answers))]

    def silent(self, why: str) -> ItemJudge:
        """The same judge, which asks nobody, as `RubricJudge.silent`."""
        quiet = {kind: silenced(judge, why) for kind, judge in self.judges.items()}
        return replace(self, judges=quiet, _heard=dict(self._heard))


def _key(answer: Answer) -> tuple[str, str]:
    return answer.item.id, answer.text
