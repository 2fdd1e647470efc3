"""The messages of a log into those of a conversation: who speaks, what is said, in an order that can be read.

What is done about what is stated in `persona_lens.conversations.log`; what is cut or joined goes to the tally.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from persona_lens.conversations import hidden
from persona_lens.conversations.conversation import Message
from persona_lens.conversations.message_text import CALLS, THOUGHT_FIELDS, drop, text_of
from persona_lens.conversations.order import Said, check_sides, in_order, shortened
from persona_lens.conversations.report import Refused
from persona_lens.conversations.spellings import (
    ROLE_FIELDS,
    TEXT_FIELDS,
    Speaker,
    first_of,
    speaker_of,
)
from persona_lens.conversations.treatment import Tally, Treatment
from persona_lens.errors import ConversationError

_PLAIN_FIELDS = {*ROLE_FIELDS, *TEXT_FIELDS, *CALLS, *THOUGHT_FIELDS, "refusal", "type", "id"}
"""Fields of a message that are read, or say nothing."""


def cleaned(given: Any, treatment: Treatment, tally: Tally) -> tuple[Message, ...]:
    """The messages of one conversation.

    Args:
        given: A list of messages as logs have them.
        treatment: What is done about what.
        tally: Gets what was cut and noted.

    Raises:
        Refused: There are none, one cannot be read, or their order cannot be.
    """
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        raise Refused(
            "messages that are no list",
            "the messages are no list",
            expected="a list of messages, each with who speaks and what is said",
            given=f"{type(given).__name__} {str(given)[:40]!r}",
            remedy="write them in square brackets",
        )
    said: list[Said] = []
    left_out: set[str] = set()
    for index, message in enumerate(given):
        place = f"message {index}"
        try:
            found = _read(message, index, treatment, tally, left_out)
        except Refused as fault:
            raise fault.within(place) from None
        if found is not None:
            said.append(found)
    if left_out:
        names = ", ".join(sorted(left_out))
        tally.add("noted", f"further fields of messages ({names}), left out", "", names)
    check_sides(said, len(given))
    said = in_order(said, treatment, tally)
    if said[next((i for i, one in enumerate(said) if one.role != "system"), 0)].role == "assistant":
        tally.add("noted", "an assistant who speaks first", "", "begins with the assistant")
    if not any(one.role == "assistant" for one in said):
        tally.add("noted", "no reply yet", "", "has no message of the assistant")
    return tuple(Message(one.role, one.text) for one in said)  # pyright: ignore[reportArgumentType]


def kept(given: Sequence[Any], treatment: Treatment, tally: Tally) -> tuple[Message, ...]:
    """The messages of a conversation that was written or made here: as they are, blank ones and thoughts too.

    Only what is asked for is cut: hidden tags, and what follows the last reply that is wanted.

    Raises:
        Refused: One is no message, or has half a hidden tag.
    """
    said = []
    for index, message in enumerate(given):
        place = f"message {index}"
        try:
            fields = _fields(message)
            one = Message(fields.get("role"), fields.get("content"))  # pyright: ignore[reportArgumentType]
            text = one.content
            if treatment.hidden_tags:
                text = _without_hidden(text, one.role, treatment, tally, place)
        except ConversationError as problem:
            raise Refused(
                "message that is none",
                str(problem),
                place=place,
                remedy="the file was written by Persona Lens and changed since: write it again",
            ) from problem
        except Refused as fault:
            raise fault.within(place) from None
        said.append(Said(one.role, text, index))
    if not said:
        check_sides(said, 0)
    said = shortened(said, treatment, tally)
    return tuple(Message(one.role, one.text) for one in said)  # pyright: ignore[reportArgumentType]


def _read(
    message: Any, index: int, treatment: Treatment, tally: Tally, left_out: set[str]
) -> Said | None:
    """One message; None if nothing of it is left."""
    place = f"message {index}"
    fields = _fields(message)
    role_field = first_of(fields, ROLE_FIELDS)
    if role_field is None:
        raise Refused(
            "message without a role",
            "does not say who speaks",
            expected=f"one of {', '.join(ROLE_FIELDS)}",
            given=", ".join(map(str, fields)) or "an empty message",
            remedy='write {"role": "user", "content": ...}',
        )
    role = _role(fields[role_field], treatment)
    if role == "tool":
        drop(
            "tool", f"a message of a tool ({_name(fields[role_field])!r})", treatment, tally, place
        )
        return None
    calls = [name for name in CALLS if fields.get(name)]
    for name in calls:
        drop("tool", f"a call of a tool ({name})", treatment, tally, place)
    text, thoughts = _content(fields, bool(calls), treatment, tally, place)
    left_out |= {
        str(name)
        for name, value in fields.items()
        if name not in _PLAIN_FIELDS and value not in (None, "", [], {})
    }
    text = _without_hidden(text, role, treatment, tally, place)
    if role == "assistant":
        text, was_thought = _without_thoughts(text, thoughts, treatment, tally, place)
        if was_thought and not text.strip():
            tally.add("cut", "thought without an answer", place, "is a thought alone")
            return None
    if not text.strip():
        if not calls:
            tally.add("cut", "blank message", place, "is blank")
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused(
            "half a character",
            "has half a character",
            expected="valid Unicode",
            given=f"a lone surrogate at character {error.start}",
            remedy="a text was cut within an emoji: take that half out",
        ) from None
    return Said(role, text, index)


def _fields(message: Any) -> dict[Any, Any]:
    """A message by its fields."""
    match message:
        case Message():
            return dict(message.as_dict())
        case Mapping():
            # The Responses API and Claude's exports put another layer around a message.
            inner = message.get("message")
            if isinstance(inner, Mapping) and first_of(message, ROLE_FIELDS) is None:
                return dict(inner)
            return dict(message)
        case [str() as role, content] if not isinstance(message, str):
            return {"role": role, "content": content}
    raise Refused(
        "message that is none",
        "is no message",
        expected="who speaks and what is said, by name",
        given=f"{type(message).__name__} {str(message)[:40]!r}",
        remedy='write {"role": "user", "content": ...}',
    )


def _role(given: Any, treatment: Treatment) -> Speaker:
    name = _name(given)
    if isinstance(name, str) and name in treatment.roles:
        return treatment.roles[name]  # pyright: ignore[reportReturnType] - it was checked
    return speaker_of(name)


def _name(given: Any) -> Any:
    """The name of a role; ChatGPT's exports have it within an author."""
    return given.get("role") if isinstance(given, Mapping) else given


def _content(
    fields: Mapping[Any, Any], has_calls: bool, treatment: Treatment, tally: Tally, place: str
) -> tuple[str, list[str]]:
    """The text of a message and the thoughts that stand beside it."""
    text_field = first_of(fields, [name for name in TEXT_FIELDS if fields.get(name) is not None])
    thoughts = [
        thought
        for name in THOUGHT_FIELDS
        for thought in _thoughts(fields.get(name))
    ]  # fmt: skip
    if text_field is not None:
        text, within = text_of(fields[text_field], treatment, tally, place)
        return text, [*thoughts, *within]
    if isinstance(fields.get("refusal"), str):
        tally.add("noted", "a refusal of the assistant", place, "is read from the field refusal")
        return fields["refusal"], thoughts
    if has_calls or thoughts:
        return "", thoughts
    if first_of(fields, TEXT_FIELDS) is None:
        raise Refused(
            "message without a text",
            "does not say what is said",
            expected=f"one of {', '.join(TEXT_FIELDS)}",
            given=", ".join(map(str, fields)),
            remedy='write {"role": "user", "content": ...}',
        )
    return text_of(None, treatment, tally, place)


def _thoughts(given: Any) -> list[str]:
    """Thoughts in a field of their own: a text, or a list of parts with texts."""
    if isinstance(given, str):
        return [given] if given.strip() else []
    if isinstance(given, Mapping):
        given = [given]
    if not isinstance(given, list | tuple):
        return []
    texts = [
        part.get("text") or part.get("summary") or "" for part in given if isinstance(part, Mapping)
    ]
    text = "\n".join(text for text in texts if isinstance(text, str))
    return [text] if text.strip() else []


def _without_hidden(
    text: str, role: Speaker, treatment: Treatment, tally: Tally, place: str
) -> str:
    text, count = hidden.without_tags(text, treatment.hidden_tags)
    if count:
        tally.add("cut", "hidden tag", place, "tags and what they hold were taken out", count=count)
    if role == "user":
        for name in sorted(hidden.suspects(text)):
            tally.add(
                "noted",
                f"tags <{name}> in what the user says",
                place,
                f"holds <{name}>",
                remedy=f"hidden_tags=[{name!r}] takes them out, if users did not see them",
            )
    return text


def _without_thoughts(
    text: str, thoughts: list[str], treatment: Treatment, tally: Tally, place: str
) -> tuple[str, bool]:
    """The reply as wanted, and whether thoughts were taken out of it."""
    if treatment.thoughts == "keep":
        blocks = [f"<think>\n{thought}\n</think>\n\n" for thought in thoughts if thought.strip()]
        return "".join((*blocks, text)), False
    text, count = hidden.without_thought(text)
    count += len(thoughts)
    if count:
        tally.add(
            "cut",
            "thought",
            place,
            "what was thought before the answer was taken out",
            remedy="thoughts='keep' keeps them",
            count=count,
        )
    return text, bool(count)
