"""What is asked of a chat server, and what comes of it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel


@dataclass(frozen=True)
class Call:
    """One question to a model. What is None is not sent, so that the server's default holds.

    Args:
        key: Given back with the answer, whatever the order of arrival.
        messages: Of the form `{"role": ..., "content": ...}`; none if there is a prompt.
        response_format: A pydantic model whose JSON schema the answer has to follow, or what the API takes
            under that name. Servers that refuse it are asked without it, so check the answer.
        logprobs: Number of alternatives to report per token; 0 reports the chosen token alone.
        prompt: Text that is continued as it stands, without the server's chat template. It goes to the server's
            text completions, which know neither `response_format` nor `logprobs` of this form.
        inputs: Texts whose embeddings are wanted, in place of an answer; neither messages nor a prompt then.

    Examples:
        >>> Call("q1", [{"role": "user", "content": "Why does the tide come in?"}], max_tokens=64).key
        'q1'
    """

    key: Hashable
    messages: Sequence[dict[str, Any]] = ()
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    response_format: type[BaseModel] | dict[str, Any] | None = None
    logprobs: int | None = None
    prompt: str | None = None
    inputs: Sequence[str] | None = None


@dataclass(frozen=True)
class Completion:
    """An answer.

    Args:
        text: What the model said; "" where it said nothing, as when it refuses.
        finish: "stop", "length", "content_filter", "refusal", or what else the server says; "unknown" where it
            says nothing.
        refusal: The model's own words where it refused in the API's way.
        prompt_tokens: None where the server does not count.
        completion_tokens: None where the server does not count.
        top_logprobs: Per token of the answer, {token: natural log of its probability}, the chosen token
            among them; None where the server gave none.
        model: As the server reports it.
        thinking: What the server gives as the model's reasoning, apart from the answer.
        tool_calls: How many tools the model wants called.
        token_ids: Of all that the model has written, its reasoning included; None where the server gives none.
        prompt_token_ids: Of the prompt as the server has rendered it; None where the server gives none.
        vectors: Embeddings, one for each of the call's `inputs` and in their order; None for any other call.
    """

    text: str
    finish: str
    refusal: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    top_logprobs: list[dict[str, float]] | None = None
    model: str | None = None
    thinking: str = ""
    tool_calls: int = 0
    token_ids: tuple[int, ...] | None = None
    prompt_token_ids: tuple[int, ...] | None = None
    vectors: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        """Refuse, as a TypeError, what a server sent in the place of text."""
        for name in ("text", "finish", "refusal"):
            value = getattr(self, name)
            if not (isinstance(value, str) or (value is None and name == "refusal")):
                raise TypeError(f"{name} is not text: {type(value).__name__}")


Reason = Literal["bad_request", "invalid_response", "empty", "gave_up"]


@dataclass(frozen=True)
class Failure:
    """A call without an answer.

    Args:
        reason: "bad_request" where the server refuses this very call, as when it is too long: asking again
            is useless. Else it ran out of attempts, and `reason` says how the last one went:
            "invalid_response" (not what a chat server sends), "empty" (no choices), "gave_up" (any other).
        detail: Short text for people.
        attempts: How often it was asked.
    """

    reason: Reason
    detail: str
    attempts: int


@dataclass(frozen=True)
class Retry:
    """A call that will be asked again, `delay` seconds from now."""

    call: Call
    attempt: int
    delay: float
    detail: str
