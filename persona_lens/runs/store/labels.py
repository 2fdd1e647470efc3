"""The verdicts of one judge on a run: Parquet files beside the replies, those of several judges side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from persona_lens.errors import RunError
from persona_lens.judges.base import Verdict
from persona_lens.rollouts.plan import Shard
from persona_lens.runs.store.journal import Journal
from persona_lens.runs.store.open_run import OpenRun
from persona_lens.runs.store.tables import (
    if_whole,
    read_record,
    read_rows,
    read_table,
    write_record,
    write_rows,
)

CARD_FILE = "judge.json"
CALIBRATION_FILE = "calibration.json"

LABEL_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("name", pa.string()),
        ("prompt_index", pa.int32()),
        ("side", pa.string()),
        ("question_id", pa.string()),
        ("sample", pa.int32()),
        ("label", pa.string()),
        ("score", pa.float64()),
        ("refused", pa.bool_()),
        ("status", pa.string()),
        ("raw", pa.string()),
    ]
)


class Labels:
    """Reads and writes `labels/<judge>/` of a run.

    Args:
        run: The run.
        key: Folder name of the judge, see `persona_lens.judges.base.judge_key`.
    """

    def __init__(self, run: OpenRun, key: str) -> None:
        self.run = run
        self.key = key
        self.path = run.path / "labels" / key

    @classmethod
    def find(cls, run: OpenRun, judge: str) -> Labels:
        """The labels of the judge with that key, or the one whose key begins with it.

        Raises:
            RunError: No such judge, or several.
        """
        keys = judge_keys(run)
        found = [key for key in keys if key == judge] or [k for k in keys if k.startswith(judge)]
        if len(found) != 1:
            raise RunError(
                f"{'no' if not found else 'more than one'} judge {judge!r} has labelled {run.path}",
                expected=" or ".join(found or keys) or None,
                remedy=None if found else "label it: persona-lens judge --help",
            )
        return cls(run, found[0])

    def file(self, shard: Shard) -> Path:
        """Where the verdicts on a shard lie."""
        return self.path / f"{self.run.manifest.stem(shard)}.parquet"

    def journal(self, shard: Shard) -> Journal:
        """Where verdicts lie until those on the whole shard are there."""
        return Journal(self.path / f"{self.run.manifest.stem(shard)}.jsonl")

    def write_card(self, card: Mapping[str, Any]) -> None:
        """Write what decides this judge's verdicts."""
        write_record(self.path / CARD_FILE, card)

    def card(self) -> dict[str, Any]:
        """What decides this judge's verdicts.

        Raises:
            DamagedFile: The file does not hold what was written.
        """
        return read_record(self.path / CARD_FILE)

    def write_calibration(self, calibration: Mapping[str, Any]) -> None:
        """Write what a calibrated judge has learnt from default replies."""
        write_record(self.path / CALIBRATION_FILE, calibration)

    def calibration(self) -> dict[str, Any] | None:
        """What a calibrated judge has learnt; None if there is nothing.

        Raises:
            DamagedFile: The file does not hold what was written.
        """
        file = self.path / CALIBRATION_FILE
        return read_record(file) if file.is_file() else None

    def has(self, shard: Shard) -> bool:
        """Whether verdicts on the whole shard are there, undamaged, and about the replies that are there."""
        found, digest = if_whole(read_table, self.file(shard)), self.run.replies_digest(shard)
        return found is not None and digest is not None and found[1].get("replies") == digest

    def write(self, shard: Shard, verdicts: Sequence[Verdict]) -> None:
        """Write the verdicts on a shard, in the order of its requests."""
        digest = self.run.replies_digest(shard)
        if digest is None:
            raise self.run.unfinished(shard)
        rows = [
            {
                **shard.model_dump(include={"kind", "name", "prompt_index", "side"}),
                "question_id": request.question_id,
                "sample": request.sample,
                **vars(verdict),
            }
            for request, verdict in zip(shard.requests, verdicts, strict=True)
        ]
        write_rows(self.file(shard), rows, LABEL_SCHEMA, {"replies": digest})

    def read(self, shard: Shard) -> list[Verdict]:
        """The verdicts on a shard, in the order of its requests.

        Raises:
            RunError: They are not there, or about other replies than those that are there.
            DamagedFile: The file does not hold what was written.
        """
        try:
            rows, metadata = read_rows(self.file(shard))
        except FileNotFoundError as error:
            raise RunError(
                f"{shard.key} has not been labelled by {self.key}",
                remedy="run the same judge command again to continue it",
            ) from error
        digest = self.run.replies_digest(shard)
        if digest is None:
            raise self.run.unfinished(shard)
        if metadata.get("replies") != digest:
            raise RunError(
                f"the labels of {shard.key} by {self.key} are about other replies",
                remedy="run the same judge command again",
            )
        fields = Verdict.__dataclass_fields__
        return [Verdict(**{name: row[name] for name in fields}) for row in rows]

    def remove_verdicts(self) -> None:
        """Remove every verdict of this judge, as when what they rest on has changed."""
        for file in (*self.path.glob("*.parquet"), *self.path.glob("*.jsonl")):
            file.unlink()


def judge_keys(run: OpenRun) -> list[str]:
    """The judges that have labelled a run."""
    return sorted(file.parent.name for file in run.path.glob(f"labels/*/{CARD_FILE}"))
