"""Turn whatever names a catalog entry (a name, a file, a dict, an object) into typed entries.

The four public functions differ only in the kind they pass on; what they accept and how they
complain is written once.

Examples:
    >>> [role.name for role in load_roles(["pirate", {"name": "baker", "prompts": ["You bake."]}])]
    ['pirate', 'baker']
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from persona_lens.catalog.schema import DefaultPrompt, Question, Role, Trait, slug
from persona_lens.errors import CatalogError

CatalogSpec: TypeAlias = (
    str | os.PathLike[str] | Mapping[str, Any] | BaseModel | Sequence[Any] | None
)
"""What the loaders accept: "core", a name, a `.json` path, a dict, an entry, or a mixture."""

_Model = TypeVar("_Model", bound=BaseModel)


class _Readable(Protocol):
    """A Path or a packaged resource, whose own type moved between Python 3.10 and 3.14."""

    def read_text(self, encoding: str | None = None) -> str: ...


@dataclass(frozen=True)
class _Kind(Generic[_Model]):
    model: type[_Model]
    noun: str
    key: str
    takes_sentences: bool = False

    @property
    def plural(self) -> str:
        return f"{self.noun}s"

    def key_of(self, entry: _Model) -> str:
        return getattr(entry, self.key)


_ROLE = _Kind(Role, "role", "name")
_TRAIT = _Kind(Trait, "trait", "name")
_QUESTION = _Kind(Question, "question", "id", takes_sentences=True)
_DEFAULT = _Kind(DefaultPrompt, "default", "id", takes_sentences=True)


def load_roles(spec: CatalogSpec = "core") -> tuple[Role, ...]:
    """Return the roles that `spec` names, in its order.

    Args:
        spec: "core" for the packaged set; None for no roles; the name of a core role; a path
            to a JSON file (a string ending in `.json` or a Path) with one role or a list; a
            dict; a Role; or a sequence that mixes any of these.

    Raises:
        CatalogError: An entry is malformed, unknown or given twice, or a file is unreadable.

    Examples:
        >>> baker = {"name": "baker", "prompts": ["You are a baker."], "group": "human"}
        >>> [(role.name, role.group) for role in load_roles(["ghost", baker])]
        [('ghost', 'fantastical'), ('baker', 'human')]
    """
    return _load(_ROLE, spec)


def load_traits(spec: CatalogSpec = "core") -> tuple[Trait, ...]:
    """Return the traits that `spec` names, in its order; see `load_roles` for what it may be.

    Examples:
        >>> [trait.name for trait in load_traits(["dramatic", "calm"])]
        ['dramatic', 'calm']
    """
    return _load(_TRAIT, spec)


def load_questions(spec: CatalogSpec = "core") -> tuple[Question, ...]:
    """Return the questions that `spec` names, in its order; see `load_roles`.

    A plain sentence is a question too, and gets an id made from its words. The first six core
    questions have six different subjects, and so has each six after them.

    Examples:
        >>> [question.id for question in load_questions(["q01", "Why is the sky blue?"])]
        ['q01', 'question_09ea2679']
    """
    return _load(_QUESTION, spec)


def load_defaults(spec: CatalogSpec = "core") -> tuple[DefaultPrompt, ...]:
    """Return the default system prompts that `spec` names; a plain sentence is one too.

    Examples:
        >>> [default.fill("Qwen3") for default in load_defaults(["none", "Just be yourself."])]
        ['', 'Just be yourself.']
    """
    return _load(_DEFAULT, spec)


def _load(kind: _Kind[_Model], spec: object) -> tuple[_Model, ...]:
    found: dict[str, tuple[str, _Model]] = {}
    for where, entry in _expand(kind, spec, kind.plural):
        key = kind.key_of(entry)
        if key in found:
            raise CatalogError(
                f"the {kind.noun} {key!r} is given twice: by {found[key][0]} and by {where}",
                remedy=f"take one of them out, or give one of them another {kind.key}",
            )
        found[key] = where, entry
    return tuple(entry for _, entry in found.values())


def _expand(kind: _Kind[_Model], spec: object, where: str) -> Iterator[tuple[str, _Model]]:
    """Yield the entries of `spec`, each with the words that say where it came from."""
    match spec:
        case None:
            return
        case "core":
            for entry in _core(kind):
                yield f"{where} (core)", entry
        case os.PathLike():
            yield from _read(kind, Path(spec).expanduser())
        case str() if spec.lower().endswith(".json"):
            yield from _read(kind, Path(spec).expanduser())
        case [*items]:
            for index, item in enumerate(items):
                yield from _expand(kind, item, f"{where}, entry [{index}]")
        case _:
            yield where, _entry(kind, spec, where)


@cache
def _core(kind: _Kind[Any]) -> tuple[Any, ...]:
    source = files("persona_lens.catalog") / "data" / "core" / f"{kind.plural}.json"
    return tuple(entry for _, entry in _read(kind, source))


def _read(kind: _Kind[_Model], source: _Readable) -> Iterator[tuple[str, _Model]]:
    try:
        # Editors on Windows like to put a byte-order mark first; utf-8-sig looks past it.
        content = json.loads(source.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise CatalogError(
            f"{source}: cannot be read ({error.strerror or error})",
            expected=f"a JSON file of {kind.plural}",
            remedy="check the path and its permissions",
        ) from error
    except UnicodeDecodeError as error:
        raise CatalogError(
            f"{source}: is not UTF-8 text (byte {error.start})",
            remedy="save the file again with UTF-8 encoding",
        ) from error
    except json.JSONDecodeError as error:
        raise CatalogError(
            f"{source}: is not valid JSON at line {error.lineno}, column {error.colno}",
            given=error.msg,
            remedy="correct the file there; look for a missing comma, quote or bracket",
        ) from error
    # A file holds entries but never names another file, so reading one always ends.
    entries = content if isinstance(content, list) else [content]
    for index, value in enumerate(entries):
        where = f"{source}, entry [{index}]"
        yield where, _entry(kind, value, where)


def _entry(kind: _Kind[_Model], value: object, where: str) -> _Model:
    if isinstance(value, kind.model):
        return value
    if isinstance(value, Mapping):
        return _validate(kind, value, where)
    if isinstance(value, str):
        if kind.takes_sentences and (" " in value.strip() or "?" in value):
            digest = hashlib.sha256(value.encode()).hexdigest()[:8]
            return kind.model.model_validate({"id": f"{kind.noun}_{digest}", "text": value})
        return _named(kind, value, where)
    raise CatalogError(
        f"{where}: is not a {kind.noun}",
        expected=f"a name, a dict, a .json path or a {kind.model.__name__}",
        given=f"{type(value).__name__} {_brief(value)}",
        remedy=f"see load_{kind.plural} for what it accepts",
    )


def _named(kind: _Kind[_Model], name: str, where: str) -> _Model:
    known = {kind.key_of(entry): entry for entry in _core(kind)}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(slug(name), known, n=3, cutoff=0.7)
    remedy = (
        f"did you mean {' or '.join(near)}?"
        if near
        else f"load_{kind.plural}() lists the known ones; "
        f"give your own {kind.noun} as a dict or a .json file"
    )
    raise CatalogError(
        f"{where}: unknown {kind.noun} {name!r}",
        expected=f"the {kind.key} of a core {kind.noun}",
        remedy=remedy,
    )


def _validate(kind: _Kind[_Model], value: Mapping[Any, Any], where: str) -> _Model:
    try:
        return kind.model.model_validate(dict(value))
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
        name = value.get(kind.key)
        place = f"{where} {name!r}" if isinstance(name, str) else where
        # Pydantic's location is a tuple such as ("pairs", 0, "positive").
        field = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]
        ).lstrip(".")
        details = first.get("ctx", {})
        problem = details.get("problem", first["msg"])
        more = f" (and {len(others)} more)" if others else ""
        raise CatalogError(
            f"{place}, field {field}: {problem}{more}",
            given=None if first["type"] == "missing" else _brief(first["input"]),
            remedy=details.get("remedy") or _remedy(kind, first["type"], field),
        ) from error


def _remedy(kind: _Kind[Any], problem: str, field: str) -> str:
    """Say what to do about a problem that pydantic, not one of our own checks, has found."""
    match problem:
        case "missing" | "extra_forbidden" if "[" not in field:
            required = [n for n, f in kind.model.model_fields.items() if f.is_required()]
            optional = [n for n in kind.model.model_fields if n not in required]
            rest = f", and may have {', '.join(optional)}" if optional else ""
            return f"a {kind.noun} has the fields {', '.join(required)}{rest}"
        case "tuple_type":  # a tuple to us, a list to whoever wrote the JSON
            return f"write {field} as a list, in square brackets"
        case "missing" | "extra_forbidden" | "model_type":
            return 'write each pair as {"positive": "...", "negative": "..."}'
        case _:
            return f"correct {field} and load again"


def _brief(value: object) -> str:
    return textwrap.shorten(repr(value), width=60, placeholder="...")
