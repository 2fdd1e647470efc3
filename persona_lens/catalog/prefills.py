"""Beginnings of sentences that a base model goes on with, and what its completions may be about.

The paper's five beginnings ask a model without a chat template for its purpose and its traits; sixteen of our own
ask the same in other words, so that nothing hangs on one wording. Each family has ten categories in the paper's
names, described in our words by examples, and 160 completions that were labelled by hand, on which whoever sorts
completions into categories is measured.

Examples:
    >>> [prefill.text for prefill in load_prefills("paper")][:2]
    ['My job is to', 'My purpose is to']
    >>> len(load_categories("traits")), len(load_labelled("traits"))
    (10, 160)

Source: the beginnings marked `paper`, and the names of the categories, are of paper section 3.2.2.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, StringConstraints

from persona_lens.catalog.documents import read_values
from persona_lens.catalog.kinds import Kind
from persona_lens.catalog.validation import brief, once, validated
from persona_lens.errors import CatalogError
from persona_lens.spelling import did_you_mean

PrefillSpec: TypeAlias = (
    "str | os.PathLike[str] | Mapping[str, Any] | Prefill | Sequence[Any] | None"
)
"""What `load_prefills` accepts."""

_SUFFIXES = (".json", ".jsonl", ".yaml", ".yml")
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
_Text = Annotated[str, StringConstraints(pattern=r"\S$")]


class Prefill(BaseModel):
    """The beginning of a sentence.

    Attributes:
        id: Lowercase words joined by underscores.
        family: What it asks for: "purpose", "traits", or a family of your own.
        text: Without a space at its end: a model puts it before the word it goes on with.
        paper: Whether it is one of the paper's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: _Name
    family: _Name
    text: _Text
    paper: bool = False


class Category(BaseModel):
    """What a completion may be about.

    Attributes:
        family: The prefills it is an answer to.
        name: Its label.
        about: What belongs to it, in a line.
        exemplars: Things that do, as a completion would have them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: _Name
    name: _Name
    about: str
    exemplars: tuple[str, ...]


class LabelledCompletion(BaseModel):
    """A completion and what a person says it is about.

    Attributes:
        family: Of its prefill and of its label.
        prefill: Id of what it completes.
        text: Without the prefill.
        label: Name of a category.
        also: Another that could be defended; empty for most.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: _Name
    prefill: _Name
    text: str
    label: _Name
    also: str = ""


_PREFILL = Kind(Prefill, "prefill", "id")


def load_prefills(spec: PrefillSpec = "all") -> tuple[Prefill, ...]:
    """Return the prefills that `spec` names, in its order.

    Args:
        spec: One of these, or a sequence that mixes them:

            - "all" for the 21 packaged ones, "paper" for its five, "own" for the others; None for none;
            - a family ("purpose", "traits"), or the id of one;
            - a JSON, JSON Lines or YAML file of your own (a string with such an ending, or a Path), with
              `{"id": "hope", "family": "purpose", "text": "I hope to"}` as items;
            - a dict of these fields, or a `Prefill`.

    Raises:
        CatalogError: A prefill is malformed, unknown or given twice, or a file is unreadable.

    Examples:
        >>> [each.id for each in load_prefills(["job", {"id": "hope", "family": "purpose", "text": "I hope to"}])]
        ['job', 'hope']
        >>> load_prefills("purpos")
        Traceback (most recent call last):
            ...
        persona_lens.errors.CatalogError: prefills: unknown prefill 'purpos'
          expected "all", "paper", "own", a family, the id of a packaged prefill, or a .json or .jsonl file
          did you mean purpose?
    """
    return once(_PREFILL, _expand(spec, "prefills"))


def load_categories(family: str | None = None) -> tuple[Category, ...]:
    """The packaged categories of a family, or of both.

    Raises:
        CatalogError: There is no such family.

    Examples:
        >>> load_categories("purpose")[0].name
        'mental_health_support'
    """
    return _of_family(_read("categories", Category), family)


def load_labelled(family: str | None = None) -> tuple[LabelledCompletion, ...]:
    """The packaged completions that were labelled by hand, of a family or of both.

    Raises:
        CatalogError: There is no such family.

    Examples:
        >>> load_labelled("purpose")[2].also
        'social_relation_personal'
    """
    return _of_family(_read("completions", LabelledCompletion), family)


def split_labelled(
    sample: Sequence[LabelledCompletion],
) -> tuple[tuple[LabelledCompletion, ...], tuple[LabelledCompletion, ...]]:
    """One half for choosing how to sort, the other for measuring how well it is done.

    Completions of each label go to the halves in turn, in the order of their SHA-256, so that the halves do not
    hang on the order of a file.

    Examples:
        >>> chosen_on, measured_on = split_labelled(load_labelled())
        >>> len(chosen_on), len(measured_on)
        (160, 160)
    """
    by_label: dict[tuple[str, str], list[LabelledCompletion]] = defaultdict(list)
    for each in sample:
        by_label[each.family, each.label].append(each)
    first = set()
    for group in by_label.values():
        first |= set(sorted(group, key=_digest)[::2])
    return (
        tuple(each for each in sample if each in first),
        tuple(each for each in sample if each not in first),
    )


def _digest(each: LabelledCompletion) -> str:
    return hashlib.sha256(f"{each.prefill}\n{each.text}".encode()).hexdigest()


def _of_family(entries: Sequence[Any], family: str | None) -> tuple[Any, ...]:
    families = list(dict.fromkeys(each.family for each in entries))
    if family is not None and family not in families:
        raise CatalogError(
            f"there is no family {family!r}",
            expected=", ".join(families),
            remedy=did_you_mean(family, families, "give categories of your own"),
        )
    return tuple(each for each in entries if family in (None, each.family))


@cache
def _read(name: str, kind: type[BaseModel]) -> tuple[Any, ...]:
    source = files("persona_lens.catalog") / "data" / "evals" / f"{name}.json"
    return tuple(kind.model_validate(entry) for entry in json.loads(source.read_text("utf-8")))


def _expand(spec: object, where: str) -> Iterator[tuple[str, Prefill]]:
    """Yield the prefills of `spec`, each with the words that say where it came from."""
    match spec:
        case None:
            return
        case Prefill():
            yield where, spec
        case Mapping():
            yield where, validated(_PREFILL, spec, where)
        case os.PathLike():
            yield from _of_file(Path(spec).expanduser())
        case str() if spec.lower().endswith(_SUFFIXES):
            yield from _of_file(Path(spec).expanduser())
        case str():
            yield from ((f"{where} ({spec})", each) for each in _named(spec, where))
        case [*items]:
            for index, item in enumerate(items):
                yield from _expand(item, f"{where}, entry [{index}]")
        case _:
            raise _not_a_prefill(where, spec)


def _of_file(path: Path) -> Iterator[tuple[str, Prefill]]:
    for where, value in read_values(_PREFILL, path):
        if not isinstance(value, Mapping):
            raise _not_a_prefill(where, value)
        yield where, validated(_PREFILL, value, where)


def _named(name: str, where: str) -> Sequence[Prefill]:
    known: tuple[Prefill, ...] = _read("prefills", Prefill)
    sets = {
        "all": known,
        "paper": [each for each in known if each.paper],
        "own": [each for each in known if not each.paper],
    }
    families = {each.family: [one for one in known if one.family == each.family] for each in known}
    ids = {each.id: [each] for each in known}
    found = {**ids, **families, **sets}
    if name in found:
        return found[name]
    raise CatalogError(
        f"{where}: unknown prefill {name!r}",
        expected='"all", "paper", "own", a family, the id of a packaged prefill, or a .json or .jsonl file',
        remedy=did_you_mean(name, list(found), f"the families are {', '.join(families)}"),
    )


def _not_a_prefill(where: str, spec: object) -> CatalogError:
    return CatalogError(
        f"{where}: is not a prefill",
        expected='{"id": ..., "family": ..., "text": ...}',
        given=f"{type(spec).__name__} {brief(spec)}",
        remedy="see load_prefills for what it accepts",
    )
