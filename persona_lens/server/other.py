"""Another OpenAI-compatible server in one column of the live chat: its words, and where our model reads them.

    other = Other(EndpointSettings(model="gpt-4o", base_url="https://api.openai.com/v1"))
    await other.answer(desk, request)       # a stream as of /v1/chat/completions

Residuals are not to be had from it. So what it said is read by the model that is served here, with nothing acting,
as if that had written it: a clean re-reading by ours, and no reading of the other's. Its address and key are the
operator's, and nothing of them is told to the page but the name of the model and of the machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import openai
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from persona_lens.server.bodies import ChatBody, read_body
from persona_lens.server.readings import CleanReading, Said
from persona_lens.server.refusals import Refusal
from persona_lens.server.streams import END, broken, event
from persona_lens.server.summaries import by_token
from persona_lens.transcripts.pieces import words

if TYPE_CHECKING:
    from persona_lens.endpoints import EndpointSettings
    from persona_lens.server.desk import Desk

CAUTION = "the false-alarm rate was set on replies of another model than the one that wrote this"
_SHOWN = 300


class Other:
    """A model behind another server.

    Args:
        settings: Where it is; its key is in the environment.

    Raises:
        EndpointError: It needs a key, and there is none.

    Examples:
        >>> from persona_lens.endpoints import EndpointSettings
        >>> Other(EndpointSettings(model="qwen3", base_url="http://127.0.0.1:8001/v1")).name
        'qwen3 at 127.0.0.1'
    """

    def __init__(self, settings: EndpointSettings) -> None:
        self._settings = settings
        self.name = f"{settings.model} at {settings.host()}"
        settings.api_key()

    async def answer(self, desk: Desk, request: Request) -> Response:
        """Its reply to a chat, as a stream."""
        body = read_body(await request.body(), ChatBody)
        return StreamingResponse(self._events(desk, body), media_type="text/event-stream")

    async def _events(self, desk: Desk, body: ChatBody) -> AsyncIterator[bytes]:
        messages = [message.spoken() for message in body.messages]
        said, finish = "", None
        try:
            async for text, why in self._heard(messages, body):
                said, finish = said + text, why or finish
                if text:
                    yield event(_chunk({"content": text}))
            about = await self._read(desk, messages, said)
            yield event(_chunk({}, finish_reason=finish or "stop", persona={"choices": [about]}))
            yield END
        except Refusal as refusal:
            yield broken(refusal)
        except openai.APIError as error:
            yield broken(self._in_words(error))

    async def _heard(
        self, messages: list[dict[str, str]], body: ChatBody
    ) -> AsyncIterator[tuple[str, str | None]]:
        """Pieces of the reply, and why it ends."""
        settings = self._settings
        asked: dict[str, Any] = {
            "model": settings.model,
            "messages": [{"role": each["role"], "content": each["content"]} for each in messages],
            "temperature": body.temperature,
            "seed": body.seed,
            "max_tokens": body.longest,
        }
        given = {name: value for name, value in asked.items() if value is not None}
        async with openai.AsyncOpenAI(
            base_url=settings.url(),
            api_key=settings.api_key() or "-",
            max_retries=0,
            timeout=settings.timeout,
        ) as client:
            stream = await client.chat.completions.create(
                **given, stream=True, extra_body=settings.extra_body or None
            )
            async for chunk in stream:
                for choice in chunk.choices[:1]:
                    yield choice.delta.content or "", choice.finish_reason

    async def _read(self, desk: Desk, messages: list[dict[str, str]], said: str) -> dict[str, Any]:
        """Where our model reads the reply."""
        encoder = desk.served.model.encoder
        ids = encoder.plain_ids(said)
        nothing: dict[str, Any] = {"before": None, "after": None, "clean": None}
        about: dict[str, Any] = {"index": 0, "projection": nothing, "monitor": None}
        try:
            prompt = await asyncio.to_thread(desk.asker.prompt, messages)
        except Refusal as refusal:
            return {**about, "unread": refusal.message}
        whole = encoder.with_reply(prompt, ids)
        found = await asyncio.wrap_future(desk.worker.read(Said(messages, whole)))
        if not isinstance(found, CleanReading):
            return {**about, "unread": found}
        counted = desk.served.reader.answers(prompt, whole)
        verdict = found.verdict
        return {
            "index": 0,
            "projection": {**nothing, "clean": found.last},
            "nearest": found.last["nearest"],
            "monitor": None if verdict is None else {**verdict, "caution": CAUTION},
            "words": words(ids, encoder.reader.decode),
            "projections": {
                "counted": [bool(each) for each in counted],
                "before": None,
                "after": None,
                "clean": by_token(counted, found.tokens),
            },
        }

    def _in_words(self, error: openai.APIError) -> Refusal:
        """What became of the request; what the other server says may be long."""
        if isinstance(error, openai.APIConnectionError):
            said = "it does not answer. Look whether it runs, then try again"
        else:
            said = str(error.message)[:_SHOWN]
        return Refusal(f"{self.name}: {said}.", 502, "server_error", code="other_server")


def _chunk(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"object": "chat.completion.chunk", "choices": [choice], **more}
