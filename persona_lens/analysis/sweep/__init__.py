"""Layer sweep: every metric of a fitted space against depth, with intervals and nulls.

from persona_lens.analysis.sweep import metric, sweep

found = sweep(space)                      # or space.sweep()
found.frame                               # layer, metric, kind, value, low, high, null, null_mean, null_95, n
found.emergence_by_kind()                 # which comes first, traits or roles?
found.compare_with({"random weights": sweep(control)})

@metric("longest_share", scale="share")   # a metric of one's own, with interval and null
def longest_share(view):
    return (view.norms**2).max(axis=1) / (view.norms**2).sum(axis=1)
"""

import persona_lens.analysis.sweep.builtin  # registers the metrics of the package  # noqa: F401
from persona_lens.analysis.sweep.registry import forget, known_metrics, metric
from persona_lens.analysis.sweep.result import Sweep
from persona_lens.analysis.sweep.running import sweep
from persona_lens.analysis.sweep.views import LayerPair, LayerVectors

__all__ = [
    "LayerPair",
    "LayerVectors",
    "Sweep",
    "forget",
    "known_metrics",
    "metric",
    "sweep",
]
