"""Files that know whether they are whole: tables, arrays and plain data with a digest of themselves inside.

Digests are taken of the values, not of their encoding, which may differ between versions of the libraries that
write them. A file that cannot be decoded, or whose values do not have the digest they were written with, is a
`DamagedFile`; what the operating system refuses (no permission, no such file) stays its own `OSError`, so that
nothing is taken for lost which is only out of reach.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from safetensors import SafetensorError, safe_open

from persona_lens.arrays import plain
from persona_lens.errors import RunError
from persona_lens.files import whole_or_nothing, write_json, write_tensors

T = TypeVar("T")
DIGEST = "persona_lens.xxh3"
_WRONG_DIGEST = "its content does not have the digest it was written with"


class DamagedFile(RunError):
    """A file of a run is torn, or holds something else than was written.

    Attributes:
        path: The file.
        what: What is wrong with it.
    """

    def __init__(self, path: Path, what: str, *, remedy: str | None = None) -> None:
        self.path = path
        self.what = what
        super().__init__(
            f"{path} is damaged: {what}",
            remedy=remedy
            or "persona-lens info RUN --check --repair sets it aside; "
            "the collect or judge command then makes it again",
        )


def if_whole(read: Callable[[Path], T], path: Path) -> T | None:
    """What `read` finds in a file; None where there is none, or a damaged one."""
    try:
        return read(path)
    except (FileNotFoundError, DamagedFile):
        return None


# Tables -------------------------------------------------------------------------------------------


def write_rows(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    schema: pa.Schema,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write rows to a Parquet file."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    described = dict(metadata or {})
    described[DIGEST] = _table_digest(table, described)
    with whole_or_nothing(path) as partial:
        # Without statistics, which some readers go by and no digest of the values covers.
        pq.write_table(table.replace_schema_metadata(described), partial, write_statistics=False)


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
        with pq.ParquetFile(path) as file:
            table = file.read(use_threads=False)  # small: handing it out takes longer
        metadata = _decoded(table.schema.metadata)
        expected = metadata.pop(DIGEST, None)
        found = _table_digest(table, metadata)
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:
        _raise_refusal(error)
        raise DamagedFile(path, "it cannot be read as Parquet") from error
    if found != expected:
        raise DamagedFile(path, _WRONG_DIGEST)
    return table, metadata


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata alone, which takes no reading of the rows and leaves them unchecked.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFile: It cannot be decoded.
    """
    try:
        metadata = _decoded(pq.read_metadata(path).metadata)
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:
        _raise_refusal(error)
        raise DamagedFile(path, "it cannot be read as Parquet") from error
    metadata.pop(DIGEST, None)
    return metadata


def _decoded(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    pairs = (metadata or {}).items()
    return {key.decode(): value.decode() for key, value in pairs if not key.startswith(b"ARROW:")}


def _table_digest(table: pa.Table, metadata: Mapping[str, str]) -> str:
    digest = xxhash.xxh3_64()
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if pa.types.is_list(column.type):  # tokens: too many to look at one by one
            digest.update(f"{name}: lists of {column.type.value_type} ".encode())
            digest.update(json.dumps(column.value_lengths().to_pylist()).encode())
            digest.update(np.ascontiguousarray(column.flatten()).data)
        else:
            digest.update(f"{name}: {column.type} ".encode())
            digest.update(json.dumps(column.to_pylist()).encode())
    digest.update(json.dumps(metadata, sort_keys=True).encode())
    return digest.hexdigest()


# Arrays -------------------------------------------------------------------------------------------


def write_array(path: Path, array: np.ndarray, metadata: Mapping[str, str]) -> None:
    """Write an array to a safetensors file, as float32 under the name `values`."""
    array = array.astype(np.float32, copy=False)
    described = {**metadata, DIGEST: _array_digest(array, metadata)}
    # One entry: safetensors writes several in random order, and equal runs should be equal files.
    write_tensors(path, {"values": array}, {"content": json.dumps(described)})


def read_array(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    """The array of a file `write_array` wrote, and its metadata.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFile: It cannot be decoded, or its digest does not fit.
    """
    shape, metadata = _array_header(path)
    try:
        # Read, not mapped: a bad sector of a mapped file ends the process without a word.
        start = path.stat().st_size - math.prod(shape) * 4
        array = np.fromfile(path, np.dtype("<f4"), offset=start).reshape(shape)
    except (OSError, ValueError) as error:
        _raise_refusal(error)
        raise DamagedFile(path, "it is shorter than its shape") from error
    expected = metadata.pop(DIGEST, None)
    if _array_digest(array, metadata) != expected:
        raise DamagedFile(path, _WRONG_DIGEST)
    return array, metadata


def read_array_header(path: Path) -> tuple[tuple[int, ...], dict[str, str]]:
    """Shape and metadata alone, which takes no reading of the values and leaves them unchecked.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFile: It cannot be decoded, or is shorter or longer than its shape says.
    """
    shape, metadata = _array_header(path)
    metadata.pop(DIGEST, None)
    return shape, metadata


def _array_header(path: Path) -> tuple[tuple[int, ...], dict[str, str]]:
    with path.open("rb"):
        pass  # safetensors reports what the system refuses in words of its own
    try:
        with safe_open(path, framework="numpy") as file:
            values = file.get_slice("values")
            metadata = json.loads((file.metadata() or {})["content"])
            if values.get_dtype() != "F32" or not isinstance(metadata, dict):
                raise ValueError("another type")
            return tuple(values.get_shape()), metadata
    except (ValueError, KeyError, SafetensorError) as error:
        raise DamagedFile(path, "it cannot be read as safetensors") from error


def _array_digest(array: np.ndarray, metadata: Mapping[str, str]) -> str:
    digest = xxhash.xxh3_64(np.ascontiguousarray(array, dtype="<f4").data)
    digest.update(json.dumps([array.shape, dict(metadata)], sort_keys=True).encode())
    return digest.hexdigest()


# Plain data ---------------------------------------------------------------------------------------


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain data to a JSON file."""
    as_read = json.loads(json.dumps(plain(content)))
    write_json(path, {**as_read, DIGEST: _record_digest(as_read)})


def read_record(path: Path) -> dict[str, Any]:
    """What `write_record` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFile: It cannot be decoded, or its digest does not fit.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DamagedFile(path, "it cannot be read as JSON") from error
    if not isinstance(content, dict) or content.pop(DIGEST, None) != _record_digest(content):
        raise DamagedFile(path, _WRONG_DIGEST)
    return content


def _record_digest(content: Mapping[str, Any]) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(content, sort_keys=True).encode())


def _raise_refusal(error: Exception) -> None:
    """Let errors of the operating system through: such a file is out of reach, not damaged.

    What Arrow cannot decode is an `OSError` too, but one without a number.
    """
    if isinstance(error, OSError) and error.errno is not None:
        raise error
