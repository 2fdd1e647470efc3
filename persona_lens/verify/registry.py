"""The list of checks, and the decorator that puts a function on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from persona_lens.verify.outcomes import Finding

if TYPE_CHECKING:
    from persona_lens.verify.subject import Subject

CheckFunction = Callable[["Subject"], Finding]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: Short name, as `verify(only=...)` takes it.
        title: What should be so, in a few words.
        meaning: What a failure means for whoever uses the model.
        run: Looks at the model and tells what it found.
    """

    name: str
    title: str
    meaning: str
    run: CheckFunction


CHECKS: dict[str, Check] = {}
"""Every check by name. Imported as `persona_lens.verify.CHECKS`, it is filled already."""


def check(name: str, *, title: str, meaning: str) -> Callable[[CheckFunction], CheckFunction]:
    """Put a function on the list; yours too, and `verify` will run it.

    Args:
        name: Short name.
        title: What should be so.
        meaning: What a failure means for the user.

    Examples:
        >>> from persona_lens.verify import CHECKS, Finding, Measure
        >>> @check("width", title="the residual stream is wide enough", meaning="use a larger model")
        ... def width(subject):
        ...     return Finding([Measure("d_model", subject.model.d_model, "", at_least=8)])
        >>> CHECKS.pop("width").title
        'the residual stream is wide enough'
    """

    def register(run: CheckFunction) -> CheckFunction:
        CHECKS[name] = Check(name, title, meaning, run)
        return run

    return register
