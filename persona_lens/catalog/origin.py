"""Where entries come from: whose layout a file or folder has, and what lies beside them.

Examples:
    >>> import tempfile
    >>> from persona_lens.catalog import export_catalog, load_defaults, load_roles
    >>> from persona_lens.catalog.kinds import ROLE
    >>> folder = tempfile.mkdtemp()
    >>> export_catalog(folder, roles=load_roles(["pirate"]), defaults=load_defaults())
    >>> in_paper_layout(ROLE, folder), in_paper_layout(ROLE, "pirate")
    (True, False)
    >>> [str(found) == folder for found in folders_with_defaults(["ghost", folder])]
    [True]
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from persona_lens.catalog.documents import TABLES, read_values
from persona_lens.catalog.kinds import DEFAULT, QUESTION, ROLE, TRAIT, Kind
from persona_lens.catalog.loader import source_path
from persona_lens.catalog.paper_layout import holds, is_written_as_in_the_paper, kind_of
from persona_lens.errors import CatalogError


def in_paper_layout(kind: Kind[Any], spec: object) -> bool:
    """Whether what a loader would take for a file or folder holds entries as the paper's files write them."""
    path = source_path(kind, spec) if isinstance(spec, str | os.PathLike) else None
    return path is not None and path.exists() and is_written_as_in_the_paper(kind, path)


def folders_with_defaults(spec: object) -> list[Path]:
    """The folders that a choice of roles names and in which default prompts lie as well."""
    if isinstance(spec, list | tuple):
        return [folder for item in spec for folder in folders_with_defaults(item)]
    if not isinstance(spec, str | os.PathLike) or spec in ("core", "full"):
        return []
    path = source_path(ROLE, spec)
    return [path] if path is not None and path.is_dir() and holds(DEFAULT, path) else []


def kinds_in_file(path: Path) -> list[Kind[Any]]:
    """Which of roles, traits and questions a file seems to hold; none where that cannot be told.

    Raises:
        CatalogError: The file cannot be read, or is malformed.
    """
    kinds = (ROLE, TRAIT, QUESTION)
    if (
        path.suffix.lower() in TABLES
    ):  # columns tell, those of roles and traits more than those of questions
        return [kind for kind in kinds if _is_table_of(kind, path)][:1]
    first = next((value for _, value in read_values(ROLE, path)), None)
    inside = [
        kind
        for kind in kinds
        if isinstance(first, Mapping) and isinstance(first.get(kind.plural), list | Mapping)
    ]
    single = kind_of(first)
    return inside if single is None else [single]


def _is_table_of(kind: Kind[Any], path: Path) -> bool:
    try:
        return any(isinstance(value, Mapping) for _, value in read_values(kind, path))
    except CatalogError:
        return False
