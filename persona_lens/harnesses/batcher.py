"""Requests of many coroutines, gathered into batches that one thread answers.

    batcher = Batcher(answer, most=32)          # answer: requests to results, or to what went wrong with each
    result = await batcher.ask(request)

A batch is begun when enough requests wait, or when none has come for a moment. Who gives up waiting is not asked
about again, and nobody else notices; a batch that nobody waits for any more learns of it and can end. The thread
ends when nothing is left to do, and serves one event loop after another.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from anyio import CapacityLimiter, to_thread

Request = TypeVar("Request")
Result = TypeVar("Result")

QUIET = 0.05
"""Seconds without a new request after which a batch is begun."""


@dataclass(eq=False)
class _Waiting(Generic[Request, Result]):
    """One request, and what becomes of it."""

    request: Request
    done: threading.Event = field(default_factory=threading.Event)
    outcome: Result | Exception | None = None
    given_up: bool = False


class Batcher(Generic[Request, Result]):
    """Gathers requests.

    Args:
        answer: From the requests of a batch to a result, or an exception, for each. It may ask at any time, by the
            function it is given, whether nobody waits for them any more.
        most: Requests of a batch.
        quiet: Seconds, as above.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Request], Callable[[], bool]], Sequence[Result | Exception]],
        most: int,
        quiet: float = QUIET,
    ) -> None:
        self.most = most
        self._answer = answer
        self._quiet = quiet
        self._queue: deque[_Waiting[Request, Result]] = deque()
        self._arrived = threading.Condition()
        self._working = False

    async def ask(self, request: Request) -> Result:
        """The result of one request.

        Raises:
            Exception: What went wrong with it.
        """
        waiting: _Waiting[Request, Result] = _Waiting(request)
        self._enter(waiting)
        try:
            # A limiter of its own: waiting here must not use up the threads that others do their work in.
            await to_thread.run_sync(
                waiting.done.wait, abandon_on_cancel=True, limiter=CapacityLimiter(1)
            )
        finally:
            waiting.given_up = True
        if isinstance(waiting.outcome, Exception):
            raise waiting.outcome
        assert waiting.outcome is not None
        return waiting.outcome

    def _enter(self, waiting: _Waiting[Request, Result]) -> None:
        with self._arrived:
            self._queue.append(waiting)
            self._arrived.notify()
            if not self._working:
                self._working = True
                threading.Thread(target=self._work, name="persona-lens", daemon=True).start()

    def _work(self) -> None:
        while batch := self._next():
            wanted = [waiting for waiting in batch if not waiting.given_up]
            try:
                for waiting, outcome in zip(wanted, self._answered(wanted), strict=True):
                    waiting.outcome = outcome
            except Exception as error:  # noqa: BLE001 - whoever waits has to hear it
                for waiting in wanted:
                    waiting.outcome = error
            finally:
                for waiting in batch:
                    waiting.done.set()

    def _answered(
        self, wanted: Sequence[_Waiting[Request, Result]]
    ) -> Sequence[Result | Exception]:
        if not wanted:
            return []
        requests = [waiting.request for waiting in wanted]
        return self._answer(requests, lambda: all(waiting.given_up for waiting in wanted))

    def _next(self) -> list[_Waiting[Request, Result]]:
        """The next batch; empty where nothing is left, and then this thread is not counted on."""
        with self._arrived:
            while 0 < len(self._queue) < self.most and self._arrived.wait(self._quiet):
                pass
            count = min(self.most, len(self._queue))
            self._working = count > 0
            return [self._queue.popleft() for _ in range(count)]
