"""Whether a path can be used, asked before the work that would end there."""

from __future__ import annotations

import os
from pathlib import Path

from persona_lens.errors import PathError

PARTIAL_PREFIX = ".partial-"
"""Begins the name that a file has while it is written."""


def check_target(path: str | os.PathLike[str]) -> Path:
    """The path, if a file or folder can be made there; to be asked before the work that fills it.

    Raises:
        PathError: It is empty, too long for the file system, below a file, or in a folder that is read-only.

    Examples:
        >>> check_target("spaces/first").name
        'first'
        >>> check_target("")
        Traceback (most recent call last):
            ...
        persona_lens.errors.PathError: a path is empty
          expected the name of a file or folder
    """
    checked = check_path(path)
    # While it is written, a file has a longer name.
    _look(checked.with_name(f"{PARTIAL_PREFIX}{os.getpid()}-{checked.name}"), given=path)
    nearest = next(place for place in (checked, *checked.absolute().parents) if place.exists())
    if nearest != checked and not nearest.is_dir():
        raise PathError("cannot write below a file", given=checked, remedy="name another folder")
    if not os.access(nearest, os.W_OK):
        raise PathError("no permission to write", given=nearest, remedy="name another folder")
    return checked


def check_path(path: str | os.PathLike[str]) -> Path:
    """The path, if there can be such a one, whether or not anything is there.

    Raises:
        PathError: It is empty, too long for the file system, or cannot be looked up.
    """
    text = os.fspath(path)
    if not text.strip():
        raise PathError("a path is empty", expected="the name of a file or folder")
    checked = Path(text).expanduser()
    _look(checked, given=path)
    return checked


def _look(path: Path, *, given: str | os.PathLike[str]) -> None:
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        text = os.fspath(given)
        raise PathError(
            f"this path cannot be used: {getattr(error, 'strerror', None) or error}",
            given=repr(text if len(text) <= 80 else f"{text[:60]}..."),
        ) from None
