"""The model hub, asked once whether it answers, so that nobody waits for one that does not."""

from __future__ import annotations

import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants

SECONDS_TO_ANSWER = 10.0
_ANSWER_HOLDS = 60.0

_last_asked: tuple[float, bool] | None = None


@contextmanager
def hub_within_reach() -> Iterator[None]:
    """Open files from the hub's cache alone, as with `HF_HUB_OFFLINE=1`, where the hub does not answer.

    Otherwise every file of a model is asked for six times, which takes half a minute, before its copy in the cache
    is opened or its absence told.

    Examples:
        >>> with hub_within_reach():
        ...     pass
    """
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers() -> bool:
    """Whether the hub answers, asked at most once a minute."""
    global _last_asked  # noqa: PLW0603 - the network is one for the whole process
    now = time.monotonic()
    if _last_asked is None or now - _last_asked[0] > _ANSWER_HOLDS:
        _last_asked = now, _ask()
    return _last_asked[1]


def _ask() -> bool:
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER).close()
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        # A certificate that Python does not know may well be known to the hub's own client.
        return isinstance(error.reason, ssl.SSLError)
    except OSError:
        return False
    return True
