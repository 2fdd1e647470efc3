"""The wire: what is sent for a call, what is read from an answer, and servers that know fewer words."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Literal

import pytest
from faulty_server import Behaviour, FaultyServer, Seen, error, ok, server_error, too_long
from pydantic import BaseModel, Field

from persona_lens.endpoints import Call, Completion, Endpoint, Failure
from persona_lens.endpoints.wire import read_completion, schema_format

pytestmark = pytest.mark.filterwarnings("error")

Make = Callable[..., Endpoint]
MakeCall = Callable[..., Call]


class Score(BaseModel):
    default: int = Field(default=0, ge=0, le=3)


class Verdict(BaseModel):
    kind: Literal["yes", "no"]
    first: Score = Field(default_factory=Score, description="The first.")
    others: list[Score] = []
    why: str | None = None


def test_a_call_is_sent_as_the_api_wants_it(make_endpoint: Make) -> None:
    messages = [{"role": "user", "content": "Grüße 🌊"}]
    call = Call(("any", 1), messages, temperature=0.0, top_p=0.9, max_tokens=8, seed=3, logprobs=5)
    with FaultyServer() as server:
        endpoint = make_endpoint(server.url, extra_body={"top_k": 20, "seed": 4})
        endpoint.ask(call)
        endpoint.ask(Call(None, messages))
        full, bare = (seen.body for seen in server.requests)
    assert full == {
        "model": "m",
        "messages": messages,
        "temperature": 0.0,
        "top_p": 0.9,
        "max_tokens": 8,
        "logprobs": True,
        "top_logprobs": 5,
        "top_k": 20,
        "seed": 4,
    }
    assert bare == {"model": "m", "messages": messages, "top_k": 20, "seed": 4}


def test_an_answer_is_read_whole(make_endpoint: Make, make_call: MakeCall) -> None:
    logprobs = [{"Yes": -0.1, "No": -2.5}, {"!": -0.5}]
    with FaultyServer(ok("Yes!", usage=(9, 2), logprobs=logprobs)) as server:
        answer = make_endpoint(server.url).ask(make_call("a", logprobs=2))
    assert answer == Completion("Yes!", "stop", None, 9, 2, logprobs, "m")


def test_a_server_may_tell_less(make_endpoint: Make, make_call: MakeCall) -> None:
    with FaultyServer(ok(usage=None)) as server:
        answer = make_endpoint(server.url).ask(make_call("a", logprobs=2))
    assert (answer.prompt_tokens, answer.completion_tokens) == (None, None)
    assert answer.top_logprobs is None


def test_answers_in_parts_and_tokens_that_read_alike() -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hi"}]
    token = {"token": "\ufffd", "logprob": -0.5}
    tops = [{"token": "\ufffd", "logprob": -3.0}, {"token": "x", "logprob": None}]
    choice = {
        "message": {"content": parts},
        "logprobs": {"content": [{**token, "top_logprobs": tops}]},
    }
    answer = read_completion(json.dumps({"choices": [choice]}))
    assert answer.text == "Hi"
    assert answer.top_logprobs == [{"\ufffd": -0.5}]
    assert answer.finish == "unknown"
    assert answer.thinking == "hm"


def test_a_pydantic_model_becomes_a_strict_schema(make_endpoint: Make, make_call: MakeCall) -> None:
    with FaultyServer() as server:
        make_endpoint(server.url).ask(make_call("a", response_format=Verdict))
        sent = server.requests[0].body["response_format"]
    assert sent == schema_format(Verdict)
    assert sent["type"] == "json_schema"
    assert (sent["json_schema"]["name"], sent["json_schema"]["strict"]) == ("Verdict", True)
    schema = sent["json_schema"]["schema"]
    score = schema["$defs"]["Score"]
    assert schema["required"] == ["kind", "first", "others", "why"]
    assert schema["additionalProperties"] is score["additionalProperties"] is False
    # A field may be called "default"; the schema word of that name has no place in a strict one.
    assert score["properties"]["default"] == {
        "title": "Default",
        "type": "integer",
        "minimum": 0,
        "maximum": 3,
    }
    assert schema["properties"]["first"]["description"] == "The first."
    assert "$ref" not in schema["properties"]["first"]
    assert schema["properties"]["others"]["items"] == {"$ref": "#/$defs/Score"}


def refuses(word: str, message: str) -> Callable[[Seen], Behaviour]:
    return lambda seen: error(400, message) if word in seen.body else ok()


def test_a_server_without_response_format_is_asked_without_it_from_then_on(
    make_endpoint: Make, make_call: MakeCall, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="persona_lens")
    with FaultyServer(refuses("response_format", "what is this?")) as server:
        endpoint = make_endpoint(server.url)
        calls = [make_call(i, response_format=Verdict) for i in range(40)]
        for _ in range(2):
            assert all(isinstance(outcome, Completion) for _, outcome in endpoint.map(calls))
        asked_with = [seen for seen in server.requests if "response_format" in seen.body]
    assert 1 <= len(asked_with) <= 4
    assert len(server.requests) == 80 + len(asked_with)
    assert len(caplog.records) == 1
    assert "response_format" in caplog.text


@pytest.mark.parametrize(
    ("fault", "requests_each"), [(error(400, "unsupported"), 2), (too_long(), 1)]
)
def test_refusals_for_other_reasons_teach_nothing(
    make_endpoint: Make, make_call: MakeCall, fault: Behaviour, requests_each: int
) -> None:
    with FaultyServer(lambda seen: fault if "bad" in seen.question else ok()) as server:
        endpoint = make_endpoint(server.url)
        ((_, failure),) = endpoint.map([make_call("bad", response_format={"type": "json_object"})])
        assert isinstance(failure, Failure)
        assert failure.reason == "bad_request"
        assert len(server.requests) == requests_each
        endpoint.ask(make_call("good", response_format={"type": "json_object"}))
        assert server.requests[-1].body["response_format"] == {"type": "json_object"}


def test_a_fault_while_trying_without_is_retried(make_endpoint: Make, make_call: MakeCall) -> None:
    script = [error(400, "no"), server_error(), error(400, "no"), ok()]
    with FaultyServer(script) as server:
        answer = make_endpoint(server.url).ask(make_call("a", response_format=Verdict))
        assert answer.text == "ok"
        with_format = ["response_format" in seen.body for seen in server.requests]
    assert with_format == [True, False, True, False]


def test_the_newer_name_for_max_tokens_is_learned(make_endpoint: Make, make_call: MakeCall) -> None:
    message = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    with FaultyServer(refuses("max_tokens", message)) as server:
        endpoint = make_endpoint(server.url)
        for key in range(3):
            endpoint.ask(make_call(key, max_tokens=8))
        asked = [seen.body for seen in server.requests]
    assert [body.get("max_tokens") for body in asked] == [8, None, None, None]
    assert [body.get("max_completion_tokens") for body in asked] == [None, 8, 8, 8]


def test_a_prompt_is_continued_as_text(make_endpoint: Make) -> None:
    call = Call("a", prompt="The tide comes in", max_tokens=8)
    with FaultyServer(ok(lambda body: body["prompt"][::-1], finish="length")) as server:
        answer = make_endpoint(server.url).ask(call)
        (seen,) = server.requests
    assert (answer.text, answer.finish) == ("ni semoc edit ehT", "length")
    assert seen.path == "/v1/completions"
    assert seen.body == {"model": "m", "prompt": "The tide comes in", "max_tokens": 8}
