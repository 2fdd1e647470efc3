"""Answers that cannot be read: each is one failed request, whatever is wrong with it, and the others go on."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from faulty_server import Behaviour, FaultyServer, ok

from persona_lens.endpoints import Call, Completion, Endpoint, Failure
from persona_lens.endpoints.bodies import encoding_of

pytestmark = pytest.mark.filterwarnings("error")

Make = Callable[..., Endpoint]
MakeCall = Callable[..., Call]


def completion(text: Any = "Hi 🌊", **fields: Any) -> dict[str, Any]:
    choice = {"message": {"content": text}, "finish_reason": "stop"}
    return {"choices": [{**choice, **fields}]}


def written(content: bytes | str, status: int = 200, **headers: str) -> Behaviour:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Behaviour(status=status, body=content, headers=named)


WHOLE = json.dumps(completion(), ensure_ascii=False).encode()
CODECS = [
    *("rot13", "idna", "punycode", "undefined", "unicode_escape", "utf-7", "base64", "zip"),
    *("utf-16", "no-such-charset", '"', "../../etc", "x" * 300),
]


@pytest.mark.parametrize("charset", CODECS)
@pytest.mark.parametrize("status", [200, 400, 503])
def test_a_charset_that_is_none_does_not_matter(
    make_endpoint: Make, make_call: MakeCall, charset: str, status: int
) -> None:
    body = WHOLE if status == 200 else '{"error": {"message": "köstlich"}}'.encode()
    answer = written(body, status, content_type=f"application/json; charset={charset}")
    with FaultyServer(answer) as server:
        ((_, outcome),) = make_endpoint(server.url, max_attempts=1).map([make_call("a")])
    if status == 200:
        assert isinstance(outcome, Completion)
        assert outcome.text == "Hi 🌊"
    else:
        assert isinstance(outcome, Failure)
        assert f"status {status}: köstlich" in outcome.detail


def test_text_in_another_charset_is_read_by_it() -> None:
    response = httpx2.Response(200, headers={"content-type": "application/json; charset=gb18030"})
    assert encoding_of("余额不足".encode("gb18030"), response) == "gb18030"
    assert encoding_of("余额不足".encode(), response) == "utf-8"


DEEP = b"[" * 50_000 + b"]" * 50_000
UNREADABLE = {
    "deep": written(DEEP),
    "deep, as a field": written(b'{"choices": ' + DEEP + b"}"),
    "deep objects": written(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "deep, refused": written(DEEP, 400),
    "deep, busy": written(DEEP, 503),
    "gzip that is none": written(b"not gzip", content_encoding="gzip"),
    "gzip cut off": written(gzip.compress(WHOLE)[:20], content_encoding="gzip"),
    "a page": written(b"<!DOCTYPE html><html>Sign in</html>"),
    "empty": written(b""),
    "half": written(WHOLE[: len(WHOLE) // 2]),
    "not text": written(bytes(range(256))),
    "a number of many digits": written(b'{"choices": [' + b"9" * 5000 + b"]}"),
    "no number": written(b'{"choices": NaN}'),
    "infinite": written(b'{"choices": [{"message": {"content": Infinity}}]}'),
    "null": written(b"null"),
    "choices in an object": written(b'{"choices": {"message": {"content": "Hi"}}}'),
    "a choice that is text": written(b'{"choices": ["Hi"]}'),
    "a choice that is null": written(b'{"choices": [null]}'),
    "text that is a number": written(json.dumps(completion(3)).encode()),
    "a way to end that is a list": written(json.dumps(completion(finish_reason=[1])).encode()),
    "a refusal that is an object": written(
        json.dumps({"choices": [{"message": {"content": None, "refusal": {"a": 1}}}]}).encode()
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_answer_that_cannot_be_read_fails_its_own_call_only(
    make_endpoint: Make, make_call: MakeCall, name: str
) -> None:
    bad = UNREADABLE[name]
    with FaultyServer(lambda seen: bad if "bad" in seen.question else ok()) as server:
        calls = [make_call(key) for key in (0, 1, "bad", 2, 3)]
        outcomes = {call.key: outcome for call, outcome in make_endpoint(server.url).map(calls)}
    failure = outcomes.pop("bad")
    assert isinstance(failure, Failure)
    assert len(failure.detail) < 400
    assert all(isinstance(outcome, Completion) for outcome in outcomes.values())


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\xef\xbb\xbf" + WHOLE, "Hi 🌊"),
        (json.dumps(completion()).encode(), "Hi 🌊"),
        (b'{"choices": [], ' + WHOLE[1:], "Hi 🌊"),  # the later of two fields holds
        (b'{"choices": [{"message": {"content": "Arr \\ud83d"}}]}', "Arr \ufffd"),
        (WHOLE[:-1] + b', "n": NaN, "big": ' + b"9" * 400 + b"}", "Hi 🌊"),
    ],
)
def test_oddities_that_leave_the_answer_readable_do_not_matter(
    make_endpoint: Make, make_call: MakeCall, content: bytes, text: str
) -> None:
    with FaultyServer(written(content)) as server:
        assert make_endpoint(server.url).ask(make_call("a")).text == text
