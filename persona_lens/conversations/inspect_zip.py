"""The samples of an Inspect log that is a zip (`.eval`), one by one."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from persona_lens.conversations.exports import inspect_head
from persona_lens.conversations.json_items import Piece, parsed
from persona_lens.conversations.report import Refused

_HEADS = ("header.json", "_journal/start.json")
_SAMPLE = re.compile(r"samples/[^/]+\.json")
_CHUNKED = re.compile(r"samples/[^/]+/sample\.json")


def zipped(path: Path, max_bytes: int) -> Iterator[tuple[str, str, Any, Mapping[str, Any]]]:
    """For each sample: its place, a name, its value or why it cannot be read, and what the log says of all.

    Raises:
        Refused: It is no log of Inspect, is cut off, or is packed in a way that this Python cannot unpack.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as problem:
        raise Refused(
            "cut off",
            "is a zip without an end, or damaged",
            given=str(problem),
            remedy="if the evaluation was killed: inspect log recover; otherwise copy the file again",
        ) from problem
    with archive:
        names = archive.namelist()
        samples = [name for name in names if _SAMPLE.fullmatch(name) or _CHUNKED.fullmatch(name)]
        if not samples:
            is_log = any(name in names for name in _HEADS)
            raise Refused(
                "log without samples" if is_log else "packed file",
                "this log of Inspect has no samples"
                if is_log
                else "is a zip, and no log of Inspect",
                given=", ".join(names[:5]) or "nothing in it",
                remedy="run with log_samples" if is_log else "unpack it, and give what was in it",
            )
        head = _head(archive, names)
        for name in samples:
            stem = name.removeprefix("samples/").removesuffix(".json")
            yield f"{path}, {name}", stem, _sample(archive, name, max_bytes), head


def _sample(archive: zipfile.ZipFile, name: str, max_bytes: int) -> Any:
    if _CHUNKED.fullmatch(name):
        return Refused(
            "sample in chunks",
            "is a sample in chunks, a form that is not read here",
            remedy="write the log again with `inspect log convert LOG --to json`, and give that",
        )
    try:
        too_long = archive.getinfo(name).file_size > max_bytes
        return parsed(Piece(0, 1, None if too_long else archive.read(name)), max_bytes)
    except Refused as fault:
        return fault
    except NotImplementedError:
        return Refused(
            "unknown compression",
            "is packed in a way that this Python cannot unpack",
            expected="deflate",
            given=f"method {archive.getinfo(name).compress_type} (93 is zstd)",
            remedy="write the log again with `inspect log convert LOG --to json`, and give that",
        )
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as problem:
        return Refused(
            "damaged", "cannot be unpacked", given=str(problem), remedy="copy the file again"
        )


def _head(archive: zipfile.ZipFile, names: list[str]) -> Mapping[str, Any]:
    """Model and task; nothing where the log says nothing of them, or cannot be unpacked."""
    for name in _HEADS:
        if name in names:
            try:
                return inspect_head(json.loads(archive.read(name)))
            except (NotImplementedError, zipfile.BadZipFile, ValueError, OSError):
                continue
    return {}
