"""Intervals, permutation tests and multiple comparisons, in one place; scipy does the statistics.

    from persona_lens.statistics import Interval, crossed_means, fdr, interval_of, permutation_p

Roles share their questions, so replies are not independent: an interval resamples both.
"""

from persona_lens.statistics.budget import default_reply_advice
from persona_lens.statistics.correlations import fisher_interval, to_z
from persona_lens.statistics.nulls import fdr, permutation_p
from persona_lens.statistics.resampling import (
    Interval,
    crossed_means,
    draw_counts,
    draw_rows,
    even_splits,
    interval_of,
    known_mean,
    widened,
)

__all__ = [
    "Interval",
    "crossed_means",
    "default_reply_advice",
    "draw_counts",
    "draw_rows",
    "even_splits",
    "fdr",
    "fisher_interval",
    "interval_of",
    "known_mean",
    "permutation_p",
    "to_z",
    "widened",
]
