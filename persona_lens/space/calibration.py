"""Where single replies lie along the axis and the components: the yardstick for z-scores and thresholds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

POPULATIONS = ("default", "role", "trait")
LEVELS = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Distribution of reply means along the axis (direction 0) and the components (1, 2, ...).

    Attributes:
        counts: Replies of each of `POPULATIONS`.
        means, deviations: Mean and standard deviation of the projections on unit directions.
        quantiles: At `LEVELS` percent, of the projection on the axis. The unit is the reply mean, not the token.

    Populations without a reply are NaN.
    """

    counts: Int[np.ndarray, " population"]
    means: Float[np.ndarray, "population layer direction"]
    deviations: Float[np.ndarray, "population layer direction"]
    quantiles: Float[np.ndarray, "population layer level"]

    @classmethod
    def of_replies(
        cls,
        replies: Iterable[tuple[str, Float[np.ndarray, "reply layer d_model"]]],
        coordinates: Callable[[np.ndarray], Float[np.ndarray, "reply layer direction"]],
    ) -> Calibration | None:
        """Distribution of the `coordinates` of replies, each shard given with the population it belongs to."""
        projections: dict[str, list[np.ndarray]] = {population: [] for population in POPULATIONS}
        for population, means in replies:
            projections[population].append(coordinates(means).astype(np.float32))
        some = next((values[0] for values in projections.values() if values), None)
        if some is None:
            return None
        shape = (len(POPULATIONS), *some.shape[1:])
        means, deviations = np.full(shape, np.nan), np.full(shape, np.nan)
        quantiles = np.full((*shape[:2], len(LEVELS)), np.nan)
        counts = np.zeros(len(POPULATIONS), dtype=np.int64)
        for index, population in enumerate(POPULATIONS):
            if not projections[population]:
                continue
            values = np.concatenate(projections[population]).astype(np.float64)
            counts[index] = len(values)
            means[index] = values.mean(axis=0)
            deviations[index] = values.std(axis=0, ddof=min(1, len(values) - 1))
            quantiles[index] = np.percentile(values[:, :, 0], LEVELS, axis=0).T
        return cls(counts, means, deviations, quantiles)
