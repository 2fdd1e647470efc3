"""Files of entries into plain values, each with the words that say where it stands.

JSON, JSON Lines and YAML; tables and text files with an entry a line (`persona_lens.catalog.rows`). Text is UTF-8,
or UTF-16 with its mark.

Examples:
    >>> import tempfile
    >>> from persona_lens.catalog.kinds import QUESTION, ROLE
    >>> path = Path(tempfile.mkdtemp()) / "mine.jsonl"
    >>> _ = path.write_text('{"name": "baker"}\\n\\n{"name": "miller"}\\n')
    >>> [(where.split(", ")[-1], value["name"]) for where, value in read_values(ROLE, path)]
    [('line 1', 'baker'), ('line 3', 'miller')]
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from persona_lens.catalog.kinds import Kind
from persona_lens.catalog.mappings import PassedOver
from persona_lens.catalog.rows import lines, rows
from persona_lens.contents import check_content
from persona_lens.errors import CatalogError

TABLES = (".csv", ".tsv", ".txt")
SUFFIXES = (".json", ".jsonl", ".yaml", ".yml", *TABLES)


def read_values(
    kind: Kind[Any], path: Path, passed_over: PassedOver | None = None
) -> Iterator[tuple[str, Any]]:
    """Yield what a file holds: items of a list, lines, rows of a table, or one value.

    Args:
        kind: What should be in it.
        path: With one of `SUFFIXES`; any other is taken for JSON.
        passed_over: Remembers columns that are no field.

    Raises:
        CatalogError: The file cannot be read, is empty, of another encoding or malformed.
    """
    suffix = path.suffix.lower()
    text = read_text(path, kind.plural)
    if suffix == ".jsonl":
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield f"{path}, line {number}", _parsed(line, path, number)
    elif suffix in (".csv", ".tsv"):
        yield from rows(kind, text, path, passed_over or PassedOver())
    elif suffix == ".txt":
        yield from lines(kind, text, path)
    else:
        value = _of_yaml(text, path) if suffix in (".yaml", ".yml") else _parsed(text, path)
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            yield f"{path}, entry [{index}]", item


def read_json(path: Path, content: str) -> Any:
    """The value in a JSON file.

    Raises:
        CatalogError: The file cannot be read, is not UTF-8 or not JSON.
    """
    return _parsed(read_text(path, content), path)


def read_text(path: Path, content: str) -> str:
    """The text of a file, whichever mark or line ending it has.

    Raises:
        CatalogError: The file cannot be read, is empty or of another encoding.
    """
    check_content(path, CatalogError)
    try:
        raw = path.read_bytes()
        wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        # Editors on Windows like to put a byte-order mark first; utf-8-sig looks past it.
        text = raw.decode("utf-16" if wide else "utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise CatalogError(
            f"{path}: cannot be read ({error.strerror or error})",
            expected=f"a file of {content}",
            remedy="check the path and its permissions",
        ) from error
    except UnicodeDecodeError as error:
        table = path.suffix.lower() in (".parquet", ".arrow")
        raise CatalogError(
            f"{path}: is not UTF-8 text (byte {error.start})",
            remedy=f"give datasets:{path}" if table else "save the file again with UTF-8 encoding",
        ) from error
    if not text.strip():
        raise CatalogError(f"{path}: is empty", expected=f"a file of {content}")
    return text


def _of_yaml(text: str, path: Path) -> Any:
    try:
        import yaml  # noqa: PLC0415 - comes with the hub's client, and few need it
    except ImportError as error:
        raise CatalogError(
            f"{path}: reading YAML needs a package", remedy="pip install pyyaml, or write JSON"
        ) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise CatalogError(
            f"{path}: is not valid YAML{place}",
            given=getattr(error, "problem", None),
            remedy="correct the file there; look for a missing quote or indentation",
        ) from error


def _parsed(text: str, path: Path, line: int | None = None) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise CatalogError(
            f"{path}: is not valid JSON at line {line or error.lineno}, column {error.colno}",
            given=error.msg,
            remedy="correct the file there; look for a missing comma, quote or bracket",
        ) from error
