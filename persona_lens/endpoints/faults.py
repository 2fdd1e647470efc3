"""What a failed attempt means: ask again, leave this call, or stop altogether."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from persona_lens.endpoints.calls import Reason
from persona_lens.endpoints.pace import told_wait
from persona_lens.endpoints.settings import EndpointSettings
from persona_lens.errors import EndpointError

_DETAIL_LENGTH = 300
_PASSING = {408, 409, 425, 429}  # timed out, conflict, too early, too many requests
_PAYMENT, _UNAUTHORISED, _FORBIDDEN, _NOT_FOUND, _NO_METHOD = 402, 401, 403, 404, 405

_QUOTA_CODES = {
    "insufficient_quota",
    "insufficient_credits",
    "billing_hard_limit_reached",
    "billing_not_active",
}
# Not just "billing": OpenAI's texts about ordinary rate limits speak of it too.
_QUOTA_TEXT = re.compile(
    r"exceeded your current quota|billing hard limit|insufficient (balance|credit|funds)"
    r"|credit balance is too low",
    re.IGNORECASE,
)
_NO_MODEL_TEXT = re.compile(r"\bmodels?\b.*(not (exist|found)|no access|unknown)", re.IGNORECASE)
_MODERATION_TEXT = re.compile(r"\bflagged\b|\bmoderation\b", re.IGNORECASE)
_TOO_LONG_TEXT = re.compile(
    r"\bcontext\b|too long|too many tokens|maximum.*tokens", re.IGNORECASE | re.DOTALL
)


@dataclass(frozen=True)
class Fault:
    """A failed attempt.

    Args:
        then: What to do: "retry" the call, "leave" it, or "stop" asking this server.
        detail: What happened, for people.
        reason: What to call it when a call runs out of attempts.
        wait: Seconds that the server asks everyone to wait, where it says so.
        too_long: Whether the call is left because it is longer than the model can read.
        problem: For "stop": what is wrong.
        remedy: For "stop": what to do.
    """

    then: Literal["retry", "leave", "stop"]
    detail: str
    reason: Reason = "gave_up"
    wait: float | None = None
    too_long: bool = False
    problem: str = ""
    remedy: str = ""

    def error(self) -> EndpointError:
        """The error of a fault that stops everything."""
        return EndpointError(self.problem, given=self.detail, remedy=self.remedy)


def status_fault(
    status: int, body: object, headers: Mapping[str, str], settings: EndpointSettings
) -> Fault:
    """What an HTTP status other than success means.

    Args:
        status: The status.
        body: The answer's JSON, or its text where it is none.
        headers: Of the answer.
        settings: Of the endpoint, for the advice.

    Examples:
        >>> settings = EndpointSettings(model="m", base_url="http://127.0.0.1:8000/v1")
        >>> status_fault(503, "busy", {"retry-after": "3"}, settings).wait
        3.0
        >>> status_fault(400, {"error": {"message": "too long"}}, {}, settings).then
        'leave'
        >>> raise status_fault(404, {"message": "The model `m` does not exist."}, {}, settings).error()
        Traceback (most recent call last):
            ...
        persona_lens.errors.EndpointError: 127.0.0.1 has no model 'm'
          given status 404: The model `m` does not exist.
          see http://127.0.0.1:8000/v1/models for the names it knows
    """
    message, codes = _error_fields(body)
    detail = f"status {status}" + (f": {message}" if message else "")
    if len(detail) > _DETAIL_LENGTH:
        detail = detail[:_DETAIL_LENGTH] + "..."
    wait = told_wait(headers)
    stop = _why_stop(status, message, codes, wait, settings)
    if stop is not None:
        problem, remedy = stop
        return Fault("stop", detail, problem=problem, remedy=remedy)
    if status >= 500 or status in _PASSING:
        return Fault("retry", detail, wait=wait)
    return Fault("leave", detail, "bad_request", too_long=bool(_TOO_LONG_TEXT.search(message)))


def _why_stop(
    status: int, message: str, codes: set[str], wait: float | None, settings: EndpointSettings
) -> tuple[str, str] | None:
    """What is wrong and what to do, where no other call would fare better."""
    host = settings.host()
    # A server that says when to come back means a rate, even if it calls it a quota.
    quota = codes & _QUOTA_CODES or (_QUOTA_TEXT.search(message) and wait is None)
    if quota or status == _PAYMENT:
        return (
            f"the quota at {host} is used up",
            "add credit or raise the limit of the account, then run the same again",
        )
    if status == _UNAUTHORISED:
        return (
            f"{host} does not accept the API key",
            f"check the environment variable {settings.api_key_env}",
        )
    if "model_not_found" in codes or (status == _NOT_FOUND and _NO_MODEL_TEXT.search(message)):
        return (
            f"{host} has no model {settings.model!r}",
            f"see {settings.url()}/models for the names it knows",
        )
    if status == _FORBIDDEN and not _MODERATION_TEXT.search(message):
        return (
            f"{host} forbids what is asked",
            f"check what the key in {settings.api_key_env} is allowed to do",
        )
    if status < 400 or status in (_NOT_FOUND, _NO_METHOD):
        return (
            f"there are no chat completions at {settings.url()}",
            "check base_url: most servers want it to end in /v1",
        )
    return None


def _error_fields(body: object) -> tuple[str, set[str]]:
    """The message and the codes in the shapes that OpenAI, vLLM, llama.cpp, FastAPI and Gemini use."""
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping | str):
        body = body["error"]
    if isinstance(body, Mapping):
        fields: Mapping[Any, Any] = body
        message = fields.get("message") or fields.get("detail") or ""
        codes = {str(fields[name]) for name in ("code", "type") if fields.get(name)}
        return " ".join(str(message).split()), codes
    return " ".join(str(body or "").split()), set()
