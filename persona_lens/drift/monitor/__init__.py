"""Monitors: alerts for conversations that drift, with a false-alarm rate per conversation that was calibrated.

from persona_lens.drift.monitor import Monitor

monitor = space.monitor(model, false_alarms=0.05)        # or Monitor.calibrate(calm_trace, "cusum", ...)
monitor.measure(held_out_trace, drifting=drift_trace)
monitor.read(trace)
"""

from persona_lens.drift.monitor.monitor import Monitor
from persona_lens.drift.monitor.of_space import space_monitor
from persona_lens.drift.monitor.statistics import (
    Statistic,
    find,
    forget,
    known_statistics,
    statistic,
)

__all__ = [
    "Monitor",
    "Statistic",
    "find",
    "forget",
    "known_statistics",
    "space_monitor",
    "statistic",
]
