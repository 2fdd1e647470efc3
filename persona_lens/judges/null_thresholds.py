"""Thresholds that default replies pass at a stated rate, for every role its own.

Roles differ in where the scores of default replies lie and how far they spread, and each has only some such
scores. So a role brings its own mean and spread, and the tail, which takes many scores to know, comes from all
roles
together, each score standardised by the others of its role:

    threshold(role) = mean + quantile * spread * sqrt(1 + 1/n)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import binomtest

from persona_lens.errors import RunError
from persona_lens.judges.base import Label

MIN_SCORES = 3
PRIOR_SCORES = 4.0
"""How many scores the spread common to all roles counts for beside a role's own."""


@dataclass(frozen=True)
class NullThresholds:
    """Per role, the scores above which a reply is called `somewhat` or `fully` in role.

    Attributes:
        thresholds: By role, then by label.
        rates: False-positive rate each label is meant to have.
        held_out: By label, the rate on default replies that the thresholds were not made from: `rate`, `low`,
            `high` (95 % Clopper-Pearson), `count`. Thresholds of one half of the scores tried on the other.
        n_scores: Default replies the thresholds come from.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> names, scores = ["pirate"] * 500 + ["ghost"] * 500, rng.normal(size=1000)
        >>> found = NullThresholds.of_scores(names, scores, {"fully": 0.01, "somewhat": 0.1})
        >>> found.label("pirate", 5.0), found.label("pirate", 1.8), found.label("pirate", 0.0)
        ('fully', 'somewhat', 'not')
    """

    thresholds: Mapping[str, Mapping[str, float]]
    rates: Mapping[str, float]
    held_out: Mapping[str, Mapping[str, float]]
    n_scores: int

    @classmethod
    def of_scores(
        cls,
        roles: Sequence[str],
        scores: Float[np.ndarray, " score"],
        rates: Mapping[str, float],
    ) -> NullThresholds:
        """Thresholds from scores of default replies.

        Args:
            roles: The role under whose prompt each score was taken.
            scores: Of default replies.
            rates: False-positive rate of each label.

        Raises:
            RunError: Too few scores of some role.
        """
        names = np.asarray(roles)
        counts = {name: int((names == name).sum()) for name in dict.fromkeys(roles)}
        few = [name for name, count in counts.items() if count < MIN_SCORES]
        if few or not counts:
            raise RunError(
                "too few default replies to calibrate on",
                expected=f"at least {MIN_SCORES} for each role",
                given=f"{counts[few[0]]} for {few[0]!r}" if few else "none",
                remedy="collect more default replies (default_samples), or raise nulls",
            )
        return cls(
            _fit(names, scores, rates), dict(rates), _held_out(names, scores, rates), len(scores)
        )

    def label(self, role: str, score: float) -> Label:
        """The label of a reply in `role` with that score."""
        thresholds = self.thresholds[role]
        if score > thresholds["fully"]:
            return "fully"
        return "somewhat" if score > thresholds["somewhat"] else "not"

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "thresholds": {role: dict(values) for role, values in self.thresholds.items()},
            "rates": dict(self.rates),
            "held_out": {label: dict(values) for label, values in self.held_out.items()},
            "n_scores": self.n_scores,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> NullThresholds:
        """What `as_dict` gave."""
        return cls(data["thresholds"], data["rates"], data["held_out"], data["n_scores"])


def _fit(
    names: np.ndarray, scores: Float[np.ndarray, " score"], rates: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    groups = {name: scores[names == name] for name in dict.fromkeys(names.tolist())}
    common = float(
        sum(((own - own.mean()) ** 2).sum() for own in groups.values())
        / max(1, sum(len(own) - 1 for own in groups.values()))
    )
    tail = np.sort(np.concatenate([_standardised(own, common) for own in groups.values()]))
    quantiles = {label: _upper(tail, rate) for label, rate in rates.items()}
    found = {}
    for name, own in groups.items():
        mean, spread = float(own.mean()), _spread(own, common) * np.sqrt(1 + 1 / len(own))
        found[name] = {label: float(mean + q * spread) for label, q in quantiles.items()}
    return found


def _spread(own: Float[np.ndarray, " score"], common: float) -> float:
    """Standard deviation of a role's scores, drawn towards the common one."""
    squares = ((own - own.mean()) ** 2).sum() + PRIOR_SCORES * common
    return float(np.sqrt(max(squares / (len(own) - 1 + PRIOR_SCORES), np.finfo(float).tiny)))


def _standardised(own: Float[np.ndarray, " score"], common: float) -> Float[np.ndarray, " score"]:
    """Each score as the others of its role see it."""
    found = np.empty(len(own))
    for index in range(len(own)):
        others = np.delete(own, index)
        spread = _spread(others, common) * np.sqrt(1 + 1 / len(others))
        found[index] = (own[index] - others.mean()) / spread
    return found


def _upper(tail: Float[np.ndarray, " score"], rate: float) -> float:
    """Conformal quantile: at most a share `rate` of new scores exceeds it; the largest if there are few."""
    place = int(np.ceil((len(tail) + 1) * (1 - rate))) - 1
    return float(tail[min(place, len(tail) - 1)])


def _held_out(
    names: np.ndarray, scores: Float[np.ndarray, " score"], rates: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    place = np.zeros(len(names), dtype=int)
    for name in set(names.tolist()):
        place[names == name] = np.arange((names == name).sum())
    first = place % 2 == 0
    passed, tried = dict.fromkeys(rates, 0), 0
    for known, new in ((first, ~first), (~first, first)):
        usable = [n for n in set(names[new].tolist()) if (known & (names == n)).sum() >= 2]
        thresholds = _fit(names[known], scores[known], rates) if usable else {}
        for name in usable:
            fresh = scores[new & (names == name)]
            tried += len(fresh)
            for label in rates:
                passed[label] += int((fresh > thresholds[name][label]).sum())
    if not tried:
        return {}
    found = {}
    for label, count in passed.items():
        interval = binomtest(count, tried).proportion_ci(0.95)
        found[label] = {
            "rate": count / tried,
            "low": float(interval.low),
            "high": float(interval.high),
            "count": tried,
        }
    return found
