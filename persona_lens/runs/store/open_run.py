"""A run that is open: its folder, bound to the manifest that says which file belongs to which shard.

run = RunFolder("runs/first").opened()
for shard in run.shards:
    print(shard.key, run.read_replies(shard)[0].answer, run.read_activations(shard).shape)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash
from jaxtyping import Float

from persona_lens.errors import RunError
from persona_lens.rollouts.plan import Shard
from persona_lens.rollouts.reply import Reply
from persona_lens.runs.store.journal import Journal
from persona_lens.runs.store.manifest import Manifest
from persona_lens.runs.store.tables import (
    if_whole,
    read_array,
    read_array_header,
    read_metadata,
    read_table,
    write_array,
    write_rows,
)
from persona_lens.runs.store.thoughts import ThoughtCount
from persona_lens.transcripts.thoughts import Said

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

_THINKING = pa.field("thinking", pa.string())
_OF_THOUGHTS = (("answer", pa.string()), ("thought", pa.string()))
"""Columns of shards in which a reply holds a thought."""


class OpenRun:
    """Reads and writes the files of the shards of one run.

    Args:
        path: The run folder.
        manifest: Of the run; it is not read again.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    def check_read(self) -> None:
        """Refuse a run of which only replies have been collected.

        Raises:
            RunError: Nobody has read them.
        """
        if not self.manifest.reader:
            raise RunError(
                f"the replies in {self.path} have not been read",
                remedy="run the same collect command without --replies-only",
            )

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The plan."""
        return self.manifest.shards

    # Replies ----------------------------------------------------------------------------------------

    def reply_file(self, shard: Shard) -> Path:
        """Where the replies of a shard lie."""
        return self.path / "replies" / f"{self.manifest.stem(shard)}.parquet"

    def reply_journal(self, shard: Shard) -> Journal:
        """Where replies that come one by one lie until the shard is complete."""
        return Journal(self.path / "replies" / f"{self.manifest.stem(shard)}.jsonl")

    def has_replies(self, shard: Shard) -> bool:
        """Whether all replies of a shard are there and undamaged; reads them."""
        found = if_whole(read_table, self.reply_file(shard))
        return found is not None and len(found[0]) == len(shard.requests)

    def replies_digest(self, shard: Shard) -> str | None:
        """Digest of the stored replies, which activations and labels carry; None if there are none.

        It lies in the file, so that asking for it takes no reading of the replies.
        """
        return (if_whole(read_metadata, self.reply_file(shard)) or {}).get("replies")

    def write_replies(self, shard: Shard, replies: Sequence[Reply]) -> None:
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
        schema = REPLY_SCHEMA
        if any(reply.thinking for reply in replies):  # only servers give it apart
            schema = schema.append(_THINKING)
            rows = [{**r, "thinking": said.thinking} for r, said in zip(rows, replies, strict=True)]
        count = ThoughtCount.of(replies)
        if count.thinking:
            schema = pa.schema([*schema, *_OF_THOUGHTS])
            rows = [
                {**row, "answer": reply.answer, "thought": reply.thought}
                for row, reply in zip(rows, replies, strict=True)
            ]
        metadata = {"replies": digest_of(replies), **count.as_metadata()}
        write_rows(self.reply_file(shard), rows, schema, metadata)

    def read_replies(self, shard: Shard) -> list[Reply]:
        """The replies of a shard, in the order of its requests.

        Raises:
            RunError: They are not there, or the file is damaged.
        """
        try:
            table, metadata = read_table(self.reply_file(shard))
        except FileNotFoundError as error:
            raise self.unfinished(shard) from error
        apart = _THINKING.name in table.column_names
        thinking = table.column(_THINKING.name).to_pylist() if apart else [""] * len(table)
        return [
            Reply(
                ids=ids, text=text, finish=finish, log_probs=log_probs, thinking=thought, said=said
            )
            for ids, text, finish, log_probs, thought, said in zip(
                _arrays(table, "reply_ids", np.int64),
                table.column("reply").to_pylist(),
                table.column("finish").to_pylist(),
                _arrays(table, "log_probs", np.float32),
                thinking,
                _said(table, metadata),
                strict=True,
            )
        ]

    def thoughts(self) -> ThoughtCount:
        """How many of the replies that are there hold a thought, and how many were cut within it."""
        total = ThoughtCount()
        for shard in self.shards:
            metadata = if_whole(read_metadata, self.reply_file(shard))
            if metadata is not None:
                total += ThoughtCount.from_metadata(metadata, len(shard.requests))
        return total

    def dataset(self) -> datasets.Dataset:
        """All replies of the plan that are there, as a `datasets.Dataset`."""
        import datasets  # noqa: PLC0415

        tables = []
        for shard in self.shards:
            file = self.reply_file(shard)
            if file.is_file():
                tables.append(read_table(file)[0].replace_schema_metadata(None))
        joined = pa.concat_tables(tables or [REPLY_SCHEMA.empty_table()], promote_options="default")
        return datasets.Dataset(joined)

    # Activations ------------------------------------------------------------------------------------

    def activation_file(self, shard: Shard) -> Path:
        """Where the pooled activations of a shard lie."""
        folder = self.path / "activations" / self.manifest.reader_key
        return folder / f"{self.manifest.stem(shard)}.safetensors"

    def has_activations(self, shard: Shard) -> bool:
        """Whether the means of a shard are there, of the right size, and of the replies that are there.

        Their values are not looked at, which would take as long as reading the whole run: `read_activations`
        and `persona_lens.runs.store.checking.check_run` do.
        """
        shape, metadata = if_whole(read_array_header, self.activation_file(shard)) or ((), {})
        digest = self.replies_digest(shard)
        of_these = digest is not None and metadata.get("replies") == digest
        return of_these and shape == self.activation_shape(shard)

    def activation_shape(self, shard: Shard) -> tuple[int, int, int]:
        """Replies, layers and width of the means of a shard."""
        return len(shard.requests), len(self.manifest.layers), int(self.manifest.reader["d_model"])

    def write_activations(
        self,
        shard: Shard,
        replies: Sequence[Reply],
        means: Float[np.ndarray, "reply layer d_model"],
    ) -> None:
        """Write the mean residual of each reply of a shard, with a digest of the replies they belong to."""
        file = self.activation_file(shard)
        write_array(file, means, {"replies": digest_of(replies)})

    def read_activations(self, shard: Shard) -> Float[np.ndarray, "reply layer d_model"]:
        """The mean residual of each reply of a shard; NaN for empty replies.

        Raises:
            RunError: The shard has not been read yet, or other replies are there than it was read from.
            DamagedFile: The file does not hold what was written.
        """
        try:
            means, metadata = read_array(self.activation_file(shard))
        except FileNotFoundError as error:
            raise self.unfinished(shard) from error
        digest = self.replies_digest(shard)
        if digest is None:
            raise self.unfinished(shard)
        if metadata.get("replies") != digest:
            raise RunError(
                f"the activations of {shard.key} in {self.path} are not of the replies that are there",
                remedy="run the same collect command again",
            )
        return means

    def unfinished(self, shard: Shard) -> RunError:
        """The error for a shard that is not there yet."""
        return RunError(
            f"the run in {self.path} is not finished: {shard.key} is missing",
            remedy="run the same collect command again to continue it",
        )


def digest_of(replies: Sequence[Reply]) -> str:
    """Digest of the tokens and texts of replies."""
    digest = xxhash.xxh3_64()
    for reply in replies:
        digest.update(np.asarray(reply.ids, dtype=np.int64).tobytes() + b"|")
        digest.update(reply.text.encode() + b"|")
        if reply.thinking:
            digest.update(reply.thinking.encode() + b"|")
    return digest.hexdigest()


def _said(table: pa.Table, metadata: Mapping[str, str]) -> list[Said | None]:
    """Each reply without its thoughts, as it was cut when it was written; None where nobody has cut it."""
    texts = table.column("reply").to_pylist()
    if "answer" in table.column_names:
        columns = (table.column(name).to_pylist() for name, _ in _OF_THOUGHTS)
        return [Said(*found) for found in zip(*columns, strict=True)]
    return [Said(text) if ThoughtCount.is_known(metadata) else None for text in texts]


def _arrays(table: pa.Table, name: str, dtype: type) -> list[Any]:
    """A column of lists as arrays, None where there is no list."""
    lists = table.column(name).combine_chunks()
    ends = np.cumsum(lists.value_lengths().fill_null(0).to_numpy())
    parts = np.split(lists.flatten().to_numpy().astype(dtype), ends[:-1])
    known = lists.is_valid().to_pylist()
    return [part if there else None for part, there in zip(parts, known, strict=False)]
