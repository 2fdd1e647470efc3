"""The run folder: what a collection has asked, heard, read and judged, and nothing else.

    run/
      manifest.json                                 plan, model, sampling, versions
      replies/role-pirate-p0-1f3a9c0d2e4b.parquet   one file a shard, named by its content hash
      activations/<reader>/role-pirate-p0-1f3a9c0d2e4b.safetensors
      labels/<judge>/role-pirate-p0-1f3a9c0d2e4b.parquet

A shard is done when its files are there. Files appear whole or not at all, carry a digest of what they hold, and
say of which replies they are: a killed run is simply continued, and a damaged file is never taken for a good one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import xxhash
from filelock import FileLock, Timeout
from jaxtyping import Float
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from persona_lens.errors import RunError
from persona_lens.files import remove_partials, write_json, write_tensors
from persona_lens.model.reply import Reply
from persona_lens.rollouts.plan import Shard
from persona_lens.runs.journal import Journal
from persona_lens.runs.manifest import MANIFEST_FORMAT, Manifest
from persona_lens.runs.tables import DamagedFile, array_digest, read_rows, read_table, write_rows

if TYPE_CHECKING:
    import datasets

REPLY_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("name", pa.string()),
        ("prompt_index", pa.int32()),
        ("side", pa.string()),
        ("system", pa.string()),
        ("question_id", pa.string()),
        ("question", pa.string()),
        ("sample", pa.int32()),
        ("reply", pa.string()),
        ("reply_ids", pa.list_(pa.int32())),
        ("log_probs", pa.list_(pa.float32())),
        ("finish", pa.string()),
    ]
)


class RunFolder:
    """Reads and writes one run folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder for writing. The operating system lets go of the lock when the process ends, however.

        Raises:
            RunError: Another process is writing to it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        holder = self.path / ".lock.json"
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise RunError(
                f"{self.path} is being written by another process",
                given=holder.read_text("utf-8").strip() if holder.is_file() else None,
                remedy="wait for it, or choose another folder",
            ) from error
        try:
            holder.write_text(json.dumps({"pid": os.getpid(), "host": os.uname().nodename}))
            for folder in (self.path, *self.path.glob("replies"), *self.path.glob("*/*/")):
                remove_partials(folder)
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def manifest(self) -> Manifest:
        """The manifest.

        Raises:
            RunError: There is none, or it cannot be read.
        """
        file = self.path / "manifest.json"
        try:
            content = json.loads(file.read_text("utf-8"))
            if content.get("format") == MANIFEST_FORMAT:
                return Manifest.model_validate(content)
        except FileNotFoundError as error:
            raise RunError(
                f"no run in {self.path}",
                expected="a folder with manifest.json",
                remedy="collect one: persona-lens collect --help",
            ) from error
        except (ValidationError, ValueError, KeyError, AttributeError) as error:
            raise RunError(
                f"{file} cannot be read",
                given=str(error).splitlines()[0],
                remedy="remove it and run the same collect command again; finished replies are kept",
            ) from error
        raise RunError(
            "this run was collected by another version of Persona Lens",
            expected=f"format {MANIFEST_FORMAT}",
            given=content.get("format"),
            remedy="read it with that version, or collect again",
        )

    def has_manifest(self) -> bool:
        """Whether anything has been collected here."""
        return (self.path / "manifest.json").is_file()

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest."""
        write_json(self.path / "manifest.json", manifest.model_dump(mode="json"))

    # Replies ----------------------------------------------------------------------------------------

    def reply_file(self, manifest: Manifest, shard: Shard) -> Path:
        """Where the replies of a shard lie."""
        return self.path / "replies" / f"{manifest.stem(shard)}.parquet"

    def reply_journal(self, manifest: Manifest, shard: Shard) -> Journal:
        """Where replies that come one by one lie until the shard is complete."""
        return Journal(self.path / "replies" / f"{manifest.stem(shard)}.jsonl")

    def has_replies(self, manifest: Manifest, shard: Shard) -> bool:
        """Whether all replies of a shard are there and undamaged."""
        return self.replies_digest(manifest, shard) is not None

    def replies_digest(self, manifest: Manifest, shard: Shard) -> str | None:
        """Digest of the stored replies, which activations and labels carry; None if they are not all there."""
        try:
            replies = self.read_replies(manifest, shard)
        except RunError:
            return None
        return digest_of(replies) if len(replies) == len(shard.requests) else None

    def write_replies(self, manifest: Manifest, shard: Shard, replies: Sequence[Reply]) -> None:
        """Write the replies of a shard, in the order of its requests."""
        rows = [
            {
                **shard.model_dump(include={"kind", "name", "prompt_index", "side", "system"}),
                **request.model_dump(),
                "reply": reply.text,
                "reply_ids": np.asarray(reply.ids, dtype=np.int32),
                "log_probs": reply.log_probs,
                "finish": reply.finish,
            }
            for request, reply in zip(shard.requests, replies, strict=True)
        ]
        write_rows(self.reply_file(manifest, shard), rows, REPLY_SCHEMA)

    def read_replies(self, manifest: Manifest, shard: Shard) -> list[Reply]:
        """The replies of a shard, in the order of its requests.

        Raises:
            RunError: They are not there, or the file is damaged.
        """
        try:
            rows, _ = read_rows(self.reply_file(manifest, shard))
        except FileNotFoundError as error:
            raise self.unfinished(shard) from error
        return [
            Reply(
                ids=np.asarray(row["reply_ids"], dtype=np.int64),
                text=row["reply"],
                finish=row["finish"],
                log_probs=None
                if row["log_probs"] is None
                else np.asarray(row["log_probs"], dtype=np.float32),
            )
            for row in rows
        ]

    def replies(self) -> datasets.Dataset:
        """All replies of the plan that are there, as a `datasets.Dataset`."""
        import datasets  # noqa: PLC0415

        manifest = self.manifest()
        tables = []
        for shard in manifest.shards:
            file = self.reply_file(manifest, shard)
            if file.is_file():
                tables.append(read_table(file)[0].replace_schema_metadata(None))
        return datasets.Dataset(pa.concat_tables(tables or [REPLY_SCHEMA.empty_table()]))

    # Activations ------------------------------------------------------------------------------------

    def activation_file(self, manifest: Manifest, shard: Shard) -> Path:
        """Where the pooled activations of a shard lie."""
        folder = self.path / "activations" / manifest.reader_key
        return folder / f"{manifest.stem(shard)}.safetensors"

    def has_activations(self, manifest: Manifest, shard: Shard) -> bool:
        """Whether the means of a shard are there, of the right size, and of the replies that are there."""
        try:
            with safe_open(self.activation_file(manifest, shard), framework="numpy") as file:
                shape = file.get_slice("means").get_shape()
                read_from = _digests(file.metadata()).get("replies")
        except (FileNotFoundError, SafetensorError):
            return False
        expected = [len(shard.requests), len(manifest.layers), manifest.reader["d_model"]]
        return shape == expected and read_from == self.replies_digest(manifest, shard)

    def write_activations(
        self,
        manifest: Manifest,
        shard: Shard,
        replies: Sequence[Reply],
        means: Float[np.ndarray, "reply layer d_model"],
    ) -> None:
        """Write the mean residual of each reply of a shard, with a digest of the replies they belong to."""
        means = means.astype(np.float32, copy=False)
        write_tensors(
            self.activation_file(manifest, shard),
            {"means": means},
            # One entry: safetensors writes several in random order, and equal runs should be equal files.
            {"digests": json.dumps({"replies": digest_of(replies), "means": array_digest(means)})},
        )

    def read_activations(
        self, manifest: Manifest, shard: Shard
    ) -> Float[np.ndarray, "reply layer d_model"]:
        """The mean residual of each reply of a shard; NaN for empty replies.

        Raises:
            RunError: The shard has not been read yet.
            DamagedFile: The file does not hold what was written.
        """
        path = self.activation_file(manifest, shard)
        try:
            with safe_open(path, framework="numpy") as file:
                means, digests = file.get_tensor("means"), _digests(file.metadata())
        except FileNotFoundError as error:
            raise self.unfinished(shard) from error
        except SafetensorError as error:
            raise DamagedFile(path, "it is not a readable safetensors file") from error
        if digests.get("means") != array_digest(means):
            raise DamagedFile(path, "its content does not have the digest it was written with")
        return means

    def unfinished(self, shard: Shard) -> RunError:
        """The error for a shard that is not there yet."""
        return RunError(
            f"the run in {self.path} is not finished: {shard.key} is missing",
            remedy="run the same collect command again to continue it",
        )


def _digests(metadata: dict[str, str] | None) -> dict[str, str]:
    return json.loads((metadata or {}).get("digests", "{}"))


def digest_of(replies: Sequence[Reply]) -> str:
    """Digest of the tokens and texts of replies."""
    digest = xxhash.xxh3_64()
    for reply in replies:
        digest.update(np.asarray(reply.ids, dtype=np.int64).tobytes() + b"|")
        digest.update(reply.text.encode() + b"|")
    return digest.hexdigest()
