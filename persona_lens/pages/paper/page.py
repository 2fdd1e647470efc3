"""Writing the report: findings beside what was published, figures and tables in one file that needs no network."""

from __future__ import annotations

import datetime
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.offline
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from persona_lens.errors import FigureError
from persona_lens.files import whole_or_nothing
from persona_lens.pages.paper.strips import strip, told, told_range
from persona_lens.pages.shared.script import joined

STYLES = "shared/base.css", "paper/paper.css"
VERDICTS = {"agrees": "agrees", "differs": "differs", "too small to tell": "small"}


@dataclass(frozen=True, eq=False)
class Line:
    """A finding.

    Attributes:
        row: Ours: `quantity`, `section`, `unit`, `value`, `low`, `high`, `null_low`, `null_high`, `null`, `n`,
            `units`, `how`, `stands_in`, `verdict`, `because`.
        stated: What was published: `model`, `low`, `high` (None where there is no end), `source`, `note`.
    """

    row: Mapping[str, Any]
    stated: Sequence[Mapping[str, Any]]

    @property
    def strip(self) -> Markup:
        """Drawn."""
        return strip(self.row, self.stated)

    @property
    def ours(self) -> str:
        """Value, interval and count, in words."""
        row, unit = self.row, str(self.row["unit"])
        ends = f"[{told(row['low'], unit)}, {told(row['high'], unit)}]"
        if row["low"] is None:
            ends = "no interval"
        return f"{told(row['value'], unit)} {ends}, {row['n']:,} {row['units']}"

    @property
    def null(self) -> str:
        """The null, in words; empty where the claim needs none."""
        row = self.row
        if row["null_low"] is None:
            return ""
        return f"{told_range(row['null_low'], row['null_high'], str(row['unit']))}: {row['null']}"

    @property
    def published(self) -> list[str]:
        """What was published, a line a model."""
        unit = str(self.row["unit"])
        return [
            f"{each['model']} {told_range(each['low'], each['high'], unit)}"
            + (f" ({'; '.join(filter(None, notes))})" if any(notes) else "")
            for each in self.stated
            for notes in [(each["note"], each["source"] if each["source"] != "paper" else "")]
        ]

    @property
    def look(self) -> str:
        """Class of the verdict."""
        return VERDICTS[str(self.row["verdict"])]


@dataclass(frozen=True, eq=False)
class Table:
    """A table.

    Attributes:
        title: What is in it.
        head: Of its columns.
        rows: Texts.
        note: Below it.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the report.

    Attributes:
        title: Its own.
        about: What the paper asked there, and what was done here.
        lines: Findings.
        figures: Drawn of this model.
        tables: Of this model beside the paper's.
        missing: What could not be done, and why.
    """

    title: str
    about: str
    lines: Sequence[Line] = ()
    figures: Sequence[go.Figure] = ()
    tables: Sequence[Table] = ()
    missing: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Report:
    """All of it.

    Attributes:
        title: Of the page.
        facts: What was studied and how much was asked.
        rule: How verdicts are made, a sentence each.
        sections: In the paper's order.
        stages: What came of each stage: `title`, `status`, `told`.
        left: What the paper has and this report has not, with the reason.
    """

    title: str
    facts: Mapping[str, str]
    rule: Sequence[str]
    sections: Sequence[Section]
    stages: Sequence[Mapping[str, str]]
    left: Mapping[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """How many findings have each verdict."""
        said = [str(line.row["verdict"]) for each in self.sections for line in each.lines]
        return {verdict: said.count(verdict) for verdict in VERDICTS}


def report_page(report: Report, path: str | Path) -> Path:
    """Write a report as one web page.

    Args:
        report: What is in it.
        path: Ends in `.html`.

    Returns:
        The file written.

    Raises:
        FigureError: Another ending.

    Examples:
        >>> import tempfile
        >>> empty = Report("The paper, for a model", {}, [], [], [])
        >>> report_page(empty, Path(tempfile.mkdtemp()) / "report.html").name
        'report.html'
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise FigureError("a report is a web page", expected="a .html", given=path.name)
    drawn = any(section.figures for section in report.sections)
    pages = files("persona_lens.pages")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string((pages / "paper/paper.html.jinja").read_text("utf-8"))
    page = template.render(
        report=report,
        looks=VERDICTS,
        css=Markup("".join((pages / name).read_text("utf-8") for name in STYLES)),
        script=Markup(joined("paper/script/start.js")),
        plotly=Markup(plotly.offline.get_plotlyjs()) if drawn else "",
        inline=_inline,
        version=importlib.metadata.version("persona-lens"),
        made=datetime.date.today().isoformat(),
    )
    with whole_or_nothing(path) as partial:
        partial.write_text(page, "utf-8")
    return path


def _inline(figure: go.Figure) -> Markup:
    config = {"displaylogo": False, "showSendToCloud": False, "responsive": False}
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False, config=config))
