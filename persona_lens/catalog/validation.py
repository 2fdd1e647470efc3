"""Plain data into entries, with complaints that say which entry, which field and what to do.

Examples:
    >>> from persona_lens.catalog.kinds import ROLE
    >>> validated(ROLE, {"name": "baker", "prompts": ["You bake."], "age": 7}, "mine.json, entry [0]")
    Traceback (most recent call last):
        ...
    persona_lens.errors.CatalogError: mine.json, entry [0] 'baker', field age: Extra inputs ...
      given 7
      a role has the fields name, prompts, and may have group, description, tags, rubric, ...
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from persona_lens.catalog.kinds import Kind, Model
from persona_lens.errors import CatalogError


def validated(
    kind: Kind[Model],
    value: Mapping[Any, Any],
    where: str,
    *,
    context: Mapping[str, Any] | None = None,
) -> Model:
    """The entry that `value` describes.

    Args:
        kind: What it should be.
        value: Fields and their contents.
        where: The words that say where it came from.
        context: For validators that hang on more than the entry.

    Raises:
        CatalogError: A field is missing, unknown or malformed.
    """
    try:
        return kind.model.model_validate(dict(value), context=dict(context or {}))
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
            f"{place}{f', field {field}' if field else ''}: {problem}{more}",
            given=None if first["type"] == "missing" else brief(first["input"]),
            remedy=details.get("remedy") or _remedy(kind, first["type"], field),
        ) from error


def once(kind: Kind[Model], entries: Iterable[tuple[str, Model]]) -> tuple[Model, ...]:
    """The entries, of which no two have the same name or id.

    Args:
        kind: What they are.
        entries: Each with the words that say where it came from.

    Raises:
        CatalogError: One is given twice.
    """
    found: dict[str, tuple[str, Model]] = {}
    for where, entry in entries:
        key = kind.key_of(entry)
        if key in found:
            raise CatalogError(
                f"the {kind.noun} {key!r} is given twice: by {found[key][0]} and by {where}",
                remedy=f"take one of them out, or give one of them another {kind.key}",
            )
        found[key] = where, entry
    return tuple(entry for _, entry in found.values())


def brief(value: object) -> str:
    """A value as an error shows it.

    Examples:
        >>> brief(["a long list"] * 20)
        "['a long list', 'a long list', 'a long list', 'a long..."
    """
    return textwrap.shorten(repr(value), width=60, placeholder="...")


def _remedy(kind: Kind[Any], problem: str, field: str) -> str:
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
            part = field.split("[", maxsplit=1)[0]
            return f"write each of {part} as {kind.parts[part]}"
        case _:
            return f"correct {field} and load again"
