"""`VerifyReport`: the table of checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from persona_lens.errors import ModelError
from persona_lens.verify.outcomes import CheckResult

_STYLES = {"passed": "green", "failed": "bold red", "not applicable": "dim"}
_WIDTH = 120


@dataclass(frozen=True, eq=False)
class VerifyReport:
    """What came of all checks.

    Attributes:
        model: The model, as a person names it.
        results: One a check, in the order they ran.
    """

    model: str
    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The checks that failed."""
        return tuple(result for result in self.results if result.verdict == "failed")

    @property
    def seconds(self) -> float:
        """How long all checks took."""
        return sum(result.seconds for result in self.results)

    def frame(self) -> pd.DataFrame:
        """One row a measure, or one a check without any.

        Columns: `check`, `title`, `verdict` (of the check), `measure`, `value`, `unit`, `tolerance`, `holds`,
        `note`, `seconds` (of the check).
        """
        rows = []
        for result in self.results:
            about = {"check": result.name, "title": result.title, "verdict": result.verdict}
            rest = {"note": result.note, "seconds": result.seconds}
            for measure in result.measures or (None,):
                measured = {
                    "measure": "" if measure is None else measure.what,
                    "value": float("nan") if measure is None else float(measure.value),
                    "unit": "" if measure is None else measure.unit,
                    "tolerance": "" if measure is None else measure.limit,
                    "holds": result.verdict != "failed" if measure is None else measure.holds,
                }
                rows.append(about | measured | rest)
        return pd.DataFrame(rows)

    def raise_for_failures(self) -> None:
        """Do nothing if every check passed or does not apply.

        Raises:
            ModelError: A check failed.
        """
        if self.passed:
            return
        first = self.failures[0]
        raise ModelError(
            f"{len(self.failures)} of {len(self.results)} checks failed on {self.model}",
            expected="every check to pass",
            given=", ".join(result.name for result in self.failures),
            remedy=f"{first.name}: {first.meaning}",
        )

    @property
    def summary(self) -> str:
        """The counts in one line."""
        verdicts = [result.verdict for result in self.results]
        counts = ", ".join(
            f"{verdicts.count(verdict)} {verdict}" for verdict in _STYLES if verdict in verdicts
        )
        return f"{len(verdicts)} checks in {self.seconds:.0f} s: {counts}."

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """As a table, the failures explained below it."""
        yield self._table()
        for result in self.failures:
            broken = "; ".join(str(measure) for measure in result.measures if not measure.holds)
            yield Text(f"{result.name} failed: {broken or result.note}", style="bold red")
            yield Text(f"  {result.meaning}")
        yield Text(self.summary, style="bold")

    def _table(self) -> Table:
        table = Table(
            title=f"Self-check of {self.model}",
            title_justify="left",
            box=SIMPLE_HEAD,
            pad_edge=False,
        )
        for column in ("check", "measured", "tolerance", "verdict"):
            table.add_column(column, overflow="fold")
        for result in self.results:
            verdict = Text(result.verdict, style=_STYLES[result.verdict])
            table.add_row(result.name, Text(result.title, style="bold"), "", verdict)
            for measure in result.measures:
                style = "" if measure.holds else "red"
                table.add_row("", Text(f"  {measure}", style=style), measure.limit, "")
            if result.note:
                table.add_row("", Text(f"  {result.note}", style="dim"), "", "")
        return table

    def __str__(self) -> str:
        file = StringIO()
        Console(file=file, width=_WIDTH, no_color=True).print(self)
        return "\n".join(line.rstrip() for line in file.getvalue().splitlines())

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"
