"""What an operator allows: how much at a time, how long, and what requests may choose of the plan.

Limits(rows=32, waiting=256, reply_tokens=2048)
Allowed(percentiles=(50.0, 90.0), layers=range(18, 27))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from persona_lens.errors import ServerError


class Limits(BaseModel):
    """Limits of a server.

    Attributes:
        rows: Replies that are written at a time.
        waiting: Replies that may wait for a place; more are told to come again.
        body_bytes: Of a request.
        messages: Of a request, or prompts.
        choices: Replies to one request.
        reply_tokens: Longest reply that may be asked for.
        default_tokens: Of a reply where the request does not say.
        buffered: Tokens that may wait for a client that reads slower than the model writes; then it is let go.
        grace: Seconds that running replies have when the server is told to end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(default=32, ge=1)
    waiting: int = Field(default=256, ge=0)
    body_bytes: int = Field(default=4 * 2**20, ge=1024)
    messages: int = Field(default=1000, ge=1)
    choices: int = Field(default=16, ge=1)
    reply_tokens: int = Field(default=4096, ge=1)
    default_tokens: int = Field(default=512, ge=1)
    buffered: int = Field(default=1024, ge=1)
    grace: float = Field(default=20.0, ge=0)


class Allowed(BaseModel):
    """What requests may choose.

    Attributes:
        percentiles: Lowest and highest of a cap; None for none but the default's.
        layers: Blocks that plans may be restricted to; None for none but the plan's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    percentiles: tuple[float, float] | None = None
    layers: tuple[int, ...] | None = None

    @field_validator("layers", mode="before")
    @classmethod
    def _as_tuple(cls, layers: Sequence[int] | None) -> Any:
        return None if layers is None else tuple(layers)

    @field_validator("percentiles")
    @classmethod
    def _check_order(cls, given: tuple[float, float] | None) -> tuple[float, float] | None:
        if given is not None and not 0 <= given[0] <= given[1] <= 100:
            raise ServerError(
                "these are no percentiles", expected="0 <= LOW <= HIGH <= 100", given=given
            )
        return given


def parse_percentiles(text: str | None) -> tuple[float, float] | None:
    """Percentiles as `--allow-percentiles` has them.

    Raises:
        ServerError: They are none.

    Examples:
        >>> parse_percentiles("50-90"), parse_percentiles("75"), parse_percentiles(None)
        ((50.0, 90.0), (75.0, 75.0), None)
    """
    if text is None:
        return None
    low, dash, high = text.partition("-")
    try:
        return float(low), float(high if dash else low)
    except ValueError:
        raise ServerError(
            "cannot read --allow-percentiles", expected="LOW-HIGH, such as 50-90", given=text
        ) from None
