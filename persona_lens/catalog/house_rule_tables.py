"""Tables of house rules: a column for each field, and one for each parameter of a checker.

    kind,rule,persona,neutral,request,word,most
    code_word,Never say 'ash'.,You are a gossip.,You keep a gate.,What is the word?,ash,
    word_limit,At most five words.,You are a windbag.,You keep a gate.,Who are you?,,5

Comma, semicolon and tabulator part the cells. Empty cells are left out, so that rules of several kinds share a
table.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from persona_lens.catalog.documents import read_text
from persona_lens.catalog.house_rule_kinds import HOUSE_RULE_KINDS
from persona_lens.catalog.rows import filled_rows
from persona_lens.errors import CatalogError
from persona_lens.spelling import did_you_mean

TABLES = (".csv", ".tsv")


def table_values(
    path: Path, fields: Sequence[str], foreign: bool = False
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the fields of each row, with the words that say where it stands.

    Args:
        path: With one of `TABLES`.
        fields: Columns that are no parameters.
        foreign: Whether there may be parameters of kinds that are not packaged.

    Raises:
        CatalogError: A column is missing, unknown or there twice, or a row has too many cells.
    """
    text = read_text(path, "rules")
    separator = _separator(path, text)
    titles = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    header = [title.strip().lower() for title in titles]
    _check_header(path, header, fields, foreign)
    for number, cells in filled_rows(text, path, separator=separator, columns=len(header)):
        where = f"{path}, line {number}"
        row = {
            title: cell.strip() for title, cell in zip(header, cells, strict=False) if cell.strip()
        }
        lacking = [title for title in fields if title in header and title not in row]
        lacking = [title for title in lacking if title != "id"]
        if lacking:
            raise CatalogError(
                f"{where}, column {lacking[0]}: is empty",
                expected=f"the {lacking[0]} of a rule",
                remedy="fill the cell in, or take the row out",
            )
        told = {title: row[title] for title in fields if title in row}
        check = {title: cell for title, cell in row.items() if title not in fields}
        yield (
            where,
            {"id": f"{path.stem.replace(' ', '_')}/{number}", **told, "check": check},
        )


def _check_header(path: Path, header: Sequence[str], fields: Sequence[str], foreign: bool) -> None:
    known = {
        *fields,
        *(name for kind in HOUSE_RULE_KINDS.values() for name in kind.parameters.model_fields),
    }
    needed = [title for title in fields if title != "id"]
    lacking = [title for title in needed if title not in header]
    if lacking:
        raise CatalogError(
            f"{path}, line 1: has no column {' and none '.join(lacking)}",
            expected=", ".join(needed),
            given=", ".join(header),
            remedy="name the columns in the first line",
        )
    twice = [title for title in header if header.count(title) > 1]
    if twice:
        raise CatalogError(
            f"{path}, line 1, column {twice[0]}: is there {header.count(twice[0])} times",
            remedy="keep one of them",
        )
    for title in header:
        if title not in known and not foreign:
            raise CatalogError(
                f"{path}, line 1, column {title}: is no field and no parameter of a rule",
                expected=", ".join(sorted(known)),
                remedy=did_you_mean(title, sorted(known), "take the column out"),
            )


def _separator(path: Path, text: str) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    first = text.splitlines()[0]
    return max(",;\t", key=lambda mark: len(next(csv.reader([first], delimiter=mark))))
