"""The samples of an Inspect log that is a zip (`.eval`), one by one."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from persona_lens.conversations.exports import inspect_head
from persona_lens.conversations.json_items import Piece, parsed
from persona_lens.conversations.report import Refused

_HEADS = ("header.json", "_journal/start.json")
_CHUNKED = re.compile(r"(samples/.+)/sample\.json")
_ZSTD = 93
_LOCAL_HEAD = 30
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
)


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
        samples = _samples(names)
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


def _samples(names: list[str]) -> list[str]:
    """The names of samples; their ids may have slashes in them.

    Examples:
        >>> _samples(["header.json", "samples/a/b_epoch_1.json", "samples/c_epoch_1/sample.json",
        ...           "samples/c_epoch_1/events/0.json"])
        ['samples/a/b_epoch_1.json', 'samples/c_epoch_1/sample.json']
    """
    chunked = {f"{found[1]}/" for found in map(_CHUNKED.fullmatch, names) if found}
    return [
        name
        for name in names
        if name.startswith("samples/")
        and name.endswith(".json")
        and (_CHUNKED.fullmatch(name) or not any(name.startswith(prefix) for prefix in chunked))
    ]


def _sample(archive: zipfile.ZipFile, name: str, max_bytes: int) -> Any:
    if _CHUNKED.fullmatch(name):
        return Refused(
            "sample in chunks",
            "is a sample in chunks, a form that is not read here",
            remedy="write the log again with `inspect log convert LOG --to json`, and give that",
        )
    try:
        too_long = archive.getinfo(name).file_size > max_bytes
        return parsed(Piece(0, 1, None if too_long else _unpacked(archive, name)), max_bytes)
    except Refused as fault:
        return fault
    except NotImplementedError:
        return Refused(
            "unknown compression",
            "is packed in a way that cannot be unpacked here",
            expected="deflate or zstd",
            given=f"method {archive.getinfo(name).compress_type}",
            remedy="write the log again with `inspect log convert LOG --to json`, and give that",
        )
    except _DAMAGED as problem:
        return Refused(
            "damaged", "cannot be unpacked", given=str(problem), remedy="copy the file again"
        )


def _unpacked(archive: zipfile.ZipFile, name: str) -> bytes:
    """What lies in the archive under a name. Inspect packs with zstd, which `zipfile` knows since Python 3.14."""
    info = archive.getinfo(name)
    if info.compress_type != _ZSTD or archive.fp is None:
        return archive.read(name)
    import pyarrow as pa  # noqa: PLC0415 - takes half a second, and few need it

    archive.fp.seek(info.header_offset)
    head = archive.fp.read(_LOCAL_HEAD)
    archive.fp.seek(
        sum(struct.unpack("<HH", head[-4:])), io.SEEK_CUR
    )  # its name, and what else it has
    packed = archive.fp.read(info.compress_size)
    text = pa.decompress(packed, decompressed_size=info.file_size, codec="zstd", asbytes=True)
    if zlib.crc32(text) != info.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {name!r}")
    return text


def _head(archive: zipfile.ZipFile, names: list[str]) -> Mapping[str, Any]:
    """Model and task; nothing where the log says nothing of them, or cannot be unpacked."""
    for name in _HEADS:
        if name in names:
            try:
                return inspect_head(json.loads(_unpacked(archive, name)))
            except _DAMAGED:
                continue
    return {}
