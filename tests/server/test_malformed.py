"""Bodies that are wrong in more than a hundred ways: each is told why in OpenAI's words, and the server lives."""

from __future__ import annotations

import json

import httpx
import pytest
from malformed import BODIES, CHAT, RAW, TEXTS, chat, check


def test_every_malformed_body_is_told_why_and_the_server_lives(serving, client, script):
    server = serving()
    asked = 0
    with httpx.Client(base_url=server.url, timeout=60) as http:
        for path, cases in (("/chat/completions", BODIES), ("/completions", TEXTS)):
            for body, param, code in cases:
                check(http.post(path, content=json.dumps(body)), param, code)
                asked += 1
            for raw, param, code in RAW:
                check(http.post(path, content=raw), param, code)
                asked += 1
        for method, address in (
            ("GET", "/chat/completions"),
            ("POST", "/models"),
            ("GET", "/nowhere"),
        ):
            check(http.request(method, address), None, "unknown_url")
            asked += 1
        check(http.get("/models/other"), "model", "model_not_found")
    assert asked > 100
    assert all(not batch.asked for batch in script.batches)
    assert client(server).chat.completions.create(**CHAT).choices[0].message.content


@pytest.mark.parametrize(
    "neutral",
    [
        {"tools": [], "tool_choice": "none", "logit_bias": {}, "response_format": {"type": "text"}},
        {"store": False, "service_tier": "auto", "modalities": ["text"], "user": "me", "metadata": {"a": "b"}},
        {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "best_of": 1, "tools": None, "seed": None},
    ],
)  # fmt: skip
def test_what_changes_nothing_is_taken(serving, neutral):
    with httpx.Client(base_url=serving().url, timeout=60) as http:
        assert http.post("/chat/completions", json=chat(**neutral)).status_code == 200


def test_a_body_that_is_too_large_is_refused_whether_or_not_it_tells_its_length(serving):
    from persona_lens.server import Limits

    server = serving(limits=Limits(body_bytes=2000))
    body = json.dumps(chat(messages=[{"role": "user", "content": "x" * 4000}])).encode()
    with httpx.Client(base_url=server.url, timeout=60) as http:
        for content in (body, iter([body[:1500], body[1500:]])):
            response = http.post("/chat/completions", content=content)
            assert response.status_code == 413
            assert response.json()["error"]["code"] == "request_too_large"
        assert http.post("/chat/completions", json=CHAT).status_code == 200
