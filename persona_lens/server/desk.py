"""Between routes and worker: bodies become jobs, news becomes replies, and who goes away is forgotten.

desk = Desk(served)
job = await desk.take(partial(desk.asker.chat, body))     # Refusal where it cannot be answered
done, tokens = await desk.whole(job, gone)                # or desk.stream(job, chunks)
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from persona_lens.model.continuous import ContinuousBatch, Token
from persona_lens.server.asking import Asker
from persona_lens.server.jobs import Done, Job, News, Part
from persona_lens.server.metrics import Metrics
from persona_lens.server.refusals import Refusal, failed
from persona_lens.server.served import Served
from persona_lens.server.streams import ChatChunks, TextChunks, broken
from persona_lens.server.worker import Worker

LOG = logging.getLogger("persona_lens.server")

MakeBatch = Callable[[Served], ContinuousBatch]


class Gone(Exception):
    """The client went away."""


def continuous(served: Served) -> ContinuousBatch:
    """The batch that replies are written in."""
    return ContinuousBatch(served.model, most_rows=served.limits.rows, along=served.reader.along)


class Desk:
    """One server's requests.

    Args:
        served: What is served.
        make: Makes its batch.
    """

    def __init__(self, served: Served, make: MakeBatch = continuous) -> None:
        self.served = served
        self.metrics = Metrics(served.name, served.reader.spread)
        self.metrics.known(dict.fromkeys(served.plans.names))
        self.worker = Worker(served, self.metrics, partial(make, served))
        self.asker = Asker(served)
        self.fingerprint = served.fingerprint()
        self._one: CapacityLimiter | None = None

    async def take(self, make: Callable[[], Job]) -> Job:
        """Make a job, outside the event loop, and hand it to the worker.

        Raises:
            Refusal: It cannot be answered, or there is no room.
        """
        if self._one is None:  # one at a time, as tokenizers like it
            self._one = CapacityLimiter(1)
        job = await to_thread.run_sync(make, limiter=self._one)
        self.worker.submit(job)
        return job

    async def whole(self, job: Job, gone: Awaitable[None]) -> tuple[list[Done], list[list[Token]]]:
        """All replies of a job, in the order of their choices, and the tokens of each that were told.

        Args:
            job: Was taken.
            gone: Comes true when the client goes away.

        Raises:
            Refusal: It could not be answered.
            Gone: Nobody waits any more.
        """
        done: dict[int, Done] = {}
        tokens: dict[int, list[Token]] = {wish.choice: [] for wish in job.wishes}
        leaving = asyncio.ensure_future(gone)
        try:
            while len(done) < len(job.wishes):
                taking = asyncio.ensure_future(job.channel.take())
                await asyncio.wait({taking, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if not taking.done():
                    taking.cancel()
                    raise Gone
                for news in taking.result():
                    match news:
                        case Refusal():
                            raise news
                        case Part():
                            tokens[news.choice] += news.tokens
                        case Done():
                            done[news.choice] = news
                if job.channel.overflown:
                    raise failed("its tokens could not be kept")
        finally:
            leaving.cancel()
            self.worker.cancel(job)
        return [done[choice] for choice in sorted(done)], [tokens[each] for each in sorted(done)]

    def stream(self, job: Job, chunks: ChatChunks | TextChunks) -> StreamingResponse:
        """The replies of a job as they come."""
        return _Events(self._events(job, chunks), partial(self.worker.cancel, job))

    async def _events(self, job: Job, chunks: ChatChunks | TextChunks) -> AsyncIterator[bytes]:
        for event in chunks.begin():
            yield event
        try:
            while not chunks.whole:
                for news in await job.channel.take():
                    for event in _told(news, chunks):
                        yield event
                if job.channel.overflown:
                    raise Refusal(
                        "The stream was read too slowly.", 503, "server_error", None, "slow"
                    )
            for event in chunks.end():
                yield event
        except Refusal as refusal:
            yield broken(refusal)
        except Exception as error:  # a stream that has begun can only end
            shown = self.served.log_messages and error
            LOG.error("%s broke: %s", job.id, type(error).__name__, exc_info=shown)
            yield broken(failed(type(error).__name__))

    def note(self, job: Job, route: str, done: Sequence[Done] = ()) -> None:
        """One line of the log; what was said is in it only where the operator wants that."""
        LOG.info(
            "%s %s plan=%s replies=%d tokens=%d seconds=%.2f",
            job.id,
            route,
            job.chosen.name,
            len(job.wishes),
            sum(len(each.finished.reply.ids) for each in done),
            time.monotonic() - job.born,
        )
        if self.served.log_messages:
            for wish in job.wishes:
                LOG.info("%s asked: %r", job.id, wish.request.prompt.text)
            for each in done:
                LOG.info("%s replied: %r", job.id, each.finished.reply.text)


def _told(news: News, chunks: ChatChunks | TextChunks) -> list[bytes]:
    """The events that tell some news.

    Raises:
        Refusal: It is one.
    """
    match news:
        case Refusal():
            raise news
        case Part():
            return chunks.part(news)
        case Done():
            return chunks.done(news)


class _Events(StreamingResponse):
    """A stream of events that tells when it is over, however it ended.

    Args:
        events: Of the stream.
        over: Called then.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], over: Callable[[], Any]) -> None:
        super().__init__(events, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._over()


async def gone(request: Request) -> None:
    """Returns when the client has gone away; only once its body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
