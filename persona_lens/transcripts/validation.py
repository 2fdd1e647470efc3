"""Refuse malformed conversations before a template sees them, with the index that is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from persona_lens.errors import TranscriptError

_FIELDS = {"role", "content", "reasoning_content"}


def validate(messages: Sequence[Mapping[str, str]]) -> None:
    """Check roles, their order and the type of every field.

    Raises:
        TranscriptError: No messages, an unknown role, a system message that is not the first, a
            field that is not text, or a field that could not be traced to tokens.

    Examples:
        >>> validate([{"role": "user", "content": "Hi"}])
        >>> validate([{"role": "human", "content": "Hi"}])
        Traceback (most recent call last):
            ...
        persona_lens.errors.TranscriptError: message 0 has no known role
          expected 'system', 'user' or 'assistant', given "{'role': 'human', 'content': 'Hi'}"
    """
    if isinstance(messages, (str, Mapping)) or not len(messages):
        raise TranscriptError(
            "there are no messages",
            expected="a list of mappings with 'role' and 'content'",
            given=messages,
        )
    for index, message in enumerate(messages):
        role = message.get("role") if isinstance(message, Mapping) else None
        if role not in ("system", "user", "assistant"):
            raise TranscriptError(
                f"message {index} has no known role",
                expected="'system', 'user' or 'assistant'",
                given=short(str(message)),
            )
        if role == "system" and index:
            raise TranscriptError(
                f"message {index} is a system message",
                expected="at most one system message, the first",
                given=f"roles {[m['role'] for m in messages[: index + 1]]}",
            )
        extra = set(message) - _FIELDS
        if extra or (role != "assistant" and "reasoning_content" in message):
            raise TranscriptError(
                f"message {index} has fields that cannot be traced to tokens",
                expected="'role', 'content', and for assistants 'reasoning_content'",
                given=sorted(message),
                remedy="remove the other fields",
            )
        for field in set(message) - {"role"} | {"content"}:
            _validate_text(message.get(field), f"{field} of message {index}")


def _validate_text(text: object, name: str) -> None:
    if not isinstance(text, str):
        raise TranscriptError(
            f"the {name} is not text",
            expected="a string",
            given=type(text).__name__,
            remedy="join the parts of a multi-part message first",
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TranscriptError(
            f"the {name} is not valid Unicode", given=error, remedy="remove lone surrogates"
        ) from error


def short(text: str, limit: int = 80) -> str:
    """Quote a text for an error message, the middle left out if it is long.

    Examples:
        >>> short("Boo " * 99, limit=8)
        "'Boo  ... Boo '"
    """
    return repr(text if len(text) <= limit else f"{text[: limit // 2]} ... {text[-limit // 2 :]}")
