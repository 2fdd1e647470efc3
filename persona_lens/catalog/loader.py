"""Turn whatever names an entry (name, file, folder, dataset, dict, object) into typed entries.

The four public functions differ only in the kind they pass on; what they accept and how they
complain is written once.

Examples:
    >>> [role.name for role in load_roles(["pirate", {"name": "baker", "prompts": ["You bake."]}])]
    ['pirate', 'baker']
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import BaseModel

from persona_lens.catalog.documents import SUFFIXES
from persona_lens.catalog.kinds import DEFAULT, QUESTION, ROLE, TRAIT, Kind, Model
from persona_lens.catalog.mappings import PassedOver, sentence_id, spread
from persona_lens.catalog.packaged import core_names, full_names, packaged_entry
from persona_lens.catalog.paper_layout import read_path
from persona_lens.catalog.schema import DefaultPrompt, Question, Role, Trait
from persona_lens.catalog.tables import PREFIX, is_table, open_table, table_rows
from persona_lens.catalog.validation import brief, once, validated
from persona_lens.errors import CatalogError
from persona_lens.spelling import did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset

CatalogSpec: TypeAlias = (
    "str | os.PathLike[str] | Mapping[str, Any] | BaseModel | Dataset | Sequence[Any] | None"
)
"""What the loaders accept; see `load_roles`."""


def load_roles(spec: CatalogSpec = "core") -> tuple[Role, ...]:
    """Return the roles that `spec` names, in its order.

    Args:
        spec: One of these, or a sequence that mixes them:

            - "core" for 48 packaged roles or "full" for all 275; None for no roles;
            - the name of a packaged role, "role:" before it or not;
            - a JSON, JSON Lines, YAML, CSV or text file (a string with such an ending, or a Path);
            - a folder in the layout of the paper's data (`persona_lens.catalog.paper_layout`);
            - a `datasets.Dataset`, or a string such as "datasets:owner/name@split";
            - a dict of fields, a Role, or a mapping of names to prompts:
              `{"tinker": "You mend pots.", "bell ringer": ["You ring the bells.", ...]}`.

            Where a folder bears the name of a packaged role, the role is meant; `./name` means the
            folder.

    Raises:
        CatalogError: An entry is malformed, unknown or given twice, or a file is unreadable.

    Examples:
        >>> baker = {"name": "baker", "prompts": ["You are a baker."], "group": "human"}
        >>> [(role.name, role.group) for role in load_roles(["ghost", baker])]
        [('ghost', 'fantastical'), ('baker', 'human')]
        >>> len(load_roles()), len(load_roles("full"))
        (48, 275)
    """
    return _load(ROLE, spec)


def load_traits(spec: CatalogSpec = "core") -> tuple[Trait, ...]:
    """Return the traits that `spec` names, in its order; see `load_roles` for what it may be.

    Examples:
        >>> [trait.name for trait in load_traits(["dramatic", "calm"])]
        ['dramatic', 'calm']
        >>> len(load_traits()), len(load_traits("full"))
        (16, 240)
    """
    return _load(TRAIT, spec)


def load_questions(spec: CatalogSpec = "core") -> tuple[Question, ...]:
    """Return the questions that `spec` names, in its order; see `load_roles`.

    A plain sentence is a question too, and gets an id made from its words. The first six core
    questions have six different subjects, and so has each six after them.

    Examples:
        >>> [question.id for question in load_questions(["q01", "Why is the sky blue?"])]
        ['q01', 'question_09ea2679']
        >>> len(load_questions()), len(load_questions("full"))
        (24, 240)
    """
    return _load(QUESTION, spec)


def load_defaults(spec: CatalogSpec = "core") -> tuple[DefaultPrompt, ...]:
    """Return the default system prompts that `spec` names; a plain sentence is one too.

    Examples:
        >>> [default.fill("Qwen3") for default in load_defaults(["none", "Just be yourself."])]
        ['', 'Just be yourself.']
    """
    return _load(DEFAULT, spec)


def _load(kind: Kind[Model], spec: object) -> tuple[Model, ...]:
    return once(kind, _expand(kind, spec, kind.plural))


def _expand(kind: Kind[Model], spec: object, where: str) -> Iterator[tuple[str, Model]]:
    """Yield the entries of `spec`, each with the words that say where it came from."""
    match spec:
        case None:
            return
        case "core" | "full":
            names = core_names(kind) if spec == "core" else full_names(kind)
            for name in names:
                yield f"{where} ({spec})", packaged_entry(kind, name)
        case _ if is_table(spec):
            for place, row in table_rows(kind, spec, where):
                yield place, _entry(kind, row, place)
        case str() if spec.startswith(PREFIX):
            yield from _expand(kind, open_table(spec), spec)
        case str() | os.PathLike() | Mapping() if values := _values(kind, spec, where):
            for place, value in values:
                yield place, _entry(kind, value, place)
        case [*items]:
            for index, item in enumerate(items):
                yield from _expand(kind, item, f"{where}, entry [{index}]")
        case _:
            yield where, _entry(kind, spec, where)


def _values(
    kind: Kind[Any], spec: str | os.PathLike[str] | Mapping[str, Any], where: str
) -> Iterator[tuple[str, Any]] | None:
    """What a file, a folder or a mapping holds; it never names another file, so reading always ends."""
    if isinstance(spec, Mapping):
        return _of_mapping(kind, spec, where)
    path = source_path(kind, spec)
    return None if path is None else read_path(kind, path)


def _of_mapping(kind: Kind[Any], given: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    passed_over = PassedOver()
    yield from spread(kind, given, where, passed_over)
    passed_over.warn()


def source_path(kind: Kind[Any], spec: str | os.PathLike[str]) -> Path | None:
    """The file or folder that is meant, if one is."""
    path = Path(spec).expanduser()
    if not isinstance(spec, str) or spec.lower().endswith(SUFFIXES):
        return path
    # os.path.isdir, because Path.is_dir fails on a sentence too long for a file name.
    if spec in full_names(kind) or not spec.strip() or not os.path.isdir(path):
        return None
    return path


def _entry(kind: Kind[Model], value: object, where: str) -> Model:
    if isinstance(value, kind.model):
        return value
    if isinstance(value, Mapping):
        return validated(kind, value, where)
    if isinstance(value, str):
        if kind.takes_sentences and (" " in value.strip() or "?" in value):
            return kind.model.model_validate({"id": sentence_id(kind, value), "text": value})
        return _named(kind, value, where)
    raise CatalogError(
        f"{where}: is not a {kind.noun}",
        expected=f"a name, a dict, a file, a folder, a dataset or a {kind.model.__name__}",
        given=f"{type(value).__name__} {brief(value)}",
        remedy=f"see load_{kind.plural} for what it accepts",
    )


def _named(kind: Kind[Model], name: str, where: str) -> Model:
    known = full_names(kind)
    plain = name.removeprefix(f"{kind.noun}:")
    if plain in known:
        return packaged_entry(kind, plain)
    remedy = did_you_mean(
        plain,
        known,
        f'load_{kind.plural}("full") lists the known ones; '
        f"give your own {kind.noun} as a dict or a .json file",
        cutoff=0.7,
    )
    raise CatalogError(
        f"{where}: unknown {kind.noun} {name!r}",
        expected=f"the {kind.key} of a packaged {kind.noun}",
        remedy=remedy,
    )
