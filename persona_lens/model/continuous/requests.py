"""What is asked of a batch: a prompt with settings of its own, and directions along which replies are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NewType

import numpy as np
from jaxtyping import Float

from persona_lens.interventions.plan import Plan
from persona_lens.rollouts.sampling import Sampling
from persona_lens.transcripts import Transcript

Ticket = NewType("Ticket", int)
"""Tells the requests of one batch apart; given out once each, in the order they were added."""


@dataclass(frozen=True, eq=False)
class Request:
    """One reply that is wanted.

    Attributes:
        prompt: From `encoder.prompt(...)`.
        sampling: How it is drawn. The seed alone decides the draws, whatever else runs.
        plan: Acts on this row only, on the tokens of its prompt and its reply; none by default. Rows may share a
            plan object, and it is cheaper if they do. A plan made for rows is made for one.
        stop: Texts at which the reply ends; they are not part of its text.
        top_log_probs: How many of the likeliest tokens are told with each token, beside its own log-probability;
            0 for its own alone, None for none.
        frequency_penalty: Taken off a token's logit for each time the reply has it.
        presence_penalty: Taken off the logit of every token that the reply has.
    """

    prompt: Transcript
    sampling: Sampling = field(default_factory=Sampling)
    plan: Plan | None = None
    stop: tuple[str, ...] = ()
    top_log_probs: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0


@dataclass(frozen=True, eq=False)
class Along:
    """Unit directions at some layers, along which every token of a reply is read, before and after plans act.

    Attributes:
        layers: Blocks to read.
        units: Unit vectors at each of them.
    """

    layers: tuple[int, ...]
    units: Float[np.ndarray, "layer direction d_model"]
