"""What Inspect sends (messages of parts, tools, settings) as this package takes it; the rest is refused in words.

Nothing is dropped without a word: a setting that would change what is sampled and cannot be kept is refused, one
that only advises is warned of, those that Inspect itself keeps are left to it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inspect_ai.model import ChatMessage, ChatMessageAssistant, GenerateConfig
from inspect_ai.tool import ToolInfo

from persona_lens.errors import EvaluationError, PersonaLensWarning
from persona_lens.rollouts.sampling import Sampling

DEFAULT_TOKENS = 512
"""Tokens of a reply where neither the task nor the command line says how many."""

_KEPT = {
    *("max_tokens", "temperature", "top_p", "seed", "stop_seqs", "num_choices", "logprobs"),
    *("top_logprobs",),  # none of them, that is
}
_INSPECTS_OWN = {
    *("max_retries", "timeout", "attempt_timeout", "stream_idle_timeout", "max_connections"),
    *("adaptive_connections", "system_message", "cache", "cache_prompt", "fail_on_refusal"),
    *("reasoning_history", "batch", "max_tool_output", "parallel_tool_calls", "internal_tools"),
}
_ADVICE = {
    *("verbosity", "effort", "reasoning_effort", "reasoning_mode", "reasoning_tokens"),
    *("reasoning_summary", "fallback_models", "extra_headers"),
}
_REMEDIES = {
    "top_k": "sample with temperature and top_p",
    "top_logprobs": "logprobs=True gives those of the sampled tokens",
}


@dataclass(frozen=True)
class Wanted:
    """How a request is to be answered.

    Attributes:
        sampling: Of each reply.
        choices: Replies.
        stops: A reply ends before the first of these texts.
        log_probs: Whether those of the sampled tokens are wanted.
        seeded: Whether the request names a seed, and so has to be answered by itself where it is sampled.
    """

    sampling: Sampling
    choices: int = 1
    stops: tuple[str, ...] = ()
    log_probs: bool = False
    seeded: bool = False


def wanted(config: GenerateConfig, epoch: int = 1) -> Wanted:
    """What Inspect's settings ask for.

    Where neither temperature nor top-p is set, both are those of `Sampling`; where one is, the other does nothing
    (is 1). A seed is another in each epoch, so that epochs differ, and the first has the one that was given.

    Raises:
        EvaluationError: A setting that cannot be kept.

    Examples:
        >>> wanted(GenerateConfig(temperature=0.5, seed=3)).sampling
        Sampling(temperature=0.5, top_p=1.0, max_new_tokens=512, seed=3)
        >>> wanted(GenerateConfig(top_k=40))
        Traceback (most recent call last):
            ...
        persona_lens.errors.EvaluationError: the setting top_k cannot be kept
          given 40
          sample with temperature and top_p
    """
    given = {name: value for name, value in config if value is not None}
    _check_known(given)
    settings: dict[str, Any] = {"max_new_tokens": given.get("max_tokens", DEFAULT_TOKENS)}
    if "temperature" in given or "top_p" in given:
        settings["temperature"] = given.get("temperature", 1.0)
        settings["top_p"] = given.get("top_p", 1.0)
    seeded = "seed" in given
    if seeded:
        settings["seed"] = (int(given["seed"]) + (epoch - 1) * _EPOCHS_APART) % 2**63
    try:
        sampling = Sampling(**settings)
        choices = int(given.get("num_choices", 1))
        if choices < 1:
            raise ValueError("num_choices is at least 1")
    except ValueError as error:
        raise EvaluationError(
            "nothing can be sampled with these settings",
            expected="temperature 0 to 100, 0 < top_p <= 1, max_tokens and num_choices at least 1",
            given=", ".join(f"{name} {value}" for name, value in given.items() if name in _KEPT),
        ) from error
    return Wanted(
        sampling,
        choices,
        tuple(text for text in given.get("stop_seqs", ()) if text),
        bool(given.get("logprobs")),
        seeded,
    )


_EPOCHS_APART = 1_000_003  # seeds that people give to neighbouring runs stay apart


def _check_known(given: dict[str, Any]) -> None:
    """Warn of what only advises, and refuse what would change the replies.

    Raises:
        EvaluationError: One of those.
    """
    neutral = {"top_logprobs": 0, "frequency_penalty": 0, "presence_penalty": 0, "best_of": 1}
    for name, value in given.items():
        if name in _INSPECTS_OWN or value == neutral.get(name) or value in ({}, []):
            continue
        if name in _ADVICE:
            warnings.warn(
                f"the setting {name} ({value}) has no effect on a model that runs here",
                PersonaLensWarning,
                stacklevel=2,
            )
        elif name not in _KEPT or name == "top_logprobs":
            raise EvaluationError(
                f"the setting {name} cannot be kept",
                given=value,
                remedy=_REMEDIES.get(name, "leave it out"),
            )


def spoken(messages: Sequence[ChatMessage], tools: Sequence[ToolInfo] = ()) -> list[dict[str, str]]:
    """The messages as encoders take them.

    Parts of text are joined by line breaks, as Inspect does; an assistant's reasoning is its thought.

    Raises:
        EvaluationError: Tools, anything but text, or the user does not speak last.

    Examples:
        >>> from inspect_ai.model import ChatMessageUser, ContentText
        >>> spoken([ChatMessageUser(content=[ContentText(text="Who"), ContentText(text="are you?")])])
        [{'role': 'user', 'content': 'Who\\nare you?'}]
    """
    if tools:
        raise EvaluationError(
            "tools are not called through a model that runs here",
            expected="a task without tools",
            given=", ".join(tool.name for tool in tools[:5]),
            remedy="take a task that needs none, or leave out its use_tools(...) solver",
        )
    told = [_message(number, message) for number, message in enumerate(messages)]
    if not told or told[-1]["role"] != "user":
        raise EvaluationError(
            "the model has nothing to answer",
            expected="a last message of the user",
            given=f"one of the {told[-1]['role']}" if told else "no messages",
            remedy="put what the reply should begin with into the user's message",
        )
    return told


def _message(number: int, message: ChatMessage) -> dict[str, str]:
    if message.role == "tool" or getattr(message, "tool_calls", None):
        raise EvaluationError(
            f"message {number} belongs to a call of a tool",
            expected="messages of system, user and assistant, in text",
            given=f"one of role {message.role}",
            remedy="take a task that calls no tools",
        )
    texts, thoughts = [], []
    for part in message.content_list:
        if part.type == "text":
            texts.append(part.text)
        elif part.type == "reasoning" and isinstance(message, ChatMessageAssistant):
            thoughts.append(part.reasoning)
        else:
            raise EvaluationError(
                f"message {number} has a part that is no text",
                expected="text",
                given=part.type,
                remedy="take a task in text alone, or a model provider that reads more",
            )
    told = {"role": message.role, "content": "\n".join(texts)}
    if any(thoughts):
        told["reasoning_content"] = "\n".join(thoughts)
    return told
