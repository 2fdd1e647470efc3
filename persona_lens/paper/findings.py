"""`Finding`: a number of this model beside what was published, with its null, interval, count and verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from persona_lens.paper.published import Claim, claims
from persona_lens.paper.verdicts import Range, Verdict, because, verdict
from persona_lens.statistics import interval_of


@dataclass(frozen=True)
class Finding:
    """What this model says of a published claim.

    Attributes:
        claim: What was published.
        value: Ours, in the unit of the claim.
        interval: 95 %; NaN where there is none.
        n: Independent units behind it.
        units: What they are.
        null: Where 95 % of the numbers lie that chance or the controls give; None where the claim needs none.
        null_is: What the null is, in words.
        how: How ours was measured, in a line.
        stands_in: Where ours is not the paper's measure: what is measured in its place.

    Examples:
        >>> found = Finding.of("cos_pc1_middle", 0.8, (0.76, 0.84), 275, "roles", null=(0.0, 0.6),
        ...                    null_is="exchanged", how="layer 15")
        >>> found.verdict, found.because
        ('agrees', 'our interval touches what was published, and not our null')
    """

    claim: Claim
    value: float
    interval: Range
    n: int
    units: str
    null: Range | None
    null_is: str
    how: str
    stands_in: str = ""

    @classmethod
    def of(
        cls,
        key: str,
        value: float,
        interval: Sequence[float],
        n: int,
        units: str,
        *,
        how: str,
        null: Sequence[float] | None = None,
        null_is: str = "",
        stands_in: str = "",
    ) -> Finding:
        """The finding of the claim of that key."""
        low, high = map(float, interval)
        ends = None if null is None else (float(null[0]), float(null[1]))
        return cls(
            claims()[key], float(value), (low, high), int(n), units, ends, null_is, how, stands_in
        )

    @property
    def verdict(self) -> Verdict:
        """By the rule of `persona_lens.paper.verdicts`."""
        return verdict(self.claim.kind, **self._held())

    @property
    def because(self) -> str:
        """Why."""
        return because(self.claim.kind, **self._held())

    def _held(self) -> dict[str, Any]:
        return {
            "published": self.claim.range,
            "interval": self.interval,
            "null": self.null,
            "n": self.n,
            "margin": self.claim.margin,
        }

    @property
    def _section(self) -> str:
        named = self.claim.section
        return f"appendix {named}" if named[0].isalpha() else f"section {named}"

    def row(self) -> dict[str, Any]:
        """As plain data; what is not finite is None."""
        low, high = self.claim.range
        null = (None, None) if self.null is None else self.null
        numbers = {
            "value": self.value,
            "low": self.interval[0],
            "high": self.interval[1],
            "null_low": null[0],
            "null_high": null[1],
            "published_low": low,
            "published_high": high,
        }
        return {
            "claim": self.claim.key,
            "where": ", ".join(filter(None, (self._section, self.claim.where))),
            "quantity": self.claim.quantity,
            "unit": self.claim.unit,
            **{name: _plain(number) for name, number in numbers.items()},
            "n": self.n,
            "units": self.units,
            "null": self.null_is,
            "how": self.how,
            "stands_in": self.stands_in,
            "verdict": self.verdict,
            "because": self.because,
        }


def about_value(value: float, draws: Float[np.ndarray, " draw"]) -> Range:
    """A 95 % interval whose width is that of resamples and whose middle is the value.

    Resamples repeat units, so numbers of a spectrum lie lower in them; their spread is used, and not their place.

    Examples:
        >>> about_value(10.0, np.array([6.0, 7.0, 8.0]))
        (9.05, 10.95)
    """
    low, high = interval_of(draws)
    middle = float(np.median(draws))
    return round(value + low - middle, 12), round(value + high - middle, 12)


def _plain(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
