"""What happens to a request, in order: tokens, what was read of them, and the end.

Of every request there come any number of `Token`, then exactly one `Finished` or `Failed`; of one that was
cancelled nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from persona_lens.interventions.receipt import Receipt
from persona_lens.model.continuous.requests import Ticket
from persona_lens.rollouts.reply import Reply


@dataclass(frozen=True, eq=False)
class Token:
    """A token was drawn.

    Attributes:
        ticket: Of the request.
        index: Its place in the reply.
        id: The token.
        text: What can be said from here on: whole characters, and nothing that may turn out to be part of a text
            at which the reply stops; often empty. All of these and the `tail` of the end make the reply's text.
        log_prob: Natural log-probability at temperature 1, before penalties and top-p; None if not asked for.
        top: The likeliest tokens with theirs, the likeliest first; empty if not asked for.
    """

    ticket: Ticket
    index: int
    id: int
    text: str
    log_prob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Projected:
    """A token of a reply was run and read: one step after it was drawn, as there is nothing to read before.

    Attributes:
        ticket: Of the request.
        index: Place of the token in the reply.
        before: Its projections before the plan acted at each layer, in units of the residual stream.
        after: The same after it; equal where no plan acts.
    """

    ticket: Ticket
    index: int
    before: Float[np.ndarray, "layer direction"]
    after: Float[np.ndarray, "layer direction"]


@dataclass(frozen=True, eq=False)
class Finished:
    """A reply came to its end.

    Attributes:
        ticket: Of the request.
        reply: As `PersonaModel.generate` gives it: ids without the token that ended it, text, `said`, finish
            ("stop" also where a text of `Request.stop` ended it, which the text then is without and the ids are
            not), log-probabilities if asked for, and mean residuals before and after the plan at the layers that
            are read.
        tail: The text that was held back until now.
        prompt_tokens: Length of the prompt.
        stopped_by: The text of `Request.stop` that ended it, if one did.
        receipt: What the plan did to this row; None without a plan.
        before: Projections of every token of the reply before the plan acted; None if nothing is read.
        after: The same after it.
    """

    ticket: Ticket
    reply: Reply
    tail: str
    prompt_tokens: int
    stopped_by: str | None = None
    receipt: Receipt | None = None
    before: Float[np.ndarray, "token layer direction"] | None = None
    after: Float[np.ndarray, "token layer direction"] | None = None


@dataclass(frozen=True, eq=False)
class Failed:
    """A reply cannot be gone on with; other rows are not affected.

    Attributes:
        ticket: Of the request.
        error: Why.
    """

    ticket: Ticket
    error: Exception


Event = Token | Projected | Finished | Failed
