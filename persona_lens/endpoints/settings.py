"""Which server and model to ask, and how hard to try."""

from __future__ import annotations

import json
import os
import re
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from persona_lens.errors import EndpointError

_OPENAI = "https://api.openai.com/v1"
_LOOPBACK = re.compile(r"localhost|.+\.localhost|127\.\d+\.\d+\.\d+|::1|0\.0\.0\.0")


class EndpointSettings(BaseModel):
    """A model behind an OpenAI-compatible chat server.

    The API key stays in the environment: it is read when a call is made and never kept, shown or logged. A
    server on this machine needs none.

    Attributes:
        model: Name of the model, as the server knows it.
        base_url: Where the server is, such as "http://127.0.0.1:8000/v1". None: the environment variable
            OPENAI_BASE_URL, or else OpenAI.
        api_key_env: Name of the environment variable with the API key, not the key itself.
        concurrency: Most calls in flight at once.
        timeout: Seconds one attempt may take.
        max_attempts: Most attempts per call. An attempt that the server put off with `retry-after` does not
            count as long as other calls succeed.
        backoff: Seconds; the n-th retry of a call waits a random time of at most `backoff * 2**(n-1)`.
        longest_backoff: Seconds; where that growth ends.
        longest_pause: Seconds; a server that asks to wait for longer than this ends the work instead.
        give_up_after: Calls in a row that may run out of attempts before the server counts as down.
        extra_body: Further fields of every request, such as `{"top_k": 20}`; they win over those of a call.

    Examples:
        >>> settings = EndpointSettings(model="qwen3", base_url="http://127.0.0.1:8000/v1", concurrency=4)
        >>> settings.card()
        {'model': 'qwen3', 'host': '127.0.0.1', 'extra_body': {}}
    """

    # Inputs are hidden in errors because a key may be given where its variable's name belongs.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    model: str = Field(min_length=1)
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = Field(default=16, ge=1)
    timeout: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    max_attempts: int = Field(default=8, ge=1)
    backoff: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    longest_backoff: float = Field(default=60.0, ge=0, allow_inf_nan=False)
    longest_pause: float = Field(default=600.0, ge=0, allow_inf_nan=False)
    give_up_after: int = Field(default=8, ge=1)
    extra_body: dict[str, Any] = Field(default_factory=dict)

    @field_validator("api_key_env")
    @classmethod
    def _check_name(cls, name: str) -> str:
        # Keys have lowercase letters or hyphens, so none is taken for a name and shown later.
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            raise ValueError(
                "give the name of the environment variable that holds the API key, in capitals, "
                "such as OPENAI_API_KEY; not the key itself"
            )
        return name

    @field_validator("extra_body")
    @classmethod
    def _check_extra_body(cls, body: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(body, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"cannot be sent as JSON: {error}") from None
        return body

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, url: str | None) -> str | None:
        return url if url is None else _plain_url(url)

    def url(self) -> str:
        """Base URL of the server, without a slash at the end."""
        if self.base_url is not None:
            return self.base_url
        try:
            return _plain_url(os.environ.get("OPENAI_BASE_URL", "").strip() or _OPENAI)
        except ValueError as problem:
            raise EndpointError(f"OPENAI_BASE_URL cannot be used: {problem}") from None

    def host(self) -> str:
        """Name or address of the server's machine."""
        return urlsplit(self.url()).hostname or ""

    def is_local(self) -> bool:
        """Whether the server is on this machine."""
        return bool(_LOOPBACK.fullmatch(self.host()))

    def api_key(self) -> str:
        """The API key, from the environment.

        Raises:
            EndpointError: There is none and the server is not on this machine, or it cannot be a key.
        """
        key = os.environ.get(self.api_key_env, "").strip()
        if not key and not self.is_local():
            raise EndpointError(
                f"no API key for {self.host()}",
                expected=f"the key in the environment variable {self.api_key_env}",
                remedy=f"run `export {self.api_key_env}=...` (any value if the server wants no key) "
                "or name another variable in api_key_env",
            )
        # Checked here because an HTTP library would quote the key in its own complaint.
        if not re.fullmatch(r"[!-~]*", key):
            raise EndpointError(
                f"the environment variable {self.api_key_env} does not hold an API key",
                expected="printable ASCII characters without spaces",
                remedy="copy the key again",
            )
        return key or "none"

    def card(self) -> dict[str, Any]:
        """What decides the answers, for a record of how they came about."""
        return {"model": self.model, "host": self.host(), "extra_body": dict(self.extra_body)}


def _plain_url(url: str) -> str:
    """Refuse what could hold a secret, because addresses are shown in errors and logs."""
    if not re.fullmatch(r"[!-~]*", url):
        raise ValueError("the address has spaces, control characters or letters beyond ASCII in it")
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.scheme in ("http", "https")
        _ = parts.port
    except ValueError:
        has_host = False
        parts = urlsplit("")
    if not has_host:
        raise ValueError("expected an address such as http://127.0.0.1:8000/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "the address may hold neither a user name nor a password nor a query; "
            "put the API key into an environment variable and name it in api_key_env"
        )
    return url.rstrip("/").removesuffix("/chat/completions")
