"""The stream: every call once, as it arrives, no more at once than allowed, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from faulty_server import (
    Behaviour,
    FaultyServer,
    Seen,
    drop,
    hang,
    held,
    no_choices,
    not_json,
    ok,
    server_error,
    slow,
    too_many,
)
from waiting import PATIENCE, happens

from persona_lens.endpoints import Call, Completion, Endpoint, Retry
from persona_lens.endpoints.crew import Crew

pytestmark = pytest.mark.filterwarnings("error")

Make = Callable[..., Endpoint]
MakeCall = Callable[..., Call]
CrewOf = Callable[[Endpoint], Callable[[], Crew]]


def echo(body: dict) -> str:
    return body["messages"][-1]["content"].removeprefix("question ")


def settled(server: FaultyServer) -> bool:
    return happens(lambda: server.connections == 0)


def test_every_call_is_answered_once_whatever_the_server_does(
    make_endpoint: Make, make_call: MakeCall
) -> None:
    faults = [
        too_many(),
        too_many("0.01"),
        too_many(retry_after_ms="5"),
        *(server_error(status) for status in (408, 409, 500, 502, 503)),
        drop(),
        drop(halfway=True),
        not_json(),
        no_choices(),
    ]

    def script(seen: Seen) -> Behaviour:
        draw = random.Random(f"{seen.question} {seen.attempt}")
        if seen.attempt < 3 and draw.random() < 0.4:
            return draw.choice(faults)
        return slow(ok(echo), draw.random() * 0.01)

    with FaultyServer(script) as server:
        endpoint = make_endpoint(server.url, concurrency=16, max_attempts=20)
        outcomes = list(endpoint.map(make_call(i) for i in range(300)))
        assert sorted(call.key for call, _ in outcomes) == list(range(300))
        assert all(
            isinstance(outcome, Completion) and outcome.text == str(call.key)
            for call, outcome in outcomes
        )
        assert set(server.answered().values()) == {1}
        assert server.repeated() == []
        assert len(server.requests) > 400


def test_an_answer_that_does_not_come_in_time_is_asked_for_again(
    make_endpoint: Make, make_call: MakeCall
) -> None:
    with FaultyServer([hang(), ok()]) as server:
        assert make_endpoint(server.url, timeout=2.0).ask(make_call("a")).text == "ok"
        assert [seen.attempt for seen in server.requests] == [1, 2]


def test_answers_come_in_order_of_arrival(make_endpoint: Make, make_call: MakeCall) -> None:
    keys: list[object] = []

    def script(seen: Seen) -> Behaviour:
        return held(ok(echo), lambda: len(keys) == 7) if seen.question == "question 0" else ok(echo)

    with FaultyServer(script) as server:
        for call, _ in make_endpoint(server.url).map(map(make_call, range(8))):
            keys.append(call.key)
    assert keys[-1] == 0
    assert sorted(keys) == list(range(8))


@pytest.mark.parametrize("concurrency", [1, 8])
def test_no_more_are_in_flight_than_allowed_and_no_fewer(
    make_endpoint: Make, make_call: MakeCall, concurrency: int
) -> None:
    total = 4 * concurrency

    def all_are_there() -> bool:
        answered = sum(seen.ended is not None for seen in server.requests)
        return server.in_flight >= min(concurrency, total - answered)

    with FaultyServer(held(ok(), all_are_there)) as server:
        endpoint = make_endpoint(server.url, concurrency=concurrency)
        list(endpoint.map(make_call(i) for i in range(total)))
        assert server.max_in_flight == concurrency


def test_calls_are_taken_as_they_are_needed(make_endpoint: Make, make_call: MakeCall) -> None:
    taken = 0

    def calls():
        nonlocal taken
        for taken in itertools.count(1):
            yield make_call(taken)

    with FaultyServer() as server:
        stream = make_endpoint(server.url, concurrency=3).map(calls())
        assert taken == 0
        for given, _ in enumerate(itertools.islice(stream, 20), start=1):
            time.sleep(0.005)
            assert taken < given + 2 * 3
        stream.close()
        assert len(server.requests) <= taken < 20 + 2 * 3
        assert settled(server)


def test_a_slow_source_does_not_hold_back_what_has_arrived(
    make_endpoint: Make, make_call: MakeCall, crew_of: CrewOf
) -> None:
    given = []

    def calls():
        for i in range(6):
            if i:  # slow: the answer to the last call is there before the next one is
                assert happens(lambda: not crew().arrived.empty())
            seen_by_now.append(len(given))
            yield make_call(i)

    seen_by_now: list[int] = []
    with FaultyServer() as server:
        endpoint = make_endpoint(server.url)
        crew = crew_of(endpoint)
        for call, _ in endpoint.map(calls()):
            given.append(call.key)
    assert seen_by_now == [0, 0, 1, 2, 3, 4]


def test_closing_cancels_what_is_in_flight(make_endpoint: Make, make_call: MakeCall) -> None:
    def script(seen: Seen) -> Behaviour:
        return hang() if seen.number else ok()

    with FaultyServer(script) as server:
        stream = make_endpoint(server.url, timeout=3600).map(map(make_call, itertools.count()))
        next(stream)
        stream.close()
        assert settled(server)
        assert server.in_flight == 0


def test_an_exception_of_the_consumer_cancels_too(make_endpoint: Make, make_call: MakeCall) -> None:
    def consume() -> None:
        for call, _ in make_endpoint(server.url).map(map(make_call, itertools.count())):
            raise ZeroDivisionError(call.key)

    with FaultyServer() as server:
        with pytest.raises(ZeroDivisionError):
            consume()
        assert settled(server)


def test_an_exception_of_the_source_comes_through(make_endpoint: Make, make_call: MakeCall) -> None:
    def calls():
        yield make_call(0)
        raise LookupError("no more files")

    with FaultyServer() as server:
        with pytest.raises(LookupError, match="no more files"):
            list(make_endpoint(server.url).map(calls()))
        assert settled(server)


@pytest.mark.usefixtures("keyboard")
def test_the_keyboard_interrupts_a_wait(make_endpoint: Make, make_call: MakeCall) -> None:
    def press() -> None:
        happens(lambda: server.in_flight == 4)
        os.kill(os.getpid(), signal.SIGINT)

    with FaultyServer(hang()) as server:
        presser = threading.Thread(target=press)
        presser.start()
        with pytest.raises(KeyboardInterrupt):
            list(make_endpoint(server.url, timeout=3600).map(map(make_call, range(9))))
        presser.join()
        assert settled(server)


def test_it_works_where_a_loop_is_running(make_endpoint: Make, make_call: MakeCall) -> None:
    async def cell() -> list[str]:
        stream = make_endpoint(server.url).map(map(make_call, range(5)))
        return [outcome.text for _, outcome in stream if isinstance(outcome, Completion)]

    with FaultyServer(ok(echo)) as server:
        assert sorted(asyncio.run(cell())) == list("01234")


def test_retries_are_told_in_the_callers_thread(make_endpoint: Make, make_call: MakeCall) -> None:
    told: list[tuple[Retry, threading.Thread]] = []
    with FaultyServer([server_error(), drop(), ok()]) as server:
        stream = make_endpoint(server.url, concurrency=1).map(
            [make_call("a")],
            on_retry=lambda retry: told.append((retry, threading.current_thread())),
        )
        assert isinstance(next(stream)[1], Completion)
        assert list(stream) == []
    assert [retry.attempt for retry, _ in told] == [1, 2]
    assert {retry.call.key for retry, _ in told} == {"a"}
    assert "status 500" in told[0][0].detail
    assert "no connection" in told[1][0].detail
    assert {thread for _, thread in told} == {threading.current_thread()}


def test_connections_are_kept_and_used_again(make_endpoint: Make, make_call: MakeCall) -> None:
    most = 0

    def script(seen: Seen) -> Behaviour:
        nonlocal most
        most = max(most, server.connections)
        return ok()

    with FaultyServer(script) as server:
        list(make_endpoint(server.url, concurrency=3).map(map(make_call, range(60))))
        assert most <= 3


def test_a_server_that_ends_while_it_is_dialled_leaves_nothing_open() -> None:
    for _ in range(30):
        with FaultyServer() as server:
            port = int(server.url.removesuffix("/v1").rpartition(":")[2])
            dialled = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        for connection in dialled:
            connection.close()
    gc.collect()  # what was not closed complains here


def test_two_streams_of_one_endpoint_do_not_mix(make_endpoint: Make, make_call: MakeCall) -> None:
    with FaultyServer(ok(echo)) as server:
        endpoint = make_endpoint(server.url)
        first = endpoint.map(map(make_call, range(20)))
        second = endpoint.map(map(make_call, range(100, 120)))
        pairs = list(zip(first, second, strict=True))
    assert sorted(one.key for (one, _), _ in pairs) == list(range(20))
    assert sorted(two.key for _, (two, _) in pairs) == list(range(100, 120))


def test_a_stream_nobody_reads_starts_nothing(make_endpoint: Make, make_call: MakeCall) -> None:
    threads = threading.active_count()
    with FaultyServer() as server:
        make_endpoint(server.url).map([make_call(0)])
        assert threading.active_count() == threads + 1  # the server's
        assert server.requests == []


FORGOTTEN = """
import itertools, sys
from persona_lens.endpoints import Call, Endpoint, EndpointSettings
assert "openai" not in sys.modules
endpoint = Endpoint(EndpointSettings(model="m", base_url=sys.argv[1], timeout=3600))
stream = endpoint.map(Call(i, [{"role": "user", "content": str(i)}]) for i in itertools.count())
next(stream)
assert "openai" in sys.modules
sys.exit(7)
"""


def test_a_forgotten_stream_does_not_hold_up_the_exit() -> None:
    def script(seen: Seen) -> Behaviour:
        return hang() if seen.number else ok()

    with FaultyServer(script) as server:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", FORGOTTEN, server.url],
            timeout=PATIENCE,
            check=False,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (7, "")
        assert settled(server)
