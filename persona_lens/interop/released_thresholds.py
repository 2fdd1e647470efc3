"""The thresholds of a capping file as the calibration of a space: percentiles along the axis, where known.

The released caps are percentiles of the projections of all rollouts of the paper, layer by layer. The distribution
itself is not released: no mean, no spread, and no percentile between those in the file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from persona_lens.interop.capping_config import CappingConfig, CappingVector, percentile_of
from persona_lens.space.calibration import LEVELS, POPULATIONS, Calibration

SOURCE = "as released"
ALONG = 0.99
"""Least |cosine| with the axis of a vector whose percentiles are taken for those along the axis."""


def released_calibration(capping: CappingConfig, layers: Sequence[int]) -> Calibration | None:
    """Percentiles of reply means along the axis at the layers the file caps; None if it states none.

    Where two experiments give one layer different values for one percentile, neither is taken.

    Args:
        capping: The settings, with their vectors held against the axis.
        layers: Blocks of the space.
    """
    found: dict[tuple[int, int], set[float]] = {}
    for experiment, caps in capping.experiments.items():
        stored = percentile_of(experiment)
        for cap in caps:
            vector = capping.vectors[cap.vector]
            level = None if stored is None else _level(vector, stored)
            if level is not None and vector.layer in layers:
                value = -cap.value if vector.reversed else cap.value
                found.setdefault((layers.index(vector.layer), level), set()).add(value)
    known = {place: values.pop() for place, values in found.items() if len(values) == 1}
    if not known:
        return None
    populations, n_layers = len(POPULATIONS), len(layers)
    unknown = np.full((populations, n_layers, 1), np.nan, dtype=np.float32)
    quantiles = np.full((populations, 2, n_layers, 1, len(LEVELS)), np.nan, dtype=np.float32)
    for (place, level), value in known.items():
        quantiles[POPULATIONS.index("all"), 0, place, 0, level] = value
    return Calibration(
        directions=("axis",),
        counts=np.zeros((populations, 2), dtype=np.int64),
        means=unknown,
        deviations=unknown,
        quantiles=quantiles,
        norms=unknown[..., 0],
        source=SOURCE,
    )


def _level(vector: CappingVector, stored: float) -> int | None:
    """The percentile towards the Assistant; None if the vector is not the axis, or it is no whole number."""
    level = 100 - stored if vector.reversed else stored
    whole = round(level)
    fits = abs(vector.cosine) >= ALONG and abs(level - whole) < 1e-6 and whole in LEVELS
    return whole if fits else None
