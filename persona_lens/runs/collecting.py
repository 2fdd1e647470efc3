"""From a plan to a finished run: replies and their mean residuals, killed and continued at will."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import platform
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from persona_lens.activations.reading import read_replies
from persona_lens.catalog import load_defaults, load_questions, load_roles, load_traits
from persona_lens.errors import RunError
from persona_lens.model.sampling import Sampling
from persona_lens.rollouts.plan import Shard, plan_shards, work_units
from persona_lens.runs.estimate import Estimate, estimate_run, format_bytes
from persona_lens.runs.folder import Manifest, RunFolder
from persona_lens.runs.progress import CollectionProgress

if TYPE_CHECKING:
    from persona_lens.catalog import Role, Trait
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.model.reply import Reply

logger = logging.getLogger("persona_lens")

_LONGEST_CHECKED = 50
_VERSIONED = ("persona-lens", "torch", "transformers", "transformer-lens", "numpy")


@dataclass
class _Collection:
    """One collection in progress: who writes, who reads, what, and where to."""

    writer: PersonaModel
    reader: PersonaModel
    folder: RunFolder
    manifest: Manifest
    sampling: Sampling
    batch_size: int
    token_budget: int | None
    progress: CollectionProgress

    def is_done(self, shard: Shard) -> bool:
        return self.folder.has_replies(self.manifest, shard) and self.folder.has_activations(
            self.manifest, shard
        )

    def has_replies(self, unit: Sequence[Shard]) -> bool:
        return all(self.folder.has_replies(self.manifest, shard) for shard in unit)

    def run_unit(self, unit: Sequence[Shard]) -> None:
        """Generate what has no replies, then read what has no activations."""
        if not self.has_replies(unit):
            self._generate(unit)
        for shard in unit:
            if not self.folder.has_activations(self.manifest, shard):
                self._read(shard)

    def _generate(self, unit: Sequence[Shard]) -> None:
        # The whole unit is sampled even if some of its shards are stored already: their replies come out the
        # same, and so do those of the missing ones, which share a batch and a random state with them.
        encoder = self.writer.encoder
        prompts = [
            encoder.prompt(encoder.messages(request.question, system=shard.system))
            for shard in unit
            for request in shard.requests
        ]
        replies = self.writer.generate(
            prompts,
            self.sampling.model_copy(update={"seed": _unit_seed(unit, self.sampling.seed)}),
            layers=self.manifest.layers if self.writer is self.reader else None,
            batch_size=self.batch_size,
            on_batch=self.progress.advance_tokens,
        )
        start = 0
        for shard in unit:
            stop = start + len(shard.requests)
            self._store(shard, replies[start:stop])
            start = stop

    def _store(self, shard: Shard, replies: Sequence[Reply]) -> None:
        if self.folder.has_replies(self.manifest, shard):
            return
        means = [reply.mean for reply in replies if reply.mean is not None]
        if means:  # activations first: replies without them would be read again, in another batch
            self.folder.write_activations(self.manifest, shard, replies, np.stack(means))
        self.folder.write_replies(self.manifest, shard, replies)

    def _read(self, shard: Shard) -> None:
        replies = self.folder.read_replies(self.manifest, shard)
        means = read_replies(
            self.reader,
            shard,
            replies,
            layers=self.manifest.layers,
            exact_ids=self._same_tokens,
            token_budget=self.token_budget,
        )
        self.folder.write_activations(self.manifest, shard, replies, means)

    @cached_property
    def _same_tokens(self) -> bool:
        """Whether the reader tokenises like the writer."""
        return self.writer is self.reader or (
            self.writer.encoder.template_hash == self.reader.encoder.template_hash
            and self.writer.tokenizer.get_vocab() == self.reader.tokenizer.get_vocab()
        )


def collect_run(
    model: PersonaModel,
    path: str | Path,
    *,
    roles: Any = "core",
    traits: Any = "core",
    questions: Any = "core",
    defaults: Any = "core",
    prompts: int | None = None,
    default_samples: int = 4,
    sampling: Sampling | None = None,
    layers: Sequence[int] | None = None,
    reader: PersonaModel | None = None,
    batch_size: int = 64,
    token_budget: int | None = None,
    progress: bool = True,
) -> RunFolder:
    """Have `model` play roles and traits, and store the mean residual of every reply.

    Killed at any point, the same call continues: finished shards stay, the unit of shards that was being sampled
    is sampled again in the same batches from the same random state.

    Args:
        model: Writes the replies.
        path: The run folder, new or to be continued.
        roles: What `persona_lens.catalog.load_roles` takes: "core", names, dicts, files.
        traits: Likewise.
        questions: Likewise; plain sentences too.
        defaults: Likewise.
        prompts: System prompts of each role and trait to use, from the first; all by default.
        default_samples: Replies of the default Assistant to each question under each of its prompts.
        sampling: The paper's temperature and top-p by default.
        layers: Blocks to read; all by default.
        reader: Another model to read the replies with, for example the base model of `model`.
        batch_size: Replies sampled at a time.
        token_budget: Tokens of a reading batch; by default what suits the device.
        progress: Show an estimate and a progress bar on standard error.

    Returns:
        The finished run.

    Raises:
        RunError: Nothing to ask, or another process writes to the folder.
        CatalogError: Unknown or malformed entries.

    Source: paper section 2.1.
    """
    chosen_roles, chosen_traits = load_roles(roles), load_traits(traits)
    shards = plan_shards(
        chosen_roles,
        chosen_traits,
        load_questions(questions),
        load_defaults(defaults),
        model_name=model.name,
        prompts=prompts,
        default_samples=default_samples,
    )
    sampling = sampling or Sampling()
    reader = reader or model
    chosen_layers = _checked_layers(layers, reader)
    _check_before_start(model, reader, shards, sampling, batch_size)
    folder = RunFolder(path)
    manifest = Manifest(
        conditions={"model": model.card(), "sampling": sampling.model_dump()},
        reader=reader.card(),
        reader_key=_reader_key(reader, chosen_layers),
        layers=chosen_layers,
        shards=shards,
        about=_about(chosen_roles, chosen_traits),
        versions=_versions(),
    )
    with folder.writing():
        folder.write_manifest(manifest)
        bar = CollectionProgress(total=sum(len(shard.requests) for shard in shards), shown=progress)
        collection = _Collection(
            model, reader, folder, manifest, sampling, batch_size, token_budget, bar
        )
        units = work_units(shards, batch_size)
        todo = [unit for unit in units if not all(map(collection.is_done, unit))]
        done = sum(_size(unit) for unit in units) - sum(_size(unit) for unit in todo)
        if todo:
            if progress:
                estimate = _estimate(collection, todo)
                bar.announce(estimate, done)
                _check_disk(folder, estimate)
            with bar.running(done):
                for unit in todo:
                    collection.run_unit(unit)
                    bar.advance_replies(_size(unit))
    return folder


def _estimate(collection: _Collection, todo: Sequence[Sequence[Shard]]) -> Estimate:
    return estimate_run(
        collection.writer,
        [shard for unit in todo for shard in unit if not collection.has_replies(unit)],
        [shard for unit in todo for shard in unit if collection.has_replies(unit)],
        collection.sampling,
        collection.batch_size,
        values_per_reply=len(collection.manifest.layers) * collection.reader.d_model,
    )


def _check_before_start(
    model: PersonaModel,
    reader: PersonaModel,
    shards: Sequence[Shard],
    sampling: Sampling,
    batch_size: int,
) -> None:
    """Find out now what would otherwise end the collection after hours."""
    if batch_size < 1:
        raise RunError("a batch needs replies", expected="at least 1", given=batch_size)
    if model.has_bridge_hooks or reader.has_bridge_hooks:
        raise RunError(
            "the bridge carries hooks, which would change replies and readings without being recorded",
            remedy="take them off with model.bridge.reset_hooks() before collecting",
        )
    asked = [(shard.system, request.question) for shard in shards for request in shard.requests]
    longest = sorted(set(asked), key=lambda pair: -sum(map(len, pair)))[:_LONGEST_CHECKED]
    encoder = model.encoder
    prompts = [
        encoder.prompt(encoder.messages(question, system=system)) for system, question in longest
    ]
    model.check_room(prompts, sampling)


def _check_disk(folder: RunFolder, estimate: Estimate) -> None:
    free = shutil.disk_usage(folder.path).free
    if estimate.disk_bytes > free:
        raise RunError(
            f"the disk under {folder.path} is too small",
            expected=f"{format_bytes(estimate.disk_bytes)} free",
            given=format_bytes(free),
            remedy="choose another folder, fewer replies or fewer layers",
        )


def _checked_layers(layers: Sequence[int] | None, reader: PersonaModel) -> tuple[int, ...]:
    chosen = tuple(range(reader.n_layers)) if layers is None else tuple(sorted(set(layers)))
    if not chosen:
        raise RunError("no layers to read", expected="at least one layer")
    for layer in chosen:
        reader.hook_name(layer)
    return chosen


def _unit_seed(unit: Sequence[Shard], seed: int) -> int:
    """A seed of the unit's own: without it, all units would draw the same random numbers."""
    return int(unit[0].content_hash({"seed": seed}), 16) % 2**63


def _size(unit: Sequence[Shard]) -> int:
    return sum(len(shard.requests) for shard in unit)


def _reader_key(reader: PersonaModel, layers: Sequence[int]) -> str:
    """A folder name that tells readers, templates and layers apart."""
    name = "".join(char if char.isalnum() else "-" for char in reader.name.lower())[-60:]
    what = f"{reader.fingerprint}{reader.encoder.template_hash}{list(layers)}"
    return f"{name}-{hashlib.sha256(what.encode()).hexdigest()[:8]}"


def _about(roles: Sequence[Role], traits: Sequence[Trait]) -> dict[str, dict[str, Any]]:
    about: dict[str, dict[str, Any]] = {
        "default-default": {"description": "The Assistant as it answers by itself"}
    }
    for role in roles:
        about[f"role-{role.name}"] = role.model_dump(include={"group", "description", "tags"})
    for trait in traits:
        about[f"trait-{trait.name}"] = trait.model_dump(include={"description", "tags"})
    return about


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _VERSIONED:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a source tree
            continue
    found["collected"] = time.strftime("%Y-%m-%d")
    return found
