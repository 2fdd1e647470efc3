"""Answers that come as a stream of server-sent events, from servers that stream whether asked to or not.

The events of one answer are put together into the completion they would have been.

    data: {"choices": [{"delta": {"content": "Bo"}}]}

    data: {"choices": [{"delta": {"content": "o"}, "finish_reason": "stop"}]}

    data: [DONE]
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_FIELD = re.compile(r"\ufeff?\s*(?:data|event|id|retry)?:")
_END = "[DONE]"
_JOINED = ("content", "reasoning_content", "reasoning", "refusal")
_LISTED = ("tool_calls", "function_call")


def is_stream(body: str) -> bool:
    """Whether a body is made of events.

    Examples:
        >>> is_stream("data: [DONE]"), is_stream('{"choices": []}')
        (True, False)
    """
    return _FIELD.match(body) is not None


def completion_of(body: str) -> dict[str, Any]:
    """The completion that a stream of events stands for, in the shape of one that came in one piece.

    An error among the events stands for the whole.

    Raises:
        ValueError: An event cannot be read, or the stream ends before the answer does.

    Examples:
        >>> said = completion_of('data: {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}')
        >>> said["choices"][0]["message"]["content"], said["choices"][0]["finish_reason"]
        ('Hi', 'stop')
    """
    whole: dict[str, Any] = {"choices": []}
    ended = False
    for event in _events(body):
        if event == _END:
            ended = True
            break
        chunk = json.loads(event)
        if not isinstance(chunk, dict):
            raise ValueError("an event that is no object")
        if chunk.get("error"):
            return {"error": chunk["error"]}
        _add(whole, chunk)
    choices = whole["choices"]
    if not ended and not (choices and choices[0].get("finish_reason")):
        raise ValueError("the stream ends before the answer does")
    return whole


def _events(body: str) -> Iterator[str]:
    """The data of each event."""
    lines: list[str] = []
    for line in [
        *body.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n"),
        "",
    ]:
        name, _, value = line.partition(":")
        if line.strip() == "":
            if lines:
                yield "\n".join(lines)
            lines = []
        elif name.strip() == "data":
            lines.append(value.removeprefix(" ").rstrip())


def _add(whole: dict[str, Any], chunk: dict[str, Any]) -> None:
    """Put what one event says behind what is there."""
    for name, value in chunk.items():
        if name != "choices" and value is not None:
            whole[name] = value
    for choice in chunk.get("choices") or ():
        if choice.get("index") not in (None, 0):
            continue  # one answer is asked for
        if not whole["choices"]:
            whole["choices"].append({"message": {}, "text": ""})
        joined = whole["choices"][0]
        for name in ("finish_reason", "prompt_token_ids"):
            if choice.get(name) is not None:
                joined[name] = choice[name]
        joined["text"] += choice.get("text") or ""
        if choice.get("token_ids") is not None:
            joined["token_ids"] = [*joined.get("token_ids", ()), *choice["token_ids"]]
        tokens = (choice.get("logprobs") or {}).get("content")
        if tokens is not None:
            joined.setdefault("logprobs", {"content": []})["content"] += tokens
        _add_message(joined["message"], choice.get("delta") or choice.get("message") or {})


def _add_message(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name in _JOINED:
        value = delta.get(name)
        if value:
            before = message.get(name)
            message[name] = (
                value if not before else _as_parts(before, value) + _as_parts(value, before)
            )
    for name in _LISTED:
        if delta.get(name):
            message[name] = delta[name]  # that there is one is all that is asked of it


def _as_parts(value: Any, other: Any) -> Any:
    """Text as it is, or as a part where some of it comes in parts."""
    if isinstance(value, str) and not isinstance(other, str):
        return [{"type": "text", "text": value}]
    return value
