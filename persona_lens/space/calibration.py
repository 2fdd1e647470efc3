"""Where single replies lie along the axis and the components: the yardstick for z-scores and thresholds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

POPULATIONS = ("default", "role", "trait")
SAMPLE = 20_000
LEVELS = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Distribution of reply means along the axis (direction 0) and the components (1, 2, ...).

    Attributes:
        counts: Replies of each of `POPULATIONS`.
        means, deviations: Mean and standard deviation of the projections on unit directions.
        quantiles: At `LEVELS` percent, of the projection on the axis. The unit is the reply mean, not the token.

    Populations without a reply are NaN. The axis was made from the same replies, so that the default looks a
    little closer to it than new replies of the default would.
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
        """Distribution of the `coordinates` of replies, each shard given with the population it belongs to.

        Means and deviations are exact; quantiles come from at most `SAMPLE` replies of a population, drawn at
        random.
        """
        streams: dict[str, _Stream] = {}
        for population, means in replies:
            if len(means):
                values = coordinates(means)
                if population not in streams:
                    streams[population] = _Stream(values.shape[1:])
                streams[population].add(values)
        if not streams:
            return None
        known = [streams.get(population) for population in POPULATIONS]
        blank = _Stream(next(iter(streams.values())).mean.shape)
        found = [stream or blank for stream in known]
        return cls(
            counts=np.array([stream.count for stream in found]),
            means=np.stack(
                [stream.mean if stream.count else stream.mean * np.nan for stream in found]
            ),
            deviations=np.stack([stream.deviation() for stream in found]),
            quantiles=np.stack([stream.quantiles() for stream in found]),
        )


class _Stream:
    """Moments of all values and a uniform sample of the first direction, in memory that does not grow."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = 0
        self.mean = np.zeros(shape)
        self._squares = np.zeros(shape)
        self._sample = np.empty((0, shape[0]), dtype=np.float32)
        self._keys = np.empty(0)
        self._rng = np.random.default_rng(0)

    def add(self, values: Float[np.ndarray, "reply layer direction"]) -> None:
        total = self.count + len(values)
        centre = values.mean(axis=0)
        shift = centre - self.mean
        self._squares += ((values - centre) ** 2).sum(axis=0) + shift**2 * self.count * len(
            values
        ) / total
        self.mean = self.mean + shift * len(values) / total
        self.count = total
        # Every reply draws a key, and those with the smallest keys stay: a uniform sample of all seen so far.
        keys = np.concatenate([self._keys, self._rng.random(len(values))])
        sample = np.concatenate([self._sample, values[:, :, 0].astype(np.float32)])
        kept = np.argsort(keys)[:SAMPLE]
        self._keys, self._sample = keys[kept], sample[kept]

    def deviation(self) -> Float[np.ndarray, "layer direction"]:
        if self.count < 2:
            return np.full_like(self.mean, np.nan)
        return np.sqrt(self._squares / (self.count - 1))

    def quantiles(self) -> Float[np.ndarray, "layer level"]:
        if not self.count:
            return np.full((len(self.mean), len(LEVELS)), np.nan)
        return np.percentile(self._sample.astype(np.float64), LEVELS, axis=0).T
