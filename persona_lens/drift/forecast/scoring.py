"""Held-out R² and what one predictor adds to another, with intervals over conversations.

    R² = 1 - sum (y - forecast)² / sum (y - mean y)²          over all scored rows, of all folds together

One mean for all rows and all splits, so that numbers compare; a forecast worse than that mean is negative and
stays so. Intervals resample personas (or conversations) with their forecasts as they are: they tell how far the
score depends on who was scored, not on who was trained on.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from persona_lens.statistics import draw_counts, interval_of, widened


class Scorer:
    """Scores of forecasts of the same rows, on the same bootstrap samples.

    Args:
        targets: What was there.
        units: Persona or conversation of each row, as numbers from 0: what is resampled.
        draws: Bootstrap samples.
        seed: Of the samples.

    Examples:
        >>> y = np.random.default_rng(0).normal(size=(300, 1))
        >>> scorer = Scorer(y, np.arange(300) // 10)
        >>> scorer.r2(y * 0.5).round(2)
        array([0.75])
    """

    def __init__(
        self,
        targets: Float[np.ndarray, "row target"],
        units: Int[np.ndarray, " row"],
        *,
        draws: int = 1000,
        seed: int = 0,
    ) -> None:
        self._targets = targets
        self._units = units
        self._n_units = int(units.max()) + 1
        self._counts = draw_counts(self._n_units, draws, np.random.default_rng(seed))
        centred = targets - targets.mean(axis=0)
        ones = self._by_unit(np.ones((len(targets), 1)))
        self._sizes = self._counts @ ones
        sums, squares = self._by_unit(centred), self._by_unit(centred**2)
        self._spread = squares.sum(axis=0)
        total = self._counts @ sums
        self._spreads = self._counts @ squares - total**2 / self._sizes

    def r2(self, forecast: Float[np.ndarray, "row target"]) -> Float[np.ndarray, " target"]:
        """Share of the variance that is forecast."""
        return 1 - ((self._targets - forecast) ** 2).sum(axis=0) / self._spread

    def r2_draws(
        self, forecast: Float[np.ndarray, "row target"]
    ) -> Float[np.ndarray, "draw target"]:
        """The same of each bootstrap sample."""
        errors = self._counts @ self._by_unit((self._targets - forecast) ** 2)
        return 1 - errors / np.where(self._spreads > 0, self._spreads, np.nan)

    def partial(
        self, more: Float[np.ndarray, "row target"], less: Float[np.ndarray, "row target"]
    ) -> Float[np.ndarray, " target"]:
        """Share of the errors of `less` that `more` does not make."""
        errors, before = (
            ((self._targets - forecast) ** 2).sum(axis=0) for forecast in (more, less)
        )
        return 1 - errors / np.where(before > 0, before, np.nan)

    def partial_draws(
        self, more: Float[np.ndarray, "row target"], less: Float[np.ndarray, "row target"]
    ) -> Float[np.ndarray, "draw target"]:
        """The same of each bootstrap sample."""
        errors, before = (
            self._counts @ self._by_unit((self._targets - forecast) ** 2)
            for forecast in (more, less)
        )
        return 1 - errors / np.where(before > 0, before, np.nan)

    def mean_draws(
        self, values: Float[np.ndarray, "row target"]
    ) -> Float[np.ndarray, "draw target"]:
        """The mean of any value of the rows, of each bootstrap sample."""
        return self._counts @ self._by_unit(values) / self._sizes

    def intervals(
        self, draws: Float[np.ndarray, "draw target"]
    ) -> tuple[Float[np.ndarray, " target"], Float[np.ndarray, " target"]]:
        """Ends of the 95 % intervals, wider where units are few."""
        spread = widened(draws, self._n_units)
        ends = np.array([interval_of(column) for column in spread.T]).reshape(-1, 2)
        return ends[:, 0], ends[:, 1]

    def _by_unit(self, rows: Float[np.ndarray, "row target"]) -> Float[np.ndarray, "unit target"]:
        found = np.zeros((self._n_units, rows.shape[1]))
        np.add.at(found, self._units, rows)
        return found
