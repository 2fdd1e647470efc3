"""The manifest: everything that decides what a run holds, and what differs when two of them differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from persona_lens.errors import RunError
from persona_lens.rollouts.plan import Request, Shard
from persona_lens.runs.store.differences import brief, leaves
from persona_lens.runs.store.tables import DIGEST, DamagedFile, read_record

MANIFEST_FORMAT = 2

_LISTED = 8


class Manifest(BaseModel):
    """What a run is: enough to understand and to continue it.

    Attributes:
        conditions: What all replies depend on besides the shard: model or server, template, sampling.
        reader: Card of the model whose residual stream is read; empty if replies are only collected.
        reader_key: Name of the folder its activations lie in.
        shards: The plan. In the file every question is written once.
        about: Group, description, tags and rubric of each role and trait, for figures and judges.
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

    @field_validator("shards", mode="before")
    @classmethod
    def _unpack(cls, value: Any) -> Any:
        return unpack_plan(value) if isinstance(value, Mapping) else value

    def packed(self) -> dict[str, Any]:
        """The manifest as plain data, as it is written."""
        # Not by a serializer of pydantic's, which would turn Ctrl-C into an error of its own.
        return {
            **self.model_dump(mode="json", exclude={"shards"}),
            "shards": pack_plan(self.shards),
        }

    @cached_property
    def _stems(self) -> dict[str, str]:
        return {
            shard.key: f"{shard.key}-{shard.content_hash(self.conditions)}" for shard in self.shards
        }

    def stem(self, shard: Shard) -> str:
        """File name of a shard of this plan, without suffix."""
        return self._stems[shard.key]

    @property
    def stems(self) -> Mapping[str, str]:
        """File names of all shards, by the key of the shard."""
        return self._stems

    def differences(self, wanted: Manifest) -> list[str]:
        """What `wanted` changes, one line each; nothing if it only adds shards, or a reader, to this plan.

        A `wanted` without a reader collects replies only, whoever reads them.
        """
        both_read = bool(self.reader and wanted.reader)
        changed = [
            f"{name}: {brief(old)} here, {brief(new)} asked for"
            for name, old, new in (
                *leaves(self.conditions, wanted.conditions),
                *(leaves(self.reader, wanted.reader, "reader") if both_read else ()),
            )
        ]
        if both_read and self.layers != wanted.layers:
            changed.append(f"layers: {brief(list(self.layers))} here, {list(wanted.layers)}")
        known = {shard.key: shard for shard in wanted.shards}
        missing = [shard.key for shard in self.shards if shard.key not in known]
        if missing:
            changed.append(f"not asked for any more: {_listed(missing)}")
        other = [
            shard.key for shard in self.shards if shard.key in known and shard != known[shard.key]
        ]
        if other:
            changed.append(f"other prompts, questions or samples: {_listed(other)}")
        return changed


def read_manifest(file: Path) -> Manifest:
    """The manifest in a file.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFile: It does not hold what was written.
        RunError: It has another format.
    """
    try:
        content = read_record(file)
    except DamagedFile as error:
        _refuse_format_before_digests(file)
        raise _damaged(file, error.what) from error
    _refuse_other_format(content)
    try:
        return Manifest.model_validate(content)
    except (ValidationError, LookupError, TypeError) as error:
        raise _damaged(file, str(error).splitlines()[0]) from error


def _damaged(file: Path, what: str) -> DamagedFile:
    return DamagedFile(
        file,
        what,
        remedy="remove it and run the same collect command again; finished replies are kept",
    )


def _refuse_other_format(content: Mapping[str, Any]) -> None:
    if content.get("format") != MANIFEST_FORMAT:
        raise RunError(
            "this run was collected by another version of Persona Lens",
            expected=f"format {MANIFEST_FORMAT}",
            given=content.get("format"),
            remedy="read it with that version, or collect again",
        )


def _refuse_format_before_digests(file: Path) -> None:
    """Manifests of the first format had no digest that could fit."""
    with suppress(ValueError):
        content = json.loads(file.read_text("utf-8"))
        if isinstance(content, dict) and DIGEST not in content:
            _refuse_other_format(content)


def pack_plan(shards: Sequence[Shard]) -> dict[str, Any]:
    """A plan as plain data in which every question and every list of questions is written once.

    Raises:
        RunError: One question id stands for two texts.

    Examples:
        >>> ask = (Request(question_id="q01", question="Who are you?"),)
        >>> shards = [Shard(kind="role", name=name, prompt_index=0, system="", requests=ask) for name in "ab"]
        >>> packed = pack_plan(shards)
        >>> packed["questions"], packed["asked"], unpack_plan(packed) == tuple(shards)
        ({'q01': 'Who are you?'}, [[['q01', 0]]], True)
    """
    questions: dict[str, str] = {}
    asked: dict[tuple[Request, ...], int] = {}
    packed = []
    for shard in shards:
        if shard.requests not in asked:
            asked[shard.requests] = len(asked)
            for request in shard.requests:
                if questions.setdefault(request.question_id, request.question) != request.question:
                    raise RunError(
                        f"the question id {request.question_id!r} stands for two texts",
                        remedy="give one of the two another id",
                    )
        packed.append({**shard.model_dump(exclude={"requests"}), "asked": asked[shard.requests]})
    return {
        "questions": questions,
        "asked": [[[r.question_id, r.sample] for r in requests] for requests in asked],
        "shards": packed,
    }


def unpack_plan(packed: Mapping[str, Any]) -> tuple[Shard, ...]:
    """The plan `pack_plan` packed; shards that ask the same share their requests."""
    questions = packed["questions"]
    asked = [
        tuple(Request(question_id=id_, question=questions[id_], sample=n) for id_, n in requests)
        for requests in packed["asked"]
    ]
    return tuple(
        Shard(
            **{key: value for key, value in shard.items() if key != "asked"},
            requests=asked[shard["asked"]],
        )
        for shard in packed["shards"]
    )


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    return ", ".join(keys[:_LISTED]) + more
