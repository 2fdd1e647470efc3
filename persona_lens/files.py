"""Files that appear whole or not at all, whatever kills the process or the machine while they are written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from persona_lens.arrays import plain
from persona_lens.contents import check_content
from persona_lens.errors import PersonaLensError
from persona_lens.paths import PARTIAL_PREFIX

_FOLDERS_NOT_SYNCED = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM)


@contextmanager
def whole_or_nothing(path: Path) -> Iterator[Path]:
    """Yield a path to write to; on success it is flushed to disk and renamed to `path`, else removed.

    When the block has been left, the file is there even if the power fails the next moment: what is removed
    afterwards because this file replaces it is not removed too early.

    Examples:
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with whole_or_nothing(target) as partial:
        ...     _ = partial.write_text("done")
        >>> target.read_text()
        'done'
    """
    make_folder(path.parent)
    partial = path.with_name(f"{PARTIAL_PREFIX}{os.getpid()}-{path.name}")
    try:
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they survive a power cut."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk: until then a power cut may undo a rename or a removal."""
    if os.name == "nt":  # Windows has no way to ask for it
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _FOLDERS_NOT_SYNCED:  # some network file systems offer no such thing
            raise
    finally:
        os.close(handle)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file."""
    with whole_or_nothing(target) as partial:
        shutil.copyfile(source, partial)


def write_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file."""
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    with whole_or_nothing(path) as partial:
        partial.touch()
        mode = partial.stat().st_mode
        # safetensors writes to a file of its own making first, which stays behind when the process is killed:
        # in this folder it is found again. That file is private to its owner; a run may be shared.
        with tempfile.TemporaryDirectory(prefix=PARTIAL_PREFIX, dir=path.parent) as folder:
            written = Path(folder) / path.name
            save_file(arrays, written, metadata=dict(metadata or {}))
            written.chmod(mode)
            os.replace(written, partial)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, indented; NumPy's numbers as plain ones."""
    with whole_or_nothing(path) as partial:
        text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
        partial.write_text(text + "\n", "utf-8")


def read_tensors(path: Path, error: type[PersonaLensError]) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file.

    Raises:
        FileNotFoundError: There is no such file.
        PersonaLensError: It is none, or damaged; as `error`.
    """
    with _damage_as(error, path, "safetensors"):
        return load_file(path)


def read_json(path: Path, error: type[PersonaLensError]) -> Any:
    """The value of a JSON file.

    Raises:
        FileNotFoundError: There is no such file.
        PersonaLensError: It is none, or damaged; as `error`.
    """
    with _damage_as(error, path, "JSON"):
        return json.loads(path.read_text("utf-8"))


@contextmanager
def _damage_as(error: type[PersonaLensError], path: Path, kind: str) -> Iterator[None]:
    check_content(path, error)
    try:
        yield
    except (ValueError, SafetensorError) as problem:
        raise error(
            f"{path} is damaged or no {kind} file",
            given=str(problem).splitlines()[0],
            remedy="save it again, or download it again",
        ) from problem
    except NotADirectoryError as problem:
        raise FileNotFoundError(path) from problem


def remove_partials(folder: Path) -> None:
    """Remove what killed processes left behind in `folder`, not in the folders within."""
    for leftover in folder.glob(f"{PARTIAL_PREFIX}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
