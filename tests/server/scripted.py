"""A stand-in for a batch: replies that were written before, a token a step, as slowly as a test wants."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from persona_lens.errors import ModelError
from persona_lens.interventions.receipt import Receipt
from persona_lens.model.continuous import Failed, Finished, Projected, Request, Ticket, Token
from persona_lens.rollouts.reply import Reply

SAID = "It was a dark and stormy night."


@dataclass
class Script:
    """What happens.

    Attributes:
        text: Of every reply.
        go: Steps are made while it is set.
        steps: So many steps were made.
        fail: Replies to prompts with this text fail.
        breaks: The next step raises this.
        batches: All that were made.
    """

    text: str = SAID
    go: threading.Event = field(default_factory=threading.Event)
    steps: int = 0
    fail: str | None = None
    breaks: Exception | None = None
    batches: list[ScriptedBatch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.go.set()

    def make(self, served) -> ScriptedBatch:
        made = ScriptedBatch(self, served)
        self.batches.append(made)
        return made


class ScriptedBatch:
    """As `persona_lens.model.continuous.ContinuousBatch`."""

    def __init__(self, script: Script, served) -> None:
        self.script, self.served = script, served
        self.rows: dict[Ticket, tuple[Request, list[int]]] = {}
        self.queue: deque[tuple[Ticket, Request]] = deque()
        self.asked: list[Request] = []
        self.most = 0

    @property
    def running(self) -> int:
        return len(self.rows)

    @property
    def waiting(self) -> int:
        return len(self.queue)

    @property
    def busy(self) -> bool:
        return bool(self.rows or self.queue)

    def add(self, request: Request) -> Ticket:
        if self.script.fail == "add":
            raise ModelError("no room")
        self.asked.append(request)
        ticket = Ticket(len(self.asked))
        self.queue.append((ticket, request))
        return ticket

    def cancel(self, ticket: Ticket) -> bool:
        before = len(self.queue)
        self.queue = deque(each for each in self.queue if each[0] != ticket)
        return self.rows.pop(ticket, None) is not None or len(self.queue) < before

    def step(self):
        self.script.go.wait()
        self.script.steps += 1
        if self.script.breaks is not None:
            error, self.script.breaks = self.script.breaks, None
            raise error
        while self.queue and len(self.rows) < self.served.limits.rows:
            ticket, request = self.queue.popleft()
            self.rows[ticket] = request, self.served.model.encoder.plain_ids(self.script.text)
        self.most = max(self.most, len(self.rows))
        events = []
        for ticket, (request, ids) in list(self.rows.items()):
            if self.script.fail and self.script.fail in request.prompt.text:
                del self.rows[ticket]
                events.append(Failed(ticket, ValueError("a secret text")))
                continue
            index = len(self.served.model.encoder.plain_ids(self.script.text)) - len(ids)
            limit = request.sampling.max_new_tokens
            if index < limit and ids:
                token = ids.pop(0)
                text = self.served.model.encoder.reader.decode([token])
                scored = request.top_log_probs is not None
                top = tuple((place, -1.0 - place) for place in range(request.top_log_probs or 0))
                events.append(Token(ticket, index, token, text, -0.5 if scored else None, top))
                here = np.full((1, 1), float(index))
                events.append(Projected(ticket, index, here, here + 1))
                continue
            events.append(self._finished(ticket, request, index, length=bool(ids)))
            del self.rows[ticket]
        return events

    def _finished(self, ticket: Ticket, request: Request, index: int, *, length: bool) -> Finished:
        encoder = self.served.model.encoder
        kept = encoder.plain_ids(self.script.text)[:index]
        reply = Reply(
            ids=np.array(kept, dtype=np.int64),
            text=encoder.reader.decode(kept),
            finish="length" if length else "stop",
        )
        values = np.arange(index, dtype=float).reshape(-1, 1, 1)
        receipt = None if request.plan is None else Receipt(request.plan)
        return Finished(
            ticket,
            reply,
            "",
            len(request.prompt),
            receipt=receipt,
            before=values,
            after=values + 1,
        )

    def close(self) -> None:
        self.rows.clear()
        self.queue.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
