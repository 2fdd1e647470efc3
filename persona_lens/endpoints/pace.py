"""When to ask again: growing random waits per call, and pauses that hold for all calls to a server."""

from __future__ import annotations

import asyncio
import random
import threading
import time

# A generator of its own: nobody's seeded draws may depend on how a server behaved.
_RANDOM = random.Random()


class Gate:
    """Holds back every call to one server until a pause is over. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opens = 0.0  # time.monotonic()

    def pause(self, seconds: float) -> None:
        """Let nobody through for so long; a longer pause that is under way stays."""
        with self._lock:
            self._opens = max(self._opens, time.monotonic() + seconds)

    async def passed(self) -> None:
        """Return when no pause is under way."""
        while (left := self._opens - time.monotonic()) > 0:
            await asyncio.sleep(left)


def random_backoff(attempt: int, base: float, longest: float) -> float:
    """Seconds to wait after failed attempt number `attempt` (1, 2, ...).

    Between 0 and `base * 2**(attempt-1)`, so that calls that failed together do not return together.

    Examples:
        >>> 0 <= random_backoff(3, base=1.0, longest=60.0) <= 4
        True
        >>> random_backoff(99, base=1.0, longest=60.0) <= 60
        True
    """
    # The exponent is bounded because a float is not: 2.0**1024 raises.
    return _RANDOM.uniform(0.0, min(longest, base * 2.0 ** min(attempt - 1, 60)))
