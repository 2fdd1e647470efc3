"""Who is answered where there is no key: this machine, by its own names."""

from __future__ import annotations

import httpx
import pytest

ASKED = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}


def post(server, **headers: str) -> httpx.Response:
    return httpx.post(f"{server.url}/chat/completions", json=ASKED, headers=headers, timeout=60)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},  # a name that somebody lets lead here
        {"Host": "127.0.0.1.evil.example:8000"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "[::1"},
    ],
)
def test_pages_of_other_places_are_refused_without_a_key(serving, script, headers):
    told = post(serving(), **headers)
    assert told.status_code == 403
    assert told.json()["error"]["code"] == "not_local"
    assert "--api-key-env" in told.json()["error"]["message"]
    assert not any(batch.asked for batch in script.batches)


@pytest.mark.parametrize("origin", ["http://localhost:8888", "http://127.0.0.1:1", "http://[::1]"])
def test_pages_of_this_machine_are_answered(serving, origin):
    assert post(serving(), Origin=origin).status_code == 200


def test_with_a_key_names_do_not_matter(serving):
    key = "a key that is long enough"
    headers = {"Host": "models.example", "Authorization": f"Bearer {key}"}
    assert post(serving(key=key), **headers).status_code == 200
