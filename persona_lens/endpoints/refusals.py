"""An error as a server words it, in one shape: its codes, its message, the wait it names.

Providers nest the same few facts differently: under `error`, in a list, beside `base_resp`, or as another server's
answer quoted in `metadata`.

Examples:
    >>> refusal = read_refusal(404, {"error": {"code": "ModelNotFound", "message": "No model x."}}, {})
    >>> refusal.message, refusal.codes
    ('No model x.', frozenset({'modelnotfound'}))
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from persona_lens.endpoints.bodies import parsed
from persona_lens.endpoints.waits import told_wait

_TOO_MANY = 429
_BUSY = {_TOO_MANY, 503, 529}
_MESSAGES = (
    "message",
    "msg",
    "detail",
    "error",
    "error_msg",
    "status_msg",
    "error_description",
    "title",
)
_CODES = ("code", "type", "status", "reason", "error_code", "error_type", "status_code")
_NESTED = (
    *("error", "errors", "detail", "details", "message"),
    *("base_resp", "responsemetadata", "response", "metadata", "raw"),
)
_DEEPEST = 6
_LONGEST = 4000


@dataclass(frozen=True)
class Refusal:
    """What a server says where it does not answer.

    Args:
        status: Of HTTP.
        message: In the server's words, on one line.
        codes: All codes and types in it, in lower case, letters and digits alone.
        param: The field of the request that is at fault, where the server names one.
        quotas: Names of the quotas that are exceeded, where it lists them, as Gemini does.
        wait: Seconds it asks to wait.
    """

    status: int
    message: str = ""
    codes: frozenset[str] = frozenset()
    param: str = ""
    quotas: tuple[str, ...] = ()
    wait: float | None = None


def read_refusal(status: int, body: object, headers: Mapping[str, str]) -> Refusal:
    """The refusal in an answer.

    Args:
        status: Of HTTP.
        body: The answer's JSON, or its text where it is none.
        headers: Of the answer.
    """
    messages: list[str] = []
    codes: set[str] = set()
    found: dict[str, str] = {}
    quotas: list[str] = []
    told: dict[str, str] = {name.lower(): value for name, value in headers.items()}
    for fields in _levels(body):
        if isinstance(fields, str):
            messages.append(fields)
            continue
        messages += [fields[name] for name in _MESSAGES if isinstance(fields.get(name), str)]
        codes |= {_squashed(fields[name]) for name in _CODES if _is_code(fields.get(name))}
        for name in ("param", "retrydelay"):
            if isinstance(fields.get(name), str):
                found.setdefault(name, fields[name])
        if isinstance(violations := fields.get("violations"), list):
            each = [dict(entry) for entry in violations if isinstance(entry, Mapping)]
            quotas += [str(entry.get("quotaId") or entry.get("quotaMetric")) for entry in each]
        if isinstance(quoted := fields.get("headers"), Mapping):
            told |= {str(name).lower(): str(value) for name, value in quoted.items()}
    message = " ".join(" ".join(dict.fromkeys(messages)).split())[:_LONGEST]
    return Refusal(
        status=status,
        message=message,
        codes=frozenset(codes - {""}),
        param=found.get("param", ""),
        quotas=tuple(quotas),
        wait=told_wait(
            told,
            message if status in _BUSY else "",
            found.get("retrydelay"),
            limited=status == _TOO_MANY,
        ),
    )


def _levels(body: object, depth: int = 0) -> Iterator[Mapping[str, Any] | str]:
    """The mappings that an error is nested in, the inner ones first; or the text that it is."""
    if depth > _DEEPEST or not body:
        return
    if isinstance(body, list):
        for entry in body[:8]:
            yield from _levels(entry, depth + 1)
    elif isinstance(body, Mapping):
        fields = {str(name).lower(): value for name, value in body.items()}
        for name in _NESTED:
            value = fields.get(name)
            if name == "raw" and isinstance(value, str):
                value = parsed(value)  # another server's answer, quoted
                yield from _levels(value, depth + 1)
            elif isinstance(value, Mapping | list):
                yield from _levels(value, depth + 1)
        yield fields
    elif isinstance(body, str):
        yield body


def _is_code(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _squashed(code: str | int) -> str:
    """A code without the marks that one writer puts between its words and another does not."""
    return re.sub(r"[^0-9a-z]", "", str(code)[:200].lower())
