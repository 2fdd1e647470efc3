"""Servers that stream whether asked to or not, and what servers give beside the text of an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from faulty_server import Behaviour, FaultyServer

from persona_lens.endpoints import Call, Endpoint, EndpointSettings
from persona_lens.endpoints.wire import BadAnswerError, read_completion


def stream(*choices: dict[str, Any], end: str = "data: [DONE]\n\n", newline: str = "\n") -> str:
    events = [f"data: {json.dumps({'model': 'm', 'choices': [choice]})}\n\n" for choice in choices]
    return "".join((": ping\n\n", *events, end)).replace("\n", newline)


PIECES = (
    {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None},
    {"index": 0, "delta": {"reasoning_content": "H"}},
    {"index": 0, "delta": {"reasoning_content": "m."}, "token_ids": [7]},
    {"index": 0, "delta": {"content": "Bo"}, "token_ids": [1]},
    {"index": 1, "delta": {"content": "never asked for"}},
    {"index": 0, "delta": {"content": "o"}, "finish_reason": "length", "token_ids": [2]},
)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_pieces_of_a_stream_are_one_answer(newline: str) -> None:
    usage = 'data: {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 3}}\n\n'
    said = read_completion(stream(*PIECES, end=f"{usage}data: [DONE]\n\n", newline=newline))
    assert (said.text, said.thinking, said.finish, said.model) == ("Boo", "Hm.", "length", "m")
    assert (said.prompt_tokens, said.completion_tokens, said.token_ids) == (4, 3, (7, 1, 2))


def test_texts_stream_too_and_parts_are_put_together() -> None:
    of_text = stream({"text": "Bo"}, {"text": "o", "finish_reason": "stop"}, end="")
    assert read_completion(of_text, of_text=True).text == "Boo"
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    parts = stream(
        {"delta": {"content": [thought]}}, {"delta": {"content": "Boo"}, "finish_reason": "stop"}
    )
    assert (read_completion(parts).text, read_completion(parts).thinking) == ("Boo", "Hm.")


@pytest.mark.parametrize(
    "body",
    [
        stream(*PIECES[:-1], end=""),
        stream(*PIECES, end="")[:-40],
        'data: {"error": {"message": "out of memory", "code": 500}}\n\n',
        "data: 7\n\ndata: [DONE]\n\n",
        "data: [DONE]\n\n",
    ],
)
def test_a_stream_that_breaks_off_is_no_answer(body: str) -> None:
    with pytest.raises(BadAnswerError):
        read_completion(body)


def test_a_server_that_always_streams_is_heard() -> None:
    def body(asked: dict[str, Any]) -> str:
        assert "stream" not in asked
        return stream(*PIECES)

    with FaultyServer(Behaviour(body=body, good=True)) as server:
        endpoint = Endpoint(EndpointSettings(model="m", base_url=server.url, max_attempts=1))
        assert endpoint.ask(Call("q", [{"role": "user", "content": "Hi"}])).text == "Boo"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": None}, ("", "", 0)),
        ({"content": None, "reasoning_content": "Hm."}, ("", "Hm.", 0)),
        ({"content": "Boo", "reasoning": "Hm."}, ("Boo", "Hm.", 0)),
        ({"content": "Boo", "reasoning_content": None, "reasoning": ""}, ("Boo", "", 0)),
        ({"content": None, "tool_calls": [{"id": "a"}, {"id": "b"}]}, ("", "", 2)),
        ({"content": "", "function_call": {"name": "f"}, "tool_calls": []}, ("", "", 1)),
        ({"content": "Bo\ud83d"}, ("Bo\ufffd", "", 0)),
        (
            {
                "content": [
                    {"type": "reasoning", "reasoning": "Hm."},
                    {"type": "text", "text": "Boo"},
                ]
            },
            ("Boo", "Hm.", 0),
        ),
    ],
)
def test_an_answer_is_its_content_alone(
    message: dict[str, Any], expected: tuple[str, str, int]
) -> None:
    said = read_completion(json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}))
    assert (said.text, said.thinking, said.tool_calls) == expected


@pytest.mark.parametrize("ids", [None, [], "1, 2", [1, "2"], [-1]])
def test_what_are_no_token_ids_is_not_taken_for_them(ids: Any) -> None:
    choice = {"message": {"content": "Boo"}, "token_ids": ids}
    body = json.dumps({"choices": [choice], "prompt_token_ids": [4, 5]})
    said = read_completion(body)
    assert (said.token_ids, said.prompt_token_ids) == (None, (4, 5))
