"""Folders of converted models: built once, in full or not at all, and checked by a marker file.

Importing this module needs neither torch nor transformers.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_dir
from rich.console import Console
from rich.filesize import decimal
from rich.text import Text
from safetensors import SafetensorError

from persona_lens.errors import ModelError, first_line
from persona_lens.files import sync_folder

CACHE_VARIABLE = "PERSONA_LENS_CACHE"
MARKER = "persona_lens_source.json"
# Raised whenever a conversion would come out differently, so that older caches are made again.
CONVERSION = 1

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_DISK_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}


def cache_root(cache_dir: str | Path | None = None) -> Path:
    """Return the folder under which converted models are kept.

    That is `cache_dir` if given, else the environment variable `PERSONA_LENS_CACHE`, else the
    system's place for caches. Nothing is created.

    Examples:
        >>> cache_root("models-here").name
        'models-here'
    """
    chosen = cache_dir or os.environ.get(CACHE_VARIABLE) or user_cache_dir("persona-lens")
    return Path(chosen).expanduser().absolute()


def build_once(
    folder: Path,
    build: Callable[[Path, Stages], Path],
    *,
    source: Mapping[str, object],
    error: type[ModelError],
    about: Mapping[str, object] | None = None,
    quiet: bool = False,
) -> Path:
    """Return `folder` if it is whole and was made from `source`; otherwise make it so.

    `build(work, stages)` fills a folder somewhere under `work` and returns it. One process builds
    at a time; others wait. What killed builds left behind is removed by the next build. The marker
    records `source`, which must match for the folder to be used, and `about`, which need not.
    """
    if damage(folder, source) is None:
        return folder
    with Stages(folder.name, quiet=quiet) as stages, disk_guard(folder.parent, 0, error):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder, stages):
            wrong = damage(folder, source)
            if wrong is None:  # another process has built it while this one waited
                return folder
            if folder.exists():
                stages.say(f"{folder} cannot be used ({wrong}); building it again")
            for left in folder.parent.glob(f".{folder.name}.work-*"):
                shutil.rmtree(left, ignore_errors=True)
            _build_and_move(folder, build, {"source": source, "about": about}, stages)
        stages.say(f"ready in {folder} ({decimal(folder_bytes(folder))}, {stages.seconds:.0f} s)")
    return folder


def damage(folder: Path, source: Mapping[str, object]) -> str | None:  # noqa: PLR0911  one return a fault
    """Return why `folder` cannot be used as the conversion of `source`, or None if it can."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        if marker["conversion"] != CONVERSION:
            return "made by another version of Persona Lens"
        if set(marker["source"]) != set(source):
            return "made by another version of Persona Lens"
        if marker["source"] != source:
            return "made from another file"
        for name, size in marker["files"].items():
            given = (folder / name).stat().st_size
            if given != size:
                return f"{name} has {given} bytes, not {size}"
    except FileNotFoundError as problem:
        return f"{Path(problem.filename).name} is missing"
    except (ValueError, KeyError, TypeError, AttributeError, NotADirectoryError):
        return f"{MARKER} cannot be read"
    return None


def folder_bytes(folder: Path) -> int:
    """Return the bytes that the files of a folder take, 0 if there is none."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # pip moves its files while they are counted
                total += os.stat(os.path.join(place, name)).st_size
    return total


@contextmanager
def disk_guard(where: Path, needed: int, error: type[ModelError]) -> Iterator[None]:
    """Check that `needed` bytes are free, and put failures of the disk into plain words."""
    remedy = f"free some space, or write to another disk (for the cache, set {CACHE_VARIABLE})"
    try:
        free = shutil.disk_usage(_existing(where)).free
        if free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield
    except (OSError, SafetensorError) as problem:
        number = _error_number(problem)
        if number in _DISK_FULL:
            free = shutil.disk_usage(_existing(where)).free
            raise error(
                f"the disk is full at {where}",
                expected=f"about {decimal(needed)} free" if needed else None,
                given=f"{decimal(free)} free",
                remedy=remedy,
            ) from problem
        if number in _DISK_CLOSED:
            raise error(
                f"cannot write at {where}: {first_line(problem)}",
                remedy=f"write where you may (for the cache, set {CACHE_VARIABLE})",
            ) from problem
        raise


def _error_number(problem: BaseException) -> int | None:
    if isinstance(problem, OSError):
        return problem.errno
    found = re.search(r"os error (\d+)", str(problem))  # how safetensors reports it
    return int(found[1]) if found else None


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def _build_and_move(
    folder: Path,
    build: Callable[[Path, Stages], Path],
    record: Mapping[str, object],
    stages: Stages,
) -> None:
    work = folder.with_name(f".{folder.name}.work-{uuid.uuid4().hex[:8]}")
    work.mkdir()
    try:
        built = build(work, stages)
        _write_marker(built, record)
        _flush(built)
        if folder.exists():
            os.replace(folder, work / "replaced")
        os.replace(built, folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write_marker(folder: Path, record: Mapping[str, object]) -> None:
    files = {file.relative_to(folder).as_posix(): file.stat().st_size for file in _files(folder)}
    versions = {name: metadata.version(name) for name in ("gguf", "torch", "transformers")}
    marker = {
        **record,
        "conversion": CONVERSION,
        "files": files,
        "versions": versions,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    (folder / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """Give a folder beside `folder` to fill, which takes its name once it is on the disk."""
    partial = folder.with_name(f".{folder.name}.partial-{uuid.uuid4().hex[:8]}")
    partial.mkdir(parents=True)
    try:
        yield partial
        _flush(partial)
        if folder.exists():  # Windows does not rename onto a folder, be it empty
            folder.rmdir()
        os.replace(partial, folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Bring a folder's files to the disk, readable to those who may read `config.json`."""
    config = folder / "config.json"
    for file in _files(folder):
        if config.exists():  # safetensors writes for the owner only, which a shared cache forbids
            shutil.copymode(config, file)
        with file.open("rb+") as handle:
            os.fsync(handle.fileno())
    sync_folder(folder)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def _locked(folder: Path, stages: Stages) -> Iterator[None]:
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=1)
    except Timeout:
        stages("waiting for another process that is building it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class Stages:
    """Progress on standard error: a spinner in a terminal, a line per stage elsewhere.

    Examples:
        >>> with Stages("smollm2", quiet=True) as stages:
        ...     stages("converting")
    """

    def __init__(self, title: str, *, quiet: bool = False) -> None:
        self._title = title
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._status = self._console.status(Text(title))
        self._begun = time.monotonic()

    def __enter__(self) -> Stages:
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def __call__(self, stage: str) -> None:
        """Begin a stage."""
        if self._console.is_terminal:
            self.update(stage)
        else:
            self.say(stage)

    def update(self, detail: str) -> None:
        """Change the spinner's text; shown in a terminal only."""
        self._status.update(Text(f"{self._title}: {detail}"))

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(Text(f"{self._title}: {text}"), soft_wrap=True)

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun
