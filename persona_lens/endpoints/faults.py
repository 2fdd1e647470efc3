"""What a failed attempt means: ask again, leave this call, or stop altogether.

Details are told whole: whoever shows them hides the key in them before cutting them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from persona_lens.endpoints.calls import Reason
from persona_lens.endpoints.quotas import is_used_up
from persona_lens.endpoints.refusals import Refusal, read_refusal
from persona_lens.endpoints.settings import EndpointSettings
from persona_lens.endpoints.unknown_models import is_unknown_model
from persona_lens.errors import EndpointError

_TOO_MANY = 429
_PASSING = {408, 409, 425, _TOO_MANY}  # timed out, conflict, too early
_BAD_REQUEST, _UNAUTHORISED, _FORBIDDEN, _NOT_FOUND, _NO_METHOD = 400, 401, 403, 404, 405
_HOUR = 3600.0

_KEY_CODES = {"invalidapikey", "apikeyinvalid", "authenticationerror", "invalidauthenticationerror"}
_KEY_TEXT = re.compile(
    r"(?:invalid|incorrect|wrong|expired|revoked|disabled) api[ _-]?key|api[ _-]?key (?:is )?(?:not valid|invalid"
    r"|incorrect|expired|revoked|disabled|not found)|(?:密钥|令牌|key)\s*(?:无效|错误|已过期|不正确)"
    r"|无效的\s*(?:密钥|令牌|api)",
    re.IGNORECASE,
)
_MODERATION_TEXT = re.compile(r"\bflagged\b|\bmoderation\b", re.IGNORECASE)
_TOO_LONG_TEXT = re.compile(
    r"\bcontext\b|too long|too many tokens|maximum.*tokens|request too large",
    re.IGNORECASE | re.DOTALL,
)
# A limit of a minute that one request is larger than.
_NEVER_FITS_TEXT = re.compile(r"request too large", re.IGNORECASE)


@dataclass(frozen=True)
class Fault:
    """A failed attempt.

    Args:
        then: What to do: "retry" the call, "leave" it, or "stop" asking this server.
        detail: What happened, for people.
        reason: What to call it when a call runs out of attempts.
        wait: Seconds that the server asks everyone to wait, where it says so.
        put_off: Whether it was one request too many at that time.
        too_long: Whether the call is left because it is longer than the model can read.
        problem: For "stop": what is wrong.
        remedy: For "stop": what to do.
    """

    then: Literal["retry", "leave", "stop"]
    detail: str
    reason: Reason = "gave_up"
    wait: float | None = None
    put_off: bool = False
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
    refusal = read_refusal(status, body, headers)
    detail = f"status {status}" + (f": {refusal.message}" if refusal.message else "")
    # Where no other call would fare better.
    stop = _wrong_account(refusal, settings) or _wrong_address(refusal, settings)
    if stop is not None:
        problem, remedy = stop
        return Fault("stop", detail, problem=problem, remedy=remedy)
    never_fits = (
        status == _TOO_MANY and refusal.wait is None and _NEVER_FITS_TEXT.search(refusal.message)
    )
    if (status >= 500 or status in _PASSING) and not never_fits:
        return Fault("retry", detail, wait=refusal.wait, put_off=status == _TOO_MANY)
    too_long = bool(_TOO_LONG_TEXT.search(refusal.message))
    return Fault("leave", detail, "bad_request", too_long=too_long)


def error_in_place_of_answer(body: object, plain: Fault, settings: EndpointSettings) -> Fault:
    """What an answer means that is no completion, although its status says that all is well.

    Args:
        body: Its JSON, or its text where it is none.
        plain: What it means if it does not turn out to be an error.
        settings: Of the endpoint.

    Examples:
        >>> settings = EndpointSettings(model="m", base_url="http://127.0.0.1:8000/v1")
        >>> plain = Fault("retry", "not a completion", "invalid_response")
        >>> body = {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}
        >>> error_in_place_of_answer(body, plain, settings).problem
        'the quota at 127.0.0.1 is used up'
    """
    if not isinstance(body, Mapping) or body.get("choices"):
        return plain
    codes = read_refusal(_BAD_REQUEST, body, {}).codes
    status = next((int(code) for code in sorted(codes) if re.fullmatch(r"[45]\d\d", code)), None)
    fault = status_fault(status or _BAD_REQUEST, body, {}, settings)
    return fault if status or fault.then == "stop" else plain


def _wrong_account(refusal: Refusal, settings: EndpointSettings) -> tuple[str, str] | None:
    host, status = settings.host(), refusal.status
    if is_used_up(refusal):
        return (
            f"the quota at {host} is used up",
            "add credit or raise the limit of the account, or wait until it is renewed; then run the same again",
        )
    about_key = refusal.codes & _KEY_CODES or _KEY_TEXT.search(refusal.message)
    if status == _UNAUTHORISED or (400 <= status <= _FORBIDDEN and about_key):
        return (
            f"{host} does not accept the API key",
            f"check the environment variable {settings.api_key_env}",
        )
    return None


def _wrong_address(refusal: Refusal, settings: EndpointSettings) -> tuple[str, str] | None:
    host, status = settings.host(), refusal.status
    if is_unknown_model(refusal, settings.model):
        return (
            f"{host} has no model {settings.model!r}",
            f"see {settings.url()}/models for the names it knows",
        )
    if status == _FORBIDDEN and not _MODERATION_TEXT.search(refusal.message):
        return (
            f"{host} forbids what is asked",
            f"check what the key in {settings.api_key_env} is allowed to do",
        )
    if status < 400 or status in (_NOT_FOUND, _NO_METHOD):
        return (
            f"there are no chat completions at {settings.url()}",
            "check base_url: most servers want it to end in /v1",
        )
    if refusal.wait is not None and refusal.wait > settings.longest_pause:
        return _too_long_a_wait(refusal.wait, status, settings)
    return None


def _too_long_a_wait(wait: float, status: int, settings: EndpointSettings) -> tuple[str, str]:
    """A wait of hours is that for the next day's or month's quota, whatever it is called."""
    asks = f"asks to wait {wait:.0f} s"
    spent = status == _TOO_MANY and wait >= _HOUR
    host = settings.host()
    return (
        f"the quota at {host} is used up for now: it {asks}" if spent else f"{host} {asks}",
        "run the same again later, or allow longer waits than "
        f"longest_pause={settings.longest_pause:g}",
    )
