"""Conversations as APIs take and log them: messages, a request, a response.

What people log of a call differs: the messages alone (fine-tuning files, batches), or the request beside the
response, under names of their own. A response with several choices is several conversations.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from persona_lens.conversations.found import Found, holds_list, listed
from persona_lens.conversations.report import Refused
from persona_lens.conversations.spellings import ROLE_FIELDS, first_of, is_message, speaker_of
from persona_lens.conversations.treatment import Treatment

_ASKED = ("request", "body", "input", "inputs", "kwargs", "prompt", "params")
_SYSTEMS = ("system", "system_prompt", "instructions", "system_instruction", "systemInstruction")
_TEXTS = ("response", "output", "completion")
_ANSWERED = ("response", "output", "outputs", "completion", "choices", "result", "message")


def is_call(record: Any) -> bool:
    """Whether it has messages, or a request with messages, or a response of a chat."""
    if not isinstance(record, Mapping):
        return False
    if holds_list(record.get("messages")):
        return True
    return any(_asked(_opened(record.get(name))) is not None for name in _ASKED) or any(
        _replies(_opened(record.get(name))) is not None for name in _ANSWERED
    )


def call(record: Mapping[str, Any], treatment: Treatment) -> Iterator[Found]:
    """The conversation of a call, or one for each choice of its response.

    Raises:
        Refused: Only the response was logged.
    """
    rest = dict(record)
    messages = _messages(rest)
    answered = next(
        (name for name in _ANSWERED if _replies(_opened(rest.get(name)), name) is not None), None
    )
    if messages is None:
        raise Refused(
            "response without its request",
            "holds what was answered, and not what was asked",
            given=f"fields {', '.join(map(str, record))}",
            remedy="join it with the requests, and give dicts with both: messages and response",
        )
    if not isinstance(messages, list) or answered is None:
        unread = [
            name for name in _ANSWERED if rest.get(name) and name not in ("result", "message")
        ]
        yield Found(
            messages, rest, notes=tuple(f"the field {name}, which is no reply" for name in unread)
        )
        return
    replies = _replies(_opened(rest[answered]), answered) or []
    last = messages[-1] if messages else None
    if isinstance(last, Mapping) and _is_assistant(last):
        # The messages are all that was said; what stands beside them repeats its end, or is about it.
        if replies == [[last]]:
            del rest[answered]
            yield Found(messages, rest)
        else:
            note = f"the field {answered} beside messages that end with the assistant, not read"
            yield Found(messages, rest, notes=(note,))
        return
    del rest[answered]
    many = len(replies) > 1
    for index, reply in enumerate(replies):
        yield Found(
            [*messages, *reply],
            {**rest, "choice": index} if many else rest,
            suffix=f"-choice{index}" if many else "",
            place=f"choice {index}" if many else "",
        )


def _is_assistant(message: Mapping[str, Any]) -> bool:
    try:
        return speaker_of(message.get(first_of(message, ROLE_FIELDS) or "")) == "assistant"
    except Refused:
        return False


def with_system(messages: Any, rest: dict[str, Any]) -> Any:
    """The messages behind the system prompt that stands beside them, if one does and they have none."""
    if not isinstance(messages, list) or not messages:
        return messages
    first = messages[0]
    has_own = isinstance(first, Mapping) and str(
        first.get(first_of(first, ROLE_FIELDS) or "")
    ).lower() in ("system", "developer")
    name = first_of(rest, _SYSTEMS)
    if has_own or name is None or not rest[name]:
        return messages
    prompt = rest[name]
    if isinstance(prompt, Mapping) and "parts" in prompt:
        prompt = prompt["parts"]
    if not isinstance(prompt, str | list):
        return messages
    del rest[name]
    return [{"role": "system", "content": prompt}, *messages]


def _messages(rest: dict[str, Any]) -> Any:
    """The messages that were sent, taken out of the rest; None if they are not there."""
    if holds_list(rest.get("messages")):
        messages = listed(rest.pop("messages"))
        return with_system(list(messages) if isinstance(messages, tuple) else messages, rest)
    for name in _ASKED:
        request = _opened(rest.get(name))
        messages = _asked(request)
        if messages is None:
            continue
        del rest[name]
        settings = {}
        if isinstance(request, Mapping):
            settings = {k: v for k, v in request.items() if k not in ("messages", "input")}
        messages = with_system(messages, settings)
        for key, value in settings.items():
            rest.setdefault(key, value)
        return messages
    return None


def _asked(request: Any) -> list[Any] | None:
    """The messages of a request."""
    if isinstance(request, Mapping):
        inner = request.get("messages", request.get("input"))
        if isinstance(inner, str) and "model" in request:  # the Responses API takes a text
            return [{"role": "user", "content": inner}]
        request = inner
    if isinstance(request, list | tuple) and request and any(is_message(one) for one in request):
        return list(request)
    return None


def _replies(  # noqa: PLR0911 - one for each shape
    response: Any, name: str = ""
) -> list[list[Any]] | None:
    """What was answered, as messages: a list for each choice. Only in some fields a text is an answer."""
    match response:
        case str() if response.strip() and name in _TEXTS:
            return [[{"role": "assistant", "content": response}]]
        case [*choices] if choices and all(isinstance(one, Mapping) for one in choices):
            if all("message" in one for one in choices):
                return [[_assistant(one["message"])] for one in choices]
            if all(is_message(one) for one in choices):
                return [list(choices)]
            if any(one.get("type") == "message" for one in choices):
                return [_items(choices)]
        case {"choices": choices} | {"body": {"choices": choices}}:
            return _replies(choices)
        case {"output": [*items]}:
            return _replies(items)
        case {"message": Mapping() as message}:
            return [[_assistant(message)]]
        case {"role": _, "content": _}:
            return [[response]]
    return None


def _items(items: list[Any]) -> list[Any]:
    """The items of the Responses API as messages."""
    said = []
    for item in items:
        kind = item.get("type")
        if kind == "message":
            said.append({"role": item.get("role", "assistant"), "content": item.get("content")})
        elif kind == "reasoning":
            said.append({"role": "assistant", "content": [{"type": "reasoning"}]})
        else:
            said.append({"role": "tool", "content": str(kind)})
    return said


def _assistant(message: Any) -> Any:
    """A reply, which says who speaks or goes without saying."""
    if isinstance(message, str):
        return {"role": "assistant", "content": message}
    return {"role": "assistant", **message} if isinstance(message, Mapping) else message


def _opened(value: Any) -> Any:
    """A value, out of the JSON text that tables hold."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
