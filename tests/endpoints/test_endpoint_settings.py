"""Settings: keys that never show, addresses that hold no secrets, and a card of what decides the answers."""

from __future__ import annotations

import json
import logging
import traceback
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import quote

import pytest
from faulty_server import Behaviour, FaultyServer, error, ok, server_error, unauthorised
from pydantic import ValidationError

from persona_lens.endpoints import Call, Endpoint, EndpointSettings
from persona_lens.endpoints.secrets import Secret
from persona_lens.errors import EndpointError

pytestmark = pytest.mark.filterwarnings("error")

SECRET = "sk-Very/secret+0123456789abcdefXYZ=="
PASSWORD = "verysecret-0123456789"
INSIDE_BASE64 = b64encode(f"Bearer {SECRET}".encode()).decode()[16:32]
IN_PIECES = [
    {"choices": [{"delta": {"content": SECRET[:9]}}]},
    {"choices": [{"delta": {"content": SECRET[9:]}, "finish_reason": "stop"}]},
]
REMOTE = "https://judge.example.com/v1"

Make = Callable[..., Endpoint]
MakeCall = Callable[..., Call]


@pytest.mark.parametrize(
    "behaviour",
    [
        ok(),
        unauthorised(f"Incorrect API key provided: {SECRET}."),
        error(400, f"odd header: Bearer {SECRET}"),
        server_error(),
        Behaviour(body=f"<html>Bearer {SECRET}</html>"),
        Behaviour(cut=True),
        # However the text around it is cut, and wherever it stands in it.
        *(
            error(400, f"{'x' * before} Bearer {SECRET}")
            for before in (0, 60, 70, 270, 275, 280, 285, 290, 300)
        ),
        *(Behaviour(body=f"<html>{'x' * before} {SECRET}</html>") for before in range(40, 84, 6)),
        error(400, f"odd header: {quote(SECRET, safe='')}"),
        error(400, f"odd header: {b64encode(f'Bearer {SECRET}'.encode()).decode()}"),
        error(400, f"{SECRET[:11]}..."),
        ok(f"Error: invalid key {SECRET}"),
        Behaviour(body="".join(f"data: {json.dumps(event)}\n\n" for event in IN_PIECES)),
    ],
)
def test_the_key_is_sent_and_shown_nowhere(
    make_endpoint: Make,
    make_call: MakeCall,
    behaviour: Behaviour,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    caplog.set_level(logging.DEBUG)
    shown = []
    with FaultyServer(behaviour) as server:
        endpoint = make_endpoint(server.url, api_key_env="JUDGE_KEY")
        for attempt in (
            lambda: list(endpoint.map([make_call("a")], on_retry=lambda r: shown.append(repr(r)))),
            lambda: endpoint.ask(make_call("a")),
            endpoint.check,
        ):
            try:
                shown.append(repr(attempt()))
            except EndpointError:
                shown.append(traceback.format_exc())
        assert {seen.headers["authorization"] for seen in server.requests} == {f"Bearer {SECRET}"}
    settings = endpoint.settings
    shown += [repr(endpoint), repr(settings), str(settings), settings.model_dump_json()]
    shown += [str(settings.card()), str(vars(endpoint))]
    shown += [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    assert len(caplog.records) > 5
    assert "JUDGE_KEY" in repr(settings)
    hidden = [SECRET[:7], SECRET[10:24], quote(SECRET, safe="")[:8], INSIDE_BASE64]
    assert not [text for text in shown for part in hidden if part.lower() in text.lower()]


@pytest.mark.parametrize(
    "spelt",
    [
        SECRET,
        SECRET.upper(),
        quote(SECRET),
        SECRET.replace("/", "\\/"),
        SECRET.replace("/", "&#47;")[10:],
        "".join(f"\\u{ord(c):04x}" if c in "/+=-" else c for c in SECRET),
        SECRET.encode().hex(),
        *(b64encode(("x" * n + SECRET).encode()).decode() for n in range(3)),
        *(SECRET[:length] for length in range(6, len(SECRET))),
        SECRET[8:25],
    ],
)
def test_a_key_is_hidden_in_every_spelling(spelt: str) -> None:
    told = Secret(SECRET).hidden(f"Grüße, {spelt} is wrong.")
    assert "***" in told
    assert told.startswith("Grüße, ")
    assert told.endswith(" is wrong.")
    assert len(told) <= len("Grüße, *** is wrong.") + 8


@pytest.mark.parametrize("text", ["", "sk- is how keys begin", "0123 of 6789", "Straße İstanbul"])
def test_what_is_no_part_of_a_key_stays(text: str) -> None:
    assert Secret(SECRET).hidden(text) == text
    assert Secret("none").hidden("none of them") == "none of them"


def test_a_server_on_this_machine_needs_no_key(
    make_endpoint: Make, make_call: MakeCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with FaultyServer() as server:
        assert make_endpoint(server.url).ask(make_call("a")).text == "ok"
    with pytest.raises(
        EndpointError, match=r"(?s)no API key for judge.example.com.*OPENAI_API_KEY"
    ):
        make_endpoint(REMOTE).map([make_call("a")])


@pytest.mark.parametrize("held", ["two words", "line\nbreak", "schlüssel"])
def test_what_cannot_be_a_key_is_refused_unseen(
    make_endpoint: Make, make_call: MakeCall, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", held)
    with pytest.raises(EndpointError, match="does not hold an API key") as caught:
        make_endpoint(REMOTE).ask(make_call("a"))
    assert held not in str(caught.value)


def test_blanks_around_a_key_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {SECRET}\n")
    assert EndpointSettings(model="m", base_url=REMOTE).api_key() == SECRET


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}])
def test_fields_that_cannot_be_sent_are_refused_at_once(value: object) -> None:
    with pytest.raises(ValidationError, match="cannot be sent as JSON"):
        EndpointSettings(model="m", extra_body={"inside": [value]})


@pytest.mark.parametrize("given", [SECRET, "gsk_abcDEF123", "", "1KEY"])
def test_a_key_in_place_of_its_name_is_refused_unseen(given: str) -> None:
    with pytest.raises(ValidationError, match="not the key itself") as caught:
        EndpointSettings(model="m", api_key_env=given)
    assert not given or given not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"https://me:{PASSWORD}@example.com/v1", "neither a user name nor a password"),
        (f"https://example.com/v1?key={PASSWORD}", "nor a query"),
        ("localhost:8000/v1", "an address such as"),
        ("ftp://example.com", "an address such as"),
        ("http://[::1/v1", "an address such as"),
        ("http://host:port/v1", "an address such as"),
        ("http://host/v1\x07", "control characters"),
        ("http://host/v 1", "spaces"),
    ],
)
def test_addresses_that_are_none_or_hold_secrets_are_refused(url: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        EndpointSettings(model="m", base_url=url)
    assert PASSWORD not in str(caught.value)


def test_the_address_comes_from_the_environment_if_not_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    settings = EndpointSettings(model="m")
    assert (settings.url(), settings.host()) == ("https://api.openai.com/v1", "api.openai.com")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://gpu-box:8000/v1/")
    assert (settings.url(), settings.host()) == ("http://gpu-box:8000/v1", "gpu-box")
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://me:{PASSWORD}@gpu-box/v1")
    with pytest.raises(EndpointError, match="OPENAI_BASE_URL cannot be used") as caught:
        settings.url()
    assert PASSWORD not in str(caught.value)


def test_the_full_address_of_completions_is_understood() -> None:
    settings = EndpointSettings(model="m", base_url="http://127.0.0.1:8000/v1/chat/completions")
    assert settings.url() == "http://127.0.0.1:8000/v1"


def test_the_card_tells_what_decides_the_answers_and_no_more() -> None:
    settings = EndpointSettings(model="m", base_url=REMOTE, extra_body={"top_k": 20})
    card = {"model": "m", "host": "judge.example.com", "extra_body": {"top_k": 20}}
    assert settings.card() == card
    effort = {"concurrency": 3, "timeout": 1.0, "max_attempts": 1, "api_key_env": "OTHER"}
    assert settings.model_copy(update=effort).card() == card
    assert settings.model_copy(update={"model": "n"}).card() != card


@pytest.mark.parametrize(
    "wrong",
    [{"concurrency": 0}, {"timeout": 0}, {"max_attempts": 0}, {"retries": 3}, {"model": ""}],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        EndpointSettings(**{"model": "m", **wrong})


def test_a_proxy_is_not_asked_for_what_is_on_this_machine(
    make_endpoint: Make, make_call: MakeCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with FaultyServer() as server:
        assert make_endpoint(server.url, max_attempts=1).ask(make_call("a")).text == "ok"
