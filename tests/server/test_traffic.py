"""Keys, full queues, clients that go away or read slowly, replies that fail, and the end."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time

import httpx
import openai
import pytest
from waiting import happens

from persona_lens.errors import ServerError
from persona_lens.server import Limits
from persona_lens.server.serving import check_exposure, key_of

ASKED = {"model": "tiny", "messages": [{"role": "user", "content": "a secret question"}]}
KEY = "a-key-of-some-length"


def test_a_key_is_asked_for_everywhere_but_for_health(serving, client):
    server = serving(key=KEY)
    assert client(server, KEY).chat.completions.create(**ASKED).choices
    with pytest.raises(openai.AuthenticationError) as caught:
        client(server, KEY + "x").chat.completions.create(**ASKED)
    assert caught.value.body["code"] == "invalid_api_key"
    root = server.url.removesuffix("/v1")
    for path in ("/metrics", "/v1/models"):
        assert httpx.get(root + path).status_code == 401
        assert httpx.get(root + path, headers={"Authorization": f"Basic {KEY}"}).status_code == 401
        assert httpx.get(root + path, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    assert httpx.get(root + "/health").status_code == 200


def test_nobody_from_elsewhere_without_a_key(monkeypatch):
    for host in ("0.0.0.0", "::", "192.168.0.3", "example.org"):
        with pytest.raises(ServerError, match="others could use"):
            check_exposure(host, None)
        check_exposure(host, KEY)
    for host in ("127.0.0.1", "127.3.2.1", "::1", "localhost"):
        check_exposure(host, None)
    with pytest.raises(ServerError, match="too short"):
        check_exposure("0.0.0.0", "short")
    monkeypatch.setenv("SOME_KEY", " ")
    with pytest.raises(ServerError, match="no key"):
        key_of("SOME_KEY")


def test_a_full_queue_says_when_to_come_again(serving, client, script):
    server = serving(limits=Limits(rows=1, waiting=1))
    script.go.clear()
    asking = client(server)
    held = [threading.Thread(target=asking.chat.completions.create, kwargs=ASKED) for _ in range(2)]
    for number, thread in enumerate(held, 1):
        thread.start()
        assert happens(lambda number=number: server.app.desk.worker.open == number)
    with pytest.raises(openai.RateLimitError) as caught:
        asking.chat.completions.create(**ASKED)
    assert caught.value.body["code"] == "rate_limit_exceeded"
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
    script.go.set()
    for thread in held:
        thread.join()
    assert asking.chat.completions.create(**ASKED).choices


@pytest.mark.parametrize("streamed", [False, True])
def test_who_goes_away_leaves_no_rows(serving, client, script, streamed):
    server = serving()
    body = json.dumps({**ASKED, "stream": streamed, "n": 3}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    script.text = "x" * 400
    script.go.clear()
    host, port = server._address
    with socket.create_connection((host, port)) as connection:
        connection.sendall(head.encode() + body)
        assert happens(lambda: server.app.desk.worker.open == 3)
        if streamed:
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
    script.go.set()
    assert happens(lambda: server.app.desk.worker.open == 0)
    assert happens(lambda: not script.batches[0].busy)
    assert script.steps < 300
    assert client(server).chat.completions.create(**ASKED, max_tokens=3).choices


def test_a_client_that_does_not_read_is_let_go_and_slows_nobody(serving, client, script):
    server = serving(limits=Limits(buffered=50, reply_tokens=500, rows=4))
    script.text = "y" * 450
    asked = {**ASKED, "stream": True, "logprobs": True, "top_logprobs": 20, "max_tokens": 450}
    body = json.dumps(asked).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(server._address)
    with connection:
        connection.sendall(head.encode() + body)
        assert happens(lambda: server.app.desk.worker.open == 0)
        found = client(server).chat.completions.create(**ASKED, max_tokens=5)
        assert found.choices[0].finish_reason == "length"
    text = server.app.desk.metrics.render().decode()
    assert 'finish="cancelled"' in text


def test_a_reply_that_fails_is_its_own_and_quotes_nothing(serving, client, script, caplog):
    script.fail = "poison"
    server = serving()
    asked = {**ASKED, "messages": [{"role": "user", "content": "poison"}]}
    caplog.set_level(logging.DEBUG)
    with pytest.raises(openai.InternalServerError) as caught:
        client(server).chat.completions.create(**asked)
    assert "secret" not in str(caught.value)
    assert client(server).chat.completions.create(**ASKED).choices
    assert "secret" not in caplog.text
    assert "poison" not in caplog.text
    stream = client(server).chat.completions.create(**asked, stream=True)
    with pytest.raises(openai.APIError, match="could not be written"):
        list(stream)


def test_a_batch_that_breaks_is_made_anew(serving, client, script):
    server = serving()
    script.breaks = RuntimeError("out of memory")
    with pytest.raises(openai.InternalServerError):
        client(server).chat.completions.create(**ASKED)
    assert client(server).chat.completions.create(**ASKED).choices
    assert len(script.batches) == 2


def test_what_cannot_be_added_is_refused(serving, client, script):
    script.fail = "add"
    with pytest.raises(openai.BadRequestError, match="no room"):
        client(serving()).chat.completions.create(**ASKED)


def test_logs_quote_nothing_unless_told_to(serving, client, caplog):
    with caplog.at_level(logging.DEBUG):
        client(serving()).chat.completions.create(**ASKED)
    assert "plan=default" in caplog.text
    assert "secret" not in caplog.text
    assert "stormy" not in caplog.text
    with caplog.at_level(logging.DEBUG):
        client(serving(log_messages=True)).chat.completions.create(**ASKED)
    assert "secret question" in caplog.text
    assert "stormy" in caplog.text


def test_what_runs_comes_to_its_end_before_the_server_does(serving, client, script):
    server = serving()
    script.go.clear()
    found: list[object] = []
    asking = client(server).chat.completions
    thread = threading.Thread(target=lambda: found.append(asking.create(**ASKED)))
    thread.start()
    assert happens(lambda: server.app.desk.worker.open == 1)
    with httpx.Client(base_url=server.url) as http:
        assert http.get("/models").status_code == 200
        server.leave()
        assert http.get(server.url.removesuffix("/v1") + "/health").status_code == 503
        refused = http.post("/chat/completions", json=ASKED)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
    assert "persona_lens_up 0.0" in server.app.desk.metrics.render().decode()
    script.go.set()
    thread.join()
    assert found
    server.__exit__()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(server._address)


def test_what_runs_too_long_is_told_that_the_server_ends(serving, client, script):
    server = serving(limits=Limits(grace=0.2))
    script.text = "z" * 500
    wrong: list[BaseException] = []

    def ask() -> None:
        try:
            for _ in client(server).chat.completions.create(**ASKED, stream=True, max_tokens=400):
                time.sleep(0.01)
        except openai.APIError as error:
            wrong.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert happens(lambda: script.steps > 1)
    script.go.clear()
    server.leave()
    time.sleep(0.4)
    script.go.set()
    thread.join()
    assert "shutting down" in str(wrong[0])
