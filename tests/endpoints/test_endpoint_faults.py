"""Faults: what is asked again and how often, what is left, and what stops everything at once."""

from __future__ import annotations

import itertools
import re
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from faulty_server import (
    Behaviour,
    FaultyServer,
    Seen,
    drop,
    error,
    filtered,
    hang,
    held,
    no_choices,
    no_quota,
    not_json,
    ok,
    refused,
    server_error,
    too_long,
    too_many,
    trickle,
    unauthorised,
    wrong_model,
)

from persona_lens.endpoints import (
    Call,
    Completion,
    Endpoint,
    EndpointSettings,
    Failure,
    Retry,
)
from persona_lens.endpoints.crew import Crew
from persona_lens.endpoints.faults import status_fault
from persona_lens.endpoints.pace import random_backoff
from persona_lens.endpoints.waits import told_wait
from persona_lens.errors import EndpointError, PersonaLensError

pytestmark = pytest.mark.filterwarnings("error")

Make = Callable[..., Endpoint]
MakeCall = Callable[..., Call]
CrewOf = Callable[[Endpoint], Callable[[], Crew]]


def for_bad(behaviour: Behaviour) -> Callable[[Seen], Behaviour]:
    """A script that treats questions with "bad" in them so, and answers all others."""
    return lambda seen: behaviour if "bad" in seen.question else ok()


@pytest.mark.parametrize(
    ("fault", "reason", "detail"),
    [
        (server_error(500), "gave_up", "status 500"),
        (server_error(529), "gave_up", "status 529"),
        (server_error(408), "gave_up", "status 408"),
        (server_error(409), "gave_up", "status 409"),
        (too_many(), "gave_up", "status 429"),
        (drop(), "gave_up", "no connection to 127.0.0.1: "),
        (drop(halfway=True), "gave_up", "no connection"),
        (not_json(), "invalid_response", "It works!"),
        (Behaviour(body='"text"'), "invalid_response", "not a completion"),
        (Behaviour(body={"choices": [{"text": "old"}]}), "invalid_response", "not a completion"),
        (Behaviour(body={"error": {"message": "upstream", "code": 502}}), "gave_up", "upstream"),
        (no_choices(), "empty", "without choices"),
    ],
)
def test_a_lasting_fault_fails_its_own_call_only(
    make_endpoint: Make, make_call: MakeCall, fault: Behaviour, reason: str, detail: str
) -> None:
    with FaultyServer(for_bad(fault)) as server:
        endpoint = make_endpoint(server.url)
        calls = [make_call(key) for key in [*range(5), "bad", *range(6, 9)]]
        outcomes = {call.key: outcome for call, outcome in endpoint.map(calls)}
        asked = sum(seen.question == "question bad" for seen in server.requests)
    failure = outcomes.pop("bad")
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.attempts, asked) == (reason, 3, 3)
    assert detail in failure.detail
    assert len(outcomes) == 8
    assert all(isinstance(outcome, Completion) for outcome in outcomes.values())


def test_answers_that_never_come_or_never_end_are_given_up(
    make_endpoint: Make, make_call: MakeCall
) -> None:
    faults = {"question hang": hang(), "question trickle": trickle()}
    with FaultyServer(lambda seen: faults.get(seen.question, ok())) as server:
        endpoint = make_endpoint(server.url, timeout=2.0, max_attempts=2)
        calls = [make_call(key) for key in ["hang", "trickle", *range(5)]]
        outcomes = {call.key: outcome for call, outcome in endpoint.map(calls)}
    for key in ("hang", "trickle"):
        failure = outcomes.pop(key)
        assert isinstance(failure, Failure)
        assert (failure.reason, failure.attempts) == ("gave_up", 2)
        assert "no answer within 2 s" in failure.detail
    assert all(isinstance(outcome, Completion) for outcome in outcomes.values())


@pytest.mark.parametrize(
    "fault",
    [
        too_long(),
        error(422, "Input should be a valid string"),
        error(413, "Request too large"),
        error(403, "Your input was flagged by moderation."),
    ],
)
def test_a_call_the_server_refuses_is_asked_once(
    make_endpoint: Make, make_call: MakeCall, fault: Behaviour
) -> None:
    with FaultyServer(for_bad(fault)) as server:
        calls = [make_call(key) for key in ["bad", *range(5)]]
        outcomes = {call.key: outcome for call, outcome in make_endpoint(server.url).map(calls)}
        assert len(server.requests) == 6
    failure = outcomes.pop("bad")
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.attempts) == ("bad_request", 1)
    assert f"status {fault.status}" in failure.detail
    assert all(isinstance(outcome, Completion) for outcome in outcomes.values())


def test_text_that_is_none_is_left_unasked(make_endpoint: Make, make_call: MakeCall) -> None:
    with FaultyServer() as server:
        ((_, failure),) = make_endpoint(server.url).map([make_call("\ud800")])
        assert server.requests == []
    assert isinstance(failure, Failure)
    assert failure.reason == "bad_request"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (no_quota(), r"(?s)quota at 127.0.0.1 is used up.*exceeded your current quota.*add credit"),
        (no_quota(403), "quota at 127.0.0.1 is used up"),
        (error(402, "Insufficient credits"), "quota at 127.0.0.1 is used up"),
        (error(400, "Your credit balance is too low"), "quota at 127.0.0.1 is used up"),
        (unauthorised(), r"(?s)does not accept the API key.*OPENAI_API_KEY"),
        (error(403, "Country not supported"), r"(?s)forbids.*Country not supported"),
        (wrong_model(), r"(?s)has no model 'm'.*/v1/models"),
        (error(403, "No access to m", code="model_not_found"), "has no model 'm'"),
        (error(404, "Not Found"), r"(?s)no chat completions at http://127.0.0.1.*base_url"),
    ],
)
def test_what_no_call_would_survive_stops_at_once(
    make_endpoint: Make, make_call: MakeCall, crew_of: CrewOf, fault: Behaviour, message: str
) -> None:
    given: list[Completion | Failure] = []

    def five_have_arrived() -> bool:
        return len(given) + crew().arrived.qsize() >= 5

    def script(seen: Seen) -> Behaviour:
        return ok() if seen.number < 5 else held(fault, five_have_arrived)

    with FaultyServer(script) as server:
        endpoint = make_endpoint(server.url, concurrency=3)
        crew = crew_of(endpoint)
        stream = endpoint.map(map(make_call, itertools.count()))
        with pytest.raises(EndpointError, match=message) as caught:
            given.extend(outcome for _, outcome in stream)
        assert isinstance(caught.value, PersonaLensError)
        assert [type(outcome) for outcome in given] == [Completion] * 5
        assert len(server.requests) <= 5 + 2 * 3
        assert list(stream) == []


def test_an_error_in_a_stream_of_events_means_the_same(
    make_endpoint: Make, make_call: MakeCall
) -> None:
    event = Behaviour(body='data: {"error": {"code": 402, "message": "Insufficient credits"}}\n\n')
    with FaultyServer(event) as server, pytest.raises(EndpointError, match="quota"):
        make_endpoint(server.url).ask(make_call("a"))


def test_a_rate_limit_that_speaks_of_billing_or_quota_is_no_end(
    make_endpoint: Make, make_call: MakeCall
) -> None:
    # OpenAI's text, and Gemini's for requests per minute.
    per_minute = error(429, "You exceeded your current quota, see billing.", retry_after="0.01")
    with FaultyServer([too_many(), per_minute, ok()]) as server:
        assert make_endpoint(server.url).ask(make_call("a")).text == "ok"
        assert len(server.requests) == 3


@pytest.mark.parametrize("fault", [too_many("0.5"), too_many(retry_after_ms="500")])
def test_a_wait_that_the_server_asks_for_holds_for_all(
    make_endpoint: Make, make_call: MakeCall, fault: Behaviour
) -> None:
    def script(seen: Seen) -> Behaviour:
        if seen.number == 20:
            return fault
        # Those under way when the word comes are no more than may be in flight.
        return ok() if seen.number < 20 else held(ok(), lambda: told)

    told: list[Retry] = []
    with FaultyServer(script) as server:
        stream = make_endpoint(server.url).map(map(make_call, range(60)), on_retry=told.append)
        assert len({call.key for call, _ in stream}) == 60
        began = server.requests[20].began
        after = sorted(seen.began - began for seen in server.requests if seen.number > 20)
    assert [retry.delay for retry in told] == [0.5]
    assert len(after) == 40
    assert len([wait for wait in after if wait < 0.49]) <= 3


def test_the_wait_holds_for_other_streams_of_the_endpoint(
    make_endpoint: Make, make_call: MakeCall
) -> None:
    with FaultyServer([too_many("0.4"), ok()]) as server:
        endpoint = make_endpoint(server.url)
        waits: list[float] = []

        def ask_another(_: Retry) -> None:
            endpoint.ask(make_call("b"))
            waits.append(server.requests[-1].began - server.requests[0].began)

        list(endpoint.map([make_call("a")], on_retry=ask_another))
    assert waits
    assert waits[0] >= 0.39


def test_being_put_off_costs_no_attempt_while_others_get_through(
    make_endpoint: Make, make_call: MakeCall
) -> None:
    def script(seen: Seen) -> Behaviour:
        if "bad" not in seen.question or seen.attempt > 6:
            return ok()
        # Answers that were there before it was asked may be given back still.
        enough = len(outcomes) + 6
        return held(too_many("0.01"), lambda: len(outcomes) > enough)

    outcomes = {}

    def calls() -> Iterator[Call]:
        yield make_call("bad")
        for number in itertools.count():
            if "bad" in outcomes:
                return
            yield make_call(number)

    with FaultyServer(script) as server:
        endpoint = make_endpoint(server.url, concurrency=2)
        for call, outcome in endpoint.map(calls()):
            outcomes[call.key] = outcome
    assert isinstance(outcomes["bad"], Completion)


def test_being_put_off_without_end_is_a_failure(make_endpoint: Make, make_call: MakeCall) -> None:
    with FaultyServer(too_many("0.01")) as server:
        ((_, failure),) = make_endpoint(server.url).map([make_call("a")])
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.attempts) == ("gave_up", 3)


def test_a_wait_longer_than_allowed_stops(make_endpoint: Make, make_call: MakeCall) -> None:
    with (
        FaultyServer(too_many("86400")) as server,
        pytest.raises(EndpointError, match=r"(?s)asks to wait 86400 s.*longest_pause=600"),
    ):
        list(make_endpoint(server.url).map([make_call("a")]))


def given_back(
    stream: Iterator[tuple[Call, Completion | Failure]],
) -> tuple[list[Completion | Failure], EndpointError | None]:
    """What a stream gave back, and what it ended with."""
    outcomes: list[Completion | Failure] = []
    try:
        outcomes.extend(outcome for _, outcome in stream)
    except EndpointError as problem:
        return outcomes, problem
    return outcomes, None


def test_a_server_that_is_down_stops_the_stream(make_endpoint: Make, make_call: MakeCall) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
    taken = itertools.count()
    stream = make_endpoint(url, give_up_after=6).map(make_call(i) for i in taken)
    outcomes, problem = given_back(stream)
    assert re.search(r"(?s)seems to be down: \d calls in a row.*no connection", str(problem))
    assert {type(outcome) for outcome in outcomes} == {Failure}
    assert 6 <= len(outcomes) <= 6 + 4
    assert next(taken) <= 6 + 4 + 2 * 4


def test_a_server_that_puts_everything_off_is_not_called_down(
    make_endpoint: Make, make_call: MakeCall
) -> None:
    with FaultyServer(too_many()) as server:
        stream = make_endpoint(server.url, give_up_after=3).map(map(make_call, range(99)))
        outcomes, problem = given_back(stream)
    assert {type(outcome) for outcome in outcomes} == {Failure}
    assert re.search(r"(?s)puts off every call.*429.*concurrency=4", str(problem))


def test_what_failed_before_the_stop_is_given_back(
    make_endpoint: Make, make_call: MakeCall
) -> None:
    def script(seen: Seen) -> Behaviour:
        return ok() if seen.number < 10 else server_error()

    with FaultyServer(script) as server:
        stream = make_endpoint(server.url, give_up_after=6).map(map(make_call, range(99)))
        outcomes, problem = given_back(stream)
    assert "seems to be down" in str(problem)
    assert sum(isinstance(outcome, Completion) for outcome in outcomes) == 10
    assert sum(isinstance(outcome, Failure) for outcome in outcomes) >= 6


def test_failures_between_successes_stop_nothing(make_endpoint: Make, make_call: MakeCall) -> None:
    with FaultyServer(for_bad(server_error())) as server:
        endpoint = make_endpoint(server.url, give_up_after=3, concurrency=1, max_attempts=2)
        keys = [key for i in range(20) for key in (i, f"bad {i}")]
        outcomes = [outcome for _, outcome in endpoint.map(map(make_call, keys))]
    assert sum(isinstance(outcome, Failure) for outcome in outcomes) == 20
    assert len(outcomes) == 40


def test_failures_that_leave_nothing_to_ask_stop_nothing(
    make_endpoint: Make, make_call: MakeCall
) -> None:
    with FaultyServer(server_error()) as server:
        endpoint = make_endpoint(server.url, give_up_after=4)
        outcomes = [outcome for _, outcome in endpoint.map(map(make_call, range(4)))]
    assert [type(outcome) for outcome in outcomes] == [Failure] * 4


def test_a_server_that_refuses_everything_is_not_asked_forever(
    make_endpoint: Make, make_call: MakeCall
) -> None:
    fault = error(400, "Unsupported value: 'temperature' does not support 0.", param="temperature")
    with FaultyServer(fault) as server:
        stream = make_endpoint(server.url, give_up_after=2).map(map(make_call, itertools.count()))
        with pytest.raises(
            EndpointError, match=r"(?s)refused each of the first \d\d .*temperature"
        ):
            list(stream)
        assert len(server.requests) <= 16 + 2 * 4


def test_calls_that_are_too_long_stop_nothing_however_many(
    make_endpoint: Make, make_call: MakeCall
) -> None:
    with FaultyServer(too_long()) as server:
        stream = make_endpoint(server.url, give_up_after=2).map(map(make_call, range(50)))
        assert {type(outcome) for _, outcome in stream} == {Failure}


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (ok(), ("stop", "ok", None)),
        (ok("half a", finish="length"), ("length", "half a", None)),
        (refused("No."), ("refusal", "", "No.")),
        (filtered(), ("content_filter", "", None)),
        (ok(""), ("stop", "", None)),
    ],
)
def test_how_an_answer_ended_is_told_and_not_asked_again(
    make_endpoint: Make, make_call: MakeCall, behaviour: Behaviour, expected: tuple
) -> None:
    with FaultyServer(behaviour) as server:
        answer = make_endpoint(server.url).ask(make_call("a"))
        assert len(server.requests) == 1
    assert (answer.finish, answer.text, answer.refusal) == expected


def test_asking_once_raises_what_a_stream_gives_back(
    make_endpoint: Make, make_call: MakeCall
) -> None:
    with (
        FaultyServer(too_long()) as server,
        pytest.raises(EndpointError, match=r"(?s)did not answer.*context length.*change the call"),
    ):
        make_endpoint(server.url).ask(make_call("a"))


def test_a_check_tells_at_once_what_is_wrong(make_endpoint: Make) -> None:
    with FaultyServer() as server:
        assert make_endpoint(server.url).check().text == "ok"
        (seen,) = server.requests
        assert seen.body["max_tokens"] <= 16
    with pytest.raises(EndpointError, match=r"(?s)did not answer.*no connection.*attempts: 2"):
        make_endpoint(server.url, max_attempts=8).check()
    with (
        FaultyServer(wrong_model(), models=["gpt", "mm", "xyz"]) as server,
        pytest.raises(
            EndpointError, match=r"(?s)does not list a model 'm'.*404.*it lists mm, \w+, \w+$"
        ),
    ):
        make_endpoint(server.url).check()
    with (
        FaultyServer(unauthorised()) as server,
        pytest.raises(EndpointError, match="does not accept the API key"),
    ):
        make_endpoint(server.url).check()


def test_waits_are_random_and_grow_up_to_a_limit() -> None:
    for attempt, most in ((1, 2.0), (2, 4.0), (4, 16.0), (9, 30.0), (5000, 30.0)):
        waits = [random_backoff(attempt, base=2.0, longest=30.0) for _ in range(400)]
        assert 0 <= min(waits) < 0.1 * most
        assert 0.9 * most < max(waits) <= most


def test_a_date_to_come_back_at_is_understood() -> None:
    now = datetime.now(UTC)

    def at(seconds: float) -> float | None:
        dates = {"date": now, "retry-after": now + timedelta(seconds=seconds)}
        return told_wait({name: format_datetime(d, usegmt=True) for name, d in dates.items()})

    assert at(100) == 100
    assert at(-100) == 0
    for nonsense in ("soon", "nan", "inf", ""):
        assert told_wait({"retry-after": nonsense}) is None
    assert told_wait({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "The model `m` does not exist", "code": "model_not_found"}},
        {"object": "error", "message": "The model `m` does not exist.", "code": 404},
        [{"error": {"code": 404, "message": "models/m is not found for API version v1main"}}],
        {"error": "model 'm' not found, try pulling it first"},
        {"detail": "Model m not found"},
    ],
)
def test_a_wrong_model_is_recognised_in_every_shape(body: object) -> None:
    settings = EndpointSettings(model="m", base_url="http://127.0.0.1:1/v1")
    fault = status_fault(404, body, {}, settings)
    assert fault.then == "stop"
    assert "has no model 'm'" in fault.problem
