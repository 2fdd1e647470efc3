"""One request at work: the replies it wants, and the channel by which the worker tells its client of them.

The worker's thread writes, the event loop reads. A channel holds so many tokens and no more: a client that reads
slower than the model writes is let go, and costs nobody else anything.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from persona_lens.model.continuous import Finished, Projected, Request, Token
from persona_lens.server.bodies import PersonaBody
from persona_lens.server.plans import Chosen
from persona_lens.server.refusals import Refusal


@dataclass(frozen=True, eq=False)
class Part:
    """What one pass of the model added to one reply.

    Attributes:
        choice: Which reply of the request.
        tokens: That were drawn.
        projected: Tokens that were read.
    """

    choice: int
    tokens: tuple[Token, ...]
    projected: tuple[Projected, ...]


@dataclass(frozen=True, eq=False)
class Done:
    """A reply is whole.

    Attributes:
        choice: Which reply of the request.
        finished: It.
        persona: What is said of it.
    """

    choice: int
    finished: Finished
    persona: dict[str, Any]


News = Part | Done | Refusal
"""What a channel holds; a refusal is the last of it."""


@dataclass(frozen=True, eq=False)
class Wish:
    """One reply that is wanted.

    Attributes:
        choice: Its number in the request.
        request: For the batch.
        messages: That were sent; None where the prompt was plain text.
    """

    choice: int
    request: Request
    messages: Sequence[Mapping[str, str]] | None = None


@dataclass(eq=False)
class Job:
    """One request.

    Attributes:
        wishes: Replies that are wanted.
        chosen: The plan that acts on them.
        persona: What was asked of persona lens.
        streamed: Whether tokens are told as they come.
        kind: Of the id: `chatcmpl` or `cmpl`.
        id: Of the reply, and in logs.
        born: When it came, `time.monotonic()`.
        first: When its first token was drawn.
        channel: To its client.
    """

    wishes: Sequence[Wish]
    chosen: Chosen
    persona: PersonaBody
    streamed: bool = False
    kind: str = "chatcmpl"
    id: str = ""
    born: float = field(default_factory=time.monotonic)
    first: float | None = None
    channel: Channel = field(default_factory=lambda: Channel(2**20))

    @property
    def scored(self) -> bool:
        """Whether log-probabilities are wanted."""
        return any(wish.request.top_log_probs is not None for wish in self.wishes)

    def __post_init__(self) -> None:
        self.id = f"{self.kind}-{uuid.uuid4().hex}"


class Channel:
    """What the worker tells one client.

    Args:
        most: Tokens that may wait to be read.

    Attributes:
        overflown: Whether more came, and the rest was dropped.
    """

    def __init__(self, most: int) -> None:
        self.overflown = False
        self._most = most
        self._news: deque[News] = deque()
        self._waiting = 0
        self._arrived = asyncio.Event()

    def put(self, news: Sequence[News]) -> bool:
        """Add some; in the event loop. Returns whether there was room."""
        if self.overflown:
            return False
        self._news.extend(news)
        self._waiting += sum(len(each.tokens) for each in news if isinstance(each, Part))
        if self._waiting > self._most:
            self.overflown = True
            self._news.clear()
        self._arrived.set()
        return not self.overflown

    async def take(self) -> list[News]:
        """All there is, as soon as there is something; nothing once the channel has overflown."""
        await self._arrived.wait()
        self._arrived.clear()
        news = list(self._news)
        self._news.clear()
        self._waiting = 0
        return news
