"""Many clients at once, some of which go away and some of which ask nonsense; and what a server holds, counted."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import torch
from malformed import BODIES, RAW, TEXTS, check

from persona_lens import PersonaModel, Sampling
from persona_lens.server import Served, Serving

Key = tuple[str, str]
"""A question and the name of a plan."""

_SHARE_GOING, _SHARE_WRONG = 0.3, 0.22


@dataclass(frozen=True)
class Expected:
    """A reply as the model writes it alone.

    Attributes:
        ids, text: Of it.
        seen, moved: As its plan's receipt counts them, the last token left out.
    """

    ids: list[int]
    text: str
    seen: int
    moved: int


def alone(served: Served, questions: Sequence[str], tokens: int) -> dict[Key, Expected]:
    """What the model says to each question under each plan, by `generate`, one at a time."""
    model, sampling = served.model, Sampling(temperature=0, max_new_tokens=tokens)
    found = {}
    for chosen in served.plans.all:
        for question in questions:
            prompt = model.encoder.prompt(model.encoder.messages(question))
            acting = nullcontext() if chosen.plan is None else model.intervene(chosen.plan)
            with acting as receipt:
                (reply,) = model.generate([prompt], sampling)
            frame = None if receipt is None else receipt.frame()
            seen, moved = (
                0 if frame is None else int(frame[name].max()) for name in ("seen", "changed")
            )
            found[question, chosen.name] = Expected(reply.ids.tolist(), reply.answer, seen, moved)
    return found


@dataclass
class Storm:
    """Clients that ask at random.

    Attributes:
        url: Of the server.
        name: Of the model.
        expected: What may be asked, and the right replies.
        tokens: Length of replies.
        clients, requests: How many of each, requests by client.
        seed: Decides who asks what, and who goes away.
        told: What came of the requests.
        wrong: Replies that were not the expected ones; none, one hopes.
    """

    url: str
    name: str
    expected: Mapping[Key, Expected]
    tokens: int
    clients: int = 32
    requests: int = 20
    seed: int = 0
    told: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[Key, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._keys = sorted(self.expected)
        self._nonsense = [
            *(("/chat/completions", json.dumps(body).encode()) for body, *_ in BODIES),
            *(("/completions", json.dumps(body).encode()) for body, *_ in TEXTS),
            *((path, raw) for path in ("/chat/completions", "/completions") for raw, *_ in RAW),
        ]
        random.Random(self.seed).shuffle(self._nonsense)

    def blow(self) -> None:
        """Let all clients ask all they want."""
        asyncio.run(self._blow())

    async def _blow(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(self.clients)))

    async def _client(self, number: int) -> None:
        rng = random.Random(f"{self.seed}/{number}")
        plain = openai.DefaultAsyncHttpxClient(
            verify=False
        )  # certificates of nobody, read 32 times
        async with openai.AsyncOpenAI(
            base_url=self.url, api_key="-", max_retries=0, timeout=600, http_client=plain
        ) as client:
            for _ in range(self.requests):
                kind = rng.random()
                try:
                    if kind < _SHARE_WRONG:
                        await self._nonsensical(client)
                    elif kind < _SHARE_WRONG + _SHARE_GOING:
                        await self._going(client, rng)
                    else:
                        await self._whole(client, rng)
                except openai.RateLimitError as error:
                    check(error.response, None, "rate_limit_exceeded")
                    self.told["turned away"] += 1

    async def _nonsensical(self, client: openai.AsyncOpenAI) -> None:
        path, content = self._nonsense.pop()
        check(await client._client.post(self.url + path, content=content), None, None)
        self.told["malformed"] += 1

    async def _whole(self, client: openai.AsyncOpenAI, rng: random.Random) -> None:
        """Ask, and hold the reply against the right one."""
        key = rng.choice(self._keys)
        asked = self._asked(key)
        if rng.random() < 0.5:
            found = await client.chat.completions.create(**asked)
            (choice,), persona = found.choices, found.model_extra["persona"]
            text, end = choice.message.content, choice
            self.told["whole"] += 1
        else:
            stream = await client.chat.completions.create(**asked, stream=True)
            chunks = [chunk async for chunk in stream]
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            end, persona = chunks[-1].choices[0], chunks[-1].model_extra["persona"]
            self.told["streamed"] += 1
        self.check(key, text, end.model_extra["token_ids"], persona["choices"][0]["tokens"])
        self.told[key[1]] += 1

    def check(self, key: Key, text: str, ids: list[int], counts: Mapping[str, Any]) -> None:
        """Hold one reply against the right one: its tokens, its text, and what its plan has touched."""
        right = self.expected[key]
        same = (ids, text) == (right.ids, right.text)
        # A server runs the last token too, since it is read.
        touched = right.seen <= counts["seen"] <= right.seen + 1
        moved = right.moved <= counts["moved"] <= right.moved + 1
        if not (same and touched and moved):
            self.wrong.append((key, (ids, text, dict(counts))))

    async def _going(self, client: openai.AsyncOpenAI, rng: random.Random) -> None:
        """Ask, and go away: in the middle of the body, before the reply, or in the middle of it."""
        asked, way = self._asked(rng.choice(self._keys)), rng.randrange(4)
        if way == 0:
            await self._half_a_body(asked, rng)
        elif way == 1:
            asking = asyncio.ensure_future(client.chat.completions.create(**asked))
            await asyncio.wait({asking}, timeout=rng.random() / 10)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        else:
            stream = await client.chat.completions.create(**asked, stream=True)
            chunks = aiter(stream)
            for _ in range(rng.randrange(self.tokens)):
                if await anext(chunks, None) is None:
                    break
            await stream.close()
        self.told["gone"] += 1

    async def _half_a_body(self, asked: Mapping[str, Any], rng: random.Random) -> None:
        body = json.dumps({**asked, **asked["extra_body"], "extra_body": None}).encode()
        host, port = self.url.removeprefix("http://").removesuffix("/v1").split(":")
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.encode() + body[: rng.randrange(len(body))])
        await writer.drain()
        writer.transport.abort()

    def _asked(self, key: Key) -> dict[str, Any]:
        question, plan = key
        return {
            "model": self.name,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": self.tokens,
            "extra_body": {"persona": {"plan": plan}, "return_token_ids": True},
        }


def idle(server: Serving) -> bool:
    """Whether nothing at all is left of any request."""
    worker = server.app.desk.worker
    batch = worker.batch
    own = worker.open, worker._rows, worker._tickets, worker._open
    theirs = batch._rows, batch._waiting, batch._at_work._cohorts
    return not any(own) and not any(theirs)


def hooks(model: PersonaModel) -> int:
    """Hooks on any module of a model."""
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks)
        for module in model.held.backend.module.modules()
    )


def held(model: PersonaModel, tasks: Callable[[], int]) -> dict[str, int]:
    """What this process holds, counted: memory in MiB."""
    gc.collect()
    status = Path("/proc/self/status").read_text("utf-8")
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return {
        "hooks": hooks(model),
        "tensors": sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects()),
        "threads": threading.active_count(),
        "sockets": _sockets(),
        "tasks": tasks(),
        "MiB": int(resident.split()[1]) // 1024,
    }


def _sockets() -> int:
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            found += str(link.readlink()).startswith("socket:")
        except OSError:  # the folder's own, closed meanwhile
            continue
    return found


def tasks_of(server: Serving) -> Callable[[], int]:
    """Counts the tasks in a server's event loop."""
    loop = server.app.desk.worker._loop
    assert loop is not None

    async def count() -> int:
        return len(asyncio.all_tasks())

    return lambda: asyncio.run_coroutine_threadsafe(count(), loop).result()
