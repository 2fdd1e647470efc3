"""`ContinuousBatch`: requests join and leave while others run; see `persona_lens.model.continuous`."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING

import torch

from persona_lens.errors import ModelError
from persona_lens.interventions.receipt import Receipt
from persona_lens.model.batching import default_token_budget
from persona_lens.model.continuous.at_work import AtWork
from persona_lens.model.continuous.checking import check_request, checked_along, checked_rows
from persona_lens.model.continuous.ending import ended
from persona_lens.model.continuous.events import Event
from persona_lens.model.continuous.requests import Along, Request, Ticket
from persona_lens.model.continuous.rows import Row
from persona_lens.model.continuous.wording import Wording
from persona_lens.model.origins import warn_of_foreign_weights

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel


class ContinuousBatch:
    """Replies of one model that run together; one thread adds, steps and cancels.

    Between steps nothing is attached to the model, and its lock is free. Listeners (`model.listening`) do not
    hear these replies.

    Args:
        model: Answers.
        most_rows: How many run at a time; others wait their turn.
        along: What is read of every token of every reply; nothing by default. A reply that is cut at its limit
            then costs one step more, since its last token has to be run to be read.

    Raises:
        ModelError: No rows, or directions that do not fit the model.

    Examples:
        >>> from persona_lens import PersonaModel, Sampling
        >>> model = PersonaModel.load("smollm2-135m-instruct")
        >>> prompt = model.encoder.prompt(model.encoder.messages("What is the capital of France?"))
        >>> with ContinuousBatch(model) as batch:
        ...     ticket = batch.add(Request(prompt, Sampling(temperature=0, max_new_tokens=12)))
        ...     events = batch.run()
        >>> events[-1].ticket == ticket, "Paris" in events[-1].reply.text
        (True, True)
    """

    def __init__(
        self, model: PersonaModel, *, most_rows: int = 16, along: Along | None = None
    ) -> None:
        self.model = model
        self.most_rows = checked_rows(most_rows)
        self.along = checked_along(along, model)
        self._waiting: deque[Row] = deque()
        self._at_work = AtWork(model, self.along)
        self._rows: dict[Ticket, Row] = {}
        self._added = 0
        self._came = False

    @property
    def why(self) -> str:
        """Why rows do not run as one batch, so that they are slower; empty where they do."""
        return self._at_work.way.why

    @property
    def streams(self) -> bool:
        """Whether tokens are told as they are drawn, and not all of them when their reply is done."""
        return self._at_work.way.steps

    @property
    def running(self) -> int:
        """Replies that have begun."""
        return len(self._rows) - len(self._waiting)

    @property
    def waiting(self) -> int:
        """Requests that wait for a place."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._rows)

    def add(self, request: Request) -> Ticket:
        """Have a request answered: it joins with the next step for which there is a place.

        Raises:
            ModelError: The prompt does not wait for a reply, or does not fit the context with it; settings that
                make no sense.
            InterventionError: The plan does not fit the model or the prompt; a plan is in force in this thread.

        Warns:
            ForeignWeightsWarning: Directions of its plan were read from other weights, as the receipt says too.
        """
        model = self.model
        check_request(request, model)
        receipt = None
        if request.plan is not None:
            tokenizer = model.tokenizer  # a receipt that is kept should not keep the weights
            receipt = Receipt(
                request.plan,
                decode=lambda ids: str(tokenizer.decode(ids)),
                caution=warn_of_foreign_weights(request.plan.origins, model, stacklevel=3),
            )
        ticket = Ticket(self._added)
        self._added += 1
        row = Row(
            ticket,
            request,
            receipt,
            Wording(model.encoder.text_of, request.stop),
            frozenset(model.end_ids),
            reads=self.along is not None,
        )
        self._rows[ticket] = row
        self._waiting.append(row)
        return ticket

    def cancel(self, ticket: Ticket) -> bool:
        """Forget a request, whether it runs or waits; nothing more is heard of it.

        Returns:
            Whether there was such a request.
        """
        row = self._rows.pop(ticket, None)
        if row is None:
            return False
        row.gone = True
        if row in self._waiting:
            self._waiting.remove(row)
        self._at_work.leave()
        return True

    def step(self) -> list[Event]:
        """One pass of the model: prompts of newcomers, or a piece of a long one, or one token more of every reply.

        Never raises for what a request causes: that comes as its `Failed`. Returns at once where there is nothing
        to do. After an interrupt, replies that had begun have failed, and those that wait go on.
        """
        if not self._rows:
            return []
        with self.model.held.lock, torch.no_grad():
            try:
                return [*self._worked(), *self._ends()]
            except BaseException:
                self._interrupted()
                raise

    def run(self) -> list[Event]:
        """Step until nothing is left to do."""
        events: list[Event] = []
        while self.busy:
            events += self.step()
        return events

    def close(self) -> None:
        """Forget all requests and give everything back."""
        self._rows.clear()
        self._waiting.clear()
        self._at_work.clear()

    def __enter__(self) -> ContinuousBatch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _worked(self) -> list[Event]:
        """One pass: prompts never twice in a row while others write, who would wait for all of them."""
        work, turn = self._at_work, not (self._came and self._at_work.writing)
        newcomers = self._newcomers() if turn else []
        self._came = bool(newcomers) or (turn and work.reading)
        if newcomers:
            return work.begin(newcomers)
        return work.read_on() if self._came else work.go_on()

    def _newcomers(self) -> list[Row]:
        """Who is to begin now: as many as there are places, and as can be read together."""
        free = self.most_rows - self.running
        if not self._waiting or free < 1:
            return []
        free = min(free, self._at_work.at_a_time)
        budget, chosen, longest = default_token_budget(self.model.device), [], 0
        while self._waiting and len(chosen) < free:
            longest = max(longest, len(self._waiting[0].request.prompt))
            if chosen and longest * (len(chosen) + 1) > budget:
                break
            chosen.append(self._waiting.popleft())
        return chosen

    def _interrupted(self) -> None:
        """A pass was left amid, and what is kept is half of it: nobody can go on from there."""
        self._at_work.clear()
        waiting = set(self._waiting)
        for row in self._rows.values():
            if row not in waiting:
                row.fail(
                    ModelError("the reply was interrupted", remedy="ask again: batch.add(request)")
                )

    def _ends(self) -> list[Event]:
        """Tell of those that are over."""
        over = [row for row in self._rows.values() if row.over]
        if over:
            self._at_work.settle()
        for row in over:
            del self._rows[row.ticket]
            row.gone = True
        self._at_work.leave()
        return [ended(self.model, row, self.along) for row in over]
