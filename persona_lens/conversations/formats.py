"""What a record of a log is: which of the known formats, where its messages are, and what else it says.

A record is a line, an item of a list, a row or a file. Formats are told by their fields; `format=` names one.

    openai        messages: [{role, content}]; also in logged calls: request or input, response or output
    sharegpt      conversations: [{from, value}]
    paper         conversation: [{role, content}], with model, domain, persona, ... (of the Assistant Axis)
    inspect       a log of Inspect: samples, each with messages; or one sample
    neuronpedia   defaultConversation and steeredConversation: two conversations
    chatgpt       an export of ChatGPT: mapping, a tree, of which the branch last shown is read
    claude        an export of Claude: chat_messages
    gemini        contents: [{role, parts}]
    sycon         a row of SYCON-Bench: Question, Response_1, ...
    persona-lens  what `write_conversations` writes
    messages      a list of messages alone

A list of these within a line or an item, or as the `conversations`, `data`, `chats`, ... of an object, is read as
that list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from persona_lens.conversations import calls, exports, replies_only
from persona_lens.conversations.conversation import MARK, Message
from persona_lens.conversations.found import Found, holds_list, listed
from persona_lens.conversations.report import Refused, joined
from persona_lens.conversations.spellings import is_message
from persona_lens.conversations.treatment import Treatment
from persona_lens.conversations.unknown import fields_of, unknown

_GROUPS = (
    "conversation_id",
    "conversation_hash",
    "message_tree_id",
    "chat_id",
    "thread_id",
    "session_id",
)
_WRAPPERS = ("conversations", "data", "chats", "dialogues", "items", "rows", "records", "logs")

ID_FIELDS = (
    *("id", "conversation_id", "conversation_hash", "chat_id", "thread_id", "session_id"),
    *("custom_id", "uuid", "sample_id", "prompt_id", "question_id"),
)


@dataclass(frozen=True)
class Format:
    """One way to write conversations down.

    Attributes:
        name: Its name.
        fits: Whether a record is of it, by its fields.
        read: The conversations in such a record.
    """

    name: str
    fits: Callable[[Any], bool]
    read: Callable[[Any, Treatment], Iterator[Found]]


@dataclass(frozen=True)
class Columns:
    """Names of the fields that hold what is read, where they are unusual.

    Attributes:
        messages: The list of messages.
        id: The name of a conversation.
    """

    messages: str | None = None
    id: str | None = None


def _one(fields: str) -> Callable[[Any, Treatment], Iterator[Found]]:
    """A reader of records whose messages stand in one field."""

    def read(record: Mapping[str, Any], treatment: Treatment) -> Iterator[Found]:
        rest = dict(record)
        messages = calls.with_system(listed(rest.pop(fields)), rest)
        if "turns" in rest and fields == "conversation":
            # The paper's files count messages in some places and replies in others.
            rest["stated_turns"] = rest.pop("turns")
        yield Found(messages, rest)

    return read


def _has_list(name: str) -> Callable[[Any], bool]:
    return lambda record: isinstance(record, Mapping) and holds_list(record.get(name))


def _samples(record: Mapping[str, Any], treatment: Treatment) -> Iterator[Found]:
    """The samples of a log of Inspect."""
    head = exports.inspect_head(record)
    samples = record.get("samples")
    if not samples:
        raise Refused(
            "log without samples",
            "this log of Inspect has no samples",
            given=f"status {record.get('status')!r}",
            remedy="it may be the header alone: give the .eval file, or run with log_samples",
        )
    for index, sample in enumerate(samples):
        place = f"sample [{index}]"
        try:
            yield from (found.at(place) for found in exports.inspect_sample(sample, head))
        except Refused as fault:  # the other samples are read
            yield Found(fault, {}, place=place)


def _own(record: Mapping[str, Any], treatment: Treatment) -> Iterator[Found]:
    rest = dict(record)
    version = rest.pop(MARK)
    if version != 1:
        raise Refused(
            "another version",
            "was written by another version of Persona Lens",
            expected=f"{MARK} 1",
            given=version,
            remedy="upgrade persona-lens",
        )
    yield Found(rest.pop("messages"), rest, verbatim=True)


def _bare(record: Any, treatment: Treatment) -> Iterator[Found]:
    """A list of messages, unless it is all messages of several conversations."""
    rows = [one for one in record if isinstance(one, Mapping)]
    if any(row.get("parent_id") is not None for row in rows):
        raise Refused(
            "tree of messages",
            "is a list of messages that answer one another as a tree",
            expected="one conversation",
            given="messages with a parent_id",
            remedy="follow the parents of each last message, and give a list for each: [[...], ...]",
        )
    for name in _GROUPS:
        if len({str(row[name]) for row in rows if row.get(name) is not None}) > 1:
            raise Refused(
                "messages of several conversations",
                "is a list of messages of several conversations",
                expected="one conversation, or a table with one message a row",
                given=f"messages that differ in {name}",
                remedy="give it as a table: pandas.DataFrame(messages)",
            )
    yield Found(record, {})


def _is_list_of_messages(record: Any) -> bool:
    return isinstance(record, list | tuple) and bool(record) and is_message(_plain_first(record))


def _plain_first(record: Sequence[Any]) -> Any:
    first = record[0]
    if (
        isinstance(first, list | tuple)
        and len(first) == 2
        and all(isinstance(x, str) for x in first)
    ):
        return {"role": first[0], "content": first[1]}
    return first.as_dict() if isinstance(first, Message) else first


FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format(
            "persona-lens", lambda r: isinstance(r, Mapping) and MARK in r and "messages" in r, _own
        ),
        Format("neuronpedia", exports.is_neuronpedia, exports.neuronpedia),
        Format("chatgpt", exports.is_chatgpt, exports.chatgpt),
        Format("claude", _has_list("chat_messages"), _one("chat_messages")),
        Format("inspect", exports.is_inspect_log, _samples),
        Format("sycon", replies_only.is_sycon, replies_only.sycon),
        Format("paper", _has_list("conversation"), _one("conversation")),
        Format("sharegpt", _has_list("conversations"), _one("conversations")),
        Format("openai", calls.is_call, calls.call),
        Format(
            "gemini",
            lambda r: isinstance(r, Mapping) and _is_list_of_messages(r.get("contents")),
            _one("contents"),
        ),
        Format("messages", _is_list_of_messages, _bare),
    )
}
"""All formats, the most telling first."""


def conversations_in(
    record: Any, format: str, columns: Columns, treatment: Treatment
) -> Iterator[tuple[str, Found]]:
    """The conversations in a record, each with the name of its format.

    Args:
        record: A line, an item, a row.
        format: Its name, or "auto".
        columns: Names of fields that are unusual.
        treatment: What is done about what.

    Raises:
        Refused: It is of no known format, or not of the one that is named.
    """
    inside, held = _wrapped(record) if columns.messages is None else ("", None)
    if held is not None:
        for index, item in enumerate(held):
            place = f"{inside} [{index}]".lstrip()
            try:
                for name, found in conversations_in(item, format, columns, treatment):
                    yield name, found.at(joined(place, found.place), f"-{index}")
            except Refused as fault:  # the others are read
                yield "", Found(fault, {}, place=place)
        return
    name = columns.id
    if name is not None and (not isinstance(record, Mapping) or name not in record):
        raise Refused(
            "record without a name",
            f"has no field {name!r}",
            given=fields_of(record),
            remedy="name the field that names a conversation: columns={'id': ...}",
        )
    if columns.messages is not None:
        if not isinstance(record, Mapping) or columns.messages not in record:
            raise Refused(
                "record without messages",
                f"has no field {columns.messages!r}",
                given=fields_of(record),
                remedy="name the field of the messages: columns={'messages': ...}",
            )
        founds = _one(columns.messages)(record, treatment)
        yield from (("table", found.named(name, ID_FIELDS)) for found in founds)
        return
    for each in _fitting(record, format):
        for found in each.read(record, treatment):
            yield each.name, found.named(name, ID_FIELDS)


def _wrapped(record: Any) -> tuple[str, list[Any] | None]:
    """A list of conversations that is a record, or its one field; None where the record is a conversation."""
    fields = {"": record} if isinstance(record, list) else record
    for name in ("", *_WRAPPERS) if isinstance(fields, Mapping) else ():
        held = fields.get(name)
        if not isinstance(held, list) or not held or _is_list_of_messages(held):
            continue
        if any(each.fits(held[0]) for each in FORMATS.values()):
            return name, held
    return "", None


def _fitting(record: Any, format: str) -> Iterator[Format]:
    """The one format of a record."""
    candidates = FORMATS.values() if format == "auto" else (FORMATS[format],)
    found = next((each for each in candidates if each.fits(record)), None)
    if found is not None:
        yield found
        return
    if format != "auto":
        other = next((each.name for each in FORMATS.values() if each.fits(record)), None)
        raise Refused(
            "another format",
            f"is not of the format {format}",
            given=fields_of(record),
            remedy=f"it looks like {other}: read it with format={other!r}"
            if other
            else "read it with format='auto'",
        )
    raise unknown(record)
