"""Items of JSON text one by one: lines of a JSONL file, items of a list, or values that follow one another.

Parsers that stream (ijson) stop for good at the first fault in a list, and refuse the NaN that Python writes. Here
the text is cut at the brackets first and each piece is parsed by `json`, so that a broken item costs that item
alone: unless its brackets or quotes have no other half, when nothing after it can be told apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from persona_lens.conversations.report import Refused
from persona_lens.quantities import format_bytes

_CHUNK = 1 << 16
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_WITHIN = re.compile(_STRING + rb'|["\[\]{}]', re.DOTALL)
_BETWEEN = re.compile(_STRING + rb'|["\[\]{},]', re.DOTALL)
_STRING_END = re.compile(rb'["\\]')
_OPENS, _CLOSES, _QUOTE = b"[{", b"]}", b'"'


class Piece(NamedTuple):
    """A piece of JSON text.

    Attributes:
        number: Which item or line it is, from 0.
        line: Where it begins, from 1.
        text: Its bytes; None where it is longer than allowed.
        whole: Whether it ended before the file did.
    """

    number: int
    line: int
    text: bytes | None
    whole: bool = True


def lines(stream: BinaryIO, limit: int) -> Iterator[Piece]:
    """The lines of a file that are not blank; a longer one than `limit` bytes is passed over and not held."""
    number = 0
    while line := stream.readline(limit + 1):
        number += 1
        if len(line) <= limit or line.endswith(b"\n"):
            if line.strip():
                yield Piece(number - 1, number, line, line.endswith(b"\n"))
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(_CHUNK)
        yield Piece(number - 1, number, None)


def items(stream: BinaryIO, limit: int, *, bracketed: bool) -> Iterator[Piece]:
    """The items of a JSON list, or values that follow one another.

    Args:
        stream: Stands at its beginning.
        limit: Longest item in bytes; longer ones are passed over and not held.
        bracketed: Whether the text is a list.

    Raises:
        Refused: After the last item, when the list is not closed, or something follows it.
    """
    splitter = _Splitter(limit, bracketed)
    while chunk := stream.read(_CHUNK):
        yield from splitter.feed(chunk)
    yield from splitter.end()


class _Splitter:
    """Cuts text at the brackets and commas of its outermost level."""

    def __init__(self, limit: int, bracketed: bool) -> None:
        self._limit = limit
        self._base = int(bracketed)
        self._depth = 0
        self._in_string = self._escaped = self._over = self._closed = False
        self._held = bytearray()
        self._index = 0
        self._line = self._begins = 1

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        """The items that end in this chunk."""
        held = position = 0  # what stands before `held` is held, or is over
        while position < len(chunk):
            if self._in_string:
                position = self._past_string(chunk, position)
                continue
            marks = _WITHIN if self._depth > self._base else _BETWEEN
            found = marks.search(chunk, position)
            if found is None:
                break
            begin, position = found.span()
            mark = chunk[begin : begin + 1]
            if mark == _QUOTE:
                self._in_string = position - begin == 1  # it ends in another chunk
            elif self._closed:
                continue
            elif mark in _OPENS:
                if self._depth < self._base:  # the list's own bracket
                    self._line += chunk[held:begin].count(b"\n")
                    held = position
                self._depth += 1
            else:
                self._depth -= mark in _CLOSES
                if self._depth > self._base:
                    continue
                is_item = mark in _CLOSES and (self._depth == self._base or not self._base)
                self._hold(chunk[held : position if is_item else begin])
                held = position
                yield from self._cut()
                self._closed = self._depth < self._base
                self._depth = max(self._depth, 0)
        self._hold(chunk[held:])

    def _past_string(self, chunk: bytes, position: int) -> int:
        """Where a string ends that began in an earlier chunk, or this chunk does."""
        if self._escaped:
            self._escaped = False
            return position + 1
        found = _STRING_END.search(chunk, position)
        if found is None:
            return len(chunk)
        self._in_string = self._escaped = found[0] != _QUOTE
        return found.end()

    def end(self) -> Iterator[Piece]:
        """What is left when the file has ended."""
        left = self._held.strip()
        if self._closed and left:
            raise Refused(
                "text after the list",
                "something follows the end of the list",
                place=f"line {self._begins}",
                given=repr(bytes(left[:40]).decode("utf-8", "replace")),
                remedy="take it out, or put it into the list",
            )
        if self._over or left:
            yield from self._cut(whole=False)
        elif self._base and not self._closed:
            raise Refused(
                "list without an end",
                "the file ends before its list does",
                place=f"line {self._line}",
                remedy="download or export it again; what was in it is read",
            )

    def _hold(self, text: bytes) -> None:
        if not text:
            return
        if not self._held and not self._over:
            bare = text.lstrip()
            self._line += text[: len(text) - len(bare)].count(b"\n")
            self._begins, text = self._line, bare
        self._line += text.count(b"\n")
        if len(self._held) + len(text) > self._limit:
            self._over = True
            self._held.clear()
        if not self._over:
            self._held += text

    def _cut(self, whole: bool = True) -> Iterator[Piece]:
        """The item that is held, if there is one."""
        held = bytes(self._held).strip()
        over, self._over = self._over, False
        self._held.clear()
        if held or over:
            yield Piece(self._index, self._begins, None if over else held, whole)
            self._index += 1


def parsed(piece: Piece, limit: int) -> Any:
    """The value of a piece.

    Raises:
        Refused: It is too long, not UTF-8 or not JSON; with the line and column.
    """
    if piece.text is None:
        raise Refused(
            "too long",
            "is too long for a conversation",
            expected=f"at most {format_bytes(limit)}",
            remedy="max_bytes=... allows more",
        )
    try:
        text = piece.text.decode("utf-8").rstrip()
    except UnicodeDecodeError as problem:
        raise Refused(
            "not UTF-8",
            "is not UTF-8 text",
            given=f"byte {piece.text[problem.start]:#04x} at byte {problem.start}",
            remedy="save the file again with UTF-8 encoding",
        ) from None
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as problem:
        if text.endswith(",") and problem.pos >= len(text) - 1:  # a list without its brackets
            return parsed(piece._replace(text=text[:-1].encode()), limit)
        raise _broken(problem, text, piece) from None
    except RecursionError:
        raise Refused(
            "nested too deeply", "is nested too deeply", remedy="take the item out"
        ) from None
    except ValueError as problem:  # a number of thousands of digits
        raise Refused(
            "broken JSON", "is no JSON", given=str(problem), remedy="write it as text"
        ) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, of which `json` would keep the last value of a field that is given twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise Refused(
            "field given twice",
            "gives a field twice, and only one can be meant",
            given=", ".join(sorted({name for name in names if names.count(name) > 1})),
            remedy="take one of them out",
        )
    return made


def _broken(problem: json.JSONDecodeError, text: str, piece: Piece) -> Refused:
    where = f"line {piece.line + problem.lineno - 1}, column {problem.colno}"
    at_end = problem.pos >= len(text) or problem.msg.startswith("Unterminated string")
    if at_end and not piece.whole:
        return Refused(
            "cut off",
            f"is cut off at {where}",
            given=problem.msg,
            remedy="the file ends too early: download or export it again",
        )
    if problem.msg == "Extra data":
        return Refused(
            "several values in a line",
            f"has more than one value ({where})",
            expected="one conversation",
            given=repr(text[problem.pos : problem.pos + 40]),
            remedy="write each conversation on a line of its own",
        )
    return Refused(
        "broken JSON",
        f"is no JSON ({where})",
        given=f"{problem.msg}, {repr(text[problem.pos : problem.pos + 40]) if not at_end else 'at its end'}",
        remedy="correct it there; look for a missing comma, quote or bracket"
        + (", and write double quotes" if text[problem.pos : problem.pos + 1] == "'" else ""),
    )
