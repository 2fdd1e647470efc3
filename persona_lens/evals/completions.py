"""What base models say of themselves: completions of beginnings such as "My job is to", and their categories.

    axis = transferred(space_of_the_tune, base)                     # or a space that the base model read itself
    conditions = [UNTOUCHED, *steered(space, "assistant", (-0.2, -0.1, 0.1, 0.2), controls=3)]
    result = evaluate(completions("paper", read_by=base), base, conditions, samples=400, out="evals/completions")

    error = labelling_error(CategoryJudge())                        # how often the labels are right
    table = shares(result.replies, error)                           # per category and condition, with intervals
    trends(result.replies)                                          # which of them move with the strength

No chat template is involved: a model goes on with plain text. The paper had a language model summarise each
completion and choose the label, of traits up to three; here a completion has one label, that of its first
sentences. Categories are nearest by embedding unless judges are given, such as a `RubricJudge`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from persona_lens.catalog.prefills import PrefillSpec, load_prefills
from persona_lens.errors import EvaluationError
from persona_lens.evals.category_labels import OTHER, UNCLEAR, CategoryJudge
from persona_lens.evals.evaluation import Evaluation
from persona_lens.evals.items import Item
from persona_lens.evals.measures import Measure
from persona_lens.evals.outcomes import ItemJudge
from persona_lens.evals.surprise import Surprise
from persona_lens.rollouts.sampling import Sampling

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel

SAMPLING = Sampling(temperature=1.0, max_new_tokens=40)
"""The paper lets 512 tokens be written; labels come from the first sentences."""


def completions(
    prefills: PrefillSpec = "all",
    *,
    judges: Sequence[ItemJudge] | None = None,
    categories: CategoryJudge | None = None,
    read_by: PersonaModel | None = None,
    sampling: Sampling = SAMPLING,
) -> Evaluation:
    """Completions of prefills by a base model, under whatever conditions, labelled by what they are about.

    How many of each prefill is the `samples` of `evaluate`: the paper has 400 at each strength.

    Args:
        prefills: "paper", "own", "all", a family, ids, a file, or your own; as for `load_prefills`.
        judges: Instead of `categories`: each gives labels, of which measures are made by the names of
            `categories`. The families of the items are in `about["family"]`.
        categories: The judge by embedding, with its categories; the packaged ones by default.
        read_by: Says how surprising the completions are, best the model that writes them: where a push has broken
            its language, categories mean nothing. Left out, that is not known.
        sampling: Of the completions.

    Returns:
        An evaluation with a share for each family, category and judge, and one of the completions that were
        unclear. Items of one prefill are one cluster.

    Raises:
        CatalogError: A prefill is malformed or unknown.
        EvaluationError: There is no prefill, or a family has no categories.

    Source: paper section 3.2.2; the further prefills, the judge and its measured error are ours.

    Examples:
        >>> evaluation = completions(["job", "people"])
        >>> [item.prefill for item in evaluation.items], len(evaluation.measures)
        (['My job is to', 'People would say I am'], 22)
    """
    chosen = load_prefills(prefills)
    if not chosen:
        raise EvaluationError(
            "there is nothing to complete",
            expected="at least one prefill",
            given="none",
            remedy='leave it out for all packaged ones, or give "paper"',
        )
    known = CategoryJudge() if categories is None else categories
    judges = [known] if judges is None else list(judges)
    families = list(dict.fromkeys(each.family for each in chosen))
    measures = [
        Measure(
            f"{family}: {name.replace('_', ' ')}" + (f" ({judge.name})" if len(judges) > 1 else ""),
            judge.name,
            labels=(name,),
            where={"family": family},
        )
        for judge in judges
        for family in families
        for name in category_order(known.names(family))
    ]
    if read_by is not None:
        judges = [*judges, Surprise(read_by)]
        measures.append(Measure("surprise, nats a token", Surprise.name, unit="nats"))
    return Evaluation(
        "completions",
        "What base models say of themselves",
        [
            Item(
                each.id,
                prefill=each.text,
                about={"family": each.family, "prefill": each.text, "paper": each.paper},
                cluster=each.id,
            )
            for each in chosen
        ],
        judges,
        measures,
        sampling,
        source="paper section 3.2.2",
    )


def category_order(names: Sequence[str]) -> list[str]:
    """Categories in their order, then "other" and "unclear".

    Examples:
        >>> category_order(["other", "warmth"])
        ['warmth', 'other', 'unclear']
    """
    own = [name for name in names if name not in (OTHER, UNCLEAR)]
    return [*own, *([OTHER] if OTHER in names else []), UNCLEAR]
