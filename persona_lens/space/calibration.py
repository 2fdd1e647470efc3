"""Where replies lie along the axis and other directions: the yardstick for z-scores, thresholds and strengths.

Thresholds come from one half of the questions and are tried on the other, so that what a cap says of itself is not
measured on the replies it was made from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

Unit = Literal["replies", "tokens"]

POPULATIONS = ("default", "role", "trait", "all")
HALVES = ("calibration", "held out")
SAMPLE = 10_000
LEVELS = tuple(range(101))


@dataclass(frozen=True, eq=False)
class Calibration:
    """Distribution of reply means, or of tokens, along directions.

    Projections are on unit directions, those on components are scores (centred on the roles, in PCA coordinates).

    Attributes:
        directions: "axis", "pc1", ..., and names asked for.
        counts: Replies or tokens of each of `POPULATIONS` and `HALVES`; "all" is all of them together.
        means, deviations: Mean and standard deviation, over both halves.
        quantiles: At `LEVELS` percent.
        norms: Mean norm of the residual vectors themselves.
        source: Whose numbers these are, if they were not measured on replies here: then only some percentiles may
            be known, and the others are NaN.

    Populations without a reply are NaN. The axis was made from the same replies, so that the default looks a
    little closer to it than new replies of the default would.
    """

    directions: tuple[str, ...]
    counts: Int[np.ndarray, "population half"]
    means: Float[np.ndarray, "population layer direction"]
    deviations: Float[np.ndarray, "population layer direction"]
    quantiles: Float[np.ndarray, "population half layer direction level"]
    norms: Float[np.ndarray, "population layer"]
    source: str = ""

    def known(self, direction: str, population: str) -> Bool[np.ndarray, "layer level"]:
        """Which percentiles are known, on the calibration half, at each layer."""
        return np.isfinite(self._of(direction, population)[0])

    def quantile(
        self, direction: str, population: str, percentile: float
    ) -> Float[np.ndarray, " layer"]:
        """The projection below which `percentile` percent lie, on the calibration half, at each layer.

        NaN where it is not known.
        """
        levels = self._of(direction, population)[0]
        if percentile in LEVELS:
            return levels[:, LEVELS.index(int(percentile))].astype(np.float64)
        return np.array([np.interp(percentile, LEVELS, layer) for layer in levels])

    def share_below(
        self, direction: str, population: str, thresholds: Float[np.ndarray, " layer"]
    ) -> Float[np.ndarray, " layer"]:
        """Share of the held-out half that lies below a threshold, at each layer; NaN if there is none."""
        levels = self._of(direction, population)[1]
        return np.array(
            [
                np.nan if np.isnan(layer).any() else np.interp(threshold, layer, LEVELS) / 100
                for layer, threshold in zip(levels, thresholds, strict=True)
            ]
        )

    def _of(self, direction: str, population: str) -> Float[np.ndarray, "half layer level"]:
        which = POPULATIONS.index(population)
        return self.quantiles[which][:, :, self.directions.index(direction)]

    @classmethod
    def of(
        cls,
        parts: Iterable[Part],
        directions: tuple[str, ...],
    ) -> Calibration | None:
        """Distribution of values that come in parts.

        Means and deviations are exact; quantiles come from at most `SAMPLE` values of a population and half, drawn
        at random.
        """
        streams: dict[tuple[str, int], _Stream] = {}
        for part in parts:
            for half, chosen in enumerate((~part.held_out, part.held_out)):
                if chosen.any():
                    for population in (part.population, "all"):
                        stream = streams.setdefault((population, half), _Stream())
                        stream.add(part.values[chosen], part.norms[chosen])
        if not streams:
            return None
        blank = np.full_like(next(iter(streams.values())).mean, np.nan)
        found = [[streams.get((name, half)) for half in (0, 1)] for name in POPULATIONS]
        moments = [_moments([stream for stream in pair if stream], blank) for pair in found]
        return cls(
            directions=directions,
            counts=np.array([[stream.count if stream else 0 for stream in pair] for pair in found]),
            means=np.stack([mean for mean, _, _ in moments]).astype(np.float32),
            deviations=np.stack([deviation for _, deviation, _ in moments]).astype(np.float32),
            quantiles=np.stack(
                [
                    np.stack(
                        [
                            stream.quantiles() if stream else blank[..., None].repeat(101, axis=-1)
                            for stream in pair
                        ]
                    )
                    for pair in found
                ]
            ).astype(np.float32),
            norms=np.stack([norm for _, _, norm in moments]).astype(np.float32),
        )


@dataclass(frozen=True, eq=False)
class Part:
    """Some values of one population.

    Attributes:
        population: Which.
        held_out: Whether each belongs to the held-out half of the questions.
        values: Projections.
        norms: Of the residual vectors.
    """

    population: str
    held_out: Bool[np.ndarray, " value"]
    values: Float[np.ndarray, "value layer direction"]
    norms: Float[np.ndarray, "value layer"]


class _Stream:
    """Moments of all values and a uniform sample of them, in memory that does not grow."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: np.ndarray = np.empty(0)
        self.squares: np.ndarray = np.empty(0)
        self.norm: np.ndarray = np.empty(0)
        self._sample = np.empty(0)
        self._keys = np.empty(0)
        self._rng = np.random.default_rng(0)

    def add(
        self,
        values: Float[np.ndarray, "value layer direction"],
        norms: Float[np.ndarray, "value layer"],
    ) -> None:
        if not self.count:
            self.mean = np.zeros(values.shape[1:])
            self.squares, self.norm = np.zeros_like(self.mean), np.zeros(norms.shape[1:])
            self._sample = np.empty((0, *values.shape[1:]), dtype=np.float32)
        total = self.count + len(values)
        centre = values.mean(axis=0, dtype=np.float64)
        shift = centre - self.mean
        self.squares += ((values - centre) ** 2).sum(axis=0)
        self.squares += shift**2 * self.count * len(values) / total
        self.mean = self.mean + shift * len(values) / total
        self.norm = self.norm + (norms.mean(axis=0) - self.norm) * len(values) / total
        self.count = total
        # Every value draws a key, and those with the smallest keys stay: a uniform sample of all seen so far.
        keys = np.concatenate([self._keys, self._rng.random(len(values))])
        kept = np.argsort(keys)[:SAMPLE]
        self._sample = np.concatenate([self._sample, values.astype(np.float32)])[kept]
        self._keys = keys[kept]

    def quantiles(self) -> Float[np.ndarray, "layer direction level"]:
        return np.moveaxis(np.percentile(self._sample.astype(np.float64), LEVELS, axis=0), 0, -1)


def _moments(
    streams: list[_Stream], blank: Float[np.ndarray, "layer direction"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation and mean norm of some streams together."""
    if not streams:
        return blank, blank, blank[:, 0]
    counts = np.array([stream.count for stream in streams], dtype=np.float64)
    weights = counts / counts.sum()
    mean = sum(w * stream.mean for w, stream in zip(weights, streams, strict=True))
    norm = sum(w * stream.norm for w, stream in zip(weights, streams, strict=True))
    squares = sum(stream.squares + stream.count * (stream.mean - mean) ** 2 for stream in streams)
    if counts.sum() < 2:
        return np.asarray(mean), blank, np.asarray(norm)
    return np.asarray(mean), np.sqrt(squares / (counts.sum() - 1)), np.asarray(norm)
