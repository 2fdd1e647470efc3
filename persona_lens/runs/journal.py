"""An append-only journal: what has arrived is on disk before the next thing is asked for.

Replies from a server and verdicts of a judge cost money and come one by one; a shard's file is written when the
last of them is there. Until then each lies in the shard's journal, one line with its checksum. A line torn by a
kill or damaged on disk is left out when the journal is read, and only that one is asked for again.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class Journal:
    """Records appended to one file.

    Examples:
        >>> import tempfile
        >>> journal = Journal(Path(tempfile.mkdtemp()) / "shard.jsonl")
        >>> journal.append({"index": 0, "reply": "Arr"})
        >>> list(journal.records())
        [{'index': 0, 'reply': 'Arr'}]
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record; it survives a kill of the process from here on."""
        data = json.dumps(record, ensure_ascii=False, allow_nan=False).encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            # A torn line of a killed process has no end; the empty line keeps it from swallowing this one.
            file.write(b"\n%08x %s\n" % (zlib.crc32(data), data))

    def records(self) -> Iterator[dict[str, Any]]:
        """All records that are whole, in the order they were written; none if there is no file."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            for line in file:
                checksum, _, data = line.rstrip(b"\n").partition(b" ")
                if data and checksum == b"%08x" % zlib.crc32(data):
                    yield json.loads(data)

    def remove(self) -> None:
        """Delete the journal, once its records are in the shard's file."""
        self.path.unlink(missing_ok=True)
