"""Sets of behaviours, from the tables they are published in, or any table with named columns.

    behaviours = read_behaviours("harmbench_behaviors_text_all.csv")
    twins = read_behaviours("harmful-behaviors.csv", benign="benign-behaviors.csv")     # JBB-Behaviors
    own = read_behaviours("mine.csv", columns={"text": "Request", "category": "Kind of harm"})
    print(twins.summary)       # what was refused, with file, line, column and what to do

A row that cannot be used is refused by itself, and the set says so; nothing is repaired by guessing.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isnan
from typing import Any

from persona_lens.errors import EvaluationError, PersonaLensWarning
from persona_lens.evals.harm.behaviours import Behaviour, Behaviours
from persona_lens.evals.harm.layouts import Layout, layout_of
from persona_lens.evals.harm.sources import Fault, Row, rows_of

_EXCEL_CUTS_AT = 32_767
_EXCEL_ERRORS = {"#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "#N/A", "#NUM!", "#NULL!"}
_GARBLED = re.compile("�|â€|[ÃÂ][\u0080-\u00bf]")
_TRUE, _FALSE = {"true", "1", "yes", "benign"}, {"false", "0", "no", "harmful", ""}
_UNJUDGED_KIND = "copyright"


class _Unusable(Exception):
    """A row that cannot be used; becomes a fault."""

    def __init__(self, field: str, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.field, self.problem, self.remedy = field, problem, remedy


def read_behaviours(
    source: Any,
    layout: str | None = None,
    *,
    benign: Any = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    config: str | None = None,
    strict: bool = False,
) -> Behaviours:
    """Read behaviours.

    Args:
        source: A file, `datasets:owner/name@split`, a data set, a data frame, or a list of mappings.
        layout: One of `persona_lens.evals.harm.layouts`; told by the columns by default.
        benign: The same for harmless twins, paired by their ids (JBB: `Index`).
        columns: Title of the column of each field (`text`, `category`, `id`, `system`, ...), for other tables.
        encoding: Of a text file that is not UTF-8.
        config: Of a data set on the hub that has several.
        strict: Raise at the first row that cannot be used, instead of leaving it out.

    Returns:
        The behaviours, with `faults` and `summary`. HarmBench's copyright behaviours are left out: whether they
        succeed is told by hashes of the works, not by a judge.

    Raises:
        EvaluationError: The table cannot be read, its columns cannot be told, no row can be used; or, if `strict`,
            one cannot.

    Warns:
        PersonaLensWarning: Rows were refused.

    Examples:
        >>> rows = [{"Index": 0, "Goal": "Fold the forbidden crane", "Behavior": "Crane", "Category": "Paper"}]
        >>> twin = [{"Index": 0, "Goal": "Fold a crane", "Behavior": "Crane", "Category": "Paper"}]
        >>> found = read_behaviours(rows, benign=twin)
        >>> [(each.id, each.benign, each.group) for each in found]
        [('0', False, '0'), ('0-benign', True, '0')]
    """
    options = {"columns": columns, "encoding": encoding, "config": config, "strict": strict}
    name, found, faults = _read(source, layout, **options)
    if benign is not None:
        _, twins, more = _read(benign, name if columns is None else None, **options)
        faults += more
        twins = [
            replace(twin, id=f"{twin.id}-benign", pair=twin.group, benign=True) for twin in twins
        ]
        faults += list(_unpaired(found, twins))
        found = _without_doubles([*found, *twins], faults)
    if not found:
        shown = "\n".join(str(fault) for fault in faults[:3])
        raise EvaluationError(
            "no behaviour could be read" + (f":\n{shown}" if shown else ""),
            expected="at least one row",
            given=f"{len(faults)} rows that cannot be used",
        )
    result = Behaviours(tuple(found), name, tuple(faults))
    if result.refused:
        first = next(fault for fault in faults if fault.kind == "refused")
        warnings.warn(
            f"{result.refused} rows of behaviours were left out; the first: {first} (all: .frame)",
            PersonaLensWarning,
            stacklevel=2,
        )
    return result


def _read(
    source: Any,
    layout: str | None,
    *,
    columns: Mapping[str, str] | None,
    encoding: str | None,
    config: str | None,
    strict: bool,
) -> tuple[str, list[Behaviour], list[Fault]]:
    found: list[Behaviour] = []
    faults: list[Fault] = []
    plan: tuple[Layout, dict[str, str]] | None = None
    left_out: list[str] = []
    for row in rows_of(source, encoding=encoding, config=config):
        if isinstance(row, Fault):
            faults.append(row)
        else:
            plan = plan or layout_of(row.cells, layout, columns, row.place)
            try:
                behaviour = _behaviour(row, *plan)
            except _Unusable as fault:
                title = plan[1].get(fault.field, fault.field)
                faults.append(Fault(row.place, fault.problem, fault.remedy, title))
            else:
                if plan[0].name == "harmbench" and behaviour.kind == _UNJUDGED_KIND:
                    left_out.append(behaviour.place)
                else:
                    found.append(behaviour)
        if strict and faults:
            raise EvaluationError(f"a row of behaviours cannot be used: {faults[-1]}")
    faults += [
        Fault(
            place,
            "is a copyright behaviour, which no rubric can judge",
            "use HarmBench's own hashes for those",
            kind="left out",
        )
        for place in left_out
    ]
    found = _without_doubles(found, faults)
    if strict and any(fault.kind == "refused" for fault in faults):
        raise EvaluationError(f"a row of behaviours cannot be used: {faults[-1]}")
    return plan[0].name if plan else layout or "", found, faults


def _behaviour(row: Row, layout: Layout, titles: Mapping[str, str]) -> Behaviour:
    told: dict[str, Any] = {
        field: _text(row.cells.get(title), field, needed=field in layout.needs)
        for field, title in titles.items()
        if field not in ("tags", "benign")
    }
    if layout.name == "harmbench" and told.get("kind") == "contextual" and not told.get("context"):
        raise _Unusable("context", "is empty, and the request is about it", "fill in ContextString")
    if "benign" in titles:
        told["benign"] = _truth(row.cells.get(titles["benign"]))
    if "tags" in titles:
        tags = str(row.cells.get(titles["tags"]) or "")
        told["tags"] = tuple(tag.strip() for tag in tags.split(",") if tag.strip())
    if not told.get("id"):
        texts = [told["text"], told.get("context", ""), told.get("system", "")]
        digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:10]
        told["id"] = f"{layout.name}-{digest}"
    return Behaviour(**told, place=row.place)


def _text(cell: Any, field: str, *, needed: bool) -> str:
    if cell is None or (isinstance(cell, float) and isnan(cell)):
        cell = ""
    if isinstance(cell, bool | list | dict) or (field == "text" and not isinstance(cell, str)):
        raise _Unusable(field, f"is {type(cell).__name__}, not text", "write the text itself")
    text = str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell).strip()
    if needed and not text:
        raise _Unusable(field, "is empty", "fill it in, or take the row out")
    if text in _EXCEL_ERRORS:
        raise _Unusable(
            field,
            f"holds {text}: Excel took the text for a formula",
            "put the text back from where it came, with an apostrophe in front",
        )
    if len(text) == _EXCEL_CUTS_AT:
        raise _Unusable(
            field,
            f"has {_EXCEL_CUTS_AT:,} characters, where Excel cuts texts off",
            "put the text back from where it came, without Excel",
        )
    garbled = _GARBLED.search(text)
    if garbled:
        raise _Unusable(
            field,
            f"was read in a wrong encoding once ({garbled[0]!r})",
            "put the text back from where it came",
        )
    return text


def _truth(cell: Any) -> bool:
    word = str("" if cell is None else cell).strip().lower()
    if word not in _TRUE | _FALSE:
        raise _Unusable("benign", f"is {word!r}", "write true or false")
    return word in _TRUE


def _without_doubles(found: list[Behaviour], faults: list[Fault]) -> list[Behaviour]:
    """The first of each id; the others become faults, same texts under other ids a note."""
    ids: dict[str, Behaviour] = {}
    texts: dict[tuple[str, str, bool], Behaviour] = {}
    for each in found:
        first = ids.get(each.id)
        if first is not None:
            same = first.asked == each.asked and first.system == each.system
            problem = f"has the id {each.id!r} of {first.place}" + (
                ", and is it again" if same else ""
            )
            remedy = (
                "take one out (for several replies: samples=)" if same else "give it another id"
            )
            faults.append(Fault(each.place, problem, remedy, "id"))
            continue
        ids[each.id] = each
        twice = texts.setdefault((each.asked, each.system, each.benign), each)
        if twice is not each:
            problem = f"asks the same as {twice.place}; both are kept"
            faults.append(Fault(each.place, problem, "take one out", "text", "noted"))
    return list(ids.values())


def _unpaired(found: list[Behaviour], twins: list[Behaviour]) -> Iterator[Fault]:
    harmful = {each.group: each for each in found}
    benign = {each.group: each for each in twins}
    for group in sorted(harmful.keys() ^ benign.keys()):
        each = harmful.get(group) or benign[group]
        what = "harmful behaviour" if each.benign else "benign twin"
        yield Fault(each.place, f"has no {what}", "look at the other table", "id", "noted")
    for group in sorted(harmful.keys() & benign.keys()):
        one, other = harmful[group], benign[group]
        if one.category != other.category:
            problem = f"is {other.category!r}, and its harmful behaviour {one.category!r}"
            remedy = "check that ids of the two tables mean the same"
            yield Fault(other.place, problem, remedy, "category", "noted")
