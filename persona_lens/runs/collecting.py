"""From a plan to a finished run: replies and their mean residuals, killed and continued at will."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from persona_lens.catalog.schema import TraitQuestions
from persona_lens.errors import RunError
from persona_lens.rollouts.model_names import short_name
from persona_lens.rollouts.plan import Shard, n_requests, work_units
from persona_lens.rollouts.sampling import Sampling
from persona_lens.runs.collection_progress import CollectionProgress, Estimate
from persona_lens.runs.engines.engine import Engine, LocalEngine
from persona_lens.runs.engines.reading import Tokens
from persona_lens.runs.engines.worker import Job, Product, WorkerFacts, WorkSettings
from persona_lens.runs.planning import CollectionPlan, Writer, asked_first, continued
from persona_lens.runs.served.collecting import collect_served
from persona_lens.runs.store.disk import check_room, full_disk_explained
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.store.forking import claim
from persona_lens.runs.store.open_run import OpenRun

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.rollouts.serving import ServedSource


@dataclass(frozen=True)
class _Pending:
    """A unit that is not finished, and which of its shards lack what."""

    unit: tuple[Shard, ...]
    unsampled: frozenset[str]
    unread: frozenset[str]


@dataclass(frozen=True)
class _Collection:
    """One collection: what is to be there, and what is.

    `unanswered` gets, for each shard that is read, the number of replies with text of which nothing is averaged.
    """

    run: OpenRun
    settings: WorkSettings
    unanswered: list[int] = field(default_factory=list)

    def pending(self) -> list[_Pending]:
        """The units that are not finished."""
        found = []
        for unit in work_units(self.run.shards, self.settings.batch_size):
            unsampled = frozenset(shard.key for shard in unit if not self.run.has_replies(shard))
            sampled = [shard for shard in unit if shard.key not in unsampled]
            to_read = sampled if self.settings.layers else []
            unread = frozenset(s.key for s in to_read if not self.run.has_activations(s))
            if unsampled or unread:
                found.append(_Pending(unit, unsampled, unread))
        return found

    def jobs(self, pending: Iterable[_Pending]) -> Iterator[Job]:
        """The work on pending units, with stored replies read only when it is their turn."""
        for state in pending:
            stored = {
                shard.key: self.run.read_replies(shard)
                for shard in state.unit
                if shard.key not in state.unsampled
            }
            yield Job(state.unit, stored, state.unread)

    def store(self, job: Job, product: Product) -> None:
        """Write what a worker has made of a shard."""
        shard, replies = product.shard, product.replies
        # Activations first: replies without them would be read again, in another batch.
        if product.means is not None:
            self.run.write_activations(shard, replies, product.means)
            said = np.array([bool(reply.text.strip()) for reply in replies])
            unread = np.isnan(product.means).all(axis=(1, 2))
            self.unanswered.append(int(np.count_nonzero(said & unread)))
        if shard.key not in job.stored:
            self.run.write_replies(shard, replies)


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
    tokens: Tokens = "answer",
    batch_size: int = 64,
    token_budget: int | None = None,
    reader: PersonaModel | None = None,
    engine: Engine | None = None,
    served: ServedSource | None = None,
    retry_failed: bool = False,
    fork: str | Path | None = None,
    progress: bool = True,
) -> RunFolder:
    """Have `model` play roles and traits, and store the mean residual of every reply.

    Killed at any point, the same call continues: finished shards stay, the unit of shards that was being sampled
    is sampled again in the same batches from the same random state. More roles or traits can be added to a run;
    any other change of its settings is refused, or made in a fork.

    A server may write the replies instead; each is kept when it arrives, and `model` reads them in a second stage.
    Without a model that stage is left out, and the same call with one makes up for it.

    Args:
        model: Writes the replies and reads them; None if `engine` does, or if replies of a server are only
            collected.
        path: The run folder, new or to be continued.
        roles: "core", "full", names, dicts, files or a folder (`persona_lens.catalog.load_roles`); None for none.
        traits: Likewise.
        questions: Likewise; plain sentences too.
        defaults: Likewise: system prompts of the default Assistant, which has full weight in the axis.
        prompts: System prompts of each role and trait to use, from the first; all by default.
        default_samples: Replies of the default Assistant to each question under each of its prompts.
        trait_questions: `shared`, or `own` for those each trait brings.
        sampling: The paper's temperature and top-p by default.
        layers: Blocks to read; all by default.
        tokens: Tokens of a reply that are averaged: `answer`, or `paper` as the paper's code takes them.
        batch_size: Replies sampled at a time.
        token_budget: Tokens of a reading batch; by default what suits the device.
        reader: Another model to read the replies with, for example the base model of `model`.
        engine: Works on the shards; this process by default.
        served: A server that writes the replies, so that `model` or `engine` only reads them.
        retry_failed: Ask the server again where an earlier request failed.
        fork: Collect into this new folder instead, starting with whatever of `path` still holds.
        progress: Show an estimate and a progress bar on standard error.

    Returns:
        The finished run.

    Raises:
        EndpointError: The server cannot be reached or refuses to serve; what has arrived is kept.
        TranscriptError: A prompt that the template refuses, or behind which no reply could be read. Raised before
            any reply is asked for.
        RunError: Nothing to ask, other settings than the folder was started with, a full disk, or another
            process writes to the folder.
        CatalogError: Unknown or malformed entries.

    Source: paper section 2.1.
    """
    plan = CollectionPlan(
        roles=roles,
        traits=traits,
        questions=questions,
        defaults=defaults,
        prompts=prompts,
        default_samples=default_samples,
        trait_questions=trait_questions,
        sampling=sampling or Sampling(),
        layers=layers,
        tokens=tokens,
        batch_size=batch_size,
        token_budget=token_budget,
    )
    return collect_plan(
        model,
        path,
        plan,
        reader=reader,
        engine=engine,
        served=served,
        retry_failed=retry_failed,
        fork=fork,
        progress=progress,
    )


def collect_plan(
    model: PersonaModel | None,
    path: str | Path,
    plan: CollectionPlan,
    *,
    reader: PersonaModel | None = None,
    engine: Engine | None = None,
    served: ServedSource | None = None,
    retry_failed: bool = False,
    fork: str | Path | None = None,
    progress: bool = True,
) -> RunFolder:
    """Carry a plan out: `collect_run` for what is asked, sampled and read held in one object.

    Args:
        model: As for `collect_run`.
        path: The run folder, new or to be continued.
        plan: What is asked, sampled and read.
        reader: As for `collect_run`, and so are the others.
        engine: Works on the shards; this process by default.
        served: A server that writes the replies.
        retry_failed: Ask the server again where an earlier request failed.
        fork: Collect into this new folder instead.
        progress: Show an estimate and a progress bar on standard error.

    Returns:
        The finished run.

    Raises:
        PersonaLensError: As `collect_run`.
    """
    engine = engine or _local_engine(model, reader, served)
    facts = None if engine is None else engine.facts()
    manifest = plan.manifest(_writer(plan, facts, served), facts)
    served_text = served is not None
    settings = WorkSettings(
        plan.sampling, manifest.layers, plan.batch_size, plan.token_budget, served_text, plan.tokens
    )
    read_anew = served_text or (facts is not None and facts.reader != facts.writer)
    first = asked_first(manifest.shards, every_part=read_anew)
    if engine is not None:
        # Replies of a server have to fit as well: into the context of the model that reads them.
        engine.check(first, settings, samples=True)
    if served is not None:
        served.check(first, reading=engine is None)
    folder = claim(RunFolder(path), manifest, fork=None if fork is None else Path(fork))
    with folder.writing(), full_disk_explained(folder.path):
        if folder.has_manifest():  # continued or added to, perhaps with other versions
            manifest = continued(manifest, folder.manifest())
        run = folder.started(manifest)
        if served is not None:
            collect_served(served, run, retry=retry_failed, progress=progress)
        if engine is not None:
            _work_off(engine, _Collection(run, settings), progress=progress)
        if progress:
            count = run.thoughts()
            if count.thinking:
                remedy = ". A larger max_new_tokens leaves room for it." if count.cut else "."
                Console(stderr=True).print(f"{count}{remedy}", markup=False, highlight=False)
    return folder


def _writer(plan: CollectionPlan, facts: WorkerFacts | None, served: ServedSource | None) -> Writer:
    """Whoever writes the replies: the server if there is one, else the engine of these facts."""
    as_paper = plan.tokens == "paper"
    if served is not None:
        told = served.model_name or short_name(served.name, always=as_paper)
        return Writer(told, {"server": served.conditions()}, _served_facts(served, facts))
    assert facts is not None, "whoever writes has an engine"
    worded = {"prompts": "paper"} if as_paper else {}
    told = short_name(facts.name, always=as_paper)
    return Writer(told, {"model": facts.writer, **worded}, {})


def _served_facts(served: ServedSource, facts: WorkerFacts | None) -> dict[str, str]:
    """Where replies come from, and what of them is read."""
    found = {"server": served.settings.host(), "rendered_by": served.rendered_by()}
    if facts is not None:
        place = "before the answer, in no mean" if facts.holds_thoughts else "left out"
        found["read_as"] = (
            "tokens of the answer, behind the prompt that was sent; the server's ids where it told them, else its "
            f"text as it is tokenised there; a thought that it gave apart is {place}"
        )
    return found


def _local_engine(
    model: PersonaModel | None, reader: PersonaModel | None, served: ServedSource | None
) -> Engine | None:
    """This process, if it has a model; a server needs none."""
    if served is not None and reader is not None:
        raise RunError(
            "replies of a server are read by one model",
            given="a model and a reader",
            remedy="pass the one that is to read as model, and no reader",
        )
    if model is not None:
        return LocalEngine(model, reader)
    if served is None:
        raise RunError(
            "a run needs a model, an engine or a server", remedy="pass PersonaModel.load(...)"
        )
    return None


def _work_off(engine: Engine, collection: _Collection, *, progress: bool) -> None:
    """Have the engine do what is not done."""
    settings, shards = collection.settings, collection.run.shards
    bar = CollectionProgress(total=n_requests(shards), shown=progress)
    pending = collection.pending()
    if not pending:
        return
    done = bar.total - sum(n_requests(state.unit) for state in pending)
    if progress:
        d_model = int(collection.run.manifest.reader["d_model"])
        estimate = _estimate(engine, pending, settings, d_model)
        bar.announce(estimate, done)
        check_room(collection.run.path, estimate.disk_bytes)
    jobs = collection.jobs(pending)
    with bar.running(done):
        for job, products in engine.products(jobs, settings, on_batch=bar.advance_tokens):
            for product in products:
                collection.store(job, product)
            bar.advance_replies(n_requests(job.unit))
    if isinstance(engine, LocalEngine):
        engine.keep_pace(bar.sampled, bar.tokens, bar.elapsed)
    if missing := sum(collection.unanswered):
        Console(stderr=True, quiet=not progress).print(
            f"{missing:,} replies with text have no answer to average: a thought that was cut, or text that the "
            "reader has no tokens for. They do not count.",
            highlight=False,
        )


def _estimate(
    engine: Engine, pending: Sequence[_Pending], settings: WorkSettings, d_model: int
) -> Estimate:
    """Time one batch and extrapolate to all replies that are to be sampled."""
    unsampled = [shard for state in pending if state.unsampled for shard in state.unit]
    asked = [pair for shard in unsampled for pair in shard.asked]
    batch = asked[:: max(1, len(asked) // settings.batch_size)][: settings.batch_size]
    seconds = engine.seconds(batch, settings) * len(asked) / len(batch) if asked else 0.0
    return Estimate(
        replies=len(asked),
        tokens=len(asked) * settings.sampling.max_new_tokens,
        seconds=seconds / engine.workers,
        read_only=sum(n_requests(state.unit) for state in pending if not state.unsampled),
        values_per_reply=len(settings.layers) * d_model,
    )
