"""Waiting for events: limits are for what never happens, so that the slowest machine keeps them."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 600.0
"""Seconds. What has not happened by then is not going to."""


def happens(event: Callable[[], object]) -> bool:
    """Whether something comes true, as soon as it does."""
    end = time.monotonic() + PATIENCE
    while not event():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
