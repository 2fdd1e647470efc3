"""From a plan to a finished run: replies and their mean residuals, killed and continued at will."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persona_lens.catalog import load_defaults, load_questions, load_roles, load_traits
from persona_lens.errors import RunError
from persona_lens.model.sampling import Sampling
from persona_lens.rollouts.plan import Shard, TraitQuestions, plan_shards, work_units
from persona_lens.runs.disk import check_room, full_disk_explained
from persona_lens.runs.engine import Engine, LocalEngine
from persona_lens.runs.estimate import Estimate
from persona_lens.runs.folder import RunFolder
from persona_lens.runs.forking import claim
from persona_lens.runs.manifest import Manifest
from persona_lens.runs.progress import CollectionProgress
from persona_lens.runs.worker import Job, Product, WorkerFacts, WorkSettings

if TYPE_CHECKING:
    from persona_lens.catalog import Role, Trait
    from persona_lens.model.persona_model import PersonaModel

_LONGEST_CHECKED = 50
_VERSIONED = ("persona-lens", "torch", "transformers", "transformer-lens", "numpy")


@dataclass(frozen=True)
class _Pending:
    """A unit that is not finished, and which of its shards lack what."""

    unit: tuple[Shard, ...]
    unsampled: frozenset[str]
    unread: frozenset[str]

    @property
    def size(self) -> int:
        return sum(len(shard.requests) for shard in self.unit)


@dataclass(frozen=True)
class _Collection:
    """One collection: what is to be there, and what is."""

    folder: RunFolder
    manifest: Manifest
    settings: WorkSettings

    def pending(self) -> list[_Pending]:
        """The units that are not finished."""
        units = work_units(self.manifest.shards, self.settings.batch_size)
        return [state for state in map(self._state, units) if state.unsampled or state.unread]

    def _state(self, unit: tuple[Shard, ...]) -> _Pending:
        unsampled = frozenset(s.key for s in unit if not self.folder.has_replies(self.manifest, s))
        unread = frozenset(
            shard.key
            for shard in unit
            if self.settings.layers
            and shard.key not in unsampled
            and not self.folder.has_activations(self.manifest, shard)
        )
        return _Pending(unit, unsampled, unread)

    def jobs(self, pending: Iterable[_Pending]) -> Iterator[Job]:
        """The work on pending units, with stored replies read only when it is their turn."""
        for state in pending:
            stored = {
                shard.key: self.folder.read_replies(self.manifest, shard)
                for shard in state.unit
                if shard.key not in state.unsampled
            }
            yield Job(state.unit, stored, state.unread)

    def store(self, job: Job, product: Product) -> None:
        """Write what a worker has made of a shard."""
        shard, replies = product.shard, product.replies
        # Activations first: replies without them would be read again, in another batch.
        if product.means is not None:
            self.folder.write_activations(self.manifest, shard, replies, product.means)
        if shard.key not in job.stored:
            self.folder.write_replies(self.manifest, shard, replies)


def collect_run(
    model: PersonaModel | None,
    path: str | Path,
    *,
    roles: Any = "core",
    traits: Any = "core",
    questions: Any = "core",
    defaults: Any = "core",
    prompts: int | None = None,
    default_samples: int = 4,
    trait_questions: TraitQuestions = "shared",
    sampling: Sampling | None = None,
    layers: Sequence[int] | None = None,
    reader: PersonaModel | None = None,
    batch_size: int = 64,
    token_budget: int | None = None,
    engine: Engine | None = None,
    fork: str | Path | None = None,
    progress: bool = True,
) -> RunFolder:
    """Have `model` play roles and traits, and store the mean residual of every reply.

    Killed at any point, the same call continues: finished shards stay, the unit of shards that was being sampled
    is sampled again in the same batches from the same random state. More roles or traits can be added to a run;
    any other change of its settings is refused, or made in a fork.

    Args:
        model: Writes the replies; None if `engine` does.
        path: The run folder, new or to be continued.
        roles: What `persona_lens.catalog.load_roles` takes: "core", "full", names, dicts, files.
        traits: Likewise.
        questions: Likewise; plain sentences too.
        defaults: Likewise.
        prompts: System prompts of each role and trait to use, from the first; all by default.
        default_samples: Replies of the default Assistant to each question under each of its prompts.
        trait_questions: `shared`, or `own` for those each trait brings.
        sampling: The paper's temperature and top-p by default.
        layers: Blocks to read; all by default.
        reader: Another model to read the replies with, for example the base model of `model`.
        batch_size: Replies sampled at a time.
        token_budget: Tokens of a reading batch; by default what suits the device.
        engine: Works on the shards; this process by default.
        fork: Collect into this new folder instead, starting with whatever of `path` still holds.
        progress: Show an estimate and a progress bar on standard error.

    Returns:
        The finished run.

    Raises:
        RunError: Nothing to ask, other settings than the folder was started with, a full disk, or another
            process writes to the folder.
        CatalogError: Unknown or malformed entries.

    Source: paper section 2.1.
    """
    engine = engine or _local_engine(model, reader)
    facts = engine.facts()
    if batch_size < 1:
        raise RunError("a batch needs replies", expected="at least 1", given=batch_size)
    chosen_roles, chosen_traits = load_roles(roles), load_traits(traits)
    shards = plan_shards(
        chosen_roles,
        chosen_traits,
        load_questions(questions),
        load_defaults(defaults),
        model_name=facts.name,
        prompts=prompts,
        default_samples=default_samples,
        trait_questions=trait_questions,
    )
    settings = WorkSettings(
        sampling or Sampling(), _chosen_layers(layers, facts), batch_size, token_budget
    )
    engine.check(_longest(shards), settings, samples=True)
    manifest = Manifest(
        conditions={"model": facts.writer, "sampling": settings.sampling.model_dump()},
        reader=facts.reader,
        reader_key=_reader_key(facts, settings.layers),
        layers=settings.layers,
        shards=shards,
        about=_about(chosen_roles, chosen_traits),
        versions=_versions(),
    )
    folder = claim(RunFolder(path), manifest, fork=None if fork is None else Path(fork))
    with folder.writing(), full_disk_explained(folder.path):
        if folder.has_manifest():  # continued or added to, perhaps with other versions
            manifest = manifest.model_copy(update={"versions": folder.manifest().versions})
        folder.write_manifest(manifest)
        collection = _Collection(folder, manifest, settings)
        bar = CollectionProgress(total=sum(len(shard.requests) for shard in shards), shown=progress)
        pending = collection.pending()
        done = bar.total - sum(unit.size for unit in pending)
        if pending:
            if progress:
                estimate = _estimate(engine, pending, settings, int(facts.reader["d_model"]))
                bar.announce(estimate, done)
                check_room(folder.path, estimate.disk_bytes)
            jobs = collection.jobs(pending)
            with bar.running(done):
                for job, products in engine.products(jobs, settings, on_batch=bar.advance_tokens):
                    for product in products:
                        collection.store(job, product)
                    bar.advance_replies(job.size)
    return folder


def _local_engine(model: PersonaModel | None, reader: PersonaModel | None) -> Engine:
    if model is None:
        raise RunError("a run needs a model or an engine", remedy="pass PersonaModel.load(...)")
    return LocalEngine(model, reader)


def _estimate(
    engine: Engine, pending: Sequence[_Pending], settings: WorkSettings, d_model: int
) -> Estimate:
    """Time one batch and extrapolate to all replies that are to be sampled."""
    asked = [
        (shard.system, request.question)
        for state in pending
        if state.unsampled
        for shard in state.unit
        for request in shard.requests
    ]
    batch = asked[:: max(1, len(asked) // settings.batch_size)][: settings.batch_size]
    seconds = engine.seconds(batch, settings) * len(asked) / len(batch) if asked else 0.0
    return Estimate(
        replies=len(asked),
        tokens=len(asked) * settings.sampling.max_new_tokens,
        seconds=seconds / engine.workers,
        read_only=sum(state.size for state in pending if not state.unsampled),
        values_per_reply=len(settings.layers) * d_model,
    )


def _longest(shards: Sequence[Shard]) -> list[tuple[str, str]]:
    asked = {(shard.system, request.question) for shard in shards for request in shard.requests}
    return sorted(asked, key=lambda pair: -sum(map(len, pair)))[:_LONGEST_CHECKED]


def _chosen_layers(layers: Sequence[int] | None, facts: WorkerFacts) -> tuple[int, ...]:
    chosen = tuple(range(facts.n_layers)) if layers is None else tuple(sorted(set(layers)))
    if not chosen:
        raise RunError("no layers to read", expected="at least one layer")
    return chosen


def _reader_key(facts: WorkerFacts, layers: Sequence[int]) -> str:
    """A folder name that tells readers, templates and layers apart."""
    reader = str(facts.reader["model"])
    name = "".join(char if char.isalnum() else "-" for char in reader.lower())[-60:]
    what = f"{facts.reader_identity}{list(layers)}"
    return f"{name}-{hashlib.sha256(what.encode()).hexdigest()[:8]}"


def _about(roles: Sequence[Role], traits: Sequence[Trait]) -> dict[str, dict[str, Any]]:
    about: dict[str, dict[str, Any]] = {
        "default-default": {"description": "The Assistant as it answers by itself"}
    }
    for role in roles:
        about[f"role-{role.name}"] = role.model_dump(
            include={"group", "description", "tags", "rubric"}
        )
    for trait in traits:
        about[f"trait-{trait.name}"] = trait.model_dump(include={"description", "tags", "rubric"})
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
