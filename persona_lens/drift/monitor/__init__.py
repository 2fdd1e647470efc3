"""Monitors: alerts for conversations that drift, with a false-alarm rate per conversation that was calibrated.

from persona_lens.drift.monitor import Monitor

monitor = Monitor.calibrate(calm_trace, "cusum", false_alarms=0.05)
monitor.measure(held_out_trace, drifting=drift_trace)
monitor.read(trace)
"""

from persona_lens.drift.monitor.monitor import Monitor
from persona_lens.drift.monitor.statistics import (
    Statistic,
    find,
    forget,
    known_statistics,
    statistic,
)

__all__ = ["Monitor", "Statistic", "find", "forget", "known_statistics", "statistic"]
