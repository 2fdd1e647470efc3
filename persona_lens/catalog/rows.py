"""Plain tables: a CSV file whose first line names its columns, or a text file with an entry on each line.

    id,question                          name,prompt
    tide,"Why, then, does it come in?"   baker,You bake bread for a village.
                                         baker,"You rise at three, before the birds."

Rows of one name are one role (or trait). Byte-order marks, either line ending, quotes and the separators of
spreadsheets (comma, semicolon, tabulator) are understood; what cannot be told apart is refused.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from persona_lens.catalog.kinds import DEFAULT, QUESTION, ROLE, TRAIT, Kind
from persona_lens.catalog.mappings import PassedOver, named, sentence_id
from persona_lens.catalog.packaged import full_names
from persona_lens.errors import CatalogError

_TEXT = {
    "text": ("text", "question", "questions", "prompt", "query"),
    "id": ("id",),
    "tags": ("tags", "tag"),
}
_SHARED = {"description": ("description",), "rubric": ("rubric",), "tags": ("tags", "tag")}
_COLUMNS: dict[Kind[Any], dict[str, tuple[str, ...]]] = {
    QUESTION: _TEXT,
    DEFAULT: {key: names for key, names in _TEXT.items() if key != "tags"},
    ROLE: {
        "name": ("name", "role"),
        "prompts": ("prompt", "prompts", "system", "system_prompt", "instruction", "pos"),
        "group": ("group",),
        **_SHARED,
    },
    TRAIT: {
        "name": ("name", "trait"),
        "positive": ("positive", "pos"),
        "negative": ("negative", "neg"),
        **_SHARED,
    },
}
_NEEDED = {
    QUESTION: ("text",),
    DEFAULT: ("text",),
    ROLE: ("name", "prompts"),
    TRAIT: ("name", "positive", "negative"),
}


def lines(kind: Kind[Any], text: str, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the entry on each line of a text file: a sentence, or the name of a packaged entry."""
    known = full_names(kind)
    titles = {kind.plural, *_COLUMNS[kind].get("text", ())}
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.strip()
        if not entry or (number == 1 and entry.lower().rstrip(":") in titles):
            continue
        sentence = kind.takes_sentences and entry not in known
        yield (
            f"{path}, line {number}",
            {"id": sentence_id(kind, entry), "text": entry} if sentence else entry,
        )


def rows(
    kind: Kind[Any], text: str, path: Path, passed_over: PassedOver
) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a table.

    Args:
        kind: What they should be.
        text: Of the file.
        path: For complaints, and for its suffix.
        passed_over: Remembers columns that are no field.

    Raises:
        CatalogError: Columns cannot be told, or a row has more cells than there are columns.
    """
    separator, header = _header(kind, text, path)
    if not header:
        yield from _only_column(kind, text, path)
        return
    columns = [_field(kind, title) for title in header]
    unknown = [title for title, field in zip(header, columns, strict=True) if field is None]
    passed_over.note(f"{path}, line 1", unknown)
    lacking = [field for field in _NEEDED[kind] if field not in columns]
    if lacking:
        raise CatalogError(
            f"{path}: has no column for {' and '.join(lacking)}",
            expected=", ".join(_NEEDED[kind]),
            given=", ".join(header),
            remedy="name the columns in the first line",
        )
    gathered: dict[str, dict[str, Any]] = {}
    for number, cells in filled_rows(text, path, separator=separator, columns=len(header)):
        where = f"{path}, line {number}"
        row: dict[str, list[str]] = {}
        for field, cell in zip(columns, cells, strict=False):
            if field is not None and cell.strip():
                row.setdefault(field, []).append(cell.strip())
        if kind in (QUESTION, DEFAULT):
            yield where, _sentence(kind, row, where)
        else:
            _gather(kind, row, where, gathered)
    yield from ((entry.pop("where"), entry) for entry in gathered.values())


def filled_rows(
    text: str, path: Path, *, separator: str, columns: int
) -> Iterator[tuple[int, list[str]]]:
    """The rows below the first that have something in them, with the line each ends on.

    Raises:
        CatalogError: A row has more cells than there are columns.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    next(reader)
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > columns:
            raise CatalogError(
                f"{path}, line {reader.line_num}: has {len(cells)} cells, and there are {columns} columns",
                given=separator.join(cells),
                remedy=f"put text with a {_SEPARATORS[separator]} in it into double quotes",
            )
        yield reader.line_num, cells


_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tabulator"}


def _header(kind: Kind[Any], text: str, path: Path) -> tuple[str, list[str]]:
    """The separator, and the titles of the columns; none where the first line has no title that is known."""
    separators = "\t" if path.suffix.lower() == ".tsv" else ",;\t"
    first = next((line for line in text.splitlines() if line.strip()), "")
    best = max(
        ((mark, next(csv.reader([first], delimiter=mark))) for mark in separators),
        key=lambda found: sum(_field(kind, title) is not None for title in found[1]),
    )
    titles = [title.strip() for title in best[1]]
    return best[0], titles if any(_field(kind, title) for title in titles) else []


def _field(kind: Kind[Any], title: str) -> str | None:
    plain = title.strip().lower().replace(" ", "_").rstrip("0123456789_")
    return next((field for field, names in _COLUMNS[kind].items() if plain in names), None)


def _only_column(kind: Kind[Any], text: str, path: Path) -> Iterator[tuple[str, Any]]:
    """Sentences or names in a single column without a title."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=",")
    for cells in reader:
        if len(cells) > 1:
            raise CatalogError(
                f"{path}, line {reader.line_num}: which of its {len(cells)} cells is the {kind.noun}?",
                given=",".join(cells),
                remedy=f"name the columns in the first line ({', '.join(_NEEDED[kind])}), put text with a comma "
                "in it into double quotes, or save one entry a line as .txt",
            )
        for _, entry in lines(kind, " ".join(cells), path):
            yield f"{path}, line {reader.line_num}", entry


def _sentence(kind: Kind[Any], row: Mapping[str, list[str]], where: str) -> dict[str, Any]:
    texts = row.get("text", [])
    if len(texts) != 1:
        raise CatalogError(
            f"{where}: has {len(texts) or 'no'} texts", expected="one in a row", given=texts or None
        )
    own = named(kind, row["id"][0]) if "id" in row else {"id": sentence_id(kind, texts[0])}
    tags = {"tags": _tags(row)} if "tags" in row else {}
    return own | {"text": texts[0]} | tags


def _gather(
    kind: Kind[Any], row: Mapping[str, list[str]], where: str, gathered: dict[str, dict[str, Any]]
) -> None:
    """Add a row to the role or trait it belongs to."""
    if "name" not in row:
        raise CatalogError(f"{where}: has no name", remedy="write the name in every row")
    name = row["name"][0]
    entry = gathered.setdefault(name, {"where": where, **named(kind, name)})
    if kind is ROLE:
        entry.setdefault("prompts", []).extend(row.get("prompts", []))
    else:
        sides = row.get("positive", []), row.get("negative", [])
        if len(sides[0]) != len(sides[1]):
            raise CatalogError(f"{where}: a side is missing", expected="positive and negative")
        pairs = [{"positive": one, "negative": other} for one, other in zip(*sides, strict=True)]
        entry.setdefault("pairs", []).extend(pairs)
    for field in ("group", "description", "rubric"):
        if field in row:
            entry[field] = row[field][0]
    if "tags" in row:
        entry["tags"] = _tags(row)


def _tags(row: Mapping[str, list[str]]) -> list[str]:
    return [
        tag.strip()
        for cell in row["tags"]
        for tag in cell.replace("|", ";").split(";")
        if tag.strip()
    ]
