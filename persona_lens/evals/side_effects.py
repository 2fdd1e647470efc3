"""What an intervention costs where nothing was asked of it: KL divergence and perplexity on neutral text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from persona_lens.evals.measures import RESAMPLES
from persona_lens.statistics import draw_rows, interval_of
from persona_lens.transcripts import Transcript

if TYPE_CHECKING:
    from persona_lens.interventions import Plan
    from persona_lens.model.persona_model import PersonaModel


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval, by bootstrap over texts."""

    value: float
    low: float
    high: float

    def columns(self, name: str) -> dict[str, float]:
        """As cells of a table: `name`, `name_low`, `name_high`."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


def mean_over_texts(values: Sequence[Float[np.ndarray, " token"]]) -> Estimate:
    """Mean over the tokens of all texts; texts are resampled, not tokens.

    Examples:
        >>> mean_over_texts([np.array([1.0, 3.0]), np.array([2.0, 2.0])])
        Estimate(value=2.0, low=2.0, high=2.0)
    """
    sums = np.array([text.sum(dtype=np.float64) for text in values])
    counts = np.array([len(text) for text in values])
    rows = draw_rows(len(values), RESAMPLES, np.random.default_rng(0))
    draws = sums[rows].sum(axis=1) / counts[rows].sum(axis=1)
    return Estimate(float(sums.sum() / counts.sum()), *interval_of(draws))


def kl_cost(model: PersonaModel, plan: Plan, texts: Sequence[Transcript]) -> Estimate:
    """Nats a token, KL(without || with), over the assistant's tokens of the texts."""
    return mean_over_texts(model.kl(plan, texts))


def perplexity_ratio(
    model: PersonaModel,
    plan: Plan,
    prompts: Sequence[Transcript],
    replies: Sequence[np.ndarray],
) -> float:
    """Perplexity of given replies with the plan over that without."""
    without = np.concatenate(model.log_probs(prompts, replies))
    with model.intervene(plan):
        acting = np.concatenate(model.log_probs(prompts, replies))
    return float(np.exp(without.mean(dtype=np.float64) - acting.mean(dtype=np.float64)))
