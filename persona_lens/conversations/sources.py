"""Where conversations come from: a file, a folder, a data set, what is held in Python; all of it record by record.

A file is told by its first bytes, not by its name: JSON and JSON Lines, gzipped or not, Parquet, an Inspect log
(`.eval`, a zip). CSV and TSV are told by their names.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from persona_lens.arrays import plain
from persona_lens.catalog.tables import PREFIX, is_table, open_table
from persona_lens.conversations import tabular
from persona_lens.conversations.conversation import Conversation
from persona_lens.conversations.inspect_zip import zipped
from persona_lens.conversations.json_items import Piece, items, lines, parsed
from persona_lens.conversations.opening import Kind, kind_of, opened
from persona_lens.conversations.report import Refused
from persona_lens.conversations.spellings import is_message
from persona_lens.errors import CatalogError, ConversationError
from persona_lens.paths import check_path

SUFFIXES = (".json", ".jsonl", ".ndjson", ".gz", ".csv", ".tsv", ".parquet", ".eval")
"""Files of a folder that are read."""


class Record(NamedTuple):
    """A value out of a source.

    Attributes:
        place: Where it stands, in words.
        name: What a conversation is called that has no name of its own.
        value: A record, or why it cannot be read.
        format: What it must be, where the file says so.
        about: What the file says of all its records.
    """

    place: str
    name: str
    value: Any
    format: str | None = None
    about: Mapping[str, Any] = {}


def records(source: Any, max_bytes: int) -> Iterator[Record]:
    """The records of a source.

    Args:
        source: Path of a file or folder, `datasets:owner/name@split`, a data set, a data frame, a conversation, a
            list of messages, or an iterable of records, conversations or paths that can be passed over again.
        max_bytes: Longest record of a file.

    Raises:
        ConversationError: There is no such file or folder, or the source is of another kind.
    """
    if is_table(source) or tabular.is_frame(source):
        yield from _rows(tabular.rows_of(source), "row", "row")
    elif isinstance(source, str) and source.startswith(PREFIX):
        yield from _rows(tabular.rows_of(_opened_table(source)), source, "row")
    elif isinstance(source, str | os.PathLike):
        yield from _reported(_existing(source), max_bytes)
    elif isinstance(source, Mapping | Conversation):
        yield Record("the conversation", "conversation-0", source)
    elif isinstance(source, Iterable) and not isinstance(source, bytes | Iterator):
        yield from _of_list(source, max_bytes)
    else:
        once = isinstance(source, Iterator)
        raise ConversationError(
            "a log can be passed over more than once"
            if once
            else "this is no log of conversations",
            expected="a path, a data set, a table, or a list of conversations",
            given=type(source).__name__,
            remedy="give list(...) of it" if once else None,
        )


def _opened_table(source: str) -> Any:
    try:
        return open_table(source)
    except CatalogError as problem:
        raise ConversationError(str(problem)) from problem


def _existing(source: str | os.PathLike[str]) -> Path:
    path = check_path(source)
    if not path.exists():
        raise ConversationError(
            f"there is no {path}",
            expected="a file or folder of conversations",
            remedy=f"look in {path.parent}"
            if path.parent.is_dir()
            else "give datasets:owner/name for a data set of the hub",
        )
    return path


def _of_list(source: Iterable[Any], max_bytes: int) -> Iterator[Record]:
    """The items of what is held in Python; paths among them are opened."""
    entries = iter(source)
    first = next(entries, None)
    is_chat = isinstance(source, list | tuple) and (
        is_message(first) or hasattr(first, "as_dict") or _is_pair(first)
    )
    if is_chat and not isinstance(first, Conversation):
        yield Record("the conversation", "conversation-0", source)
        return
    for index, entry in enumerate(source):
        place, name = f"item [{index}]", f"item-{index}"
        if isinstance(entry, str | os.PathLike):
            yield from _reported(_existing(entry), max_bytes)
        else:
            yield Record(place, name, entry)


def _is_pair(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(each, str) for each in value)
        and not os.path.exists(str(value[0]))
    )


def _of_path(path: Path, max_bytes: int) -> Iterator[Record]:
    if not path.is_dir():
        yield from _of_file(path, max_bytes)
        return
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        yield from _rows(tabular.rows_of(_opened_table(f"{PREFIX}{path}")), str(path), path.name)
        return
    files = sorted(
        each
        for each in path.rglob("*")
        if each.is_file() and not any(p.startswith(".") for p in each.relative_to(path).parts)
    )
    wanted = [each for each in files if each.suffix.lower() in SUFFIXES]
    if not wanted:
        raise ConversationError(
            f"no logs in {path}",
            expected=f"files ending in {', '.join(SUFFIXES)}",
            given=", ".join(each.name for each in files[:5]) or "an empty folder",
        )
    for each in wanted:
        yield from _reported(each, max_bytes)


def _reported(path: Path, max_bytes: int) -> Iterator[Record]:
    """A file or folder; what is wrong with a file is said of it, and what can be read is read."""
    try:
        yield from _of_path(path, max_bytes)
    except Refused as fault:
        yield Record(str(path), path.stem, fault)
    except (EOFError, OSError, zlib.error) as problem:
        yield Record(str(path), path.stem, _unpacked(problem))


def _of_file(path: Path, max_bytes: int) -> Iterator[Record]:
    kind = kind_of(path)
    stem = _stem(path)
    if kind is Kind.ZIP:
        for place, name, value, head in zipped(path, max_bytes):
            yield Record(place, name, value, "inspect-sample", head)
        return
    if kind is Kind.PARQUET:
        yield from _rows(tabular.parquet_rows(path), str(path), stem)
        return
    if kind is Kind.TABLE:
        yield from _rows(tabular.csv_rows(path), str(path), stem)
        return
    with opened(path) as stream:
        if kind is Kind.LINES:
            pieces = lines(stream, max_bytes)
            yield from _values(pieces, path, stem, "line", max_bytes)
        else:
            pieces = items(stream, max_bytes, bracketed=kind is Kind.LIST)
            yield from _values(pieces, path, stem, kind.value, max_bytes)


def _stem(path: Path) -> str:
    """The name of a file without what says of which kind it is.

    Examples:
        >>> _stem(Path("gpt-4.1.jsonl.gz")), _stem(Path("chat.json.json"))
        ('gpt-4.1', 'chat')
    """
    name = path.name
    while name.lower().endswith((*SUFFIXES, ".txt", ".log")) and (
        shorter := name.rpartition(".")[0]
    ):
        name = shorter
    return name


def _values(
    pieces: Iterator[Piece], path: Path, stem: str, unit: str, max_bytes: int
) -> Iterator[Record]:
    """The values of pieces of JSON; a list of messages is one conversation."""
    alone: list[Any] = []
    count = 0
    try:
        for piece in pieces:
            place = f"{path}, line {piece.line}"
            name = f"{stem}-{piece.line}"
            if unit == "list":
                place = f"{path}, item [{piece.number}] (line {piece.line})"
                name = f"{stem}-{piece.number}"
            elif unit == "values" and not piece.number:
                place, name = str(path), stem
            value: Any
            try:
                value = parsed(piece, max_bytes)
            except Refused as fault:
                value = fault
            if unit == "list" and (is_message(value) if not count else bool(alone)):
                alone.append(value)
            else:
                yield Record(place, name, value)
            count += 1
    except (EOFError, OSError, zlib.error) as problem:
        fault = _unpacked(problem)
    except Refused as found:
        fault = found
    else:
        fault = next((value for value in alone if isinstance(value, Refused)), None)
    if alone:
        yield Record(str(path), stem, fault or alone)
    elif fault is not None:
        yield Record(f"{path}, after {count} records" if count else str(path), stem, fault)


def _unpacked(problem: Exception) -> Refused:
    return Refused(
        "cut off",
        "the compressed file is cut off or damaged, so that nothing after can be read",
        given=str(problem) or type(problem).__name__,
        remedy="download or export it again",
    )


def _rows(rows: Iterable[tuple[int, Any]], whose: str, stem: str) -> Iterator[Record]:
    """Rows of a table; of a table with one message a row, its conversations."""
    entries = iter(rows)
    first = next(entries, None)
    if first is None:
        return
    grouping = tabular.grouping(first[1])
    everything = _chained(first, entries)
    if grouping is None:
        for number, row in everything:
            yield Record(f"{whose}, row {number}", f"{stem}-{number}", plain(row))
        return
    for number, group in tabular.grouped(everything, grouping):
        yield Record(f"{whose}, from row {number}", f"{stem}-{number}", group)


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest
