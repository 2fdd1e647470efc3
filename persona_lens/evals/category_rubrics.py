"""Categories of completions by a language model instead of by embedding: a rubric for each family of prefills.

    judge = category_judge(EndpointSettings(model="qwen3", base_url="http://127.0.0.1:8000/v1"))
    evaluate(completions("paper", judges=[judge]), base, conditions, samples=400)

The labels are the categories that `CategoryJudge` knows, with "unclear" for what is no language. How often it is
right is measured as for any judge: `labelling_error(judge)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from persona_lens.catalog.prefills import Category, load_categories
from persona_lens.evals.category_labels import UNCLEAR
from persona_lens.evals.judge_by_kind import JudgeByKind
from persona_lens.evals.rubric import Rubric
from persona_lens.evals.rubric_judge import RubricJudge

if TYPE_CHECKING:
    from persona_lens.endpoints import EndpointSettings
    from persona_lens.model.persona_model import PersonaModel

_ASKED = (
    "A language model that follows no instructions was given the beginning of a sentence, and went on with it. "
    "Decide which category its first sentence belongs to; what comes later does not count. Take the one that fits "
    "best, and another than these only where the text cannot be read."
)
_UNREADABLE = "The text cannot be read: no language, or the same words again and again."


def category_judge(
    asked: EndpointSettings | PersonaModel,
    categories: Sequence[Category] | None = None,
    *,
    name: str = "category by rubric",
    **options: Any,
) -> JudgeByKind:
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
    return JudgeByKind(name, "family", judges)
