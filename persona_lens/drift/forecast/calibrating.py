"""Prediction intervals for new replies, and how often they hold in folds that had no part in them."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from persona_lens.drift.forecast.conformal import fewest_groups, half_width
from persona_lens.drift.forecast.predictors import Inputs
from persona_lens.drift.forecast.ridge import HeldOut
from persona_lens.drift.forecast.scoring import Scorer
from persona_lens.drift.forecast.splits import Split


class Calibration:
    """Conformal intervals on the errors of held-out forecasts.

    Args:
        inputs: The rows, and what was there.
        split: The main one.
        confidence: How often a reply is to lie within.

    Attributes:
        unit: What is exchangeable: personas where every fold leaves enough of them for a finite interval, else
            conversations.
        notes: What that means, where it is not personas.
    """

    def __init__(self, inputs: Inputs, split: Split, confidence: float) -> None:
        self._targets = inputs.targets
        self._split = split
        self._confidence = confidence
        self.unit, self.notes = self._choose(inputs)
        self._groups = inputs.turns.codes(self.unit)

    def widths(
        self, forecast: Float[np.ndarray, "row target"], rows: np.ndarray | None = None
    ) -> Float[np.ndarray, " target"]:
        """Half-widths by forecasts of some rows; of all of them for `None`."""
        chosen = slice(None) if rows is None else rows
        errors, groups = self._targets[chosen] - forecast, self._groups[chosen]
        return np.array([half_width(column, groups, self._confidence) for column in errors.T])

    def coverage(self, held: HeldOut, scorer: Scorer) -> dict[str, Any]:
        """How often rows of each fold lie within intervals calibrated on inner folds of the others.

        Args:
            held: Forecasts with those of the inner folds.
            scorer: Resamples the rows.

        Returns:
            Columns of `Forecaster.coverage_`.
        """
        inside = np.zeros(self._targets.shape, dtype=bool)
        widths = np.zeros(self._targets.shape)
        outer = self._split.outer
        for fold, (rows, inner) in zip(np.unique(outer), held.inner, strict=True):
            here = outer == fold
            widths[here] = self.widths(inner, rows)
            inside[here] = (np.abs(self._targets - held.predicted) <= widths)[here]
        low, high = scorer.intervals(scorer.mean_draws(inside.astype(float)))
        return {
            "confidence": self._confidence,
            "coverage": inside.mean(axis=0),
            "low": np.clip(low, 0, 1),
            "high": np.clip(high, 0, 1),
            "half_width": np.median(widths, axis=0),
            "calibrated_on": self.unit,
        }

    def _choose(self, inputs: Inputs) -> tuple[str, list[str]]:
        outer, needed = self._split.outer, fewest_groups(self._confidence)
        for unit in dict.fromkeys((self._split.name, "conversation")):
            codes = inputs.turns.codes(unit)
            least = min(len(np.unique(codes[outer != fold])) for fold in np.unique(outer))
            if least >= needed:
                said = f"prediction intervals are calibrated on conversations: {needed} personas outside of every "
                said += f"fold would be needed for {self._confidence:.0%}, so they hold for a new conversation of "
                said += "personas like these, and not surely for a new persona"
                return unit, [said] if unit != self._split.name else []
        return "conversation", [
            f"there are fewer than {needed} conversations outside of a fold: intervals that hold "
            f"{self._confidence:.0%} of replies are infinite"
        ]
