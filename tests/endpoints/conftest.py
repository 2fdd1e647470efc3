"""After each test no thread and no socket of an endpoint may be left."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from persona_lens.endpoints import Call, Endpoint, EndpointSettings


def settle(condition: Callable[[], bool], seconds: float = 3.0) -> bool:
    """Whether the condition comes true; servers and idle threads need a moment to notice an end."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert settle(lambda: set(threading.enumerate()) <= before), threading.enumerate()


@pytest.fixture(autouse=True, scope="module")
def nothing_was_left_open() -> Iterator[None]:
    yield
    gc.collect()  # what was not closed complains here


@pytest.fixture
def make_endpoint() -> Callable[..., Endpoint]:
    def make(url: str, **options) -> Endpoint:
        quick = {"concurrency": 4, "timeout": 5.0, "backoff": 0.001, "max_attempts": 3}
        return Endpoint(EndpointSettings(model="m", base_url=url, **{**quick, **options}))

    return make


@pytest.fixture
def make_call() -> Callable[..., Call]:
    def make(key: object, **options) -> Call:
        return Call(key, [{"role": "user", "content": f"question {key}"}], **options)

    return make
