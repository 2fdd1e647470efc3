"""What kind of log a file is, told by its first bytes, and the bytes of its text."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import BinaryIO, cast

from persona_lens.contents import check_content
from persona_lens.conversations.report import Refused
from persona_lens.errors import ConversationError

_HEAD = 1 << 16
_GZIP, _ZIP, _PARQUET = b"\x1f\x8b", b"PK\x03\x04", b"PAR1"
_PACKED = {b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd", b"ARROW1": "Arrow"}
_LINES = (".jsonl", ".ndjson")
_TABLES = (".csv", ".tsv")
_LOOKED_AT = 5
_DEEPEST = 3


class Kind(Enum):
    """How the records of a file lie in it."""

    LINES = "lines"
    LIST = "list"
    VALUES = "values"
    TABLE = "table"
    PARQUET = "parquet"
    ZIP = "zip"


def kind_of(path: Path) -> Kind:
    """How the records of a file lie in it.

    Raises:
        Refused: It is empty, a pointer to a file that was not fetched, or of a kind that is not read.
    """
    _check_content(path)
    with _readable(path) as file:
        head = file.read(_HEAD)
    if head.startswith(_ZIP) or head.startswith(b"PK\x05\x06"):
        return Kind.ZIP
    if head.startswith(_PARQUET):
        return Kind.PARQUET
    for mark, name in _PACKED.items():
        if head.startswith(mark):
            raise Refused(
                "packed file",
                f"is packed as {name}",
                expected="plain or gzipped text, Parquet, or an .eval log",
                remedy="unpack it first"
                if name != "Arrow"
                else "give the folder of the data set, or save it as Parquet",
            )
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if any(suffix in _TABLES for suffix in suffixes[-2:]):
        return Kind.TABLE
    with opened(path) as stream:
        text = _head(stream)
    return _of_text(text, any(suffix in _LINES for suffix in suffixes))


def _head(stream: BinaryIO) -> bytes:
    """The first bytes of a text; fewer of a file that is cut off, which whoever reads on will say."""
    head = b""
    try:
        while len(head) < _HEAD and (more := stream.read1(_HEAD)):  # pyright: ignore[reportAttributeAccessIssue]
            head += more
    except (EOFError, OSError, zlib.error):
        pass
    return head


def _check_content(path: Path) -> None:
    try:
        check_content(path, ConversationError)
    except ConversationError as problem:
        said, *_, remedy = str(problem).split("\n  ")
        said = said.removeprefix(f"{path} ")
        raise Refused("file without its content", said, remedy=remedy) from problem


def _of_text(head: bytes, named_lines: bool) -> Kind:
    """Lines, a list, or values one after another."""
    bare = head.lstrip()
    # One value over several lines is no line, whatever the file is called.
    if named_lines and bare.split(b"\n", 1)[0].strip() not in (b"{", b"["):
        return Kind.LINES
    if not bare:
        raise Refused("empty", "holds nothing", remedy="write or download it again")
    if bare[:1] not in b"[{":
        utf_16 = b"\x00" in bare[:100]
        raise Refused(
            "no log",
            "is neither JSON nor any other known log",
            expected="text that begins with { or [, a table, Parquet, or an .eval log",
            given=f"text that begins with {bare[:40].decode('utf-8', 'replace')!r}",
            remedy="save it with UTF-8 encoding"
            if utf_16
            else "name tables .csv or .tsv and lines of JSON .jsonl",
        )
    # Within a list or object that is written over several lines, lines are indented or end with a comma.
    firsts = [line for line in bare.split(b"\n") if line.strip()][:_LOOKED_AT]
    whole = [line for line in firsts if line[:1] in b"[{" and _is_json(line)]
    if whole and len(firsts) > 1:
        return Kind.LINES
    return Kind.LIST if bare[:1] == b"[" else Kind.VALUES


def _is_json(line: bytes) -> bool:
    try:
        return bool(json.loads(line))
    except (ValueError, RecursionError):
        return False


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The text of a file as UTF-8 bytes: gunzipped, as often as it was zipped, and without a byte-order mark.

    UTF-16 is read whole and turned into UTF-8; all else streams.
    """
    with _readable(path) as file:
        stream = io.BufferedReader(file)  # pyright: ignore[reportArgumentType]
        for _ in range(_DEEPEST):
            if stream.peek(2)[:2] != _GZIP:
                break
            stream = io.BufferedReader(gzip.GzipFile(fileobj=stream, mode="rb"))  # pyright: ignore[reportArgumentType]
        head = stream.peek(4)[:4]
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            yield io.BytesIO(_recoded(stream.read()))
            return
        if head.startswith(codecs.BOM_UTF8):
            stream.read(len(codecs.BOM_UTF8))
        yield cast(BinaryIO, stream)


def _recoded(raw: bytes) -> bytes:
    try:
        return raw.decode("utf-16").encode()
    except UnicodeDecodeError as problem:
        raise Refused(
            "not UTF-16",
            f"begins as UTF-16 and goes on otherwise (byte {problem.start})",
            remedy="save the file again with UTF-8 encoding",
        ) from None


@contextmanager
def _readable(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except OSError as problem:
        raise Refused(
            "unreadable file",
            f"cannot be read ({problem.strerror or problem})",
            remedy="check its permissions",
        ) from problem
    with file:
        yield cast(BinaryIO, file)
