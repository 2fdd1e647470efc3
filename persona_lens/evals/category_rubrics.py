"""Categories of completions by a language model instead of by embedding: a rubric for each family of prefills.

    judge = category_judge(EndpointSettings(model="qwen3", base_url="http://127.0.0.1:8000/v1"))
    evaluate(completions("paper", judges=[judge]), base, conditions, samples=400)

The labels are the categories that `CategoryJudge` knows, with "unclear" for what is no language. How often it is
right is measured as for any judge: `labelling_error(judge)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from persona_lens.catalog.prefills import Category, load_categories
from persona_lens.errors import EndpointError, EvaluationError
from persona_lens.evals.category_labels import UNCLEAR
from persona_lens.evals.outcomes import Answer, ItemJudge, Outcome
from persona_lens.evals.rubric import Rubric
from persona_lens.evals.rubric_judge import RubricJudge
from persona_lens.evals.standing import silenced

if TYPE_CHECKING:
    from persona_lens.endpoints import EndpointSettings
    from persona_lens.model.persona_model import PersonaModel

_ASKED = (
    "A language model that follows no instructions was given the beginning of a sentence, and went on with it. "
    "Decide which category its first sentence belongs to; what comes later does not count. Take the one that fits "
    "best, and another than these only where the text cannot be read."
)
_UNREADABLE = "The text cannot be read: no language, or the same words again and again."


@dataclass(frozen=True, eq=False)
class FamilyJudge:
    """A judge of several kinds of item, each judged by a judge of its own.

    Attributes:
        name: Key in frames.
        judges: By what items have as `about["family"]`.
    """

    name: str
    judges: Mapping[str, ItemJudge]
    _heard: dict[tuple[str, str], Outcome] = field(default_factory=dict, repr=False)

    def card(self) -> dict[str, Any]:
        """All of them."""
        return {
            "name": self.name,
            "families": {key: judge.card() for key, judge in self.judges.items()},
        }

    def outcomes(self, answers: Sequence[Answer]) -> list[Outcome]:
        """One each, in their order.

        Raises:
            EvaluationError: An item is of a family that it has no judge for.
        """
        places: dict[str, list[int]] = {}
        for place, answer in enumerate(answers):
            places.setdefault(str(answer.item.about.get("family")), []).append(place)
        unknown = sorted({*places} - {*self.judges})
        if unknown:
            raise EvaluationError(
                "there is no judge for a family of items",
                expected=", ".join(self.judges),
                given=", ".join(unknown),
                remedy="give categories of it, too",
            )
        found: dict[int, Outcome] = {}
        for family, mine in places.items():
            asked = [place for place in mine if _key(answers[place]) not in self._heard]
            found |= {place: self._heard[_key(answers[place])] for place in {*mine} - {*asked}}
            try:
                said = self.judges[family].outcomes([answers[place] for place in asked])
            except EndpointError:
                # What another family's judge has said is paid for.
                self._heard.update({_key(answers[place]): it for place, it in found.items()})
                raise
            found.update(zip(asked, said, strict=True))
        for answer in answers:
            self._heard.pop(_key(answer), None)
        return [found[place] for place in range(len(answers))]

    def silent(self, why: str) -> ItemJudge:
        """The same judge, which asks nobody, as `RubricJudge.silent`."""
        quiet = {family: silenced(judge, why) for family, judge in self.judges.items()}
        return FamilyJudge(self.name, quiet, dict(self._heard))


def _key(answer: Answer) -> tuple[str, str]:
    return answer.item.id, answer.text


def category_judge(
    asked: EndpointSettings | PersonaModel,
    categories: Sequence[Category] | None = None,
    *,
    name: str = "category by rubric",
    **options: Any,
) -> FamilyJudge:
    """A language model that says which category of its family a completion belongs to.

    Args:
        asked: A server and its model, or a model that is loaded here.
        categories: The packaged ones if left out.
        name: Key in frames.
        options: As for `RubricJudge`, such as `max_tokens`.

    Examples:
        >>> from persona_lens.endpoints import EndpointSettings
        >>> settings = EndpointSettings(model="qwen3", base_url="http://127.0.0.1:8000/v1")
        >>> judge = category_judge(settings)
        >>> list(judge.judges), list(judge.judges["traits"].labels)[-2:]
        (['purpose', 'traits'], ['other', 'unclear'])
    """
    by_family: dict[str, dict[str, str]] = {}
    for each in load_categories() if categories is None else categories:
        by_family.setdefault(each.family, {})[each.name] = each.about
    judges = {
        family: RubricJudge(
            asked,
            Rubric(_ASKED, {**labels, UNCLEAR: _UNREADABLE}),
            name=name,
            empty=UNCLEAR,
            **options,
        )
        for family, labels in by_family.items()
    }
    return FamilyJudge(name, judges)
