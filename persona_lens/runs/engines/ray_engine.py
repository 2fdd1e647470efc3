"""Collect with many workers, on the GPUs of this machine or of a whole cluster, by way of Ray.

Examples:
    >>> from persona_lens.runs import collect_run
    >>> spec = WorkerSpec(ModelSpec("google/gemma-2-27b-it", dtype="bfloat16"))
    >>> with RayEngine(spec, workers=8, gpus_per_worker=1) as engine:  # doctest: +SKIP
    ...     collect_run(None, "runs/gemma", engine=engine)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

from persona_lens.errors import RunError
from persona_lens.runs.engines.engine import OfModel
from persona_lens.runs.engines.ray_cluster import RayConnection
from persona_lens.runs.engines.ray_crew import RayCrew, Task, in_words
from persona_lens.runs.engines.worker import Asked, Job, OnBatch, Product, WorkerFacts, WorkSettings
from persona_lens.runs.engines.worker_spec import ModelSpec, WorkerSpec

__all__ = ["ModelSpec", "RayEngine", "WorkerSpec"]

_ROUNDING = 1e-6  # 100 * 0.07 is a little more than 7


class RayEngine:
    """Workers in processes of their own, on this machine or on those of a Ray cluster.

    Each worker loads the models once. A unit of shards is given to whichever worker is idle, and what it makes is
    handed back to this process, which alone writes files. Units have seeds of their own, so replies do not depend
    on who samples them, as far as the hardware is the same. The work of a worker that is lost, with its node or
    alone, is given to another; a lost worker is replaced as soon as there is a place.

    Args:
        spec: What each worker loads.
        workers: How many work at the same time. On a cluster that has no place for all, those that have one begin.
        gpus_per_worker: A fraction lets workers share a GPU, each with a copy of the model. Without GPUs, models
            whose `spec` names no device are on the CPU.
        cpus_per_worker: Reserved in Ray; also the threads of PyTorch, unless `spec` says otherwise.
        address: Of a cluster, such as `10.0.0.1:6379`, or `auto` for the one this machine belongs to. By default
            what `RAY_ADDRESS` says, else Ray is started on this machine until the engine is closed. If the process
            is connected already, that connection is used.
        patience: Seconds to wait while a cluster has no place for a single worker.

    Raises:
        RunError: Ray is not installed or cannot be reached, this machine has no room for the workers, or what is
            asked for makes no sense.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        *,
        workers: int,
        gpus_per_worker: float = 0,
        cpus_per_worker: float = 1,
        address: str | None = None,
        patience: float = 600,
    ) -> None:
        _refuse_nonsense(spec, workers, gpus_per_worker, cpus_per_worker)
        self.workers = workers
        self._connection = RayConnection.open(address)
        self._crew: RayCrew | None = RayCrew(
            self._connection,
            spec if gpus_per_worker else spec.on_cpu(),
            workers,
            {"num_cpus": cpus_per_worker, "num_gpus": gpus_per_worker},
            patience,
        )
        try:
            if self._connection.local:
                self._refuse_crowding(gpus_per_worker, cpus_per_worker)
            self._crew.start()
        except BaseException:
            self.close()
            raise

    def facts(self) -> WorkerFacts:
        """What a run writes down about the models; waits for the first worker that has loaded them.

        Raises:
            RunError: No worker could be had.
            ModelError, DownloadError: From loading.
        """
        return self._open_crew.facts()

    def check(self, asked: Sequence[Asked], settings: WorkSettings, *, samples: bool) -> None:
        """See `Worker.check`; one worker answers for all."""
        self._ask(Task("check", (asked, settings, samples), "a check of the settings"))

    def seconds(self, asked: Sequence[Asked], settings: WorkSettings) -> float:
        """See `Worker.seconds`; one worker measures."""
        return self._ask(Task("seconds", (asked, settings), "the timing of a batch"))

    def products(
        self, jobs: Iterable[Job], settings: WorkSettings, *, on_batch: OnBatch = None
    ) -> Iterator[tuple[Job, list[Product]]]:
        """The products of each job, as they are finished.

        If this is left before it ends, the workers that are busy are ended too; the next call has them replaced.

        Args:
            jobs: Taken one by one, never more than there are workers ahead of what is finished.
            settings: How to sample and read.
            on_batch: Called once a job, when its products are there.

        Raises:
            RunError: A job ended several workers, the workers hold different models, or none could be had.
            PersonaLensError: What a worker raised.
        """
        tasks = (Task("work", (job, settings), _name(job)) for job in jobs)
        with closing(self._open_crew.results(tasks)) as results:
            for task, products in results:
                job: Job = task.arguments[0]
                if on_batch is not None:
                    sampled = [p.replies for p in products if p.shard.key not in job.stored]
                    lengths = [len(reply.ids) for replies in sampled for reply in replies]
                    on_batch(len(lengths), sum(lengths))
                yield job, products

    def each(
        self, function: OfModel, pieces: Iterable[tuple[str, Any]]
    ) -> Iterator[tuple[str, Any]]:
        """What the function makes of each piece, as they are finished; as for `products`."""
        tasks = (Task("each", (function, name, piece), name) for name, piece in pieces)
        with closing(self._open_crew.results(tasks)) as results:
            for _, made in results:
                yield made

    def close(self) -> None:
        """End the workers, and Ray if it was started for this engine."""
        if self._crew is not None:
            if self._connection.ray.is_initialized():
                self._crew.close()
            self._crew = None
            self._connection.close()

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _open_crew(self) -> RayCrew:
        if self._crew is None:
            raise RunError("the engine is closed", remedy="make another RayEngine")
        return self._crew

    def _ask(self, task: Task) -> Any:
        [(_, answer)] = self._open_crew.results([task])
        return answer

    def _refuse_crowding(self, gpus: float, cpus: float) -> None:
        """On one machine it is known at once that there will never be a place; clusters may grow."""
        there = self._connection.resources()
        fits = there["CPU"] + _ROUNDING >= self.workers * cpus
        if not (fits and there["GPU"] + _ROUNDING >= self.workers * gpus):
            raise RunError(
                f"this machine has no room for all workers, which are {self.workers}",
                expected=in_words(self.workers * cpus, self.workers * gpus),
                given=in_words(there["CPU"], there["GPU"]),
                remedy="ask for fewer, or for less for each, or give the address of a cluster",
            )


def _name(job: Job) -> str:
    first, *others = [shard.key for shard in job.unit]
    return f"{first} and {len(others)} more" if others else first


def _refuse_nonsense(spec: WorkerSpec, workers: int, gpus: float, cpus: float) -> None:
    if workers < 1:
        raise RunError("an engine needs workers", expected="at least 1", given=workers)
    if gpus < 0 or cpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise RunError(
            "a worker cannot have this much",
            expected="a fraction of a GPU or whole GPUs, and no less than nothing",
            given=in_words(cpus, gpus),
        )
    if gpus > 1 and spec.writer.device_map is None:
        raise RunError(
            f"a model goes to one GPU and leaves the others of its worker idle, given {gpus:g}",
            remedy='spread it with device_map="auto", or give each worker one GPU',
        )
