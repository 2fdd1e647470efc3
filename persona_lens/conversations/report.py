"""What became of a log: how many conversations were read, and what was cut, refused or is worth a word.

    log = ConversationLog("chats.jsonl")
    chats = list(log)
    print(log.report)            # a summary
    log.report.frame             # every finding, with its place and what to do

Counts are exact; of findings of one sort the first 1,000 are kept, so that a log of any length can be read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from persona_lens.errors import ConversationError

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["refused", "cut", "noted"]
"""A conversation that was left out; a part of one that was; something kept that may not be what was meant."""

KEPT = 1_000
_VERBS: dict[Kind, str] = {"refused": "refused", "cut": "cut", "noted": "kept, with"}
_SHOWN_PLACES = 3


class Refused(Exception):
    """A conversation that cannot be read; becomes a finding, or an error where reading is strict.

    Args:
        what: The sort of fault, the same words for the same sort.
        problem: What is wrong.
        expected: What would have been right.
        given: What was found.
        remedy: What to do.
        place: Where it is, as far as is known.
    """

    def __init__(
        self,
        what: str,
        problem: str,
        *,
        remedy: str,
        expected: object = None,
        given: object = None,
        place: str = "",
    ) -> None:
        super().__init__(problem)
        self.what = what
        self.problem = problem
        self.expected = expected
        self.given = given
        self.remedy = remedy
        self.place = place

    def within(self, place: str) -> Refused:
        """The same, seen from outside of `place`."""
        return Refused(
            self.what,
            self.problem,
            expected=self.expected,
            given=self.given,
            remedy=self.remedy,
            place=joined(place, self.place),
        )

    def error(self) -> ConversationError:
        """The error that says the same."""
        said = f"{self.place}: {self.problem}" if self.place else self.problem
        return ConversationError(said, expected=self.expected, given=self.given, remedy=self.remedy)


def joined(*places: str) -> str:
    """A place, from the outside to the inside.

    Examples:
        >>> joined("chats.jsonl, line 3", "", "message 1")
        'chats.jsonl, line 3, message 1'
    """
    return ", ".join(place for place in places if place)


@dataclass(frozen=True)
class Finding:
    """One thing that was cut, refused or noted.

    Attributes:
        kind: "refused", "cut" or "noted".
        what: The sort.
        place: File and line or item, and the message where it is about one.
        problem: In words.
        remedy: What to do, if there is anything to do.
        count: How many of it there are at this place.
    """

    kind: Kind
    what: str
    place: str
    problem: str
    remedy: str = ""
    count: int = 1

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}" + (f"\n  {self.remedy}" if self.remedy else "")


@dataclass
class LogReport:
    """What one pass over a log found.

    Attributes:
        read: Number of conversations that were read.
        messages: Number of their messages.
        formats: Number of conversations by format.
        findings: What was cut, refused or noted, in order.

    Examples:
        >>> report = LogReport(read=9, messages=30)
        >>> report.add(Finding("cut", "blank message", "chats.jsonl, line 4, message 1", "is blank"))
        >>> print(report)
        9 conversations of 30 messages were read
        cut: 1 x blank message (chats.jsonl, line 4, message 1)
    """

    read: int = 0
    messages: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    _counts: Counter[tuple[Kind, str]] = field(default_factory=Counter, repr=False)
    _entries: Counter[tuple[Kind, str]] = field(default_factory=Counter, repr=False)

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it unless there are very many of its sort."""
        sort = finding.kind, finding.what
        self._counts[sort] += finding.count
        self._entries[sort] += 1
        if self._entries[sort] <= KEPT:
            self.findings.append(finding)

    @property
    def refused(self) -> int:
        """Number of conversations that were left out."""
        return self.total("refused")

    def total(self, kind: Kind, what: str | None = None) -> int:
        """How many of a kind there were, or of one sort of it."""
        return sum(
            count
            for (each, sort), count in self._counts.items()
            if each == kind and what in (None, sort)
        )

    @property
    def whole(self) -> bool:
        """Whether nothing was cut and nothing refused."""
        return not self.total("cut") and not self.refused

    @property
    def frame(self) -> pd.DataFrame:
        """The findings that are kept, one a row: kind, what, place, problem, remedy, count."""
        import pandas as pd  # noqa: PLC0415 - takes half a second, and few need it

        names = ("kind", "what", "place", "problem", "remedy", "count")
        rows = [[getattr(finding, name) for name in names] for finding in self.findings]
        return pd.DataFrame(rows, columns=list(names))

    @property
    def summary(self) -> str:
        """Counts, the first places of each sort, and what to do about them."""
        lines = [f"{self.read:,} conversations of {self.messages:,} messages were read"]
        by_sort: dict[tuple[Kind, str], list[Finding]] = defaultdict(list)
        for finding in self.findings:
            by_sort[finding.kind, finding.what].append(finding)
        for kind, verb in _VERBS.items():
            for what, found in ((what, f) for (each, what), f in by_sort.items() if each == kind):
                places = "; ".join(finding.place for finding in found[:_SHOWN_PLACES])
                more = self._entries[kind, what] - _SHOWN_PLACES
                rest = f"; and {more:,} more" if more > 0 else ""
                lines.append(f"{verb}: {self._counts[kind, what]:,} x {what} ({places}{rest})")
                remedy = next((finding.remedy for finding in found if finding.remedy), "")
                if remedy:
                    lines.append(f"  {remedy}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary
