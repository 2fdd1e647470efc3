"""The thread that has the model: it takes requests, steps the batch, and tells each client what became of its own.

    worker = Worker(served, metrics, ContinuousBatch(model, most_rows=32, along=served.reader.along))
    worker.start(loop)
    worker.submit(job)              # Refusal where too many wait already
    worker.cancel(job)              # nobody listens any more
    worker.leave()                  # no more requests
    worker.stop()                   # no more replies

Nothing else runs the model. What goes wrong with one reply is told to its client; what goes wrong with the batch
ends all that runs, and the next request begins a new one.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING

from persona_lens.errors import InterventionError, ModelError, PersonaLensError, first_line
from persona_lens.model.continuous import (
    ContinuousBatch,
    Event,
    Failed,
    Finished,
    Projected,
    Ticket,
    Token,
)
from persona_lens.server.jobs import Job, News, Part, Wish
from persona_lens.server.metrics import Metrics
from persona_lens.server.readings import CleanReading, Said
from persona_lens.server.refusals import Refusal, busy, failed, leaving
from persona_lens.server.telling import Ended, Teller

if TYPE_CHECKING:
    from persona_lens.server.served import Served

LOG = logging.getLogger("persona_lens.server")
_IDLE = 0.5
_MOST_RETRY = 60.0
_OPEN = 0.9  # how much of the old a running mean keeps

_Command = Callable[[], None]


class Worker:
    """One thread, one batch.

    Args:
        served: What is served.
        metrics: Are kept up to date.
        make: Makes a batch; called again where one broke.

    Attributes:
        batch: Is this thread's alone once it has started.
    """

    def __init__(
        self, served: Served, metrics: Metrics, make: Callable[[], ContinuousBatch]
    ) -> None:
        self._served = served
        self._metrics = metrics
        self._teller = Teller(served, metrics)
        self._make = make
        self.batch = make()
        self._commands: queue.SimpleQueue[_Command] = queue.SimpleQueue()
        self._rows: dict[Ticket, tuple[Job, Wish]] = {}
        self._tickets: dict[str, set[Ticket]] = {}
        self._open: dict[str, int] = {}
        self._lock = threading.Lock()
        self._leaving = False
        self._ended = False
        self._seconds = 1.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="persona-lens-worker", daemon=True)

    # What the event loop calls -----------------------------------------------------------------------

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin; news is put into channels in this loop."""
        self._loop = loop
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether requests are taken."""
        return self._thread.is_alive() and not self._leaving

    @property
    def open(self) -> int:
        """Replies that are wanted and not whole."""
        with self._lock:
            return sum(self._open.values())

    def submit(self, job: Job) -> None:
        """Have a request answered.

        Raises:
            Refusal: Too many wait, or the server ends.
        """
        limits = self._served.limits
        with self._lock:
            if self._leaving or not self._thread.is_alive():
                raise leaving()
            ahead = sum(self._open.values())
            if ahead + len(job.wishes) > limits.rows + limits.waiting:
                turns = 1 + max(0, ahead - limits.rows) / limits.rows
                seconds = min(_MOST_RETRY, max(1.0, self._seconds * turns))
                raise busy(max(0, ahead - limits.rows), round(seconds))
            self._open[job.id] = len(job.wishes)
        self._commands.put(lambda: self._add(job))

    def cancel(self, job: Job) -> None:
        """Forget a request; of one that is answered nothing is left to forget."""
        with self._lock:
            there = self._open.pop(job.id, None) is not None
        if there:
            self._commands.put(lambda: self._forget(job, "cancelled"))

    def read(self, said: Said) -> Future[CleanReading | str]:
        """A conversation with nothing acting, or why it cannot be read; between two steps of the batch.

        Raises:
            Refusal: The server ends.
        """
        found: Future[CleanReading | str] = Future()

        def work() -> None:
            try:
                found.set_result(self._teller.read([said])[0])
            except Exception as error:  # noqa: BLE001 - it goes to whoever asked
                found.set_exception(error)

        with self._lock:
            if self._leaving or not self._thread.is_alive():
                raise leaving()
            self._commands.put(work)
        return found

    def leave(self) -> None:
        """Take no more requests; what runs goes on."""
        with self._lock:
            self._leaving = True
        self._metrics.leaving()

    def end(self) -> None:
        """Tell all that still runs that the server ends."""
        self._commands.put(lambda: self._fail_all(leaving()))

    def stop(self) -> None:
        """End the thread, and all that runs."""
        self.leave()

        def stop() -> None:
            self._fail_all(leaving())
            self._ended = True

        self._commands.put(stop)
        if self._thread.is_alive():
            self._thread.join()

    # What the thread does ----------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._ended:
            self._obey()
            if self._ended or not self.batch.busy:
                continue
            try:
                self._tell(self.batch.step())
            except Exception as error:
                LOG.error("the batch broke: %s", type(error).__name__, exc_info=self._shown)
                self._begin_anew()
            self._metrics.load(self.batch.running, self.batch.waiting)
        self.batch.close()
        self._metrics.load(0, 0)

    def _begin_anew(self) -> None:
        """Take another batch, and tell all whose replies were in the one that broke."""
        broken, self.batch = self.batch, self._make()
        self._fail_all(failed("the batch that it was written in broke"))
        with suppress(Exception):
            broken.close()

    def _obey(self) -> None:
        """Carry out what was asked for; wait for something where there is nothing to do."""
        idle = not self.batch.busy
        try:
            command = self._commands.get(block=idle, timeout=_IDLE if idle else None)
            while True:
                command()
                command = self._commands.get_nowait()
        except queue.Empty:
            pass

    def _add(self, job: Job) -> None:
        with self._lock:
            if job.id not in self._open:
                return  # nobody waits any more
        tickets = self._tickets.setdefault(job.id, set())
        try:
            for wish in job.wishes:
                ticket = self.batch.add(wish.request)
                tickets.add(ticket)
                self._rows[ticket] = job, wish
        except (ModelError, InterventionError) as error:
            self._drop(job, Refusal(first_line(error)))
        except Exception as error:
            LOG.error("%s cannot begin: %s", job.id, type(error).__name__, exc_info=self._shown)
            self._drop(job, failed(type(error).__name__))
        self._metrics.load(self.batch.running, self.batch.waiting)

    def _tell(self, events: Sequence[Event]) -> None:
        """Sort news by request, and hand it to the channels in one go."""
        parts: dict[Ticket, tuple[list[Token], list[Projected]]] = {}
        ended: list[Ended] = []
        broken: list[tuple[Job, Exception]] = []
        for event in events:
            known = self._rows.get(event.ticket)
            if known is None:
                continue
            job, wish = known
            match event:
                case Token():
                    self._begun(job)
                    if job.streamed or job.scored:
                        parts.setdefault(event.ticket, ([], []))[0].append(event)
                case Projected() if job.streamed and job.persona.projections:
                    parts.setdefault(event.ticket, ([], []))[1].append(event)
                case Finished():
                    ended.append(Ended(job, wish, event))
                case Failed():
                    broken.append((job, event.error))
        self._send_parts(parts)
        news = self._teller.told(ended)
        for each in ended:
            self._close(each.job, each.finished.ticket)
        self._send([(each.job, [done]) for each, done in zip(ended, news, strict=True)])
        for job, error in broken:
            if job.id in self._tickets:
                self._break(job, error)

    def _begun(self, job: Job) -> None:
        """A token was drawn; the first of a request is measured."""
        if job.first is None:
            job.first = time.monotonic()
            self._metrics.first_token(job.first - job.born)

    def _send_parts(self, parts: Mapping[Ticket, tuple[list[Token], list[Projected]]]) -> None:
        news: dict[str, tuple[Job, list[News]]] = {}
        for ticket, (tokens, projected) in parts.items():
            job, wish = self._rows[ticket]
            part = Part(wish.choice, tuple(tokens), tuple(projected))
            news.setdefault(job.id, (job, []))[1].append(part)
        self._send(list(news.values()))

    def _close(self, job: Job, ticket: Ticket) -> None:
        """A reply is whole; with the last of them the request is."""
        del self._rows[ticket]
        self._tickets[job.id].discard(ticket)
        with self._lock:
            if job.id in self._open:
                self._open[job.id] -= 1
                if self._open[job.id] == 0:
                    del self._open[job.id]
        if not self._tickets[job.id]:
            del self._tickets[job.id]
            seconds = time.monotonic() - job.born
            self._seconds = _OPEN * self._seconds + (1 - _OPEN) * seconds
            self._metrics.finished(seconds)

    def _break(self, job: Job, error: Exception) -> None:
        if isinstance(error, PersonaLensError):
            self._drop(job, Refusal(first_line(error), 500, "server_error", code="model_error"))
            return
        LOG.error("%s broke: %s", job.id, type(error).__name__, exc_info=self._shown and error)
        self._drop(job, failed(type(error).__name__))

    def _drop(self, job: Job, refusal: Refusal) -> None:
        """End a request with a refusal."""
        with self._lock:
            self._open.pop(job.id, None)
        self._forget(job, "failed")
        self._send([(job, [refusal])])

    def _forget(self, job: Job, finish: str) -> None:
        for ticket in self._tickets.pop(job.id, set()):
            self.batch.cancel(ticket)
            if self._rows.pop(ticket, None) is not None:
                self._metrics.ended(job.chosen.label, finish)
        self._metrics.load(self.batch.running, self.batch.waiting)

    def _fail_all(self, refusal: Refusal) -> None:
        for job in {job.id: job for job, _ in self._rows.values()}.values():
            self._drop(job, refusal)

    def _send(self, news: Sequence[tuple[Job, Sequence[News]]]) -> None:
        """Put news into channels, in the event loop; who does not read them is let go."""
        if not news or self._loop is None or self._loop.is_closed():
            return

        def put() -> None:
            for job, told in news:
                if not job.channel.put(told):
                    self.cancel(job)

        self._loop.call_soon_threadsafe(put)

    @property
    def _shown(self) -> bool:
        """Whether tracebacks may be logged: they may quote messages."""
        return self._served.log_messages
