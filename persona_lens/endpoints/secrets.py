"""Keeps an API key out of whatever a server says, in every spelling a server may have for it.

A server may echo the key whole, cut off, escaped or encoded, and what is shown of an answer is cut as well: so the
key is hidden first, and what is left of it after any cut is hidden too.
"""

from __future__ import annotations

import base64
import html
import json
from itertools import takewhile
from urllib.parse import quote, quote_plus

# What is shorter is no secret: servers on one's own machine want some word or other.
_SHORTEST_SECRET = 8
# So much of a key's beginning tells it from other words; of its inside, more is needed.
_TELLING_START = 6
_TELLING_INSIDE = 12
_MASK = "***"


class Secret:
    """An API key that is to be seen nowhere.

    Args:
        key: The key; one of fewer than eight characters is not taken for a secret.

    Examples:
        >>> secret = Secret("sk-0123456789abcdef")
        >>> secret.hidden("Incorrect API key: sk-0123456789abcdef.")
        'Incorrect API key: ***.'
        >>> secret.hidden("Incorrect API key: sk-01234")
        'Incorrect API key: ***'
        >>> secret
        Secret(***)
    """

    def __init__(self, key: str) -> None:
        self._spellings = _spellings(key) if len(key) >= _SHORTEST_SECRET else []
        self._lowered = sorted({spelling.lower() for spelling in self._spellings})
        self._inside = {
            spelling[place : place + _TELLING_INSIDE]
            for spelling in self._lowered
            for place in range(len(spelling) - _TELLING_INSIDE + 1)
        }

    def __repr__(self) -> str:
        return f"Secret({_MASK})"

    def whole_hidden(self, text: str) -> str:
        """The text without the whole key. Beginnings of it stay: no word of an answer is lost by chance."""
        for spelling in self._spellings:
            if spelling in text:
                text = text.replace(spelling, _MASK)
        return text

    def hidden(self, text: str) -> str:
        """The text without the key and without its beginnings and longer pieces, in any case of letters."""
        if not self._spellings:
            return text
        # Letter by letter, because some letters become two when their case changes.
        low = "".join(letter.lower() if letter.isascii() else letter for letter in text)
        covered = bytearray(len(low))
        for spelling in self._lowered:
            place = low.find(spelling[:_TELLING_START])
            while place >= 0:
                pairs = zip(spelling, low[place : place + len(spelling)], strict=False)
                length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
                covered[place : place + length] = b"x" * length
                place = low.find(spelling[:_TELLING_START], place + 1)
        for place in range(len(low) - _TELLING_INSIDE + 1):
            if low[place : place + _TELLING_INSIDE] in self._inside:
                covered[place : place + _TELLING_INSIDE] = b"x" * _TELLING_INSIDE
        pieces = []
        for place, letter in enumerate(text):
            if not covered[place]:
                pieces.append(letter)
            elif not place or not covered[place - 1]:
                pieces.append(_MASK)
        return "".join(pieces)


def _spellings(key: str) -> list[str]:
    """The key as it stands, and as it reads escaped or encoded; the longest first."""
    data = key.encode()
    escaped = json.dumps(key)[1:-1]
    spelt = {
        key,
        quote(key, safe=""),
        quote(key),
        quote_plus(key),
        html.escape(key),
        escaped,
        escaped.replace("/", "\\/"),
        "".join(c if c.isalnum() else f"\\u{ord(c):04x}" for c in key),
        repr(key)[1:-1],
        data.hex(),
    }
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        # The key may stand anywhere in what was encoded, such as behind "Bearer ": only the characters that
        # depend on nothing but the key are looked for.
        for before, lost in ((0, 0), (1, 2), (2, 3)):
            end = None if (before + len(data)) % 3 == 0 else -1
            spelt.add(encode(b"\0" * before + data).decode().rstrip("=")[lost:end])
    return sorted(spelt, key=len, reverse=True)
