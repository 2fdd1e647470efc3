"""A conversation as it lies in a record, before its messages are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from persona_lens.arrays import without_gaps
from persona_lens.conversations.conversation import OWN_KEYS
from persona_lens.conversations.report import Refused
from persona_lens.conversations.treatment import Tally


@dataclass(frozen=True)
class Found:
    """Messages, and what else the record says.

    Attributes:
        messages: As the log has them, or why they cannot be read.
        rest: All else.
        id: Name of the conversation; None where the record has none.
        place: Within the record; empty where the record is the conversation.
        suffix: Behind the name that is made from the place, where a record holds several.
        verbatim: Whether the messages are taken as they are, because they were written here.
        notes: Sorts of things worth a word.
    """

    messages: Any
    rest: Mapping[str, Any]
    id: str | None = None
    place: str = ""
    suffix: str = ""
    verbatim: bool = False
    notes: tuple[str, ...] = ()

    def at(self, place: str, suffix: str = "") -> Found:
        """The same, at a place within its record."""
        return replace(self, place=place, suffix=f"{suffix}{self.suffix}")

    def named(self, field: str | None, fields: Iterable[str]) -> Found:
        """The same, with its name out of the rest: from `field`, or else the first of `fields` that is there."""
        if self.id is not None:
            return self
        for each in fields if field is None else (field,):
            given = self.rest.get(each)
            if isinstance(given, bool) or not isinstance(given, str | int | UUID):
                continue
            if str(given).strip():
                rest = {name: value for name, value in self.rest.items() if name != each}
                return replace(self, id=f"{given}{self.suffix}", rest=rest)
        return self


def holds_list(value: Any) -> bool:
    """Whether it is a list, or what `listed` makes one of."""
    if isinstance(value, Mapping):
        return bool(value) and all(isinstance(each, list) for each in value.values())
    return isinstance(value, list | tuple) or (
        isinstance(value, str) and value.lstrip()[:1] in ("[", "{")
    )


def listed(value: Any) -> Any:
    """A list as it is, out of the JSON text that tables hold, or out of the columns of older data sets."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError as problem:
            raise Refused(
                "broken JSON",
                "the messages are a text that is no JSON",
                given=f"{problem}, {value[:40]!r}",
                remedy='write the messages as a list, or as JSON with double quotes: [{"role": ...}]',
            ) from None
    if isinstance(value, Mapping) and value and all(isinstance(v, list) for v in value.values()):
        return [dict(zip(value, row, strict=False)) for row in zip(*value.values(), strict=False)]
    return value


def plain_rest(rest: Mapping[Any, Any], tally: Tally) -> dict[str, Any]:
    """What is known of a conversation, in plain JSON values; what JSON cannot hold is left out and counted.

    NaN and infinity become None, dates and paths become text.
    """
    about: dict[str, Any] = {}
    for name, value in rest.items():
        key = str(name)
        try:
            text = json.dumps(without_gaps(value), ensure_ascii=False, default=_told)
            f"{key}{text}".encode()
            if key in OWN_KEYS:
                raise ValueError(f"the name {key} is taken")
            about[key] = json.loads(text)
        except (TypeError, ValueError, RecursionError) as problem:
            tally.add("noted", f"field that cannot be kept ({key})", "", f"{key}: {problem}")
    return about


def _told(value: Any) -> Any:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID | Path):
        return str(value)
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
