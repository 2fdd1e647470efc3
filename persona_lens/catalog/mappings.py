"""Entries as mappings write them: names to prompts, one entry, or all of a kind under its name.

    {"bell ringer": ["You ring the bells."], "tinker": "You mend pots."}
    {"calm": [{"positive": "You are calm.", "negative": "You are agitated."}]}
    {"tide": "Why does the tide come in?", "values": ["What would you die for?", "What is fair?"]}
    {"count": 2, "roles": ...}          # what else such a file says is passed over, with a warning

Examples:
    >>> from persona_lens.catalog.kinds import QUESTION, ROLE
    >>> [entry for _, entry in spread(ROLE, {"tinker": "You mend pots."}, "mine.json", PassedOver())]
    [{'name': 'tinker', 'prompts': ['You mend pots.']}]
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from persona_lens.catalog.kinds import DEFAULT, QUESTION, ROLE, TRAIT, Kind
from persona_lens.catalog.schema import slug
from persona_lens.catalog.validation import brief
from persona_lens.errors import CatalogError

_PLURALS = tuple(kind.plural for kind in (ROLE, TRAIT, QUESTION, DEFAULT))
_FIELDS = {
    *("name", "id", "role", "trait", "question", "text", "prompt", "prompts", "pairs", "system"),
    *("instruction", "instructions", "positive", "negative", "pos", "neg", "group", "tags"),
    *("rubric", "eval_prompt", "system_prompt"),
}
"""Words that name a part of an entry, so that what has one is an entry and no mapping of names."""


class PassedOver:
    """What the entries of one source say that is no field of ours, told once however many say it."""

    def __init__(self) -> None:
        self._where = ""
        self._keys: set[str] = set()
        self._entries = 0

    def note(self, where: str, keys: Iterable[object]) -> None:
        """Remember that the entry at `where` has these keys."""
        if ignored := {str(key) for key in keys}:
            self._where = self._where or where
            self._keys |= ignored
            self._entries += 1

    def warn(self) -> None:
        """Tell what was passed over, if anything."""
        if self._entries:
            others = self._entries - 1
            more = f" and {others:,} more" if others else ""
            ignored = ", ".join(sorted(self._keys))
            warnings.warn(f"{self._where}{more}: passed over {ignored}", stacklevel=2)


def spread(
    kind: Kind[Any], value: Any, where: str, passed_over: PassedOver
) -> Iterator[tuple[str, Any]]:
    """Yield the entries that a value of a file, or what a user gave, holds.

    Args:
        kind: What they should be.
        value: A mapping of one of the forms above; anything else is yielded as it is.
        where: The words that say where it came from.
        passed_over: Remembers what a file says beside its entries.

    Raises:
        CatalogError: A name is mapped to something that is no prompt.
    """
    inside = value.get(kind.plural) if isinstance(value, Mapping) else None
    if isinstance(inside, list | Mapping) and not _FIELDS & {*value}:
        passed_over.note(where, {*value} - {*_PLURALS})
        inner = f"{where}, {kind.plural}"
        if isinstance(inside, Mapping):
            yield from _names(kind, inside, inner)
        else:
            for index, item in enumerate(inside):
                yield from spread(kind, item, f"{inner} [{index}]", passed_over)
    elif isinstance(value, Mapping) and value and not _FIELDS & {*value}:
        yield from _names(kind, value, where)
    elif (
        kind in (QUESTION, DEFAULT)
        and isinstance(value, Mapping)
        and "id" not in value
        and isinstance(value.get("text"), str)
    ):
        yield where, {"id": sentence_id(kind, value["text"])} | dict(value)
    else:
        yield where, value


def sentence_id(kind: Kind[Any], sentence: str) -> str:
    """An id made from the words of a sentence.

    Examples:
        >>> sentence_id(QUESTION, "Why is the sky blue?")
        'question_09ea2679'
    """
    return f"{kind.noun}_{hashlib.sha256(sentence.encode()).hexdigest()[:8]}"


def named(kind: Kind[Any], original: object) -> dict[str, Any]:
    """The name or id closest to what the file says, and what it says where that differs.

    Examples:
        >>> named(QUESTION, 12), named(ROLE, "pirate")
        ({'id': 'question_12', 'original_id': 12}, {'name': 'pirate'})
        >>> named(ROLE, "devil's advocate")
        {'name': 'devil_s_advocate', 'original_name': "devil's advocate"}
    """
    text = str(original)
    name = slug(text if text[:1].isalpha() else f"{kind.noun} {text}")
    if name in ("", kind.noun):  # nothing of it is Latin
        name = sentence_id(kind, text)
    kept = name == original or f"original_{kind.key}" not in kind.model.model_fields
    return {kind.key: name} | ({} if kept else {f"original_{kind.key}": original})


def _names(kind: Kind[Any], names: Mapping[Any, Any], where: str) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a mapping of names to what they are."""
    for name, content in names.items():
        place = f"{where}, {name!r}"
        if not isinstance(name, str) or not name.strip():
            raise CatalogError(
                f"{place}: a mapping of names to {_content(kind)} has a name that is no text",
                remedy="write the name in quotes",
            )
        if kind is QUESTION and isinstance(content, list):
            for index, text in enumerate(content):
                yield f"{place} [{index}]", _of_subject(name, text, f"{place} [{index}]")
            continue
        yield place, _entry(kind, name, content, place)


def _of_subject(subject: str, text: Any, place: str) -> dict[str, Any]:
    """A question of a list that stands under its subject."""
    if not isinstance(text, str):
        raise CatalogError(f"{place}: is no question", expected="text", given=brief(text))
    return {"id": sentence_id(QUESTION, text), "text": text, "tags": [subject]}


def _entry(kind: Kind[Any], name: str, content: Any, place: str) -> dict[str, Any]:
    """The entry of one name."""
    if isinstance(content, Mapping) and _ENTRY_FIELDS & {*content}:
        return named(kind, name) | dict(content)
    if kind in (QUESTION, DEFAULT) and isinstance(content, str):
        return named(kind, name) | {"text": content}
    if kind is ROLE and (prompts := _listed(content)) and all(map(_is_prompt, prompts)):
        return named(kind, name) | {
            "prompts": [each if isinstance(each, str) else _side(each, 0) for each in prompts]
        }
    if kind is TRAIT and (pairs := _listed(content)) and all(map(_is_pair, pairs)):
        return named(kind, name) | {
            "pairs": [{"positive": _side(pair, 0), "negative": _side(pair, 1)} for pair in pairs]
        }
    raise CatalogError(
        f"{place}: is not what a mapping of names to {_content(kind)} holds",
        expected=_EXAMPLES[kind],
        given=brief(content),
        remedy=f"see load_{kind.plural} for what it accepts",
    )


_ENTRY_FIELDS = {"text", "question", "prompts", "pairs", "instruction", "instructions"}
_SIDES = (("positive", "pos"), ("negative", "neg"))
_EXAMPLES = {
    ROLE: '{"tinker": ["You mend pots.", ...]}',
    TRAIT: '{"calm": [{"positive": "You are calm.", "negative": "You are agitated."}]}',
    QUESTION: '{"tide": "Why does the tide come in?"}',
    DEFAULT: '{"plain": "You are a helpful assistant."}',
}


def _content(kind: Kind[Any]) -> str:
    contents = {ROLE: "prompts", TRAIT: "pairs of prompts", QUESTION: "questions"}
    return contents.get(kind, "prompts")


def _listed(content: Any) -> list[Any]:
    return list(content) if isinstance(content, list | tuple) else [content]


def _is_prompt(prompt: Any) -> bool:
    return isinstance(prompt, str) or (isinstance(prompt, Mapping) and _side(prompt, 0) is not None)


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, Mapping) and None not in (_side(pair, 0), _side(pair, 1))


def _side(pair: Mapping[str, Any], which: int) -> Any:
    return next((pair[key] for key in _SIDES[which] if key in pair), None)
