"""Evaluations whose judge may fail: the replies stay, and so does what was said of them before.

    result, trouble = evaluate_standing(evaluation, model, conditions, out="evals/harm")
    if trouble is not None:         # no quota left, a server that went away
        print(trouble)              # the same call continues: what was judged is not asked again

`evaluate` raises where a judge's server fails, once everything else is finished. Here the result is made of the
verdicts that there are, and all other replies stand beside them as `failed`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persona_lens.errors import EndpointError
from persona_lens.evals.conditions import Condition
from persona_lens.evals.evaluation import Evaluated, Evaluation, evaluate
from persona_lens.evals.outcomes import Answer, ItemJudge, Outcome

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel

_PIECES = "pieces"


def evaluate_standing(
    evaluation: Evaluation,
    model: PersonaModel,
    conditions: Iterable[Condition],
    *,
    out: str | Path | None = None,
    **options: Any,
) -> tuple[Evaluated, EndpointError | None]:
    """As `evaluate`, with what there is where a judge's server fails.

    Args:
        evaluation: What is asked.
        model: Answers.
        conditions: What is done to it meanwhile.
        out: Keeps finished pieces there, and the result; the same call continues, and asks for no verdict that is
            kept. Of the piece at which the server failed those that had come are kept by the judge alone, for
            as long as it lives.
        options: The others of `evaluate`.

    Returns:
        The result, and why it is not whole, None if it is. A judge that has failed is not asked again: what it
        has not said is `failed`, for that reason.

    Raises:
        Exception: What `evaluate` raises for any other reason.
    """
    conditions = list(conditions)
    judges = [_Failing(judge) for judge in evaluation.judges]
    guarded = replace(evaluation, judges=judges)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "kept") if out is None else Path(out)
        try:
            return evaluate(guarded, model, conditions, out=folder, **options), None
        except EndpointError as error:
            trouble = error
        # What is made without the judge is kept nowhere, or the next call would take it for finished.
        rest = Path(scratch, "rest")
        shutil.copytree(folder / _PIECES, rest / _PIECES)
        silent = [
            judge.judge if judge.trouble is None else silenced(judge.judge, str(judge.trouble))
            for judge in judges
        ]
        standing = replace(evaluation, judges=silent)
        result = evaluate(standing, model, conditions, out=rest, **{**options, "progress": False})
        if out is not None:
            result.save(out)
        return result, trouble


def silenced(judge: ItemJudge, why: str) -> ItemJudge:
    """A judge that asks nobody and has a verdict only where it remembers one.

    Args:
        judge: Of the same name and card; one with a method `silent(why)` says what it remembers.
        why: `raw` of the outcomes that are `failed`.
    """
    remembers = getattr(judge, "silent", None)
    return _Mute(judge, why) if remembers is None else remembers(why)


@dataclass(eq=False)
class _Failing:
    """A judge that is not asked again once its server has failed."""

    judge: ItemJudge
    trouble: EndpointError | None = None

    @property
    def name(self) -> str:
        return self.judge.name

    def card(self) -> dict[str, Any]:
        return self.judge.card()

    def outcomes(self, answers: Sequence[Answer]) -> Sequence[Outcome]:
        if self.trouble is not None:
            raise EndpointError("not judged, as the judge failed before")
        try:
            return self.judge.outcomes(answers)
        except EndpointError as error:
            self.trouble = error
            raise


@dataclass(frozen=True, eq=False)
class _Mute:
    judge: ItemJudge
    why: str

    @property
    def name(self) -> str:
        return self.judge.name

    def card(self) -> dict[str, Any]:
        return self.judge.card()

    def outcomes(self, answers: Sequence[Answer]) -> list[Outcome]:
        return [Outcome(status="failed", raw=self.why) for _ in answers]
