"""`Rule`: a statistic along one or several directions, as one number of the turns so far.

Along several directions the number is the most alarming of their *calibrated ranks*: where the statistic stands
among the conversation maxima of calm reference conversations. So the choice among directions is part of what is
calibrated, and asks for no correction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from persona_lens.drift.monitor.readings import Readings
from persona_lens.drift.monitor.statistics import Calm, Statistic, find
from persona_lens.errors import MonitorError


@dataclass(frozen=True, eq=False)
class Rule:
    """A statistic with all that it is made of.

    Attributes:
        statistic: Which.
        directions: Along which.
        high: Those of which high projections are alarming; of the others low ones.
        calm: Level and spread of calm turns along each, turned as the statistic sees them; None where it needs
            none.
        ladder: Maxima of the reference conversations along each, ascending; None for a single direction.
    """

    statistic: Statistic
    directions: tuple[str, ...]
    high: frozenset[str] = frozenset()
    calm: tuple[Calm, ...] | None = None
    ladder: Float[np.ndarray, "direction reference"] | None = None

    @classmethod
    def fitted(cls, statistic: Statistic, reference: Readings, high: Sequence[str] = ()) -> Rule:
        """The rule whose constants come from some calm conversations.

        Raises:
            MonitorError: It needs residuals and there are none, or calm turns that do not all lie in one place.
        """
        high_ones = frozenset(high)
        plain = cls(statistic, reference.directions, high_ones)
        if statistic.needs_calm:
            plain = cls(statistic, reference.directions, high_ones, plain._calm_of(reference))
        if len(reference.directions) < 2:
            return plain
        maxima = highest(plain.single(reference))
        known = np.isfinite(maxima).all(axis=1)
        return cls(
            statistic, reference.directions, high_ones, plain.calm, np.sort(maxima[known].T, axis=1)
        )

    def _calm_of(self, reference: Readings) -> tuple[Calm, ...]:
        found = []
        for place, name in enumerate(self.directions):
            x = self._turned(reference)[:, :, place]
            values = x[np.isfinite(x)]
            spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
            if not spread > 0:
                raise MonitorError(
                    f"calm turns do not differ along {name!r}, so {self.statistic} has no unit",
                    expected="two or more reference conversations with different projections",
                    given=f"{len(values)} turns of {len(reference)} conversations",
                )
            found.append(Calm(float(values.mean()), spread))
        return tuple(found)

    @property
    def needs_reference(self) -> bool:
        """Whether some calm conversations have to be set aside for its constants."""
        return self.statistic.needs_calm or len(self.directions) > 1

    def _turned(self, readings: Readings) -> Float[np.ndarray, "conversation turn direction"]:
        """What the statistic sees: turned so that low is alarming."""
        sign = np.array([-1.0 if name in self.high else 1.0 for name in self.directions])
        if not self.statistic.of_residuals:
            return readings.values * sign
        if readings.residuals is None:
            raise MonitorError(
                f"the statistic {self.statistic} needs a forecast of every turn",
                expected="a column `residual`: predicted minus actual projection",
                remedy='add it: trace.frame.assign(residual=...), or choose another, such as "lowest"',
            )
        return -readings.residuals * sign

    def single(self, readings: Readings) -> Float[np.ndarray, "conversation turn direction"]:
        """The statistic after each turn, along each direction."""
        x = self._turned(readings)
        calm = self.calm or (Calm(np.nan, np.nan),) * len(self.directions)
        along = [self.statistic(x[:, :, place], of) for place, of in enumerate(calm)]
        return np.stack(along, axis=2)

    def joint(self, readings: Readings) -> Joint:
        """One number after each turn, and the direction it comes from."""
        single = self.single(readings)
        if self.ladder is None:
            return Joint(single[:, :, 0], np.zeros(single.shape[:2], dtype=np.int64), single)
        ranks = np.stack(
            [_rank(self.ladder[place], single[:, :, place]) for place in range(single.shape[2])],
            axis=2,
        )
        filled = np.where(np.isfinite(ranks), ranks, -np.inf)
        which = filled.argmax(axis=2)
        best = np.take_along_axis(filled, which[:, :, None], axis=2)[:, :, 0]
        return Joint(np.where(np.isfinite(best), best, np.nan), which, ranks)

    def maxima(self, readings: Readings) -> Float[np.ndarray, " conversation"]:
        """The highest value of each conversation; NaN where no turn was read."""
        return highest(self.joint(readings).values)

    def stored(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """For JSON and safetensors."""
        card = {
            "statistic": self.statistic.name,
            "options": dict(self.statistic.options),
            "directions": list(self.directions),
            "high": sorted(self.high),
            "calm": None if self.calm is None else [list(each) for each in self.calm],
        }
        return card, {} if self.ladder is None else {"ladder": self.ladder}

    @classmethod
    def restored(cls, card: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Rule:
        """What `stored` gave.

        Raises:
            MonitorError: Nobody has registered the statistic.
        """
        return cls(
            find(card["statistic"]).having(**card["options"]),
            tuple(card["directions"]),
            frozenset(card["high"]),
            None if card["calm"] is None else tuple(Calm(*each) for each in card["calm"]),
            arrays.get("ladder"),
        )


@dataclass(frozen=True, eq=False)
class Joint:
    """What a rule says after each turn.

    Attributes:
        values: The number that is compared with the threshold; NaN before the first turn that was read.
        which: The direction that it comes from, by its place.
        along: The same along each direction: ranks, or the statistic itself where there is one direction.
    """

    values: Float[np.ndarray, "conversation turn"]
    which: Int[np.ndarray, "conversation turn"]
    along: Float[np.ndarray, "conversation turn direction"]

    def crossings(self, threshold: float) -> Bool[np.ndarray, "conversation turn"]:
        """Where the threshold is exceeded; a tie is no alarm."""
        return np.where(np.isfinite(self.values), self.values, -np.inf) > threshold


def first_of(crossings: Bool[np.ndarray, "conversation turn"]) -> Int[np.ndarray, " conversation"]:
    """The place of the first turn that alarms; -1 where none does.

    Examples:
        >>> first_of(np.array([[False, True, True], [False, False, False]])).tolist()
        [1, -1]
    """
    if not crossings.shape[1]:
        return np.full(len(crossings), -1)
    return np.where(crossings.any(axis=1), crossings.argmax(axis=1), -1)


def highest(values: Float[np.ndarray, "conversation turn ..."]) -> np.ndarray:
    """The maximum over turns; NaN where there is no value."""
    if not values.shape[1]:
        return np.full((len(values), *values.shape[2:]), np.nan)
    found = np.where(np.isnan(values), -np.inf, values).max(axis=1)
    return np.where(np.isneginf(found), np.nan, found)


def _rank(ladder: Float[np.ndarray, " reference"], values: np.ndarray) -> np.ndarray:
    """Where values stand among ascending ones, 0 to 1; beyond either end it goes on in steps of half their range.

    So values beyond all of the reference are still told apart, which ranks alone could not.
    """
    steps = np.arange(1, len(ladder) + 1) / (len(ladder) + 1)
    unit = (ladder[-1] - ladder[0]) / 2
    unit = unit if unit > 0 else 1.0
    inside = np.interp(values, ladder, steps)
    above = np.maximum(values - ladder[-1], 0.0) / unit
    below = np.maximum(ladder[0] - values, 0.0) / unit
    return np.where(np.isfinite(values), inside + (above - below) * steps[0], np.nan)
