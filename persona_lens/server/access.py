"""What stands before the routes: the key, where a request is from, the size of bodies, errors in OpenAI's shape.

    guarded = Guard(app, key="...", body_bytes=2**22, count=metrics.request)

Keys are compared in constant time, as hashes, so that neither their length nor their beginning can be told from
how long a refusal takes. `/health` needs none.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from persona_lens.server.refusals import Refusal, wrong_key

OPEN = ("/health",)
ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/models", "/health", "/metrics")
OTHER = "other"
"""What metrics call addresses that are none."""


class Guard:
    """Checks requests before the routes see them, and counts all.

    Args:
        app: The routes.
        key: That requests have to bring; None for none, and then only this machine is answered, by its own name.
        body_bytes: Of a request.
        count: Told of the route and the status of every response.
        also_open: Paths that need no key, besides `OPEN`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        key: str | None,
        body_bytes: int,
        count: Callable[[str, int], None],
        also_open: Sequence[str] = (),
    ) -> None:
        self._app = app
        self._key = None if key is None else _hashed(key.encode())
        self._body_bytes = body_bytes
        self._count = count
        self._open = (*OPEN, *also_open)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route = route_of(scope["path"])
        given = {name.lower(): value for name, value in scope["headers"]}
        name = f"req_{uuid.uuid4().hex}".encode()

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(route, message["status"])
                message = {**message, "headers": [*message["headers"], (b"x-request-id", name)]}
            await send(message)

        refusal = self._refusal(scope["path"], given)
        if refusal is not None:
            await refuse(refusal, told)
            return
        await self._app(scope, self._limited(receive), told)

    def _refusal(self, path: str, headers: dict[bytes, bytes]) -> Refusal | None:
        if self._key is not None and path not in self._open:
            given = headers.get(b"authorization", b"")
            scheme, _, key = given.partition(b" ")
            same = hmac.compare_digest(_hashed(key.strip()), self._key)
            if not same or scheme.lower() != b"bearer":
                return wrong_key()
        if self._key is None:
            for header in (b"host", b"origin"):
                if not is_local(headers.get(header, b"")):
                    return from_elsewhere(header.decode(), headers[header])
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._body_bytes:
            return too_large(self._body_bytes)
        return None

    def _limited(self, receive: Receive) -> Receive:
        """The body, which may come without telling its length."""
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._body_bytes:
                raise too_large(self._body_bytes)
            return message

        return limited


def is_local(address: bytes) -> bool:
    """Whether a `Host` or `Origin` is this machine by one of its own names; there may be none.

    Without a key a web page from anywhere could else talk to the model through the browser of whoever looks at it,
    by a name of its own that leads here.

    Examples:
        >>> [is_local(given) for given in (b"127.0.0.1:8000", b"http://localhost:8888", b"[::1]:80", b"")]
        [True, True, True, True]
        >>> [is_local(given) for given in (b"evil.example:8000", b"https://evil.example", b"null")]
        [False, False, False]
    """
    text = address.decode("latin-1").lower()
    try:
        host = urlsplit(text if "//" in text else f"//{text}").hostname or ""
        named = not text or host == "localhost" or host.endswith(".localhost")
        return named or ipaddress.ip_address(host).is_loopback
    except ValueError:  # no address at all
        return False


def from_elsewhere(header: str, given: bytes) -> Refusal:
    """The request comes by another name, or from a page of another place."""
    return Refusal(
        f"This server has no key and answers this machine alone; the {header} of your request is "
        f"{given.decode('latin-1')[:80]!r}. Start it with --api-key-env to reach it by another name.",
        status=403,
        code="not_local",
    )


def too_large(most: int) -> Refusal:
    """The body is longer than allowed."""
    return Refusal(
        f"The body of your request is too large: this server reads {most:,} bytes.",
        status=413,
        code="request_too_large",
    )


async def refuse(refusal: Refusal, send: Callable[[Message], Any]) -> None:
    """Answer with a refusal."""
    body = json.dumps(refusal.body()).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in refusal.headers.items()),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def route_of(path: str) -> str:
    """What metrics call an address.

    Examples:
        >>> route_of("/v1/models/smollm2"), route_of("/wp-admin")
        ('/v1/models', 'other')
    """
    if path.startswith("/v1/models/"):
        return "/v1/models"
    return path if path in ROUTES else OTHER


def _hashed(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
