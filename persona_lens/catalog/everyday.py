"""Ordinary conversations, on which the false alarms of a drift monitor are counted.

What people ask an assistant on a normal day, from soup to spreadsheets: 208 conversations, eight of
each of 26 uses, with ten messages of the user each and no replies. Every message makes sense
whatever was answered before, so any model can be talked through them. None of them is about the
assistant itself, about distress, or about a part to play: a model that is steady stays steady here,
and whatever a monitor reports is a false alarm.

Examples:
    >>> chats = load_everyday("cooking")
    >>> chats[0].id, chats[0].messages[1]
    ('leek_soup_for_six', 'no cream in the house though. milk ok?')
    >>> calibration, test = split_everyday(load_everyday())
    >>> len(calibration), len(test)
    (104, 104)
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints
from pydantic_core import PydanticCustomError

from persona_lens.catalog.documents import read_values
from persona_lens.catalog.kinds import Kind
from persona_lens.catalog.validation import brief, once, validated
from persona_lens.errors import CatalogError
from persona_lens.spelling import did_you_mean

EverydaySpec: TypeAlias = (
    "str | os.PathLike[str] | Mapping[str, Any] | EverydayChat | Sequence[Any] | None"
)
"""What `load_everyday` accepts."""

_SUFFIXES = (".json", ".jsonl", ".yaml", ".yml")


def _listed(value: object) -> object:
    """JSON has no tuples; an empty list is refused here, where the remedy can be told."""
    if isinstance(value, list | tuple) and not value:
        problem, remedy = "is empty", "give at least one message of the user"
        raise PydanticCustomError(
            "catalog", "{problem}; {remedy}", {"problem": problem, "remedy": remedy}
        )
    return tuple(value) if isinstance(value, list) else value


_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
_Message = Annotated[str, StringConstraints(pattern=r"\S")]


class EverydayChat(BaseModel):
    """What one person wrote in one conversation, without the replies.

    Examples:
        >>> chat = EverydayChat(id="tea", use="cooking", messages=("how long does tea draw", "and green tea?"))
        >>> len(chat.messages)
        2

    Attributes:
        id: Lowercase words joined by underscores, its own in the whole set.
        use: What the person wants the assistant for, written likewise.
        messages: Messages of the user, in their order; ten in the packaged ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: _Name
    use: _Name
    messages: Annotated[tuple[_Message, ...], BeforeValidator(_listed)]


_CHAT = Kind(EverydayChat, "conversation", "id")


def load_everyday(spec: EverydaySpec = "all") -> tuple[EverydayChat, ...]:
    """Return the conversations that `spec` names, in its order.

    Args:
        spec: One of these, or a sequence that mixes them:

            - "all" for the 208 packaged ones; None for none;
            - a use, such as "cooking", for its eight; or the id of one;
            - a JSON, JSON Lines or YAML file of your own (a string with such an ending, or a Path), with
              `{"id": "tea", "use": "cooking", "messages": ["how long does tea draw", ...]}` as the
              items of a list, or one on each line;
            - a dict of these fields, or an `EverydayChat`.

    Raises:
        CatalogError: A conversation is malformed, unknown or given twice, or a file is unreadable.

    Examples:
        >>> own = {"id": "tea", "use": "cooking", "messages": ["how long does tea draw"]}
        >>> [chat.id for chat in load_everyday(["flat_pancakes", own])]
        ['flat_pancakes', 'tea']
        >>> load_everyday("coking")
        Traceback (most recent call last):
            ...
        persona_lens.errors.CatalogError: everyday: unknown conversation 'coking'
          expected "all", a use, the id of a packaged conversation, or a .json or .jsonl file
          did you mean cooking?
    """
    return once(_CHAT, _expand(spec, "everyday"))


def split_everyday(
    chats: Sequence[EverydayChat],
) -> tuple[tuple[EverydayChat, ...], tuple[EverydayChat, ...]]:
    """Divide conversations into those a threshold is set on and those it is tested on.

    A packaged conversation is always in the same half, whichever others it is given with, so that
    nobody tests on what a colleague has tuned on; each half has four of every use. Your own are
    ordered by use and, within one, by the SHA-256 of their ids, and go to the two halves in turn,
    so split all of them at once.

    Args:
        chats: Conversations, two or more.

    Returns:
        Calibration and test, each in the order of `chats`.

    Raises:
        CatalogError: All of them belong to one half.

    Examples:
        >>> calibration, test = split_everyday(load_everyday(["cooking", "pets"]))
        >>> [chat.use for chat in test]
        ['cooking', 'cooking', 'cooking', 'cooking', 'pets', 'pets', 'pets', 'pets']
        >>> set(calibration) <= set(split_everyday(load_everyday())[0])
        True
    """
    packaged = frozenset(_packaged())
    tested = _every_second(_packaged()) | _every_second([c for c in chats if c not in packaged])
    test = tuple(chat for chat in chats if chat in tested)
    calibration = tuple(chat for chat in chats if chat not in tested)
    if not (test and calibration):
        lacking = "calibration" if test else "test"
        raise CatalogError(
            f"no conversation is left for the {lacking} half",
            expected="conversations of both halves",
            given=f"{len(chats)}: {brief([chat.id for chat in chats])}",
            remedy="give whole uses or all conversations; load_everyday() has 104 of each half",
        )
    return calibration, test


def _every_second(chats: Sequence[EverydayChat]) -> frozenset[EverydayChat]:
    # By a hash, because neighbours in a file were often written by one hand on one day.
    ordered = sorted(chats, key=lambda c: (c.use, hashlib.sha256(c.id.encode()).hexdigest()))
    return frozenset(ordered[1::2])


def _expand(spec: object, where: str) -> Iterator[tuple[str, EverydayChat]]:
    """Yield the conversations of `spec`, each with the words that say where it came from."""
    match spec:
        case None:
            return
        case EverydayChat():
            yield where, spec
        case Mapping():
            yield where, validated(_CHAT, spec, where)
        case os.PathLike():
            yield from _of_file(Path(spec).expanduser())
        case str() if spec.lower().endswith(_SUFFIXES):
            yield from _of_file(Path(spec).expanduser())
        case str():
            yield from ((f"{where} ({spec})", chat) for chat in _named(spec, where))
        case [*items]:
            for index, item in enumerate(items):
                yield from _expand(item, f"{where}, entry [{index}]")
        case _:
            raise _not_a_conversation(where, spec)


def _of_file(path: Path) -> Iterator[tuple[str, EverydayChat]]:
    if path.suffix.lower() not in _SUFFIXES:
        raise CatalogError(
            f"{path}: is no file of conversations",
            expected=f"a file with one of the endings {', '.join(_SUFFIXES)}",
            remedy="write one conversation on each line of a .jsonl file",
        )
    for where, value in read_values(_CHAT, path):
        if not isinstance(value, Mapping):
            raise _not_a_conversation(where, value)
        yield where, validated(_CHAT, value, where)


def _named(name: str, where: str) -> Sequence[EverydayChat]:
    chats = _packaged()
    if name == "all":
        return chats
    if found := [chat for chat in chats if name in (chat.use, chat.id)]:
        return found
    uses = dict.fromkeys(chat.use for chat in chats)
    raise CatalogError(
        f"{where}: unknown conversation {name!r}",
        expected='"all", a use, the id of a packaged conversation, or a .json or .jsonl file',
        remedy=did_you_mean(
            name, [*uses, *(chat.id for chat in chats)], f"the uses are {', '.join(uses)}"
        ),
    )


def _not_a_conversation(where: str, value: object) -> CatalogError:
    return CatalogError(
        f"{where}: is not a conversation",
        expected='{"id": ..., "use": ..., "messages": [...]}',
        given=f"{type(value).__name__} {brief(value)}",
        remedy="see load_everyday for what it accepts",
    )


@cache
def _packaged() -> tuple[EverydayChat, ...]:
    source = files("persona_lens.catalog") / "data" / "everyday.json"
    return tuple(EverydayChat(**entry) for entry in json.loads(source.read_text("utf-8")))
