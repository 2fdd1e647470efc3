"""How the threads of PyTorch wait for one another, so that a busy machine stays usable.

PyTorch's threads meet several times in every layer, and GNU OpenMP lets one that is early spin for milliseconds
before it sleeps. On idle cores that saves a wake-up. Where other processes want the cores too, spinning threads
hold the cores that the late thread needs, and replies take many times as long. Ten thousand turns of waiting are
too few to disturb anybody and enough on idle cores (`benchmarks/busy_machine.py`).
"""

from __future__ import annotations

import os
import sys

SPIN_COUNT = "10000"
"""Turns a waiting thread spins before it sleeps, as in `GOMP_SPINCOUNT`."""

_CHOSEN_BY_THE_USER = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def wait_briefly() -> None:
    """Set `GOMP_SPINCOUNT` for this process and its children.

    Nothing happens where the user has set it or `OMP_WAIT_POLICY`, nor where torch is loaded already: OpenMP reads
    its settings when it is loaded. OpenMP libraries other than GNU's ignore the variable.

    Examples:
        >>> wait_briefly()
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in _CHOSEN_BY_THE_USER):
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
