"""A strength by what it costs: so many nats of KL divergence on neutral text.

Residual norms, spreads and raw lengths are units of the push; this is a unit of its effect, the same for any plan
and any model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from rich.console import Console
from scipy.optimize import brentq

from persona_lens.catalog.neutral import load_neutral
from persona_lens.errors import InterventionError
from persona_lens.interventions.plan import checked_plan
from persona_lens.model.origins import warn_of_foreign_weights
from persona_lens.transcripts import Transcript
from persona_lens.transcripts.continuing import answered

if TYPE_CHECKING:
    from persona_lens.interventions import Plan
    from persona_lens.model.persona_model import PersonaModel

NEUTRAL_TEXTS = 16
"""Neutral texts an evaluation reads."""

BUDGET_TEXTS = 8
"""Neutral texts a budget is solved for on."""

TOLERANCE = 0.02
"""Relative accuracy of the strength."""

LARGEST_FACTOR = 4096.0
"""How far from the given strength a budget is looked for."""


def neutral_transcripts(model: PersonaModel, count: int | None = None) -> list[Transcript]:
    """Plain questions with plain answers, as this model's template writes them; without a system prompt.

    Examples:
        >>> from persona_lens import PersonaModel
        >>> model = PersonaModel.load("smollm2-135m-instruct")
        >>> len(neutral_transcripts(model, 3))
        3
    """
    return [
        answered(
            model.encoder,
            [
                *model.encoder.messages(exchange.question),
                {"role": "assistant", "content": exchange.answer},
            ],
        )
        for exchange in load_neutral()[:count]
    ]


def neutral_prompts(model: PersonaModel, count: int | None = None) -> list[Transcript]:
    """The questions of `neutral_transcripts`, waiting for their answers."""
    return [
        model.encoder.prompt(model.encoder.messages(exchange.question))
        for exchange in load_neutral()[:count]
    ]


def neutral_norms(model: PersonaModel, layers: Sequence[int]) -> Float[np.ndarray, " layer"]:
    """Mean residual norm of the answers of the neutral texts at some layers.

    The paper takes it over replies to a chat data set (section 3.2.1).
    """
    any_direction = np.zeros((len(layers), 1, model.d_model), dtype=np.float32)
    read = model.projections(
        neutral_transcripts(model, NEUTRAL_TEXTS), any_direction, layers=layers
    )
    return np.concatenate([text.norms for text in read]).mean(axis=0, dtype=np.float64)


def scaled_to_kl(
    model: PersonaModel,
    plan: Plan,
    kl: float,
    *,
    texts: Sequence[Transcript] | None = None,
    progress: bool = True,
) -> Plan:
    """The plan, scaled so that it costs `kl` nats a token: mean KL(without || with) over the assistant's tokens.

    Args:
        model: What it is measured on.
        plan: Any plan; its strengths are multiplied by one positive factor.
        kl: The budget, above zero.
        texts: Finished conversations; the first eight neutral ones by default.
        progress: Say that it is being solved for.

    Raises:
        InterventionError: No factor up to 4,096 times, or down to 1/4,096 of, the given strength costs that much.
    """
    checked_plan(plan)
    warn_of_foreign_weights(plan.origins, model, stacklevel=2)
    # Said once: not again at every strength that is tried.
    tried = plan.without_origins()
    if not 0 < kl < math.inf:
        raise InterventionError("a budget must be above zero", expected="nats a token", given=kl)
    chosen = neutral_transcripts(model, BUDGET_TEXTS) if texts is None else list(texts)

    @cache  # the ends of the bracket are asked for again
    def excess(log_factor: float) -> float:
        values = np.concatenate(model.kl(tried * float(np.exp(log_factor)), chosen))
        return float(np.log(max(values.mean(dtype=np.float64), 1e-12) / kl))

    with Console(stderr=True, quiet=not progress).status("Solving for the strength"):
        low, high = _bracket(excess, kl)
        log_factor = low if low == high else brentq(excess, low, high, xtol=TOLERANCE)
    return plan * math.exp(float(log_factor))  # pyright: ignore[reportArgumentType]


def _bracket(excess: Callable[[float], float], kl: float) -> tuple[float, float]:
    """Two logarithms of factors, one too weak and one too strong."""
    furthest = np.log(LARGEST_FACTOR)
    at = 0.0
    value = excess(at)
    if abs(value) < TOLERANCE:
        return at, at
    while abs(at) < furthest:
        # Of a small push the divergence grows with the square; aim a little beyond.
        further = (
            at - value / 2 - np.sign(value) * 0.2 if abs(value) < 4 else at - np.sign(value) * 2
        )
        further = float(np.clip(further, -furthest, furthest))
        reached = excess(further)
        if np.sign(reached) != np.sign(value):
            return min(at, further), max(at, further)
        at, value = further, reached
    raise InterventionError(
        f"no strength costs {kl:g} nats",
        given=f"{np.exp(value) * kl:.3g} nats at {np.exp(at):.3g} times the strength",
        remedy="choose a smaller budget, or look at the receipt: the plan may never engage",
    )
