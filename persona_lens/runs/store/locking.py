"""One writer at a time: a lock that the operating system holds, and a note of who has it.

The lock goes with its process, however that ends: a folder is never locked by the dead. The note beside it only
tells others whom to wait for; it may be stale or missing, and nothing depends on it.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from persona_lens.errors import RunError
from persona_lens.files import make_folder

LOCK_FILES = (".lock", ".lock.json")


@contextmanager
def held_for_writing(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is made if need be.

    Raises:
        RunError: Another process holds it, or the folder cannot be written to.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with held_for_writing(Path(folder)), held_for_writing(Path(folder)):
        ...     pass
        Traceback (most recent call last):
            ...
        persona_lens.errors.RunError: ... is being written by another process
          given process ... on ...
          wait for it, or choose another folder
    """
    lock, note = (folder / name for name in LOCK_FILES)
    held = FileLock(lock)
    try:
        make_folder(folder)
        held.acquire(timeout=0)
    except Timeout as error:
        raise RunError(
            f"{folder} is being written by another process",
            given=_holder(note),
            remedy="wait for it, or choose another folder",
        ) from error
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written to",
            given=error.strerror or error,
            remedy="choose another folder, or --fork NEW_FOLDER to go on with what is in this one",
        ) from error
    try:
        with suppress(OSError):  # a full disk, perhaps: then the folder is held without a note
            note.write_text(json.dumps({"pid": os.getpid(), "host": platform.node()}), "utf-8")
        yield
    finally:
        with suppress(OSError):
            note.unlink()
        held.release()


def _holder(note: Path) -> str | None:
    """Which process holds the lock, as far as it has told."""
    try:
        told = json.loads(note.read_text("utf-8"))
        return f"process {told['pid']} on {told['host']}"
    except (OSError, ValueError, LookupError, TypeError):
        return None
