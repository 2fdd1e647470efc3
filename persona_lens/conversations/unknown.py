"""What to say of a record that is of no known format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from persona_lens.conversations.report import Refused
from persona_lens.conversations.spellings import is_message
from persona_lens.spelling import did_you_mean


def unknown(record: Any) -> Refused:
    """Why a record cannot be read, and what may have been meant."""
    if is_message(record):
        return Refused(
            "single message",
            "is a single message, and not a conversation",
            expected="a conversation",
            given=fields_of(record),
            remedy='put the messages of a conversation into one list: {"messages": [...]}, '
            "or give a table with a column that names the conversation",
        )
    wanted = ("messages", "conversations", "conversation", "chat_messages", "mapping", "request")
    fields = list(record) if isinstance(record, Mapping) else []
    field = next((name for name in wanted if name in fields), None)
    if field is not None:
        return Refused(
            "messages that are no list",
            f"the field {field} is no list of messages",
            expected="a list of messages, each with who speaks and what is said",
            given=f"{type(record[field]).__name__} {str(record[field])[:40]!r}",
            remedy='write them in square brackets: [{"role": "user", "content": ...}, ...]',
        )
    near = next((did_you_mean(key, wanted, cutoff=0.75) for key in fields), None)
    return Refused(
        "unknown format",
        "is no conversation of a known format",
        expected="fields such as messages, conversations or conversation",
        given=fields_of(record),
        remedy=near or "name the field that holds the messages: columns={'messages': ...}",
    )


def fields_of(record: Any) -> str:
    """What a record has, in a few words."""
    if isinstance(record, Mapping):
        return f"fields {', '.join(map(str, list(record)[:12]))}" if record else "no fields"
    return f"{type(record).__name__} {str(record)[:40]!r}"
