"""Ray actors that work on tasks: started, loaded, kept busy, and replaced when they are lost.

All state is here, in one thread of the process that asks; an actor holds its models and nothing else. A task is
given to one actor at a time, and only its result or the loss of that actor ends this, so no result comes twice.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from persona_lens.errors import PersonaLensError, RunError
from persona_lens.runs.engines.engine import OfModel
from persona_lens.runs.engines.worker import Asked, Job, Product, WorkerFacts, WorkSettings

if TYPE_CHECKING:
    from persona_lens.runs.engines.ray_cluster import RayConnection
    from persona_lens.runs.engines.worker_spec import WorkerSpec

_LOG = logging.getLogger("persona_lens")
_LOSSES_OF_A_TASK = 3
_SPARE_STARTS = 2


class RemoteWorker:
    """A `Worker` in a process of its own; what Ray makes an actor of.

    It is loaded by a call, not by its constructor, whose errors would not come back as what they are.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec

    def started(self) -> None:
        """Return as soon as there is a place for the worker."""

    def load(self) -> WorkerFacts:
        """Load the models."""
        self._worker = self._spec.build()
        return self._worker.facts()

    def check(self, asked: Sequence[Asked], settings: WorkSettings, samples: bool) -> None:
        """See `Worker.check`."""
        self._worker.check(asked, settings, samples=samples)

    def seconds(self, asked: Sequence[Asked], settings: WorkSettings) -> float:
        """See `Worker.seconds`."""
        return self._worker.seconds(asked, settings)

    def work(self, job: Job, settings: WorkSettings) -> list[Product]:
        """See `Worker.work`; the means travel once, in the product, and not in the replies again."""
        return [
            replace(product, replies=[replace(reply, mean=None) for reply in product.replies])
            for product in self._worker.work(job, settings)
        ]

    def each(self, function: OfModel, name: str, piece: Any) -> tuple[str, Any]:
        """The name of a piece, and what a function makes of it and the writer."""
        return name, function(self._worker.writer, piece)


@dataclass(eq=False)
class Task:
    """A call of a method of `RemoteWorker`.

    Attributes:
        method, arguments: The call.
        name: What it is called in messages.
        losses: Workers that were lost over it.
    """

    method: str
    arguments: tuple[Any, ...]
    name: str
    losses: int = 0


@dataclass(eq=False)
class _Member:
    """An actor and what it does.

    Attributes:
        actor: Ray's handle.
        call: What is awaited: at first that it is there, then that it has loaded, then the task; None if idle.
        loading: That it has loaded.
        task: What it works on.
        placed: Whether there is a place for it.
    """

    actor: Any
    call: Any
    loading: Any
    task: Task | None = None
    placed: bool = False

    @property
    def idle(self) -> bool:
        return self.call is None


class RayCrew:
    """Keeps up a number of actors, and gives tasks to whichever is idle.

    Args:
        connection: To Ray.
        spec: What each actor loads.
        size: Actors.
        resources: What each reserves, as Ray names it: `num_cpus`, `num_gpus`.
        patience: Seconds without a place for a single actor, after which there is no more waiting.
    """

    def __init__(
        self,
        connection: RayConnection,
        spec: WorkerSpec,
        size: int,
        resources: Mapping[str, float],
        patience: float,
    ) -> None:
        self._connection = connection
        self._ray = connection.ray
        self._spec = spec
        self._size = size
        self._resources = resources
        self._patience = patience
        self._members: list[_Member] = []
        self._facts: WorkerFacts | None = None
        self._lost_starts = 0
        self._last_loss = ""
        self._waiting_since = time.monotonic()

    def start(self) -> None:
        """Let all actors that have a place begin to load."""
        actor_class = self._ray.remote(RemoteWorker).options(**self._resources)
        # Before Ray knows that a node is gone, it starts new actors there, and they are lost too. So some starts
        # may fail, but not one after the other without end.
        while len(self._members) < self._size and self._lost_starts < self._size + _SPARE_STARTS:
            actor = actor_class.remote(self._spec)
            self._members.append(_Member(actor, actor.started.remote(), actor.load.remote()))
        if not self._members:
            raise RunError(
                f"no worker could be started: {self._lost_starts} were lost one after the other",
                given=self._last_loss,
                remedy="see that persona-lens is installed on every node and that the model fits the memory there",
            )

    def facts(self) -> WorkerFacts:
        """What the first actor that is loaded says of its models."""
        while self._facts is None:
            self.start()
            self._advance(deque())
        return self._facts

    def results(self, tasks: Iterable[Task]) -> Generator[tuple[Task, Any], None, None]:
        """Each task with its result, as they are finished.

        Args:
            tasks: Taken one by one, whenever an actor is idle.

        Raises:
            RunError: A task ended several actors, or there are none to be had.
            Exception: What a task raised in its actor.
        """
        coming, again = iter(tasks), deque[Task]()
        finished: tuple[Task, Any] | None = None
        try:
            while True:
                self.start()
                self._hand_out(coming, again)
                if finished is not None:
                    yield finished  # after the actor has got new work: it does not wait for the disk
                if any(member.idle for member in self._members) and not self._busy():
                    return
                finished = self._advance(again)
        finally:
            for member in self._busy():
                self._dismiss(member)  # after an error, or if the rest is not wanted any more

    def close(self) -> None:
        """End all actors, whatever they are doing."""
        for member in list(self._members):
            self._dismiss(member)

    def _busy(self) -> list[_Member]:
        return [member for member in self._members if member.task is not None]

    def _dismiss(self, member: _Member) -> None:
        self._members.remove(member)
        self._ray.kill(member.actor)

    def _hand_out(self, coming: Iterator[Task], again: deque[Task]) -> None:
        for member in self._members:
            if member.idle:
                task = again.popleft() if again else next(coming, None)
                if task is None:
                    return
                member.task = task
                member.call = getattr(member.actor, task.method).remote(*task.arguments)

    def _advance(self, again: deque[Task]) -> tuple[Task, Any] | None:
        """Wait until something happens; a task that is finished is returned, one that is lost put back."""
        member = self._next()
        call, task = member.call, member.task
        member.call = member.task = None
        try:
            value = self._value(call)
        except self._ray.exceptions.RayError as error:
            self._lose(member, task, error, again)
            return None
        except BaseException:
            if task is None:
                self._dismiss(member)  # it has no model
            raise
        if task is not None:
            return task, value
        if not member.placed:
            member.placed, member.call = True, member.loading
        else:
            self._welcome(member, value)
        return None

    def _welcome(self, member: _Member, facts: WorkerFacts) -> None:
        self._lost_starts = 0
        self._facts = self._facts or facts
        if facts != self._facts:
            self._dismiss(member)
            raise _another_model(self._facts, facts)

    def _next(self) -> _Member:
        """The next actor that has done what it was asked."""
        waited_for = {member.call: member for member in self._members if not member.idle}
        if any(member.placed for member in self._members):
            self._waiting_since = time.monotonic()
            left = None
        else:
            left = max(0.0, self._waiting_since + self._patience - time.monotonic())
        ready, _ = self._ray.wait(list(waited_for), timeout=left)
        if not ready:
            raise self._no_place()
        return waited_for[ready[0]]

    def _value(self, call: Any) -> Any:
        """The result of a call, or the error that was raised in the actor, as itself."""
        exceptions = self._ray.exceptions
        try:
            return self._ray.get(call)
        except exceptions.RayTaskError as error:
            cause = error.cause
            if not isinstance(cause, Exception) or isinstance(cause, exceptions.RayError):
                raise
            # Errors for users say all there is to say; of others it matters where they come from.
            raise cause from None if isinstance(cause, PersonaLensError) else error

    def _lose(
        self, member: _Member, task: Task | None, error: Exception, again: deque[Task]
    ) -> None:
        self._dismiss(member)  # some are not dead, only out of reach
        self._last_loss = _reason(error)
        if task is None:
            self._lost_starts += 1
            _LOG.warning("A worker was lost before it was ready: %s", self._last_loss)
            return
        task.losses += 1
        if task.losses == _LOSSES_OF_A_TASK:
            raise RunError(
                f"{task.losses} workers were lost one after the other over the same work: {task.name}",
                given=self._last_loss,
                remedy="if memory is short, lower batch size or token budget, or put fewer workers on a node",
            )
        _LOG.warning("A worker was lost, and %s is done again: %s", task.name, self._last_loss)
        again.append(task)

    def _no_place(self) -> RunError:
        found = self._connection.resources()
        return RunError(
            f"the cluster has had no place for a worker for {self._patience:g} s",
            expected=in_words(self._resources["num_cpus"], self._resources["num_gpus"]),
            given=f"{in_words(found['CPU'], found['GPU'])} in all, taken or on too many nodes",
            remedy="`ray status` tells who has them; ask for less, or add nodes with `ray start`",
        )


def in_words(cpus: float, gpus: float) -> str:
    """Resources as messages name them.

    Examples:
        >>> in_words(cpus=4, gpus=0.5)
        '4 CPU, 0.5 GPU'
    """
    return f"{cpus:g} CPU, {gpus:g} GPU"


def _reason(error: Exception) -> str:
    """The sentence that matters, of the page that Ray writes."""
    if "unexpectedly exits with a connection error" in str(error):
        return "its process was killed, or crashed"
    told = [line for line in str(error).splitlines() if line and not line[0].isspace()]
    last = told[-1] if told else type(error).__name__
    return (last.partition("Worker exit detail: ")[2] or last).split(". ")[0]


def _another_model(first: WorkerFacts, other: WorkerFacts) -> RunError:
    cards = ((first.writer, other.writer), (first.reader, other.reader))
    differing = {key: (a[key], b[key]) for a, b in cards for key in a if a[key] != b[key]}
    return RunError(
        "the workers did not load the same model",
        expected={key: ours for key, (ours, _) in differing.items()},
        given={key: theirs for key, (_, theirs) in differing.items()},
        remedy="name the dtype instead of auto, and see that all nodes have the same files under the same path",
    )
