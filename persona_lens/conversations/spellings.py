"""How logs spell who speaks and what is said: role names, and the fields of a message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from persona_lens.conversations.report import Refused
from persona_lens.spelling import did_you_mean

Speaker = Literal["system", "user", "assistant", "tool"]

SPEAKERS: Mapping[str, Speaker] = {
    **dict.fromkeys(("system", "developer", "instruction", "system_prompt"), "system"),
    **dict.fromkeys(
        ("user", "human", "prompter", "customer", "client", "questioner", "visitor"), "user"
    ),
    **dict.fromkeys(
        (
            *("assistant", "gpt", "model", "bot", "ai", "chatgpt", "chatbot", "agent", "claude"),
            *("gemini", "bard", "bing", "llm", "output", "answerer"),
        ),
        "assistant",
    ),
    **dict.fromkeys(
        (
            *("tool", "function", "ipython", "observation", "tool_call", "tool_calls"),
            *("function_call", "function_response", "tool_response", "tool_result"),
            *("tool_use", "environment", "code_interpreter", "browser"),
        ),
        "tool",
    ),
}
"""Who is meant by a role name, in small letters."""

ROLE_FIELDS = ("role", "from", "sender", "author", "speaker")
TEXT_FIELDS = ("content", "value", "text", "message", "parts", "body")


def speaker_of(name: object) -> Speaker:
    """Who is meant by the name of a role.

    Raises:
        Refused: Nobody that is known.

    Examples:
        >>> speaker_of("Human"), speaker_of("gpt"), speaker_of("developer")
        ('user', 'assistant', 'system')
    """
    plain = name.strip().lower().replace("-", "_") if isinstance(name, str) else None
    if plain is not None and plain in SPEAKERS:
        return SPEAKERS[plain]
    meant = did_you_mean(name, SPEAKERS, cutoff=0.75)
    raise Refused(
        "unknown role",
        "the role is not known",
        expected="system, user or assistant, or a usual name for one of them",
        given=repr(name),
        remedy=f"{meant + ' ' if meant else ''}say who it is: roles={{{name!r}: 'user'}}"
        if isinstance(name, str)
        else "write who speaks as a text",
    )


def is_message(value: object) -> bool:
    """Whether it has a field for who speaks, and one for what is said.

    Examples:
        >>> is_message({"from": "human", "value": "Hi"}), is_message({"id": 3, "messages": []})
        (True, False)
    """
    return (
        isinstance(value, Mapping)
        and first_of(value, ROLE_FIELDS) is not None
        and (first_of(value, TEXT_FIELDS) is not None or bool(value.get("tool_calls")))
    )


def first_of(value: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """The first of these names that is a key."""
    return next((name for name in names if name in value), None)
