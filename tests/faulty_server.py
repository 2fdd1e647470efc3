"""An OpenAI-compatible chat server on loopback that misbehaves as it is told to.

A script says how each request is answered: one behaviour for all of them, a list of behaviours in order
of arrival (the last one stays), or a function of what was asked. Every request is recorded.

Examples:
    >>> import json, urllib.request
    >>> def post(server, text):
    ...     body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    ...     call = urllib.request.Request(server.url + "/chat/completions", json.dumps(body).encode())
    ...     return json.load(urllib.request.urlopen(call))["choices"][0]["message"]["content"]
    >>> with FaultyServer([server_error(503), ok(lambda body: body["messages"][-1]["content"][::-1])]) as server:
    ...     try:
    ...         post(server, "abc")
    ...     except OSError as error:
    ...         error.status
    ...     post(server, "abc")
    ...     [(seen.question, seen.attempt, seen.status) for seen in server.requests]
    503
    'cba'
    [('abc', 1, 503), ('abc', 2, 200)]

As a program, `python tests/faulty_server.py --latency 0.05`, it answers every request alike from a process
of its own, for measurements: it prints its address and serves until its standard input closes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass
class Seen:
    """One request for a completion, of a chat or of a text, and what became of it."""

    body: dict[str, Any]
    headers: dict[str, str]
    number: int  # in order of arrival, from 0
    attempt: int  # how many requests with these messages have come so far, this one included
    began: float  # time.monotonic()
    ended: float | None = None
    status: int | None = None  # None: still open, hung or cut off
    path: str = "/v1/chat/completions"
    good: bool = False  # whether it was answered as it should be

    @property
    def question(self) -> str:
        """Text of the last message, of the prompt, or of the first input."""
        body = self.body
        if "input" in body:
            return body["input"][0]
        return body["prompt"] if "prompt" in body else body["messages"][-1]["content"]


@dataclass(frozen=True)
class Behaviour:
    """What happens to one request: an answer after `latency` seconds, a cut connection, or nothing at all."""

    status: int = 200
    body: str | bytes | dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any] | str] = ""
    headers: tuple[tuple[str, str], ...] = ()
    latency: float = 0.0
    good: bool = False
    cut: bool = False  # the connection is dropped: before the answer, or amid it if there is a body
    hang: bool = False
    trickle: bool = False  # the answer begins and never ends, a blank at a time
    until: Callable[[], object] | None = None  # the answer is held back until this comes true


Script = Behaviour | Sequence[Behaviour] | Callable[[Seen], Behaviour]


def ok(
    reply: str | Callable[[dict[str, Any]], str] | None = "ok",
    *,
    finish: str = "stop",
    refusal: str | None = None,
    usage: tuple[int, int] | None = (7, 1),
    logprobs: list[dict[str, float]] | None = None,
    latency: float = 0.0,
) -> Behaviour:
    """A good answer; `logprobs` gives, per token, the alternatives of which the first was chosen."""

    def body(asked: dict[str, Any]) -> dict[str, Any]:
        text = reply(asked) if callable(reply) else reply
        message = {"role": "assistant", "content": text, "refusal": refusal}
        said = {"text": text} if "prompt" in asked else {"message": message}
        choice: dict[str, Any] = {"index": 0, **said, "finish_reason": finish}
        if logprobs is not None:
            choice["logprobs"] = {"content": [_token_logprobs(tokens) for tokens in logprobs]}
        content = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": asked.get("model"),
            "choices": [choice],
        }
        if usage is not None:
            content["usage"] = dict(
                zip(("prompt_tokens", "completion_tokens"), usage, strict=True),
                total_tokens=sum(usage),
            )
        return content

    return Behaviour(body=body, latency=latency, good=True)


def _token_logprobs(tokens: dict[str, float]) -> dict[str, Any]:
    ranked = [{"token": token, "logprob": value, "bytes": None} for token, value in tokens.items()]
    return {**ranked[0], "top_logprobs": ranked}


def error(
    status: int, message: str, *, code: str | None = None, param: str | None = None, **headers: str
) -> Behaviour:
    """An error in OpenAI's shape; underscores in the names of `headers` become hyphens."""
    body = {"error": {"message": message, "type": code, "code": code, "param": param}}
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Behaviour(status=status, body=body, headers=named)


def too_many(retry_after: str | None = None, *, retry_after_ms: str | None = None) -> Behaviour:
    """429, with `retry-after` (seconds or an HTTP date) or `retry-after-ms` where given."""
    told = {"retry_after": retry_after, "retry_after_ms": retry_after_ms}
    headers = {name: value for name, value in told.items() if value is not None}
    # The real text: it speaks of billing although nothing is wrong with it.
    message = "Rate limit reached. Add a payment method at https://example.com/account/billing."
    return error(429, message, code="rate_limit_exceeded", **headers)


def server_error(status: int = 500) -> Behaviour:
    return error(status, "The server had an error while processing your request.")


def drop(*, halfway: bool = False) -> Behaviour:
    """The connection is cut before the answer, or halfway through it."""
    return replace(ok(), cut=True) if halfway else Behaviour(cut=True)


def hang() -> Behaviour:
    return Behaviour(hang=True)


def trickle() -> Behaviour:
    return Behaviour(trickle=True)


def not_json() -> Behaviour:
    return Behaviour(body="<html>It works!</html>")


def no_choices() -> Behaviour:
    return Behaviour(body={"id": "chatcmpl-1", "object": "chat.completion", "choices": []})


def wrong_model() -> Behaviour:
    return error(404, "The model `m` does not exist.", code="model_not_found", param="model")


def no_quota(status: int = 429) -> Behaviour:
    message = "You exceeded your current quota, please check your plan and billing details."
    return error(status, message, code="insufficient_quota")


def unauthorised(message: str = "Incorrect API key provided.") -> Behaviour:
    return error(401, message, code="invalid_api_key")


def too_long() -> Behaviour:
    message = "This model's maximum context length is 8 tokens. However, you requested 9 tokens."
    return error(400, message, code="context_length_exceeded", param="messages")


def refused(text: str = "I cannot help with that.") -> Behaviour:
    return ok(None, refusal=text)


def filtered() -> Behaviour:
    return ok(None, finish="content_filter")


def held(behaviour: Behaviour, until: Callable[[], object]) -> Behaviour:
    """The same as soon as something has come true."""
    return replace(behaviour, until=until)


def slow(behaviour: Behaviour, seconds: float) -> Behaviour:
    """The same after `seconds`."""
    return replace(behaviour, latency=seconds)


@dataclass
class FaultyServer:
    """The server, running while the `with` block does.

    Attributes:
        url: Base URL for a client, ending in `/v1`.
        requests: The requests for chat completions in order of arrival.
        in_flight: Requests that were neither answered nor cut off so far.
        max_in_flight: The most there have been at once.
        connections: Open connections.
    """

    script: Script = field(default_factory=ok)
    models: Sequence[str] = ("m",)
    requests: list[Seen] = field(default_factory=list)
    in_flight: int = 0
    max_in_flight: int = 0
    url: str = ""

    def __post_init__(self) -> None:
        self._attempts: Counter[str] = Counter()
        self._open: set[asyncio.Transport] = set()
        self._mishap: BaseException | None = None
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="faulty-server", daemon=True)

    def __enter__(self) -> FaultyServer:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        if self._mishap is not None:
            raise self._mishap

    @property
    def connections(self) -> int:
        return len(self._open)

    def answered(self) -> Counter[str]:
        """How often each question was answered well."""
        return Counter(seen.question for seen in self.requests if seen.good)

    def repeated(self) -> list[str]:
        """Questions that were asked again although they had been answered well."""
        done: set[str] = set()
        again = []
        for seen in self.requests:
            if seen.question in done:
                again.append(seen.question)
            if seen.good:
                done.add(seen.question)
        return again

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(self._note_mishap)
        start = self._loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
        server = self._loop.run_until_complete(start)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._started.set()
        self._loop.run_forever()
        # A connection half made when its server closes is forgotten open: asyncio asserts that it is not so.
        while half_made := asyncio.all_tasks(self._loop):
            self._loop.run_until_complete(asyncio.wait(half_made))
        server.close()
        for _ in range(10):  # rounds in which connections under way are made, aborted and closed
            for transport in list(self._open):
                transport.abort()
            self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _note_mishap(self, _: object, context: dict[str, Any]) -> None:
        """A script that raises must fail its test, not look like a fault that was asked for."""
        self._mishap = self._mishap or context.get("exception")

    def _receive(
        self, path: str, headers: dict[str, str], content: bytes
    ) -> tuple[Seen, Behaviour]:
        body = json.loads(content)
        asked = json.dumps(body.get("prompt", body.get("input", body.get("messages"))))
        self._attempts[asked] += 1
        number = len(self.requests)
        seen = Seen(body, headers, number, self._attempts[asked], time.monotonic(), path=path)
        self.requests.append(seen)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        if isinstance(self.script, Behaviour):
            return seen, self.script
        if callable(self.script):
            return seen, self.script(seen)
        return seen, self.script[min(number, len(self.script) - 1)]


_SERVED = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with connections kept open, for requests of known length: all that a client sends here."""

    transport: asyncio.Transport

    def __init__(self, server: FaultyServer) -> None:
        self.server = server
        self.buffer = b""
        self.current: Seen | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server._open.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server._open.discard(self.transport)
        self._end()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        self._route(first, headers, rest[:length])

    def _route(self, first: str, headers: dict[str, str], content: bytes) -> None:
        method, path, _ = first.split(" ", 2)
        if method == "POST" and path in _SERVED:
            self.current, behaviour = self.server._receive(path, headers, content)
            if behaviour.latency:
                asyncio.get_running_loop().call_later(behaviour.latency, self._act, behaviour)
            else:
                self._act(behaviour)
        elif (method, path) == ("GET", "/v1/models"):
            entries = [{"id": name, "object": "model"} for name in self.server.models]
            self._write(Behaviour(), json.dumps({"object": "list", "data": entries}))
        else:
            self._write(Behaviour(status=404), json.dumps({"detail": "Not Found"}))

    def _act(self, behaviour: Behaviour) -> None:
        if behaviour.hang or self.current is None:
            return
        if behaviour.until is not None and not behaviour.until():
            asyncio.get_running_loop().call_later(0.002, self._act, behaviour)
            return
        body = behaviour.body
        if behaviour.trickle:
            self.transport.write(b"HTTP/1.1 200 Scripted\r\ncontent-length: 1000000\r\n\r\n")
            self._trickle()
            return
        if callable(body):
            body = body(self.current.body)
        if not isinstance(body, str | bytes):
            body = json.dumps(body)
        if behaviour.cut:
            if body:
                self._write(behaviour, body, cut=True)
            self.transport.close()
            return
        # Before the answer leaves: a client that has it may look at once.
        self._end(behaviour)
        self._write(behaviour, body)

    def _trickle(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(b" ")
            asyncio.get_running_loop().call_later(0.02, self._trickle)

    def _write(self, behaviour: Behaviour, body: str | bytes, *, cut: bool = False) -> None:
        content = body.encode() if isinstance(body, str) else body
        kind = "application/json" if content.startswith((b"{", b"[")) else "text/html"
        usual = {"content-type": kind, "content-length": str(len(content))}
        lines = "".join(
            f"{name}: {value}\r\n" for name, value in {**usual, **dict(behaviour.headers)}.items()
        )
        head = f"HTTP/1.1 {behaviour.status} Scripted\r\n{lines}\r\n".encode("latin-1")
        self.transport.write(head + (content[: len(content) // 2] if cut else content))

    def _end(self, behaviour: Behaviour | None = None) -> None:
        if self.current is not None:
            self.current.ended = time.monotonic()
            if behaviour is not None:
                self.current.status, self.current.good = behaviour.status, behaviour.good
            self.current = None
            self.server.in_flight -= 1


def main(arguments: Iterable[str] | None = None) -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser(description="A chat server that answers every request alike.")
    parser.add_argument("--reply", default="3")
    parser.add_argument("--latency", type=float, default=0.05)
    options = parser.parse_args(None if arguments is None else list(arguments))
    with FaultyServer(ok(options.reply, latency=options.latency)) as server:
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
