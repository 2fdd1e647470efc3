"""What a check measures and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["passed", "failed", "not applicable"]


@dataclass(frozen=True)
class Measure:
    """One number, and what it may be.

    Attributes:
        what: What was measured.
        value: The number; NaN never holds against a limit.
        unit: Its unit.
        at_most: Largest value that passes; None for no limit.
        at_least: Smallest value that passes; None for no limit.

    Examples:
        >>> moved = Measure("changed", 0, "tokens", at_least=1)
        >>> moved.holds, str(moved), moved.limit
        (False, 'changed 0 tokens', 'at least 1')
    """

    what: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the value keeps within its limits."""
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)

    @property
    def limit(self) -> str:
        """The tolerance in words; empty if any value will do."""
        parts = []
        if self.at_least is not None:
            parts.append(f"at least {_number(self.at_least)}")
        if self.at_most is not None:
            parts.append(f"at most {_number(self.at_most)}")
        return " and ".join(parts)

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, _number(self.value), self.unit) if part)


@dataclass(frozen=True)
class Finding:
    """What a check found: it passes if every measure holds.

    Attributes:
        measures: What was measured.
        note: What else there is to say.
    """

    measures: Sequence[Measure]
    note: str = ""


class NotApplicable(Exception):
    """Raised by a check that does not apply to a model; the message is the reason."""


@dataclass(frozen=True)
class CheckResult:
    """What came of one check.

    Attributes:
        name: Of the check.
        title: What should be so, in a few words.
        verdict: passed, failed or not applicable.
        measures: What was measured; empty if the check did not get that far.
        note: A remark, the reason why it does not apply, or the error it raised.
        meaning: What a failure means for whoever uses the model.
        seconds: How long it took.
    """

    name: str
    title: str
    verdict: Verdict
    measures: tuple[Measure, ...]
    note: str
    meaning: str
    seconds: float


def _number(value: float) -> str:
    """Counts and large numbers in full, everything else with two digits.

    Examples:
        >>> _number(1204), _number(182.3), _number(3.14159e-7)
        ('1,204', '182', '3.1e-07')
    """
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:.2g}"
