"""Token ids as pieces of text a person can read, token by token where a token is readable by itself."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_CONTEXT = 3
_LONGEST_CHARACTER = 4
_BROKEN = "\ufffd"
_JOINERS = "\u200c\u200d"  # parts of emoji and of some scripts
_SPECIAL = re.compile(r"<[^<>\s]{1,40}>|\[[A-Z_]{2,20}\]")

Decode = Callable[[list[int]], str]


@dataclass(frozen=True)
class Piece:
    """Some tokens in a row, mostly one.

    Attributes:
        start, stop: Which tokens.
        text: What they say; None where they say nothing readable.
    """

    start: int
    stop: int
    text: str | None

    @property
    def special(self) -> bool:
        """Whether it looks like a special token."""
        return self.text is None or _SPECIAL.fullmatch(self.text) is not None


def pieces(ids: Sequence[int], decode: Decode | None) -> list[Piece]:
    """The text of a row, cut so that no character is torn apart.

    Byte-level tokens may be parts of a character: such tokens come in one piece. Each token is decoded after the
    few before it, since some tokenizers write a space between words only there.

    Examples:
        >>> sea = "a \\u6d77!".encode()  # one token a byte, three for the character
        >>> [p.text for p in pieces(list(sea), lambda ids: bytes(ids).decode(errors="replace"))]
        ['a', ' ', '海', '!']
    """
    found: list[Piece] = []
    ids, at = list(ids), 0
    while at < len(ids):
        piece = Piece(at, at + 1, None) if decode is None else _next(ids, at, found, decode)
        found.append(piece)
        at = piece.stop
    return found


def _next(ids: list[int], at: int, found: Sequence[Piece], decode: Decode) -> Piece:
    base = found[-_CONTEXT:][0].start if found else at
    before = decode(ids[base:at]) if base < at else ""
    for stop in range(at + 1, min(at + _LONGEST_CHARACTER, len(ids)) + 1):
        whole = decode(ids[base:stop])
        text = whole[len(before) :] if whole.startswith(before) else decode(ids[at:stop])
        if text and _BROKEN not in text:
            return Piece(at, stop, text)
    return Piece(at, at + 1, None)


def visible(text: str) -> str:
    """Text with line breaks, tabs and control characters made visible; a line break still breaks the line.

    Examples:
        >>> visible("a\\n\\tb\\x00")
        'a↵\\n⇥b␀'
    """
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    if character == "\n":
        return "↵\n"
    if character == "\t":
        return "⇥"
    if ord(character) < 0x20:
        return chr(0x2400 + ord(character))
    # Others of these turn the writing direction or cannot be shown at all.
    if unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in _JOINERS:
        return f"⟨U+{ord(character):04X}⟩"
    return character


def words(ids: Sequence[int], decode: Decode) -> list[str]:
    """A text for each token; tokens that are parts of one character have it with the first of them.

    Examples:
        >>> words(list("a \u6d77!".encode()), lambda ids: bytes(ids).decode(errors="replace"))
        ['a', ' ', '海', '', '', '!']
    """
    found: list[str] = []
    for piece in pieces(ids, decode):
        found += [piece.text or "", *[""] * (piece.stop - piece.start - 1)]
    return found
