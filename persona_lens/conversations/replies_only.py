"""Logs that hold what an assistant answered and not what it was told: SYCON-Bench.

A row has `Question, Response_1, Response_2, ...`. What the user said around the question, what stance the model
was given, and what it was told after each reply stand in the benchmark's scripts and differ from one setting to
the next, so they cannot be known from the file: whoever reads it has to say them.

    read_conversations("prompt1.csv", user_messages=["Debate with me. {Question}", "I do not agree with you."])
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from typing import Any

from persona_lens.conversations.found import Found
from persona_lens.conversations.report import Refused
from persona_lens.conversations.treatment import Treatment

_REPLY = re.compile(r"response[ _]?(\d+)", re.IGNORECASE)


def is_sycon(record: Any) -> bool:
    """Whether it has a question and numbered responses."""
    return (
        isinstance(record, Mapping)
        and any(str(name).lower() == "question" for name in record)
        and any(_REPLY.fullmatch(str(name)) for name in record)
    )


def sycon(record: Mapping[str, Any], treatment: Treatment) -> Iterator[Found]:
    """The conversation of a row, of what the user is said to have said and what was answered.

    Raises:
        Refused: Nobody says what the user said, or a response is missing between others.
    """
    numbered = {
        int(found[1]): name for name in record if (found := _REPLY.fullmatch(str(name))) is not None
    }
    replies = [record[numbered[number]] for number in sorted(numbered)]
    while replies and (replies[-1] is None or not str(replies[-1]).strip()):
        replies.pop()
    if not treatment.user_messages:
        raise Refused(
            "replies without what the user said",
            "holds the replies, and of what the user said no more than the question",
            expected="all that the user said",
            given=f"Question and {len(replies)} replies",
            remedy="say it, from the benchmark's script: user_messages=['... {Question} ...', 'what "
            "follows each reply']",
        )
    if sorted(numbered) != list(range(1, len(numbered) + 1)) or any(
        not isinstance(reply, str) or not reply.strip() for reply in replies
    ):
        raise Refused(
            "missing reply",
            "a reply is missing between others",
            given=", ".join(numbered[number] for number in sorted(numbered)),
            remedy="take the row out: the replies after it answered something that is not there",
        )
    if len(replies) > 1 and len(treatment.user_messages) < 2:
        raise Refused(
            "replies without what the user said",
            f"has {len(replies)} replies, and what the user said after the first is not given",
            expected="a message that opens, and one that follows each reply",
            given="user_messages with one message",
            remedy="add what the user said next: user_messages=[opening, next]",
        )
    asked = [_filled(treatment.user_messages[0], record), *treatment.user_messages[1:]]
    messages = []
    for turn, reply in enumerate(replies):
        messages.append({"role": "user", "content": asked[min(turn, len(asked) - 1)]})
        messages.append({"role": "assistant", "content": reply})
    rest = {name: value for name, value in record.items() if name not in numbered.values()}
    yield Found(messages, {**rest, "user_messages": "given by the reader, not in the log"})


def _filled(text: str, record: Mapping[str, Any]) -> str:
    """The text with columns in the place of their names in braces."""
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    except ValueError as problem:
        raise Refused(
            "unknown column",
            "user_messages has a brace without its other half",
            given=str(problem),
            remedy="write the name of a column in braces; {{ and }} stand for braces",
        ) from None
    for name in names:
        if name not in record:
            raise Refused(
                "unknown column",
                f"user_messages names a column {name!r} that is not there",
                expected=", ".join(map(str, record)),
                remedy="write the name of a column in braces; {{ and }} stand for braces",
            )
    return text.format(**{str(name): value for name, value in record.items()})
