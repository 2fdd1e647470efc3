"""Parquet tables that know whether they are whole: rows with a digest of themselves in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from persona_lens.errors import RunError
from persona_lens.files import whole_or_nothing

_DIGEST = b"persona_lens.xxh3"


class DamagedFile(RunError):
    """A file of a run is torn, or holds something else than was written."""

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        super().__init__(
            f"{path} is damaged: {what}",
            remedy="persona-lens info RUN --check --repair sets it aside; "
            "the collect or judge command then makes it again",
        )


def write_rows(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    schema: pa.Schema,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write rows to a Parquet file that appears whole or not at all."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    described = {key.encode(): value.encode() for key, value in (metadata or {}).items()}
    table = table.replace_schema_metadata({**described, _DIGEST: _digest(table, described)})
    with whole_or_nothing(path) as partial:
        pq.write_table(table, partial)


def read_rows(path: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The rows of a file `write_rows` wrote, and its metadata.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFile: It cannot be decoded, or its digest does not fit.
    """
    table, metadata = read_table(path)
    return table.to_pylist(), metadata


def read_table(path: Path) -> tuple[pa.Table, dict[str, str]]:
    """As `read_rows`, without turning the columns into Python objects."""
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DamagedFile(path, "it is not a readable Parquet file") from error
    found = dict(table.schema.metadata or {})
    expected = found.pop(_DIGEST, None)
    if expected is None or expected != _digest(table, found):
        raise DamagedFile(path, "its content does not have the digest it was written with")
    return table, {
        key.decode(): value.decode()
        for key, value in found.items()
        if not key.startswith(b"ARROW:")
    }


def array_digest(array: np.ndarray) -> str:
    """Digest of the values of an array."""
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(array).data)


def _digest(table: pa.Table, metadata: Mapping[bytes, bytes]) -> bytes:
    """Digest of the values, not of their encoding, which may differ between versions of Arrow."""
    digest = xxhash.xxh3_64()
    digest.update(json.dumps(table.to_pylist(), sort_keys=True).encode())
    for key in sorted(metadata):
        if not key.startswith(b"ARROW:"):
            digest.update(key + b"=" + metadata[key])
    return digest.hexdigest().encode()
