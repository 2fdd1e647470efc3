"""`verify`: run the checks, one after the other, whatever one of them meets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from persona_lens.errors import ModelError
from persona_lens.verify import (
    logit_checks,
    plan_checks,
    reading_checks,
    running_checks,
    token_checks,
)
from persona_lens.verify.outcomes import CheckResult, NotApplicable
from persona_lens.verify.registry import CHECKS, Check
from persona_lens.verify.report import VerifyReport
from persona_lens.verify.subject import Subject

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel

_HOMES = [
    home.__name__
    for home in (token_checks, logit_checks, reading_checks, plan_checks, running_checks)
]
"""The modules of checks in the order they run; importing them has filled `CHECKS`."""


def verify(
    model: PersonaModel,
    *,
    only: Iterable[str] | None = None,
    on_check: Callable[[Check], None] | None = None,
) -> VerifyReport:
    """Check on a model that reading, chatting and intervening do what they say.

    A check that raises counts as failed, and the others still run. The model is left as it is.

    Args:
        model: To be checked, with no plan in force.
        only: Names of some checks; all of `CHECKS` by default.
        on_check: Called before each check.

    Raises:
        ModelError: An unknown name, or the call stands inside `model.intervene(...)`.

    Examples:
        >>> from persona_lens import PersonaModel
        >>> from persona_lens.verify import verify
        >>> report = verify(PersonaModel.load("smollm2-135m-instruct"), only=["bos", "groups"])
        >>> report.passed, report.frame()["value"].tolist()
        (True, [1.0, 0.0, 9.0])
    """
    names = sorted(CHECKS, key=_turn) if only is None else list(only)
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        raise ModelError(
            "no such check", expected=", ".join(CHECKS), given=", ".join(map(repr, unknown))
        )
    model.refuse_interventions("no check can be made")
    subject = Subject(model)
    results = []
    for name in names:
        if on_check is not None:
            on_check(CHECKS[name])
        results.append(_result(CHECKS[name], subject))
    dtype = str(model.dtype).removeprefix("torch.")
    return VerifyReport(f"{model.name}, {dtype} on {model.device}", tuple(results))


def _turn(name: str) -> int:
    home = CHECKS[name].run.__module__
    return _HOMES.index(home) if home in _HOMES else len(_HOMES)  # checks of the user's come last


def _result(check: Check, subject: Subject) -> CheckResult:
    started = time.perf_counter()
    measures, note = (), ""
    try:
        finding = check.run(subject)
        measures, note = tuple(finding.measures), finding.note
        verdict = "passed" if all(measure.holds for measure in measures) else "failed"
    except NotApplicable as reason:
        verdict, note = "not applicable", str(reason)
    except Exception as error:  # noqa: BLE001 - whatever went wrong, the user asked to be told
        verdict, note = "failed", f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - started
    return CheckResult(check.name, check.title, verdict, measures, note, check.meaning, seconds)
