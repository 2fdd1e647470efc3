"""Zips packed with zstd, as Inspect writes them and Python's `zipfile` cannot before 3.14."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import pyarrow as pa


def zstd_zip(path: Path, members: dict[str, bytes]) -> Path:
    """Write members to a zip, each packed with zstd."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            packed = pa.compress(text, codec="zstd", asbytes=True)
            archive.writestr(name, packed)
            info = archive.getinfo(name)
            info.compress_type, info.file_size, info.CRC = 93, len(text), zlib.crc32(text)
            # The local header was written already: method, checksum, and size of the text.
            assert archive.fp is not None
            end = archive.fp.tell()
            for offset, value in (
                (8, struct.pack("<H", 93)),
                (14, struct.pack("<I", info.CRC)),
                (22, struct.pack("<I", len(text))),
            ):
                archive.fp.seek(info.header_offset + offset)
                archive.fp.write(value)
            archive.fp.seek(end)
    return path
