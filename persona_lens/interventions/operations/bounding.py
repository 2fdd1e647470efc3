"""`Floor`, `Ceil` and `Band`: capping, which moves only what lies outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float

from persona_lens.errors import InterventionError
from persona_lens.interventions.operations.operation import Shift, range_text, times


@dataclass(frozen=True, eq=False)
class _Bound(Shift):
    thresholds: Float[np.ndarray, " layer"]
    per_layer: ClassVar[tuple[str, ...]] = ("thresholds",)

    def details(self) -> str:
        """The thresholds."""
        return f"at {range_text(self.thresholds)}"


@dataclass(frozen=True, eq=False)
class Floor(_Bound):
    """`h <- h + s max(t - p, 0) v`: keep the projection at or above a threshold (paper section 5, equation 1).

    Attributes:
        thresholds: `t` at each layer.
    """

    name: ClassVar[str] = "floor"

    def shift(self, projection, *, at, strength):
        """Lift what lies below."""
        return times(torch.rsub(projection, float(self.thresholds[at])).clamp(min=0), strength)


@dataclass(frozen=True, eq=False)
class Ceil(_Bound):
    """`h <- h - s max(p - t, 0) v`: keep the projection at or below a threshold.

    Attributes:
        thresholds: `t` at each layer.
    """

    name: ClassVar[str] = "ceil"

    def shift(self, projection, *, at, strength):
        """Lower what lies above."""
        return times(torch.rsub(projection, float(self.thresholds[at])).clamp(max=0), strength)


@dataclass(frozen=True, eq=False)
class Band(Shift):
    """`h <- h + s (clamp(p, low, high) - p) v`: keep the projection within a band.

    Attributes:
        low: Lower end at each layer.
        high: Upper end at each layer.
    """

    low: Float[np.ndarray, " layer"]
    high: Float[np.ndarray, " layer"]
    name: ClassVar[str] = "band"
    per_layer: ClassVar[tuple[str, ...]] = ("low", "high")

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.low > self.high).any():
            raise InterventionError(
                "the band is upside down",
                expected="low at or below high",
                given=f"low {range_text(self.low)}, high {range_text(self.high)}",
            )

    def shift(self, projection, *, at, strength):
        """Bring what lies outside to the nearer end."""
        return times(
            projection.clamp(float(self.low[at]), float(self.high[at])) - projection, strength
        )

    def details(self) -> str:
        """The two ends."""
        return f"from {range_text(self.low)} to {range_text(self.high)}"
