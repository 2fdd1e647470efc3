"""The body of an answer as text, whatever its header says about it."""

from __future__ import annotations

import json
import string
from typing import Any

import httpx2  # comes with openai

# With a backslash in it, so that encodings which read escapes do not pass.
_ASCII = string.printable + "\\x41\\u0041"


async def make_readable(response: httpx2.Response) -> None:
    """Have a response read as UTF-8 where it is that, and else by the charset its header names.

    A hook of the HTTP client: it comes before anybody reads the text.
    """
    response.encoding = encoding_of(await response.aread(), response)


def encoding_of(content: bytes, response: httpx2.Response) -> str:
    """UTF-8, which JSON is, unless the bytes are not and the header names a charset of text.

    Python knows "encodings" by the names of `rot13`, `idna`, `punycode` and `unicode_escape`, of which some
    decode no bytes at all and others turn JSON into something else: only those in which ASCII is ASCII will do.

    Examples:
        >>> def response(charset):
        ...     return httpx2.Response(200, headers={"content-type": f"text/plain; charset={charset}"})
        >>> content = "余额不足".encode("gbk")
        >>> [encoding_of(content, response(name)) for name in ("gbk", "punycode", "rot13", "nonsense")]
        ['gbk', 'utf-8', 'utf-8', 'utf-8']
        >>> encoding_of("余额不足".encode(), response("gbk"))
        'utf-8'
    """
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        try:
            named = response.charset_encoding or "utf-8"
            if _ASCII.encode("ascii").decode(named) == _ASCII:
                return named
        except (LookupError, ValueError):  # errors of decoding are among the latter
            pass
    return "utf-8"


def body_text(response: httpx2.Response) -> str:
    """The body, without a byte order mark."""
    return response.text.removeprefix("\ufeff")


def parsed(text: str) -> Any:
    """What the text says as JSON; the text itself where it is none, or nested too deep to be read.

    Examples:
        >>> parsed('{"error": "no"}'), parsed("<html>"), len(parsed("[" * 100_000))
        ({'error': 'no'}, '<html>', 100000)
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
