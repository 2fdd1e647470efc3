"""The evaluations by name, each loaded when it is asked for.

>>> [entry.name for entry in entries()][:2]
['susceptibility', 'rules']
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from persona_lens.errors import EvaluationError
from persona_lens.spelling import did_you_mean

if TYPE_CHECKING:
    from persona_lens.endpoints import EndpointSettings
    from persona_lens.evals.evaluation import Evaluated, Evaluation
    from persona_lens.evals.items import Item
    from persona_lens.evals.outcomes import ItemJudge
    from persona_lens.evals.telling import Told
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space


@dataclass(frozen=True)
class Entry:
    """An evaluation that can be asked for by name.

    Attributes:
        name: What it is called.
        summary: What it tells, in a line.
        made_by: `module:function`, which returns the `Evaluation`; arguments without a default are the caller's.
        drawn_by: `module:function` from an `Evaluated` to its figures, by name; the common one if there is none.
        judged_by: `module:function` from a server or a loaded model to its judge or judges, which `made_by` takes
            as `judge` or among `judges`; none where programs judge.
        told_by: `module:function` as `persona_lens.evals.harm.report.tables`: what else there is to tell.
    """

    name: str
    summary: str
    made_by: str
    drawn_by: str = ""
    judged_by: str = ""
    told_by: str = ""

    def options(self) -> dict[str, Any]:
        """What it can be made with, and what is taken by default."""
        parameters = signature(_named(self.made_by)).parameters.values()
        return {each.name: each.default for each in parameters}

    def check(self, options: Iterable[str]) -> None:
        """Refuse names of options that it does not know.

        Raises:
            EvaluationError: It does not.
        """
        known = self.options()
        for name in options:
            if name not in known:
                raise EvaluationError(
                    f"evaluation {self.name!r} has no such option",
                    expected=", ".join(known) or "none",
                    given=name,
                    remedy=did_you_mean(name, known),
                )

    def make(self, **options: Any) -> Evaluation:
        """The evaluation.

        Raises:
            EvaluationError: It does not know an option, or lacks one.
        """
        self.check(options)
        lacking = [name for name in self.needed() if name not in options]
        if lacking:
            raise EvaluationError(
                f"evaluation {self.name!r} needs {', '.join(lacking)}",
                expected=f"{', '.join(lacking)} of your own",
                given=", ".join(options) or "nothing",
                remedy=f"on the command line: {' '.join(f'--{name} FILE' for name in lacking)}",
            )
        return _named(self.made_by)(**options)

    def needed(self) -> list[str]:
        """Options that it cannot be made without."""
        return [name for name, default in self.options().items() if default is Parameter.empty]

    def judge(
        self, asked: EndpointSettings | PersonaModel, **options: Any
    ) -> ItemJudge | list[ItemJudge]:
        """A language model as its judge; several where it decides several things.

        Args:
            asked: A server and its model, or a model that is loaded here.
            options: As for `RubricJudge`, and what else its judge takes.

        Raises:
            EvaluationError: Programs judge it.
        """
        if not self.judged_by:
            raise EvaluationError(
                f"no language model judges evaluation {self.name!r}",
                expected="one of " + ", ".join(each.name for each in _ENTRIES if each.judged_by),
                given=self.name,
                remedy="leave the judge out: programs decide",
            )
        return _named(self.judged_by)(asked, **options)

    def figures(self, result: Evaluated) -> Mapping[str, Any]:
        """What is drawn of a result."""
        own = _named(self.drawn_by)(result) if self.drawn_by else {}
        return {"measures": result.figure(), **own}

    def told(
        self,
        result: Evaluated,
        items: Sequence[Item],
        model: PersonaModel,
        space: Space | None,
        layer: int,
    ) -> list[Told]:
        """What there is to tell beside the measures."""
        return _named(self.told_by)(result, items, model, space, layer) if self.told_by else []


_ENTRIES = (
    Entry(
        "susceptibility",
        "Who speaks when a model near the Assistant is asked who it is?",
        "persona_lens.evals.susceptibility:susceptibility",
        "persona_lens.evals.susceptibility_shares:figures",
        judged_by="persona_lens.evals.susceptibility:speaker_judges",
    ),
    Entry(
        "rules",
        "Is a house rule broken under a persona that pulls against it? 200 rules, checked by programs.",
        "persona_lens.evals.rules:rules",
        "persona_lens.evals.rules.report:figures",
        told_by="persona_lens.evals.rules.report:tables",
    ),
    Entry(
        "harm",
        "Are requests that you bring (--items) answered, with and without a persona?",
        "persona_lens.evals.harm.brought:brought",
        "persona_lens.evals.harm.report:figures",
        "persona_lens.evals.harm.rubrics:harm_judge",
        "persona_lens.evals.harm.report:tables",
    ),
    Entry(
        "completions",
        "What does a base model say its job is, and what it is like?",
        "persona_lens.evals.completions:completions",
        judged_by="persona_lens.evals.category_rubrics:category_judge",
    ),
    Entry(
        "price",
        "Are instructions followed, sums right, forms kept? 330 items that programs check.",
        "persona_lens.evals.price:price",
    ),
    Entry(
        "instructions",
        "Are verifiable instructions followed?",
        "persona_lens.evals.price:instructions",
    ),
    Entry("arithmetic", "Are word problems solved?", "persona_lens.evals.price:arithmetic"),
    Entry("formats", "Are asked forms kept, such as JSON?", "persona_lens.evals.price:formats"),
    Entry(
        "play",
        "Are personas still played, is creative writing still varied?",
        "persona_lens.evals.price.play:play",
    ),
)


def entries() -> tuple[Entry, ...]:
    """All of them."""
    return _ENTRIES


def entry(name: str) -> Entry:
    """The one of that name.

    Raises:
        EvaluationError: There is none.
    """
    known = {each.name: each for each in _ENTRIES}
    if name in known:
        return known[name]
    raise EvaluationError(
        "no such evaluation",
        expected=", ".join(known),
        given=name,
        remedy=did_you_mean(name, known, "see them all: persona-lens eval list"),
    )


def _named(where: str) -> Callable[..., Any]:
    module, _, function = where.partition(":")
    return getattr(import_module(module), function)
