"""Logs of conversations, whoever wrote them, read one conversation at a time.

    log = ConversationLog("chats.jsonl", tools="drop")
    for chat in log:
        ...
    print(log.report)

    chats = read_conversations("transcripts/", hidden_tags=["INTERNAL_STATE"])

What is done, and where it can be done otherwise:

    the assistant speaks first         kept, and noted
    two messages of a side in a row    joined with a blank line, and noted; in_a_row="refuse" or "keep"
    a blank message                    cut (so that those around it are in a row)
    a system message amid others       the conversation is refused; later_system="drop" or "keep"
    no message of the assistant        kept, and noted: it waits for its first reply
    no message of the user             refused
    the user speaks last               kept: the last message waits for a reply
    more than max_turns replies        cut behind the last that is wanted
    a name given twice                 kept under the name with #2, #3, ..., and noted
    no name                            made from the file and the line, item or row
    content null, a number, ...        refused; null beside a tool call is no text
    parts of text                      joined with nothing between, as chat templates do
    images, sound, files               refused; media="drop"
    tool calls, messages of tools      refused; tools="drop"
    thoughts, in fields or <think>     cut; thoughts="keep". A thought that never ends is no answer: cut
    hidden tags                        cut where hidden_tags names them; half a tag: refused
    roles of another name              refused; roles={"Ann": "user"}
    further fields of a message        left out, and noted
    further fields of a conversation   in `about`; NaN becomes None; what JSON cannot hold is left out, and noted
    messages that were never shown     left out, and noted (ChatGPT), as are branches that were not shown last
    what else Inspect keeps of samples left out, but for target, scores, metadata and the like
    an Inspect sample that failed      read as far as it went, and noted
    replies alone (SYCON-Bench)        refused, unless user_messages says what the user said
    several formats in one log         each record is read as what it is
    byte-order mark, CRLF, blank lines understood, as is gzip; UTF-16 with its mark too (held whole)
    a comma after the last item        understood
    a line or item that is no JSON     refused, and no other
    a file that ends too early         what is whole is read, the rest refused
    a list whose brackets do not match what follows the broken item is refused with it
    a field given twice in an object   the conversation is refused

What is held in memory: one record, so one line, list item, row or sample at a time, and a number for each name. A
file that is one JSON value is held whole (an Inspect log as .json: `inspect log convert --to eval` makes one that
is read by the sample), and so is a table with one message a row. Nothing is downloaded but what `datasets:` names.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from persona_lens.conversations.cleaning import cleaned, kept
from persona_lens.conversations.conversation import Conversation
from persona_lens.conversations.exports import inspect_sample
from persona_lens.conversations.formats import FORMATS, Columns, conversations_in
from persona_lens.conversations.found import Found, plain_rest
from persona_lens.conversations.report import Finding, LogReport, Refused, joined
from persona_lens.conversations.sources import Record, records
from persona_lens.conversations.treatment import Tally, Treatment, known_options
from persona_lens.errors import ConversationError, PersonaLensWarning
from persona_lens.spelling import did_you_mean

MAX_BYTES = 256_000_000


class ConversationLog:
    """The conversations of a log, as often as they are asked for.

    Args:
        source: Path of a file or of a folder of files, `datasets:owner/name@split`, a data set, a data frame, a
            conversation, a list of messages, or a list of any of these.
        format: What its records are: "auto", or a name out of `persona_lens.conversations.formats`.
        columns: Names of fields that are unusual: {"messages": ..., "id": ...}.
        strict: Raise at the first conversation that cannot be read; by default it is left out, and named in the
            report.
        max_bytes: Longest record of a file.
        options: Of `Treatment`: hidden_tags, tools, media, thoughts, in_a_row, later_system, max_turns, roles,
            user_messages.

    Attributes:
        report: What the latest pass found; complete once it is over.

    Raises:
        ConversationError: An option or format is not known. When read: the source is not there, nothing in it
            could be read, or, if strict, the first fault.
        PathError: A path cannot be one.

    Examples:
        >>> log = ConversationLog([
        ...     {"id": "a", "messages": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]},
        ...     {"id": "b", "messages": [{"role": "user", "content": None}]},
        ... ])
        >>> [(chat.id, chat.replies) for chat in log]
        [('a', ('Hello.',))]
        >>> print(log.report.findings[0])
        item [1], message 0: the content is not text (expected a text or a list of parts, given null)
          write "" for a message that is empty, or take the message out
    """

    def __init__(
        self,
        source: Any,
        *,
        format: str = "auto",
        columns: Mapping[str, str] | None = None,
        strict: bool = False,
        max_bytes: int = MAX_BYTES,
        **options: Any,
    ) -> None:
        if format != "auto" and format not in FORMATS:
            raise ConversationError(
                "the format is not known",
                expected=f"auto, {', '.join(FORMATS)}",
                given=repr(format),
                remedy=did_you_mean(format, FORMATS),
            )
        known_options(options)
        self.report = LogReport()
        self._source = source
        self._format = format
        self._columns = _columns(columns)
        self._strict = strict
        self._max_bytes = max_bytes
        self._treatment = Treatment(**options)

    def __iter__(self) -> Iterator[Conversation]:
        self.report = report = LogReport()
        names: set[int] = set()
        again: Counter[str] = Counter()
        for record in records(self._source, self._max_bytes):
            for chat in self._read(record, report):
                yield _renamed(chat, names, again, report)
        if not report.read:
            self._complain(report)

    def _read(self, record: Record, report: LogReport) -> Iterator[Conversation]:
        """The conversations of a record that can be read; the others are reported, or raised."""
        try:
            if isinstance(record.value, Refused):
                raise record.value
            for format, found in self._found(record):
                yield from self._one(record, format, found, report)
        except Refused as fault:
            self._refuse(record.place, fault, report)

    def _found(self, record: Record) -> Iterator[tuple[str, Found]]:
        if isinstance(record.value, Conversation):
            chat = record.value
            yield "conversation", Found(chat.messages, chat.about, id=chat.id, verbatim=True)
        elif record.format == "inspect-sample" and self._format in ("auto", "inspect"):
            yield from (("inspect", found) for found in inspect_sample(record.value, record.about))
        else:
            yield from conversations_in(record.value, self._format, self._columns, self._treatment)

    def _one(
        self, record: Record, format: str, found: Found, report: LogReport
    ) -> Iterator[Conversation]:
        place = joined(record.place, found.place)
        tally = Tally()
        try:
            if isinstance(found.messages, Refused):
                raise found.messages
            read = kept if found.verbatim else cleaned
            messages = read(found.messages, self._treatment, tally)
        except Refused as fault:
            self._refuse(place, fault, report)
            return
        for note in found.notes:
            tally.add("noted", note, "", note)
        about = plain_rest(found.rest, tally)
        chat = Conversation(found.id or f"{record.name}{found.suffix}", messages, about)
        for finding in tally.at(place):
            report.add(finding)
        report.read += 1
        report.messages += len(messages)
        report.formats[format] += 1
        yield chat

    def _refuse(self, place: str, fault: Refused, report: LogReport) -> None:
        if self._strict:
            raise fault.within(place).error() from fault
        contrast = ", ".join(
            f"{word} {value}"
            for word, value in (("expected", fault.expected), ("given", fault.given))
            if value is not None
        )
        problem = f"{fault.problem} ({contrast})" if contrast else fault.problem
        place = joined(place, fault.place)
        report.add(Finding("refused", fault.what, place, problem, fault.remedy))

    def _complain(self, report: LogReport) -> None:
        refused = next((each for each in report.findings if each.kind == "refused"), None)
        if refused is None:
            raise ConversationError("the log holds no conversations", given=_named(self._source))
        others = report.refused - 1
        more = f" (and {others:,} more)" if others else ""
        raise ConversationError(
            f"no conversation of the log could be read{more}\n  {refused.place}: {refused.problem}",
            remedy=refused.remedy,
        )


def read_conversations(source: Any, **options: Any) -> list[Conversation]:
    """All conversations of a log.

    Args:
        source: What `ConversationLog` takes.
        options: Of `ConversationLog`.

    Raises:
        ConversationError: As `ConversationLog`.

    Warns:
        PersonaLensWarning: Something was cut or refused: the summary of the report.

    Examples:
        >>> chats = read_conversations([{"role": "user", "content": "Hi"}, {"role": "model", "content": "Hello."}])
        >>> chats[0].as_dicts()[1]
        {'role': 'assistant', 'content': 'Hello.'}
    """
    log = ConversationLog(source, **options)
    chats = list(log)
    if not log.report.whole:
        warnings.warn(f"{_named(source)}: {log.report.summary}", PersonaLensWarning, stacklevel=2)
    return chats


def _named(source: Any) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else type(source).__name__


def _columns(given: Mapping[str, str] | None) -> Columns:
    for name in given or {}:
        if name not in ("messages", "id"):
            raise ConversationError(
                f"there is no column {name!r} to name",
                expected="messages, id",
                remedy=did_you_mean(name, ("messages", "id")),
            )
    return Columns(**(given or {}))


def _renamed(
    chat: Conversation, names: set[int], again: Counter[str], report: LogReport
) -> Conversation:
    """The conversation under a name that no other has."""
    name = chat.id
    while hash(name) in names:
        again[chat.id] += 1
        name = f"{chat.id}#{again[chat.id] + 1}"
    names.add(hash(name))
    if name == chat.id:
        return chat
    report.add(
        Finding(
            "noted",
            "name given twice",
            name,
            f"another conversation has the name {chat.id!r}, so this one is called {name!r}",
        )
    )
    return Conversation(name, chat.messages, chat.about)
