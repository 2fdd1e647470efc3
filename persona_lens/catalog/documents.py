"""JSON and JSON Lines files into plain values, each with the words that say where it stands.

Examples:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mine.jsonl"
    >>> _ = path.write_text('{"name": "baker"}\\n\\n{"name": "miller"}\\n')
    >>> [(where.split(", ")[-1], value["name"]) for where, value in read_values(path, "roles")]
    [('line 1', 'baker'), ('line 3', 'miller')]
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from persona_lens.errors import CatalogError

SUFFIXES = (".json", ".jsonl")


def read_values(path: Path, content: str) -> Iterator[tuple[str, Any]]:
    """Yield what a file holds: the items of a JSON list, the lines of JSON Lines, or one value.

    Args:
        path: A `.jsonl` file, or any other, which is taken for JSON.
        content: What should be in it, such as "roles"; for complaints.

    Raises:
        CatalogError: The file cannot be read, is not UTF-8 or not JSON.
    """
    if path.suffix.lower() == ".jsonl":
        for number, line in enumerate(_text(path, content).split("\n"), start=1):
            if line.strip():
                yield f"{path}, line {number}", _parsed(line, path, number)
        return
    value = read_json(path, content)
    for index, item in enumerate(value if isinstance(value, list) else [value]):
        yield f"{path}, entry [{index}]", item


def read_json(path: Path, content: str) -> Any:
    """The value in a JSON file.

    Raises:
        CatalogError: The file cannot be read, is not UTF-8 or not JSON.
    """
    return _parsed(_text(path, content), path)


def _text(path: Path, content: str) -> str:
    try:
        # Editors on Windows like to put a byte-order mark first; utf-8-sig looks past it.
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CatalogError(
            f"{path}: cannot be read ({error.strerror or error})",
            expected=f"a JSON file of {content}",
            remedy="check the path and its permissions",
        ) from error
    except UnicodeDecodeError as error:
        raise CatalogError(
            f"{path}: is not UTF-8 text (byte {error.start})",
            remedy="save the file again with UTF-8 encoding",
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
