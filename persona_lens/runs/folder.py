"""The run folder: what a collection has asked, heard and read, and nothing else.

    run/
      manifest.json                                plan, model, sampling, versions
      replies/role-pirate-p0-1f3a9c0d2e4b.parquet  one file a shard, named by its content hash
      activations/<reader>/role-pirate-p0-1f3a9c0d2e4b.safetensors

A shard is done when its files are there; files appear whole or not at all, so a killed run is simply continued.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from persona_lens.errors import RunError
from persona_lens.files import remove_partials, whole_or_nothing, write_json, write_tensors
from persona_lens.model.reply import Reply
from persona_lens.rollouts.plan import Shard

if TYPE_CHECKING:
    import datasets

MANIFEST_FORMAT = 1

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
        ("ended", pa.bool_()),
    ]
)


class Manifest(BaseModel):
    """What a run is: enough to understand and to continue it.

    Attributes:
        conditions: What all replies depend on besides the shard: model, template, sampling.
        reader: Card of the model whose residual stream is read.
        reader_key: Name of the folder its activations lie in.
        shards: The plan.
        about: Group, description and tags of each role and trait, for figures.
        versions: Of the libraries that matter.
    """

    model_config = ConfigDict(extra="forbid")

    format: int = MANIFEST_FORMAT
    conditions: dict[str, Any]
    reader: dict[str, Any]
    reader_key: str
    layers: tuple[int, ...]
    shards: tuple[Shard, ...]
    about: dict[str, dict[str, Any]]
    versions: dict[str, str]

    def stem(self, shard: Shard) -> str:
        """File name of a shard without suffix."""
        return f"{shard.key}-{shard.content_hash(self.conditions)}"


class RunFolder:
    """Reads and writes one run folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder for writing.

        Raises:
            RunError: Another process is writing to it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise RunError(
                f"{self.path} is being written by another process",
                remedy="wait for it, or choose another folder",
            ) from error
        try:
            for folder in (self.path, *self.path.glob("replies"), *self.path.glob("activations/*")):
                remove_partials(folder)
            yield
        finally:
            lock.release()

    def manifest(self) -> Manifest:
        """The manifest.

        Raises:
            RunError: There is none, or it cannot be read.
        """
        file = self.path / "manifest.json"
        try:
            manifest = Manifest.model_validate_json(file.read_text("utf-8"))
        except FileNotFoundError as error:
            raise RunError(
                f"no run in {self.path}",
                expected="a folder with manifest.json",
                remedy="collect one: persona-lens collect --help",
            ) from error
        except (ValidationError, json.JSONDecodeError) as error:
            raise RunError(
                f"{file} cannot be read",
                given=str(error).splitlines()[0],
                remedy="run the same collect command again; finished replies are kept",
            ) from error
        if manifest.format > MANIFEST_FORMAT:
            raise RunError(
                "this run was collected by a newer Persona Lens",
                expected=f"format {MANIFEST_FORMAT}",
                given=manifest.format,
                remedy="upgrade persona-lens",
            )
        return manifest

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest."""
        write_json(self.path / "manifest.json", manifest.model_dump(mode="json"))

    def reply_file(self, manifest: Manifest, shard: Shard) -> Path:
        """Where the replies of a shard lie."""
        return self.path / "replies" / f"{manifest.stem(shard)}.parquet"

    def activation_file(self, manifest: Manifest, shard: Shard) -> Path:
        """Where the pooled activations of a shard lie."""
        folder = self.path / "activations" / manifest.reader_key
        return folder / f"{manifest.stem(shard)}.safetensors"

    def has_replies(self, manifest: Manifest, shard: Shard) -> bool:
        """Whether all replies of a shard are there and readable."""
        return self._reply_digest(manifest, shard) is not None

    def has_activations(self, manifest: Manifest, shard: Shard) -> bool:
        """Whether the pooled activations of a shard are there, readable, and of the replies that are there."""
        try:
            with safe_open(self.activation_file(manifest, shard), framework="numpy") as file:
                shape = file.get_slice("means").get_shape()
                read_from = (file.metadata() or {}).get("replies")
        except (FileNotFoundError, SafetensorError):
            return False
        expected = [len(shard.requests), len(manifest.layers), manifest.reader["d_model"]]
        return shape == expected and read_from == self._reply_digest(manifest, shard)

    def _reply_digest(self, manifest: Manifest, shard: Shard) -> str | None:
        """Digest of the stored reply ids; None if they are not all there."""
        try:
            replies = self.read_replies(manifest, shard)
        except RunError:
            return None
        return _digest(replies) if len(replies) == len(shard.requests) else None

    def write_replies(self, manifest: Manifest, shard: Shard, replies: Sequence[Reply]) -> None:
        """Write the replies of a shard, in the order of its requests."""
        rows = [
            {
                **shard.model_dump(include={"kind", "name", "prompt_index", "side", "system"}),
                **request.model_dump(),
                "reply": reply.text,
                "reply_ids": np.asarray(reply.ids, dtype=np.int32),
                "ended": reply.ended,
            }
            for request, reply in zip(shard.requests, replies, strict=True)
        ]
        table = pa.Table.from_pylist(rows, schema=REPLY_SCHEMA)
        with whole_or_nothing(self.reply_file(manifest, shard)) as partial:
            pq.write_table(table, partial)

    def read_replies(self, manifest: Manifest, shard: Shard) -> list[Reply]:
        """The replies of a shard, in the order of its requests.

        Raises:
            RunError: They are not there, or the file is damaged.
        """
        try:
            rows = pq.read_table(self.reply_file(manifest, shard)).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise self._unfinished(shard) from error
        return [
            Reply(ids=np.asarray(row["reply_ids"]), text=row["reply"], ended=row["ended"])
            for row in rows
        ]

    def write_activations(
        self,
        manifest: Manifest,
        shard: Shard,
        replies: Sequence[Reply],
        means: Float[np.ndarray, "reply layer d_model"],
    ) -> None:
        """Write the mean residual of each reply of a shard, with a digest of the replies they belong to."""
        write_tensors(
            self.activation_file(manifest, shard),
            {"means": means.astype(np.float32, copy=False)},
            {"replies": _digest(replies)},
        )

    def read_activations(
        self, manifest: Manifest, shard: Shard
    ) -> Float[np.ndarray, "reply layer d_model"]:
        """The mean residual of each reply of a shard; NaN for empty replies.

        Raises:
            RunError: The shard has not been read yet.
        """
        try:
            return load_file(self.activation_file(manifest, shard))["means"]
        except (FileNotFoundError, SafetensorError) as error:
            raise self._unfinished(shard) from error

    def _unfinished(self, shard: Shard) -> RunError:
        return RunError(
            f"the run in {self.path} is not finished: {shard.key} is missing or damaged",
            remedy="run the same collect command again to continue it",
        )

    def replies(self) -> datasets.Dataset:
        """All replies that are there, as a `datasets.Dataset`."""
        import datasets  # noqa: PLC0415

        manifest = self.manifest()
        done = [shard for shard in manifest.shards if self.has_replies(manifest, shard)]
        tables = [pq.read_table(self.reply_file(manifest, shard)) for shard in done]
        return datasets.Dataset(pa.concat_tables(tables or [REPLY_SCHEMA.empty_table()]))


def _digest(replies: Sequence[Reply]) -> str:
    digest = hashlib.sha256()
    for reply in replies:
        digest.update(np.asarray(reply.ids, dtype=np.int64).tobytes() + b"|")
    return digest.hexdigest()[:16]
