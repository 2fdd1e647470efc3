"""The application: routes of OpenAI's API on one model, guarded, as any ASGI server runs it.

    app = application(Served.of(model, space, cap=75), key=None)

`persona_lens.server.serve` runs it with a canary, signals and a drain.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from openai.types.model import Model as ModelCard
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from persona_lens.server.access import Guard
from persona_lens.server.bodies import ChatBody, CompletionBody, read_body
from persona_lens.server.chatting import Chat
from persona_lens.server.desk import Desk, Gone, MakeBatch, continuous, gone
from persona_lens.server.jobs import Job
from persona_lens.server.metrics import CONTENT_TYPE
from persona_lens.server.refusals import INVALID, Refusal, failed, leaving, unknown_model
from persona_lens.server.replies import Shared, chat_completion, completion
from persona_lens.server.served import Served
from persona_lens.server.streams import ChatChunks, TextChunks

LOG = logging.getLogger("persona_lens.server")
_PATIENCE = 60.0
"""Seconds that a body may take to arrive."""

Handler = Callable[[Request], Awaitable[Response]]


class Application:
    """An ASGI application.

    Attributes:
        desk: What it works with.
    """

    def __init__(
        self, served: Served, *, key: str | None, make: MakeBatch, chat: Chat | None
    ) -> None:
        self.desk = Desk(served, make)
        self._app: ASGIApp = Guard(
            _routes(self.desk, chat),
            key=key,
            also_open=() if chat is None else chat.open,
            body_bytes=served.limits.body_bytes,
            count=self.desk.metrics.request,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        await self._app(scope, receive, send)


def application(
    served: Served,
    *,
    key: str | None = None,
    make: MakeBatch = continuous,
    chat: Chat | None = None,
) -> Application:
    """The application of a server.

    Args:
        served: What is served.
        key: That requests have to bring.
        make: Makes the batch that replies are written in.
        chat: A page to talk to the model with; None for none.
    """
    return Application(served, key=key, make=make, chat=chat)


def _routes(desk: Desk, talk: Chat | None) -> FastAPI:
    served = desk.served
    born = int(time.time())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        desk.worker.start(asyncio.get_running_loop())
        yield
        await asyncio.to_thread(desk.worker.stop)

    app = FastAPI(
        title="Persona Lens", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )

    def shared(job: Job, body: ChatBody | CompletionBody) -> Shared:
        return Shared(
            served.model,
            served.name,
            job,
            desk.fingerprint,
            served.reader.card(),
            bool(body.return_token_ids),
        )

    async def chat(request: Request) -> Response:
        body = read_body(await _body(request), ChatBody)
        job = await desk.take(partial(desk.asker.chat, body))
        told = shared(job, body)
        if body.stream:
            desk.note(job, "chat, streamed")
            return desk.stream(job, ChatChunks(told, served.reader, usage=body.wants_usage))
        done, tokens = await desk.whole(job, gone(request))
        desk.note(job, "chat", done)
        return _json(chat_completion(told, done, tokens))

    async def text(request: Request) -> Response:
        body = read_body(await _body(request), CompletionBody)
        job = await desk.take(partial(desk.asker.completion, body))
        told, echo = shared(job, body), bool(body.echo)
        if body.stream:
            desk.note(job, "text, streamed")
            chunks = TextChunks(told, served.reader, usage=body.wants_usage, echo=echo)
            return desk.stream(job, chunks)
        done, tokens = await desk.whole(job, gone(request))
        desk.note(job, "text", done)
        return _json(completion(told, done, tokens, echo=echo))

    def card() -> dict[str, Any]:
        made = ModelCard(id=served.name, created=born, object="model", owned_by="persona-lens")
        return {**made.model_dump(), "persona": served.card()}

    async def models(_request: Request) -> Response:
        return _json({"object": "list", "data": [card()]})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        if name != served.name:
            raise unknown_model(name, served.name)
        return _json(card())

    async def health(_request: Request) -> Response:
        if not desk.worker.alive:
            raise leaving()
        return _json({"status": "ok", "open": desk.worker.open})

    async def metrics(_request: Request) -> Response:
        return Response(desk.metrics.render(), media_type=CONTENT_TYPE)

    for path, handler, method in (
        ("/v1/chat/completions", chat, "POST"),
        ("/v1/completions", text, "POST"),
        ("/v1/models", models, "GET"),
        ("/v1/models/{name:path}", model, "GET"),
        ("/health", health, "GET"),
        ("/metrics", metrics, "GET"),
        *(() if talk is None else talk.routes(desk)),
    ):
        app.add_route(path, _answering(handler, shown=served.log_messages), methods=[method])

    async def no_route(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        said = f"Invalid URL ({request.method} {request.url.path[:80]})"
        return _refused(Refusal(said, status, INVALID, code="unknown_url"))

    app.add_exception_handler(HTTPException, no_route)
    return app


def _answering(handler: Handler, *, shown: bool) -> Handler:
    """A route whose errors are answers; tracebacks may quote what was said, so they are logged only if `shown`."""

    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except Refusal as refusal:
            return _refused(refusal)
        except Gone:
            return Response(status_code=499)  # nobody reads it; metrics do
        except Exception as error:
            LOG.error("a request broke: %s", type(error).__name__, exc_info=shown and error)
            return _refused(failed(type(error).__name__))

    return answered


async def _body(request: Request) -> bytes:
    try:
        return await asyncio.wait_for(request.body(), _PATIENCE)
    except ClientDisconnect:
        raise Gone from None
    except TimeoutError:
        raise Refusal("The body of your request did not arrive.", 408, code="timeout") from None


def _json(content: dict[str, Any]) -> Response:
    return Response(json.dumps(content, allow_nan=False), media_type="application/json")


def _refused(refusal: Refusal) -> Response:
    return JSONResponse(refusal.body(), refusal.status, dict(refusal.headers))
