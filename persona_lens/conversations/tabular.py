"""Rows of tables: CSV, Parquet, data sets, data frames; and tables that have a message in each row.

Rows come one by one, from Parquet in batches. A table with one message a row is held whole, because the rows of a
conversation may stand anywhere in it.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from persona_lens.conversations.opening import opened
from persona_lens.conversations.report import Refused
from persona_lens.conversations.spellings import ROLE_FIELDS, TEXT_FIELDS
from persona_lens.errors import ConversationError

_BATCH = 64
_IDS = (
    *("conversation_id", "conversation_hash", "conversation", "chat_id", "thread_id"),
    *("session_id", "dialogue_id", "dialog_id", "id"),
)
_LONGEST_CELL = 1 << 30


class Grouping(NamedTuple):
    """The columns of a table with one message a row."""

    id: str
    role: str
    text: str


def is_frame(source: object) -> bool:
    """Whether it is a data frame of pandas; does not import it."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(source, pandas.DataFrame)


def rows_of(table: Any) -> Iterator[tuple[int, Any]]:
    """The rows of a data set or data frame, each with its number from 0.

    Raises:
        ConversationError: A dictionary of several splits.
    """
    if is_frame(table):
        for number, row in enumerate(table.itertuples(index=False, name=None)):
            yield number, dict(zip(map(str, table.columns), row, strict=True))
        return
    if isinstance(table, Mapping):
        if len(table) != 1:
            raise ConversationError(
                "the data set has several splits",
                expected=", ".join(map(str, table)),
                remedy="choose one: dataset[split], or datasets:owner/name@split",
            )
        table = next(iter(table.values()))
    yield from enumerate(table)


def parquet_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """The rows of a Parquet file.

    Raises:
        Refused: It is damaged.
    """
    import pyarrow as pa  # noqa: PLC0415 - takes half a second, and few need it
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH):
                for row in batch.to_pylist():
                    yield number, row
                    number += 1
    except (pa.ArrowException, OSError) as problem:
        raise Refused(
            "damaged",
            "is damaged, or no Parquet file",
            given=str(problem).splitlines()[0],
            remedy="save or download it again",
        ) from problem


def csv_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """The rows of a CSV or TSV file with titles in its first line; empty cells are None.

    Raises:
        Refused: It is not UTF-8, has no titles, or a quote is not closed.
    """
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        with opened(path) as stream, io.TextIOWrapper(stream, "utf-8", newline="") as text:
            first = text.readline()
            separator = _separator(first, path)
            titles = next(csv.reader([first], delimiter=separator, strict=True), [])
            _check_titles(titles)
            for number, cells in enumerate(csv.reader(text, delimiter=separator, strict=True)):
                if any(cell.strip() for cell in cells):
                    yield number, _row(titles, cells)
    except UnicodeDecodeError as problem:
        raise Refused(
            "not UTF-8",
            f"is not UTF-8 text (byte {problem.object[problem.start]:#04x})",
            remedy="save the table again with UTF-8 encoding",
        ) from None
    except csv.Error as problem:
        raise Refused(
            "broken table",
            "is a table whose quotes do not match",
            given=str(problem),
            remedy='double the quotes within a cell: "He said ""no""."',
        ) from None
    finally:
        csv.field_size_limit(limit)


def _separator(first: str, path: Path) -> str:
    if ".tsv" in path.name.lower():
        return "\t"
    return max(",;\t", key=first.count)


def _check_titles(titles: list[str]) -> None:
    plain = [title.strip() for title in titles]
    if not all(plain) or len(set(plain)) != len(plain):
        raise Refused(
            "broken table",
            "has no title for each column in its first line",
            expected="titles that differ",
            given=", ".join(titles) or "nothing",
            remedy="name the columns in the first line",
        )


def _row(titles: list[str], cells: list[str]) -> Any:
    if len(cells) > len(titles):
        return Refused(
            "broken table",
            f"has {len(cells)} cells, and there are {len(titles)} columns",
            given=repr(", ".join(cells)[:60]),
            remedy="put text with a separator in it into double quotes",
        )
    padded = [*cells, *[""] * (len(titles) - len(cells))]
    return {title.strip(): cell or None for title, cell in zip(titles, padded, strict=True)}


def grouping(row: Any) -> Grouping | None:
    """The columns of a table with one message a row; None if it is another."""
    if not isinstance(row, Mapping):
        return None
    columns = {str(name).lower(): str(name) for name in row}
    found = [
        next((columns[name] for name in names if name in columns), None)
        for names in (_IDS, ROLE_FIELDS, TEXT_FIELDS)
    ]
    if None in found or "messages" in columns or not isinstance(row[found[1]], str):
        return None
    return Grouping(*found)  # pyright: ignore[reportArgumentType]


def grouped(
    rows: Iterable[tuple[int, Any]], columns: Grouping
) -> Iterator[tuple[int, dict[str, Any] | Refused]]:
    """The conversations of a table with one message a row, by their first row; all rows are held."""
    groups: dict[Any, tuple[int, list[Mapping[str, Any]]]] = {}
    for number, row in rows:
        if isinstance(row, Refused):
            yield number, row
            continue
        name = row.get(columns.id)
        if name is None or not str(name).strip():
            yield (
                number,
                Refused(
                    "message without a conversation",
                    f"row {number} does not say which conversation it belongs to",
                    expected=f"a value in the column {columns.id}",
                    remedy="fill the column in",
                ),
            )
            continue
        groups.setdefault(str(name), (number, []))[1].append(row)
    for name, (number, members) in groups.items():
        messages = [{"role": row[columns.role], "content": row[columns.text]} for row in members]
        yield number, {"id": name, "messages": messages, **_shared(members, columns)}


def _shared(members: list[Mapping[str, Any]], columns: Grouping) -> dict[str, Any]:
    """What all rows of a conversation say alike."""
    return {
        str(name): value
        for name, value in members[0].items()
        if name not in columns and all(row.get(name) == value for row in members)
    }
