"""The packaged entries, each validated when it is first asked for.

The files hold some fifteen thousand texts; whoever wants one role pays for reading its file and for
checking that one role.

Examples:
    >>> from persona_lens.catalog.kinds import ROLE
    >>> len(full_names(ROLE)), len(core_names(ROLE))
    (275, 48)
    >>> packaged_entry(ROLE, "pirate").group
    'human'
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from persona_lens.catalog.kinds import Kind, Model


def full_names(kind: Kind[Any]) -> tuple[str, ...]:
    """Names or ids of all packaged entries of a kind, in the order of the file."""
    return tuple(_contents(kind))


@cache
def core_names(kind: Kind[Any]) -> tuple[str, ...]:
    """Names or ids of the core set, in its own order; a kind without one is core as a whole."""
    return tuple(_read("core").get(kind.plural, _contents(kind)))


def packaged_entry(kind: Kind[Model], name: str) -> Model:
    """The packaged entry of this name.

    Raises:
        KeyError: There is none.
    """
    return _entry(kind, name)


@cache
def _entry(kind: Kind[Any], name: str) -> Any:
    return kind.model.model_validate(_contents(kind)[name])


@cache
def _contents(kind: Kind[Any]) -> dict[str, dict[str, Any]]:
    return {entry[kind.key]: entry for entry in _read(kind.plural)}


def _read(stem: str) -> Any:
    source = files("persona_lens.catalog") / "data" / f"{stem}.json"
    return json.loads(source.read_text("utf-8"))
