"""Continuous batching: replies that begin and end at any time, run together, each under a plan of its own.

    with ContinuousBatch(model, most_rows=16) as batch:
        ghost = batch.add(Request(prompt, Sampling(temperature=0), plan=plan))
        while batch.busy:
            for event in batch.step():
                match event:
                    case Token():
                        print(event.text, end="")
                    case Finished():
                        print(event.reply.finish, event.receipt)

One thread drives a batch; it knows nothing of servers and of who asks. What a row says is what
`PersonaModel.generate` says to its prompt alone under its plan, whatever joins or leaves meanwhile.
"""

from typing import TYPE_CHECKING

from persona_lens._lazy import lazy_names

if TYPE_CHECKING:
    from persona_lens.model.continuous.batch import ContinuousBatch
    from persona_lens.model.continuous.events import Event, Failed, Finished, Projected, Token
    from persona_lens.model.continuous.requests import Along, Request, Ticket

__all__ = [
    "Along",
    "ContinuousBatch",
    "Event",
    "Failed",
    "Finished",
    "Projected",
    "Request",
    "Ticket",
    "Token",
]

_EVENTS, _REQUESTS = (f"persona_lens.model.continuous.{name}" for name in ("events", "requests"))

__getattr__ = lazy_names(
    __name__,
    {
        "Along": _REQUESTS,
        "ContinuousBatch": "persona_lens.model.continuous.batch",
        "Event": _EVENTS,
        "Failed": _EVENTS,
        "Finished": _EVENTS,
        "Projected": _EVENTS,
        "Request": _REQUESTS,
        "Ticket": _REQUESTS,
        "Token": _EVENTS,
    },
)
