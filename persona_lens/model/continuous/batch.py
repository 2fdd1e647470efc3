"""`ContinuousBatch`: requests join and leave while others run; see `persona_lens.model.continuous`."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from persona_lens.model.continuous.events import Event
from persona_lens.model.continuous.requests import Along, Request, Ticket

if TYPE_CHECKING:
    from persona_lens.model.loaded import LoadedModel


class ContinuousBatch:
    """Replies of one model that run together; one thread adds, steps and cancels.

    Between steps nothing is attached to the model, and its lock is free.

    Args:
        model: Answers.
        most_rows: How many run at a time; others wait their turn.
        along: What is read of every token of every reply; nothing by default. A reply that is cut at its limit
            then costs one step more, since its last token has to be run to be read.
    """

    def __init__(
        self, model: LoadedModel, *, most_rows: int = 16, along: Along | None = None
    ) -> None:
        self.model = model
        self.most_rows = most_rows
        self.along = along

    @property
    def why(self) -> str:
        """Why nobody joins while others run, so that requests wait for those before them; empty where they do."""
        raise NotImplementedError

    @property
    def running(self) -> int:
        """Replies that have begun."""
        raise NotImplementedError

    @property
    def waiting(self) -> int:
        """Requests that wait for a place."""
        raise NotImplementedError

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.running or self.waiting)

    def add(self, request: Request) -> Ticket:
        """Have a request answered: it joins with the next step for which there is a place.

        Raises:
            ModelError: The prompt does not wait for a reply, or does not fit the context with it; settings that
                make no sense.
            InterventionError: The plan does not fit the model.
        """
        raise NotImplementedError

    def cancel(self, ticket: Ticket) -> bool:
        """Forget a request, whether it runs or waits; nothing more is heard of it.

        Returns:
            Whether there was such a request.
        """
        raise NotImplementedError

    def step(self) -> list[Event]:
        """One pass of the model: the prompts of newcomers, or one token more of every reply.

        Never raises for what a request causes: that comes as its `Failed`. Returns at once where there is nothing
        to do.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Forget all requests and give everything back."""
        raise NotImplementedError

    def __enter__(self) -> ContinuousBatch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
