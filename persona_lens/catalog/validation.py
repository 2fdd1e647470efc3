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
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from persona_lens.catalog.kinds import Kind, Model
from persona_lens.errors import CatalogError


def validated(kind: Kind[Model], value: Mapping[Any, Any], where: str) -> Model:
    """The entry that `value` describes.

    Args:
        kind: What it should be.
        value: Fields and their contents.
        where: The words that say where it came from.

    Raises:
        CatalogError: A field is missing, unknown or malformed.
    """
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
            given=None if first["type"] == "missing" else brief(first["input"]),
            remedy=details.get("remedy") or _remedy(kind, first["type"], field),
        ) from error


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
            return 'write each pair as {"positive": "...", "negative": "..."}'
        case _:
            return f"correct {field} and load again"
