"""Bodies of requests: what is taken, and what is refused by its name because it could not be kept.

    body = read_body(raw, ChatBody)        # Refusal, in OpenAI's words, for anything that is wrong

Nothing is dropped without a word. A parameter that would change the reply and cannot be kept is refused, unless it
has the value that changes nothing (`logit_bias: {}`, `tools: []`); labels (`user`, `metadata`) are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json
from typing_extensions import Self

from persona_lens.server.refusals import (
    Refusal,
    not_honoured,
    of_validation,
    unknown_parameter,
)

AnyBody = TypeVar("AnyBody", bound="_Body")

MOST_STOPS = 16
MOST_TOP = 20
Text = Annotated[str, Field(max_length=10_000_000)]
Stop = Annotated[str, Field(min_length=1, max_length=500)]

_TOOLS = "tools are not called here"
_TEXT_ONLY = "this server reads and writes text alone"
_NOT_KEPT: Mapping[str, str] = {
    **dict.fromkeys(("tools", "tool_choice", "functions", "function_call"), _TOOLS),
    "web_search_options": "nothing is searched here",
    "response_format": "replies are free text; ask for the format in words",
    "logit_bias": "logits are not changed by hand here",
    **dict.fromkeys(("audio", "modalities"), _TEXT_ONLY),
    "prediction": "predicted outputs are not used here",
    **dict.fromkeys(
        ("reasoning_effort", "verbosity"), "the model has no such setting; say it in words"
    ),
    "service_tier": "there is one tier",
    "store": "nothing is stored here",
    "moderation": "nothing is moderated here",
    "best_of": "every reply is returned: ask for n",
    "suffix": "text is only written behind the prompt",
    "top_k": "sample with temperature and top_p",
    "min_p": "sample with temperature and top_p",
    "repetition_penalty": "sample with temperature and top_p",
    "chat_template_kwargs": "they are set when the server is started, by --template-var",
}
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    **dict.fromkeys(("tools", "functions"), ([],)),
    **dict.fromkeys(("tool_choice", "function_call"), ("none", "auto")),
    "response_format": ({"type": "text"},),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "best_of": (1,),
    "suffix": ("",),
    "top_k": (0, -1),
    "min_p": (0,),
    "repetition_penalty": (1,),
    "chat_template_kwargs": ({},),
}
"""Values of those above that change nothing."""

_LABELS = {
    *("user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
    "parallel_tool_calls",  # of no tools
}
"""Parameters that say something of the request and nothing of the reply."""


class PersonaBody(BaseModel):
    """What a request may choose of what persona lens does; `persona` in the body.

    Attributes:
        plan: `default`, `none`, or the name of one the server was started with.
        percentile: Of the cap, instead of the default's; where the operator allows it.
        layers: Blocks the plan is to act at, of those it could.
        projections: Whether those of single tokens are wanted.
        clean: Whether the finished conversation is to be read again with nothing acting.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    plan: Annotated[str, Field(max_length=200)] = "default"
    percentile: Annotated[float, Field(ge=0, le=100)] | None = None
    layers: Annotated[list[int], Field(min_length=1, max_length=1000)] | None = None
    projections: bool = False
    clean: bool = False


class TextPart(BaseModel):
    """A part of a message; only text is taken."""

    model_config = ConfigDict(strict=True, extra="ignore")

    type: str
    text: Text = ""

    @model_validator(mode="after")
    def _check_type(self) -> Self:
        if self.type != "text":
            raise ValueError(f"parts of type {self.type[:40]!r} cannot be read: {_TEXT_ONLY}")
        return self


class MessageBody(BaseModel):
    """One message of a chat."""

    model_config = ConfigDict(strict=True, extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | Annotated[list[TextPart], Field(max_length=1000)] | None = None
    reasoning_content: Text | None = None
    tool_calls: Any = None
    function_call: Any = None

    @model_validator(mode="after")
    def _check_text(self) -> Self:
        if self.role in ("tool", "function") or self.tool_calls or self.function_call:
            raise ValueError(_TOOLS)
        if self.content is None and self.role != "assistant":
            raise ValueError(f"a message of the {self.role} needs content")
        return self

    @property
    def text(self) -> str:
        """Its text; parts are joined by line breaks."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""

    def spoken(self) -> dict[str, str]:
        """As encoders take it; what OpenAI calls the developer is the system here."""
        role = "system" if self.role == "developer" else self.role
        thought = self.reasoning_content if self.role == "assistant" else None
        return {
            "role": role,
            "content": self.text,
            **({"reasoning_content": thought} if thought else {}),
        }


class StreamOptions(BaseModel):
    """How a stream is written."""

    model_config = ConfigDict(strict=True, extra="forbid")

    include_usage: bool = False
    include_obfuscation: bool = False


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    model: Annotated[str, Field(min_length=1, max_length=500)]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_token_ids: bool | None = None
    persona: PersonaBody | None = None

    @model_validator(mode="after")
    def _check_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options are only taken with stream: true")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end the reply."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage


class ChatBody(_Body):
    """Of `/v1/chat/completions`."""

    messages: Annotated[list[MessageBody], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP)] | None = None

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        both = self.max_tokens, self.max_completion_tokens
        if None not in both and both[0] != both[1]:
            raise ValueError("max_tokens and max_completion_tokens say different things")
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs are only taken with logprobs: true")
        return self

    @property
    def longest(self) -> int | None:
        """Tokens of a reply that are asked for."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def likeliest(self) -> int | None:
        """How many other tokens are wanted beside each that was drawn; None for no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None


Ids = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class CompletionBody(_Body):
    """Of `/v1/completions`."""

    prompt: (
        Text
        | Ids
        | Annotated[list[Text], Field(min_length=1)]
        | Annotated[list[Ids], Field(min_length=1)]
    )
    logprobs: Annotated[int, Field(ge=0, le=MOST_TOP)] | None = None
    echo: bool | None = None

    @model_validator(mode="after")
    def _check_echo(self) -> Self:
        if self.echo and self.logprobs is not None:
            raise ValueError("log-probabilities of the prompt are not given: echo without logprobs")
        return self

    @property
    def longest(self) -> int | None:
        """Tokens of a reply that are asked for."""
        return self.max_tokens

    @property
    def likeliest(self) -> int | None:
        """As of a chat."""
        return self.logprobs

    def prompts(self) -> list[str | list[int]]:
        """Each of the prompts."""
        given = self.prompt
        if isinstance(given, str) or isinstance(given[0], int):
            return [given]  # pyright: ignore[reportReturnType] - ids of one prompt
        return list(given)  # pyright: ignore[reportReturnType]


def read_body(raw: bytes, kind: type[AnyBody]) -> AnyBody:
    """A body that was sent.

    Raises:
        Refusal: It is no JSON object, or asks for what cannot be done.

    Examples:
        >>> read_body(b'{"model": "m", "prompt": "Hi", "stop": "."}', CompletionBody).stops
        ('.',)
        >>> read_body(b'{"model": "m", "prompt": "Hi", "logit_bias": {"5": 1}}', CompletionBody)
        Traceback (most recent call last):
            ...
        persona_lens.server.refusals.Refusal: The parameter 'logit_bias' cannot be honoured: ...
    """
    try:
        given = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(f"We could not parse the JSON body of your request: {error}.") from None
    if not isinstance(given, dict):
        raise Refusal("The body of your request is no JSON object.")
    _refuse_what_is_not_kept(given, kind)
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise of_validation(error) from None


def _refuse_what_is_not_kept(given: dict[str, Any], kind: type[_Body]) -> None:
    """Refuse parameters that would be dropped.

    Raises:
        Refusal: There is one.
    """
    known = kind.model_fields
    for name, value in given.items():
        if name in known or value is None or name in _LABELS:
            continue
        if name not in _NOT_KEPT:
            raise unknown_parameter(name, [*known, *_NOT_KEPT])
        neutral = _NEUTRAL.get(name, ())
        if not any(type(value) is type(each) and value == each for each in neutral) and not (
            isinstance(value, int | float) and not isinstance(value, bool) and value in neutral
        ):
            raise not_honoured(name, _NOT_KEPT[name])
