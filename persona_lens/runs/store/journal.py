"""An append-only journal: what has arrived is in a file before the next thing is asked for.

Replies from a server and verdicts of a judge cost money and come one by one; a shard's file is written when the
last of them is there. Until then each lies in the shard's journal, one line with its checksum. A line torn by a
kill or damaged on disk is left out when the journal is read, and only that one is asked for again.

A record survives the end of its process, however it ends. Flushing each one to the disk itself would cost more
than most verdicts take, so a power cut may take those of the last seconds with it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from persona_lens.arrays import plain
from persona_lens.files import make_folder, whole_or_nothing


class Journal:
    """Records appended to one file.

    Examples:
        >>> import tempfile
        >>> journal = Journal(Path(tempfile.mkdtemp()) / "shard.jsonl")
        >>> journal.append({"index": 0, "reply": "Arr"})
        >>> list(journal.records()), journal.count()
        ([{'index': 0, 'reply': 'Arr'}], (1, 0))
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record; it survives a kill of the process from here on."""
        data = json.dumps(plain(record), ensure_ascii=False, allow_nan=False).encode()
        make_folder(self.path.parent)
        with self.path.open("ab") as file:
            # A torn line of a killed process has no end; the empty line keeps it from swallowing this one.
            file.write(b"\n%08x %s\n" % (zlib.crc32(data), data))

    def records(self) -> Iterator[dict[str, Any]]:
        """All records that are whole, in the order they were written; none if there is no file."""
        for line in self._lines():
            if (record := _record(line)) is not None:
                yield record

    def count(self) -> tuple[int, int]:
        """How many lines are whole, and how many damaged; what those held will be asked for again."""
        whole = [_record(line) is not None for line in self._lines()]
        return sum(whole), len(whole) - sum(whole)

    def rewrite(self) -> None:
        """Leave out what is damaged for good."""
        whole = [line for line in self._lines() if _record(line) is not None]
        with whole_or_nothing(self.path) as partial:
            partial.write_bytes(b"".join(b"\n%s\n" % line for line in whole))

    def remove(self) -> None:
        """Delete the journal, once its records are in the shard's file."""
        self.path.unlink(missing_ok=True)

    def _lines(self) -> Iterator[bytes]:
        """Lines with something in them, without their ends."""
        try:
            with self.path.open("rb") as file:
                for line in file:
                    if content := line.rstrip(b"\n"):
                        yield content
        except FileNotFoundError:
            return


def _record(line: bytes) -> dict[str, Any] | None:
    """What a line holds, if its checksum says that it is whole."""
    checksum, _, data = line.partition(b" ")
    return json.loads(data) if data and checksum == b"%08x" % zlib.crc32(data) else None
