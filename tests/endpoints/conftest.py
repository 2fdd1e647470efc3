"""After each test no thread and no socket of an endpoint may be left."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Callable, Iterator

import pytest
from waiting import PATIENCE, happens

from persona_lens.endpoints import Call, Endpoint, EndpointSettings
from persona_lens.endpoints.crew import Crew


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    # Idle threads need a moment to notice an end.
    assert happens(lambda: set(threading.enumerate()) <= before), threading.enumerate()


@pytest.fixture(autouse=True, scope="module")
def nothing_was_left_open() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()  # what other files have left open is not told of these tests
    yield
    gc.collect()  # what was not closed complains here


@pytest.fixture
def make_endpoint() -> Callable[..., Endpoint]:
    def make(url: str, **options) -> Endpoint:
        quick = {"concurrency": 4, "timeout": PATIENCE, "backoff": 0.001, "max_attempts": 3}
        return Endpoint(EndpointSettings(model="m", base_url=url, **{**quick, **options}))

    return make


@pytest.fixture
def crew_of() -> Callable[[Endpoint], Callable[[], Crew]]:
    """Gives, once it is at work, the crew behind the stream of an endpoint."""

    def watch(endpoint: Endpoint) -> Callable[[], Crew]:
        made: list[Crew] = []
        make = endpoint._crew

        def noted(settings: EndpointSettings) -> Crew:
            made.append(make(settings))
            return made[-1]

        endpoint._crew = noted
        return lambda: made[-1]

    return watch


@pytest.fixture
def make_call() -> Callable[..., Call]:
    def make(key: object, **options) -> Call:
        return Call(key, [{"role": "user", "content": f"question {key}"}], **options)

    return make
