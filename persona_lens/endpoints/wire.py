"""Calls as the JSON that a chat server takes, and its JSON as completions."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from persona_lens.endpoints.calls import Call, Completion, Reason
from persona_lens.endpoints.settings import EndpointSettings
from persona_lens.endpoints.streams import completion_of, is_stream


class BadAnswerError(Exception):
    """A server said that all is well and yet sent no completion.

    Args:
        reason: As in `Failure`.
        detail: What it sent.
        error: The server's error object, where it sent one in place of a completion.
    """

    def __init__(self, reason: Reason, detail: str, error: dict[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.error = error


@dataclass
class Dialect:
    """What a server turned out not to understand. Shared by all that ask it, so each lesson is paid once."""

    takes_response_format: bool = True
    takes_max_tokens: bool = True

    def body(self, call: Call, settings: EndpointSettings) -> dict[str, Any]:
        """The request for a call.

        Examples:
            >>> call = Call("q1", [{"role": "user", "content": "Hi"}], max_tokens=8, logprobs=5)
            >>> Dialect(takes_max_tokens=False).body(call, EndpointSettings(model="m"))
            {'model': 'm', 'messages': [{'role': 'user', 'content': 'Hi'}],
             'max_completion_tokens': 8, 'logprobs': True, 'top_logprobs': 5}
            >>> Dialect().body(Call("q1", prompt="The tide"), EndpointSettings(model="m"))
            {'model': 'm', 'prompt': 'The tide'}
            >>> Dialect().body(Call("q1", inputs=["The tide"]), EndpointSettings(model="m"))
            {'model': 'm', 'input': ['The tide'], 'encoding_format': 'float'}
        """
        if call.inputs is not None:
            asked = {"input": list(call.inputs), "encoding_format": "float"}
            return {"model": settings.model, **asked, **settings.extra_body}
        of_text = call.prompt is not None
        length = "max_tokens" if self.takes_max_tokens or of_text else "max_completion_tokens"
        # Whoever asks for a length in extra_body means that one, by whichever name.
        own_length = {"max_tokens", "max_completion_tokens"} & settings.extra_body.keys()
        response_format = call.response_format if self.takes_response_format else None
        if isinstance(response_format, type):
            response_format = schema_format(response_format)
        fields = {
            "model": settings.model,
            "messages": None if of_text else call.messages,
            "prompt": call.prompt,
            "temperature": call.temperature,
            "top_p": call.top_p,
            length: None if own_length else call.max_tokens,
            "seed": call.seed,
            "response_format": response_format,
            "logprobs": None if call.logprobs is None else True,
            "top_logprobs": call.logprobs,
            **settings.extra_body,
        }
        return {name: value for name, value in fields.items() if value is not None}


@functools.cache
def schema_format(model: type[BaseModel]) -> dict[str, Any]:
    """`response_format` for answers that follow a pydantic model, as strict as OpenAI asks for.

    Every field is required and no other is allowed; defaults are left out, for strict schemas have none.

    Examples:
        >>> class Verdict(BaseModel):
        ...     score: int = 0
        >>> schema_format(Verdict)["json_schema"]["schema"]
        {'properties': {'score': {'title': 'Score', 'type': 'integer'}}, 'title': 'Verdict',
         'type': 'object', 'additionalProperties': False, 'required': ['score']}
    """
    schema = model.model_json_schema()
    strict = _strict(schema, schema.get("$defs", {}))
    named = {"name": model.__name__, "strict": True, "schema": strict}
    return {"type": "json_schema", "json_schema": named}


def _strict(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_strict(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node and len(node) > 1:  # strict schemas allow nothing beside a reference
        about = {name: value for name, value in node.items() if name != "$ref"}
        node = {**definitions[node["$ref"].rpartition("/")[2]], **about}
    named = ("properties", "$defs")  # their keys are the user's names, not the schema's words
    strict = {
        word: {name: _strict(part, definitions) for name, part in value.items()}
        if word in named
        else _strict(value, definitions)
        for word, value in node.items()
        if word != "default"
    }
    if strict.get("type") == "object" and "properties" in strict:
        strict |= {"additionalProperties": False, "required": list(strict["properties"])}
    return strict


def read_completion(text: str, *, of_text: bool = False) -> Completion:
    """The completion in the body of an answer.

    Args:
        text: The body; a stream of events as well, which some servers send whatever they are asked for.
        of_text: It answers a prompt, not messages.

    Raises:
        BadAnswerError: There is none.

    Examples:
        >>> read_completion('{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}').text
        'Hi'
    """
    try:
        content = completion_of(text) if is_stream(text) else json.loads(text)
    except json.JSONDecodeError:
        raise BadAnswerError("invalid_response", f"not JSON: {_start(text)}") from None
    except (ValueError, AttributeError, TypeError) as error:
        raise BadAnswerError("invalid_response", f"not a completion: {error}") from None
    if not isinstance(content, dict):
        raise BadAnswerError("invalid_response", f"not a completion: {_start(text)}")
    choices = content.get("choices")
    if not choices:
        error = content.get("error")  # some gateways send errors under status 200
        if error:
            error = error if isinstance(error, dict) else {"message": str(error)}
            raise BadAnswerError("invalid_response", _start(str(error.get("message"))), error)
        if choices is None:
            raise BadAnswerError("invalid_response", f"not a completion: {_start(text)}")
        raise BadAnswerError("empty", "an answer without choices")
    try:
        return _completion(content, choices[0], of_text)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BadAnswerError("invalid_response", f"not a completion: {_start(text)}") from None


def read_embeddings(text: str, count: int) -> Completion:
    """The embeddings in the body of an answer, as the `vectors` of a completion without text.

    Args:
        text: The body.
        count: How many were asked for.

    Raises:
        BadAnswerError: They are not all there, or not of finite numbers and one length.

    Examples:
        >>> data = [{"index": 1, "embedding": [0, 1]}, {"index": 0, "embedding": [1, 0]}]
        >>> read_embeddings(json.dumps({"data": data}), 2).vectors
        ((1.0, 0.0), (0.0, 1.0))
    """
    try:
        content = json.loads(text)
        if isinstance(content, dict) and content.get("error"):
            error = content["error"]
            error = error if isinstance(error, dict) else {"message": str(error)}
            raise BadAnswerError("invalid_response", _start(str(error.get("message"))), error)
        data = sorted(content["data"], key=lambda entry: int(entry["index"]))
        vectors = tuple(tuple(float(value) for value in entry["embedding"]) for entry in data)
        usage = content.get("usage") or {}
        places = [int(entry["index"]) for entry in data]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise BadAnswerError("invalid_response", f"not embeddings: {_start(text)}") from None
    lengths = {len(vector) for vector in vectors}
    finite = all(math.isfinite(value) for vector in vectors for value in vector)
    if places != list(range(count)) or len(lengths) > 1 or 0 in lengths or not finite:
        raise BadAnswerError(
            "invalid_response",
            f"{len(vectors)} embeddings of {sorted(lengths)} numbers for {count} texts",
        )
    return Completion(
        text="",
        finish="stop",
        prompt_tokens=usage.get("prompt_tokens"),
        model=content.get("model"),
        vectors=vectors,
    )


def _completion(content: dict[str, Any], choice: dict[str, Any], of_text: bool) -> Completion:
    message = {"content": choice["text"]} if of_text else choice["message"]
    usage = content.get("usage") or {}
    refusal = message.get("refusal") or None
    tools = message.get("tool_calls") or (
        [message["function_call"]] if message.get("function_call") else []
    )
    prompt_ids = choice.get("prompt_token_ids") or content.get("prompt_token_ids")
    return Completion(
        text=_text(message.get("content")),
        finish="refusal" if refusal else choice.get("finish_reason") or "unknown",
        refusal=refusal,
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
        top_logprobs=_logprobs(choice.get("logprobs")),
        model=content.get("model"),
        thinking=_thinking(message),
        tool_calls=len(tools),
        token_ids=_ids(choice.get("token_ids")),
        prompt_token_ids=_ids(prompt_ids),
    )


def _text(content: str | list[dict[str, Any]] | None) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return _whole_characters(content)
    # Some reasoning models answer in parts, of which only the text is the answer.
    return _whole_characters(
        "".join(part["text"] for part in content if part.get("type") == "text")
    )


def _thinking(message: dict[str, Any]) -> str:
    """What servers give beside the answer, under one of two names or as parts of another type."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(message.get(name), str) and message[name]:
            return _whole_characters(message[name])
    content = message.get("content")
    parts = [] if not isinstance(content, list) else [p for p in content if p.get("type") != "text"]
    found = (part.get("thinking") or part.get("reasoning") or "" for part in parts)
    return "".join(text if isinstance(text, str) else _text(text) for text in found)


def _whole_characters(text: str) -> str:
    """Text without halves of surrogate pairs, which a reply cut within a character may end in."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _ids(ids: Any) -> tuple[int, ...] | None:
    """Token ids, where what stands in their place is that."""
    if not isinstance(ids, list) or not ids:
        return None
    return tuple(ids) if all(type(i) is int and i >= 0 for i in ids) else None


def _logprobs(logprobs: dict[str, Any] | None) -> list[dict[str, float]] | None:
    tokens = (logprobs or {}).get("content")
    if tokens is None:
        return None
    table = []
    for token in tokens:
        row: dict[str, float] = {}
        for entry in (token, *(token.get("top_logprobs") or ())):
            if entry["logprob"] is None:  # how some servers write a probability of 0
                continue
            # Different tokens may read alike (bytes of one character do): the likelier stands for both.
            row[entry["token"]] = max(entry["logprob"], row.get(entry["token"], float("-inf")))
        table.append(row)
    return table


def _start(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 80 else line[:80] + "...")
