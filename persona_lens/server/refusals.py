"""Refusals as OpenAI's API words them: a status, and `{"error": {message, type, param, code}}`.

    raise Refusal("no such plan: 'calm'", param="persona.plan", code="unknown_plan")

Clients tell cases apart by status and code; people read the message: what is wrong, what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from persona_lens.spelling import did_you_mean

INVALID = "invalid_request_error"
_SHOWN = 60
_INSTANCE = re.compile(r"a valid dictionary or instance of \w+")


@dataclass(eq=False)
class Refusal(Exception):
    """A request that is not answered.

    Attributes:
        message: For people.
        status: Of HTTP.
        kind: OpenAI's `type`.
        param: Name of the parameter that is to blame.
        code: For programs.
        headers: Of the response.

    Examples:
        >>> Refusal("too long", code="context_length_exceeded").body()["error"]["code"]
        'context_length_exceeded'
    """

    message: str
    status: int = 400
    kind: str = INVALID
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.message)

    def body(self) -> dict[str, Any]:
        """What the response says."""
        told = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": told}


def unknown_model(asked: str, served: str) -> Refusal:
    """No such model is served."""
    return Refusal(
        f"The model {asked!r} does not exist here. This server has {served!r}.",
        status=404,
        param="model",
        code="model_not_found",
    )


def too_long(context: int, prompt: int, reply: int, param: str) -> Refusal:
    """Prompt and reply do not fit the context."""
    return Refusal(
        f"This model's maximum context length is {context} tokens. However, you requested {prompt + reply} tokens "
        f"({prompt} in the {param}, {reply} for the reply). Shorten the {param}, or ask for a shorter reply.",
        param=param,
        code="context_length_exceeded",
    )


def wrong_key() -> Refusal:
    """The key is missing or another."""
    return Refusal(
        "Incorrect API key provided: send the one the server was started with, as `Authorization: Bearer KEY`.",
        status=401,
        code="invalid_api_key",
        headers={"WWW-Authenticate": "Bearer"},
    )


def busy(waiting: int, seconds: int) -> Refusal:
    """Too many requests wait already."""
    return Refusal(
        f"{waiting} replies are waiting, which is as many as this server lets wait. Try again in {seconds} s.",
        status=429,
        kind="rate_limit_error",
        code="rate_limit_exceeded",
        headers={"Retry-After": str(seconds)},
    )


def leaving() -> Refusal:
    """The server is ending."""
    return Refusal(
        "The server is shutting down.",
        status=503,
        kind="server_error",
        code="shutting_down",
        headers={"Retry-After": "30"},
    )


def failed(what: str) -> Refusal:
    """Something broke that is not the caller's fault."""
    return Refusal(
        f"The reply could not be written: {what}.",
        status=500,
        kind="server_error",
        code="internal_error",
    )


def not_honoured(name: str, why: str) -> Refusal:
    """A parameter that would change the reply and cannot be kept."""
    return Refusal(
        f"The parameter {name!r} cannot be honoured: {why}.",
        param=name,
        code="unsupported_parameter",
    )


def unknown_parameter(name: str, known: Iterable[str]) -> Refusal:
    """A parameter that nobody knows."""
    hint = did_you_mean(name, known)
    return Refusal(
        f"Unrecognized request argument supplied: {_short(name)}."
        + (f" {_sentence(hint)}" if hint else ""),
        param=_short(name),
        code="unknown_parameter",
    )


def of_validation(error: ValidationError) -> Refusal:
    """What pydantic found, of the first thing that is wrong.

    Examples:
        >>> from pydantic import BaseModel
        >>> class Body(BaseModel):
        ...     n: int
        >>> try:
        ...     Body.model_validate({"n": "many"})
        ... except ValidationError as error:
        ...     of_validation(error).message
        "Invalid 'n': input should be a valid integer, unable to parse string as an integer."
    """
    found = error.errors(include_url=False, include_context=False)
    first = _likeliest(found)
    param = _place(first["loc"])
    if first["type"] == "missing":
        message = f"Missing required parameter: {param!r}."
        return Refusal(message, param=param, code="missing_required_parameter")
    if first["type"] == "extra_forbidden":
        return Refusal(
            f"Unrecognized request argument supplied: {param}.",
            param=param,
            code="unknown_parameter",
        )
    told = dict.fromkeys(_said(each) for each in found if _place(each["loc"]) == param)
    return Refusal(
        f"Invalid {repr(param) if param else 'request'}: {', or '.join(told)}.",
        param=param or None,
        code="invalid_type" if "type" in first["type"] else "invalid_value",
    )


def _said(error: Any) -> str:
    """What pydantic says, without its words for Python's types."""
    text = _INSTANCE.sub("an object", str(error["msg"]).removeprefix("Value error, "))
    return f"{text[:1].lower()}{text[1:]}".rstrip(".")


def _likeliest(errors: Sequence[Any]) -> Any:
    """Of the branches of a union, that which went deepest says most."""
    place = errors[0]["loc"][:1]
    return max(
        (each for each in errors if each["loc"][:1] == place), key=lambda each: len(each["loc"])
    )


def _place(loc: Sequence[int | str]) -> str:
    """As OpenAI writes places: `messages[0].content`; names of pydantic's branches are left out."""
    parts = [
        part
        for part in loc
        if isinstance(part, int) or (part.isidentifier() and part not in _BRANCHES)
    ]
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return _short(text.lstrip("."))


_BRANCHES = {"str", "int", "float", "bool", "dict", "list", "constrained", "list_constrained"}


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
