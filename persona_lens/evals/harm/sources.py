"""Rows of the tables that people hold behaviours in: CSV, JSONL, JSON, Parquet, data sets, data frames.

    for row in rows_of("behaviours.csv"):
        row.place, row.cells        # "behaviours.csv, line 3", {"Behavior": "...", ...}; or a Fault

A row that cannot be told is a `Fault` and costs itself alone. Byte order marks, UTF-16 as spreadsheets write it,
quoted line breaks and the separators of spreadsheets are understood; a file that is no text is refused.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persona_lens.conversations.tabular import is_frame
from persona_lens.conversations.tabular import rows_of as table_rows
from persona_lens.errors import EvaluationError, first_line

PREFIX = "datasets:"
_SEPARATORS = ",;\t"
_LONGEST_CELL = 1 << 30
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_NO_TEXT = (
    (b"PK\x03\x04", "an Excel workbook, or another packed file"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"\x1f\x8b", "a packed file"),
)
_QUOTES = 'put text with a separator or a line break in it into double quotes: "He said ""no""."'


@dataclass(frozen=True)
class Row:
    """One row: where it stands, and its cells by title."""

    place: str
    cells: Mapping[str, Any]


@dataclass(frozen=True)
class Fault:
    """Something about a row.

    Attributes:
        place: File and line.
        column: The column it is about, if it is about one.
        problem: What is wrong, after "line 3:".
        remedy: What to do.
        kind: "refused", the row is left out; "left out", on purpose; "noted", it is kept.
    """

    place: str
    problem: str
    remedy: str
    column: str = ""
    kind: str = "refused"

    def __str__(self) -> str:
        column = f", column {self.column}" if self.column else ""
        return f"{self.place}{column}: {self.problem}\n  {self.remedy}"


def rows_of(
    source: Any, *, encoding: str | None = None, config: str | None = None
) -> Iterator[Row | Fault]:
    """The rows of a source, one by one.

    Args:
        source: A file (`.csv`, `.tsv`, `.jsonl`, `.json`, `.parquet`), `datasets:owner/name@split` or
            `datasets:folder`, a data set, a data frame, or a list of mappings.
        encoding: Of a text file that is not in UTF-8 or UTF-16.
        config: Of a data set on the hub that has several.

    Raises:
        EvaluationError: There is no such file, it is no text, or the data set cannot be had.

    Examples:
        >>> [row] = rows_of([{"Goal": "Fold a forbidden paper crane"}])
        >>> row.place, row.cells["Goal"]
        ('row 0', 'Fold a forbidden paper crane')
    """
    if isinstance(source, str) and source.startswith(PREFIX):
        yield from _table(_data_set(source.removeprefix(PREFIX), config), source)
    elif not isinstance(source, str | Path):
        yield from _table(source, type(source).__name__ if is_frame(source) else "")
    else:
        path = Path(source).expanduser()
        if path.suffix.lower() == ".parquet":
            yield from _table(_data_set(str(path), None), str(path))
            return
        text = decoded(path, encoding)
        json_like = text.lstrip()[:1] in ("{", "[")
        if path.suffix.lower() in (".jsonl", ".ndjson", ".json") or json_like:
            yield from _json(text, str(path))
        else:
            yield from _csv(text, path)


def decoded(path: Path, encoding: str | None = None) -> str:
    """The text of a file.

    Raises:
        EvaluationError: It cannot be read, is no text, or is not in this encoding.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EvaluationError(
            f"{path} cannot be read", given=first_line(error), remedy="check the path"
        ) from error
    for mark, what in _NO_TEXT:
        if content.startswith(mark):
            raise EvaluationError(
                f"{path} is no text",
                expected="CSV, JSONL or Parquet",
                given=what,
                remedy="save it as CSV UTF-8, or unpack it",
            )
    own = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    chosen = own or encoding or "utf-8"
    try:
        text = content.decode(chosen)
    except (UnicodeDecodeError, LookupError) as error:
        at = error.start if isinstance(error, UnicodeDecodeError) else 0
        raise EvaluationError(
            f"{path}, line {content[:at].count(10) + 1}: is not {chosen} text",
            expected="UTF-8",
            given=f"byte {content[at]:#04x}" if content else str(error),
            remedy='save it as CSV UTF-8, or say what it is: encoding="cp1252" for older Excel on Windows',
        ) from error
    if "\0" in text:
        raise EvaluationError(
            f"{path} holds zero bytes",
            expected="text",
            given="UTF-16 without a byte order mark, or no text",
            remedy='save it as CSV UTF-8, or give encoding="utf-16-le"',
        )
    return text


def _csv(text: str, path: Path) -> Iterator[Row | Fault]:
    first, _, rest = text.partition("\n")
    skipped = 0
    separator = ""
    if first.strip().lower().startswith("sep=") and len(first.strip()) == 5:
        separator, text, skipped = first.strip()[4], rest, 1
        first = rest.partition("\n")[0]
    if not separator:
        separator = "\t" if path.suffix.lower() == ".tsv" else max(_SEPARATORS, key=first.count)
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        titles: list[str] | None = None
        while True:
            start = reader.line_num + 1 + skipped
            place = f"{path}, line {start}"
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                lost = reader.line_num + skipped - start
                further = f", and the {lost:,} lines after it are lost in it" if lost > 0 else ""
                yield Fault(place, f"its quotes do not match ({error}){further}", _QUOTES)
                continue
            if not any(cell.strip() for cell in cells):
                continue
            if titles is None:
                titles = _titles(cells, place)
            elif len(cells) != len(titles):
                problem = f"has {len(cells)} cells, and there are {len(titles)} columns"
                yield Fault(place, problem, _QUOTES)
            else:
                yield Row(place, dict(zip(titles, cells, strict=True)))
    finally:
        csv.field_size_limit(limit)


def _titles(cells: Sequence[str], place: str) -> list[str]:
    titles = [cell.strip() for cell in cells]
    named = [title for title in titles if title]
    if len(set(named)) < len(named):
        raise EvaluationError(
            f"{place}: two columns have one title",
            given=", ".join(titles),
            remedy="rename one of them",
        )
    return titles


def _json(text: str, name: str) -> Iterator[Row | Fault]:
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        whole = None
    if isinstance(whole, list):
        for number, entry in enumerate(whole):
            yield _entry(entry, f"{name}, entry {number}")
        return
    nested = _nested(whole)
    if nested is not None:
        for path, entry in nested:
            yield Row(f"{name}, {path}", entry)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            yield Fault(
                place,
                f"is no JSON ({error.msg} at column {error.colno})",
                "write one object on each line, line breaks within texts as \\n",
            )
        else:
            yield _entry(entry, place)


def _entry(entry: Any, place: str) -> Row | Fault:
    if isinstance(entry, dict):
        return Row(place, entry)
    return Fault(
        place,
        f"is no object, but {type(entry).__name__}",
        'write {"column": "value", ...}',
    )


def _nested(whole: Any) -> list[tuple[str, dict[str, Any]]] | None:
    """The entries of {category: {persona: [entry, ...]}}, the layout of the persona-modulation set."""
    if not isinstance(whole, dict) or not whole:
        return None
    found = []
    for category, personas in whole.items():
        if not isinstance(personas, dict):
            return None
        for persona, entries in personas.items():
            if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
                return None
            for number, entry in enumerate(entries):
                told = {"harm_category": category, "persona": persona}
                found.append((f"{category!r}, {persona!r}, entry {number}", {**told, **entry}))
    return found


def _table(table: Any, name: str) -> Iterator[Row | Fault]:
    if isinstance(table, Mapping) and not is_frame(table):
        if len(table) != 1:
            raise EvaluationError(
                "the data set has several splits",
                expected=", ".join(map(str, table)),
                remedy="choose one: datasets:owner/name@split, or dataset[split]",
            )
        table = next(iter(table.values()))
    for number, row in table_rows(table):
        place = f"{name}, row {number}" if name else f"row {number}"
        yield _entry(dict(row) if isinstance(row, Mapping) else row, place)


def _data_set(reference: str, config: str | None) -> Any:
    import datasets  # noqa: PLC0415 - takes a second, and few need it

    place, _, split = reference.partition("@")
    path = Path(place).expanduser()
    try:
        if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            found = datasets.load_from_disk(str(path))
        elif path.suffix.lower() == ".parquet":
            found = datasets.Dataset.from_parquet(str(path))
        else:
            found = datasets.load_dataset(str(path) if path.exists() else place, config)
    except (
        Exception
    ) as error:  # the hub's client raises of many kinds, and says best itself what is wrong
        raise EvaluationError(
            f"the data set {place!r} cannot be had",
            expected="a file or folder here, or a name on the hub that can be reached",
            given=f"{type(error).__name__}: {first_line(error)}",
            remedy="without a network, download its file where there is one, and give the file; a gated one "
            "needs its terms accepted and `hf auth login`; one with several configurations needs config=",
        ) from error
    if not split:
        return found
    if not isinstance(found, Mapping) or split not in found:
        raise EvaluationError(
            f"the data set {place!r} has no split {split!r}",
            expected=", ".join(map(str, found)) if isinstance(found, Mapping) else "no @split",
            remedy="choose one of them",
        )
    return found[split]
