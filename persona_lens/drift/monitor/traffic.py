"""Whether conversations are of the kind a monitor was calibrated on: three things that can be seen of any of them.

A stated rate of false alarms is that of exchangeable conversations. Longer ones, longer replies, or another place
of the first reply show that they are not, whatever happened later; that nothing shows proves nothing.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import ks_2samp

from persona_lens.drift.monitor.readings import Readings

LEVEL = 0.01
"""Chance that conversations of the same kind are called others, over all features together."""

LEAST_DISTANCE = 0.2
"""Of the two distributions: less is no other kind, however many conversations show it."""

COLUMNS = ["feature", "calm", "given", "distance", "p", "n_calm", "n_given", "other"]


def compare_traffic(calm: Readings, given: Readings) -> pd.DataFrame:
    """Two-sample Kolmogorov-Smirnov tests, one a feature, with Bonferroni's correction over the features.

    Features are one number a conversation: `turns` (where only more are other: a rate holds for fewer as well),
    `tokens` of a reply on average, and `first <direction>`, the projection of the first reply that was read.

    Returns:
        `feature`, medians of the `calm` and the `given` conversations, `distance` (largest difference of the two
        distribution functions, 0 to 1), `p`, `n_calm`, `n_given` and `other`: p below `LEVEL` over the number of
        features, and a distance of `LEAST_DISTANCE` or more.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> def chats(level):
        ...     rows = {"conversation": np.repeat(np.arange(40), 3), "turn": np.tile([0, 1, 2], 40)}
        ...     return Readings.of(pd.DataFrame({**rows, "projection": rng.normal(level, 1.0, 120)}))
        >>> [bool(compare_traffic(chats(0.0), chats(level))["other"].any()) for level in (0.0, 3.0)]
        [False, True]
    """
    ours, theirs = _features(calm), _features(given)
    pairs = {name: (_finite(ours[name]), _finite(theirs[name])) for name in ours}
    known = {name: pair for name, pair in pairs.items() if len(pair[0]) and len(pair[1])}
    rows = []
    for name, (a, b) in known.items():
        # The function of the larger numbers lies below.
        side = "greater" if name == "turns" else "two-sided"
        found = ks_2samp(a, b, alternative=side)
        distance, p = float(found.statistic), float(found.pvalue)  # pyright: ignore[reportAttributeAccessIssue]
        other = bool(p < LEVEL / len(known) and distance >= LEAST_DISTANCE)
        rows.append((name, np.median(a), np.median(b), distance, p, len(a), len(b), other))
    return pd.DataFrame(rows, columns=COLUMNS)


def told_traffic(found: pd.DataFrame) -> str:
    """What is other, in words; empty where nothing is."""
    return "; ".join(
        f"{row.feature}: median {row.given:.4g} where {row.calm:.4g} was calibrated on (p = {row.p:.1g})"
        for row in found[found["other"]].itertuples()
    )


def _features(readings: Readings) -> dict[str, Float[np.ndarray, " conversation"]]:
    tokens = np.where(np.isfinite(readings.tokens), readings.tokens, 0.0).sum(axis=1)
    counted = np.isfinite(readings.tokens).sum(axis=1)
    first = readings.read.argmax(axis=1)
    rows = np.arange(len(readings))
    return {
        "turns": readings.counts.astype(np.float64),
        "tokens": np.where(counted > 0, tokens / np.maximum(counted, 1), np.nan),
        **{
            f"first {name}": readings.values[rows, first, place]
            for place, name in enumerate(readings.directions)
        },
    }


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]
