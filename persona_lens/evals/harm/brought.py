"""The harm evaluation from files: a table of requests that you bring, its twins, personas and a judge.

    evaluation = brought("harmful.csv", benign="benign.csv", personas=["pirate", "demon"], each=1)
    evaluation = brought("mine.csv", columns={"text": "Request"}, personas="core", judge=settings)

It is what `persona-lens eval harm` runs. Without a judge refusals are told by rules, and harm is not.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from persona_lens.endpoints import EndpointSettings
from persona_lens.errors import EvaluationError, PersonaLensWarning
from persona_lens.evals.evaluation import Evaluation
from persona_lens.evals.harm.behaviours import Behaviours
from persona_lens.evals.harm.crossing import cross
from persona_lens.evals.harm.harm import harm
from persona_lens.evals.harm.reading import read_behaviours
from persona_lens.evals.harm.refusal_rules import RefusalRules
from persona_lens.evals.harm.rubrics import harm_judge
from persona_lens.evals.outcomes import ItemJudge

if TYPE_CHECKING:
    from persona_lens.catalog import CatalogSpec

_SHOWN = 10


def brought(
    items: Any,
    layout: str | None = None,
    *,
    benign: Any = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    config: str | None = None,
    personas: CatalogSpec | None = None,
    each: int | None = None,
    prompts: int | None = 1,
    without: bool = True,
    first: int | None = None,
    categories: Collection[str] | str | None = None,
    seed: int = 0,
    judge: ItemJudge | EndpointSettings | None = None,
) -> Evaluation:
    """Requests from a table, with and without personas.

    Args:
        items: A file, `datasets:owner/name@split`, or what else `read_behaviours` takes.
        layout: As for `read_behaviours`, as are `columns`, `encoding` and `config`.
        benign: A table of harmless twins.
        columns: Titles of columns.
        encoding: Of a text file that is not UTF-8.
        config: Of a data set that has several.
        personas: Roles, as for `load_roles`; None where the table brings system prompts of its own.
        each: Personas for each request, as for `cross`, as are `prompts`, `without` and `seed`.
        prompts: System prompts of each role that may be drawn.
        without: Ask each request without a persona, too.
        first: Only so many requests, with their twins: of every category as many as can be.
        categories: Only these.
        seed: Of the draws.
        judge: Of `harm_judge`, a server (asked by the scale "harm"), or your own; rules of refusal by default.

    Raises:
        EvaluationError: The table cannot be read, or nobody is to ask what is in it.

    Warns:
        PersonaLensWarning: Rows were left out, each with its line, column and what to do.

    Examples:
        >>> rows = [{"request": f"Fold forbidden crane {n}.", "category": "paper"} for n in range(3)]
        >>> evaluation = brought(rows, personas=["pirate", "ghost"], each=1, first=2)
        >>> len(evaluation.items), evaluation.measures[0].name
        (4, 'refusal, persona')
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PersonaLensWarning)  # of the first row; here all are named
        behaviours = read_behaviours(
            items, layout, benign=benign, columns=columns, encoding=encoding, config=config
        )
    _warn(behaviours)
    if isinstance(categories, str):
        categories = [categories]
    behaviours = behaviours.chosen(
        first, categories=categories, seed=None if first is None else seed
    )
    _check_personas(behaviours, personas)
    crossed = cross(behaviours, personas, each=each, prompts=prompts, seed=seed, without=without)
    if isinstance(judge, EndpointSettings):
        judge = harm_judge(judge)
    return harm(crossed, RefusalRules() if judge is None else judge)


def _warn(behaviours: Behaviours) -> None:
    lost = [fault for fault in behaviours.faults if fault.kind != "noted"]
    if not lost:
        return
    shown = "\n".join(str(fault) for fault in lost[:_SHOWN])
    further = f"\nand {len(lost) - _SHOWN:,} more" if len(lost) > _SHOWN else ""
    warnings.warn(
        f"{len(lost):,} rows were left out, {len(behaviours):,} can be asked:\n{shown}{further}",
        PersonaLensWarning,
        stacklevel=3,
    )


def _check_personas(behaviours: Behaviours, personas: CatalogSpec | None) -> None:
    if personas is None and not any(each.system for each in behaviours):
        raise EvaluationError(
            "nobody is to be asked these requests",
            expected="personas, or a column of system prompts in the table",
            given="neither",
            remedy='name some: personas=["pirate", "ghost"], or on the command line --personas pirate,ghost',
        )
