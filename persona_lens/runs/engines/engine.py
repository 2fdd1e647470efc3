"""Who works on the shards: this process, or workers elsewhere that do the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from persona_lens.model.pace import keep_pace, pace_key
from persona_lens.runs.engines.worker import (
    Asked,
    Job,
    OnBatch,
    Product,
    Worker,
    WorkerFacts,
    WorkSettings,
)

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel


OfModel = Callable[["PersonaModel", Any], Any]


class Engine(Protocol):
    """Maps jobs to workers. The products of a job do not depend on who works on it."""

    @property
    def workers(self) -> int:
        """How many jobs are worked on at the same time."""
        ...

    def facts(self) -> WorkerFacts:
        """What a run writes down about the models."""
        ...

    def check(self, asked: Sequence[Asked], settings: WorkSettings, *, samples: bool) -> None:
        """See `Worker.check`."""
        ...

    def seconds(self, asked: Sequence[Asked], settings: WorkSettings) -> float:
        """See `Worker.seconds`."""
        ...

    def products(
        self, jobs: Iterable[Job], settings: WorkSettings, *, on_batch: OnBatch = None
    ) -> Iterator[tuple[Job, list[Product]]]:
        """The products of each job, as they are finished, in any order.

        Args:
            jobs: Taken one by one, no more ahead than there is work for.
            settings: How to sample and read.
        """
        ...

    def each(
        self, function: OfModel, pieces: Iterable[tuple[str, Any]]
    ) -> Iterator[tuple[str, Any]]:
        """What a function makes of the writer and each piece, as they are finished, in any order.

        Args:
            function: Of the writer and a piece; of a module, so that other processes have it too.
            pieces: With their names. Taken one by one, no more ahead than there is work for.
        """
        ...


class LocalEngine:
    """Works in this process, one job after the other.

    Args:
        writer: Samples the replies.
        reader: Reads them; the writer by default.
    """

    workers = 1

    def __init__(self, writer: PersonaModel, reader: PersonaModel | None = None) -> None:
        self.writer = writer
        self._reads_itself = reader is None
        self._worker = Worker(writer, reader)
        self.facts = self._worker.facts
        self.check = self._worker.check
        self.seconds = self._worker.seconds

    def products(
        self, jobs: Iterable[Job], settings: WorkSettings, *, on_batch: OnBatch = None
    ) -> Iterator[tuple[Job, list[Product]]]:
        """The products of each job, in the order of the jobs."""
        for job in jobs:
            yield job, self._worker.work(job, settings, on_batch=on_batch)

    def keep_pace(self, replies: int, tokens: int, seconds: float) -> None:
        """Remember how fast so many replies and tokens came, for the next plan of this model."""
        if self._reads_itself:
            key = pace_key(self.writer.name, self.writer.dtype, self.writer.device)
            keep_pace(key, replies=replies, tokens=tokens, seconds=seconds)

    def each(
        self, function: OfModel, pieces: Iterable[tuple[str, Any]]
    ) -> Iterator[tuple[str, Any]]:
        """What the function makes of each piece, in their order."""
        for name, piece in pieces:
            yield name, function(self.writer, piece)
