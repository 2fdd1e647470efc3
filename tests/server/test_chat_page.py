"""The live chat's routes: what the page may run, what it is told, who needs a key, logs that are sent."""

from __future__ import annotations

import re

import httpx
import pytest

from persona_lens import PersonaSpace
from persona_lens.errors import ServerError
from persona_lens.pages.chat.page import chat_page
from persona_lens.server import Allowed, Limits, Served
from persona_lens.server.chatting import Chat, chat_card, chat_layer, reference

NAME = "smollm2-135m-instruct"
HOSTILE = '<img src=x onerror="alert(1)">'


@pytest.fixture
def root(chatting):
    return chatting().url.removesuffix("/v1")


def test_the_page_may_run_its_own_script_and_nothing_else(root):
    found = httpx.get(f"{root}/chat")
    policy = dict(
        part.split(" ", 1) for part in found.headers["Content-Security-Policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert re.fullmatch(r"'sha256-[\w+/=]+'", policy["script-src"])
    assert re.fullmatch(r"'sha256-[\w+/=]+'", policy["style-src"])
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert "http://" not in re.sub(r"http://www\.w3\.org/\S+", "", found.text)
    assert "https://" not in found.text


def test_a_name_cannot_become_markup():
    page = chat_page(HOSTILE, framed_by=["http://localhost:*"])
    assert HOSTILE not in page.html
    assert page.policy.endswith("frame-ancestors http://localhost:*")


def test_the_page_is_told_what_it_may_choose(root):
    card = httpx.get(f"{root}/chat/card").json()
    assert [plan["name"] for plan in card["plans"]] == ["none", "default", "calm"]
    assert card["allowed"]["layers"] == [1, 2]
    assert card["reading"]["direction"] == "axis"
    assert card["spread"] is card["tint"] is None  # a space of vectors knows no replies
    roles = httpx.get(f"{root}/chat/roles").json()
    assert len(roles) == 275
    assert all(role["name"] and role["prompts"] for role in roles)
    scripts = httpx.get(f"{root}/chat/scripts").json()
    assert len(scripts) == 80
    assert all(len(script["messages"]) >= 10 for script in scripts)


def test_with_a_key_only_the_page_itself_is_open(chatting):
    key = "k" * 20
    root = chatting(key=key).url.removesuffix("/v1")
    assert httpx.get(f"{root}/chat").status_code == 200
    for place in ("card", "roles", "scripts"):
        assert httpx.get(f"{root}/chat/{place}").status_code == 401
    assert httpx.post(f"{root}/chat/log", content=b"{}").status_code == 401
    given = {"Authorization": f"Bearer {key}"}
    assert httpx.get(f"{root}/chat/card", headers=given).status_code == 200


def test_a_server_without_the_chat_has_no_page(serving):
    assert httpx.get(f"{serving().url.removesuffix('/v1')}/chat").status_code == 404


def test_logs_are_read_by_their_content(root):
    raw = b"""{"id": "a", "messages": [{"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"}]}""".replace(b"\n", b"")
    shared = (
        b'{"conversations": [{"from": "human", "value": "Ho"}, {"from": "gpt", "value": "Hm"}]}'
    )
    found = httpx.post(f"{root}/chat/log?name=mine.jsonl", content=raw + b"\n" + shared).json()
    first, second = found["conversations"]
    assert first == {"id": "a", "messages": ["Hi", "Bye"], "system": "Be brief."}
    assert second["messages"] == ["Ho"]
    assert "2 conversations" in found["report"]


@pytest.mark.parametrize("raw", [b"", b"not a log", b"\x00\xff" * 50, b'{"messages": 5}'])
@pytest.mark.parametrize("name", ["a.jsonl", "../../etc/passwd", "a.zip", ""])
def test_what_is_no_log_is_refused_with_a_reason(root, raw, name):
    answer = httpx.post(f"{root}/chat/log", params={"name": name}, content=raw)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "unreadable_log"
    assert "/tmp" not in error["message"]


def test_a_log_may_be_as_long_as_any_body(chatting):
    root = chatting(limits=Limits(body_bytes=2000)).url.removesuffix("/v1")
    assert httpx.post(f"{root}/chat/log", content=b"x" * 2001).status_code == 413


def test_the_cap_the_page_begins_with_has_to_be_allowed(tiny_model, tiny_space):
    served = Served.of(tiny_model, tiny_space, allowed=Allowed(percentiles=(50, 90)))
    with pytest.raises(ServerError, match="cannot begin"):
        Chat(served, tiny_space, cap=95)
    Chat(served, tiny_space, cap=90)


def test_the_reference_is_that_of_the_calibration(smol_auto):
    space = PersonaSpace.load(NAME)
    plan = space.floor(percentile=75)
    assert chat_layer(space, plan, None) == plan.layers[0] == 21
    served = Served.of(smol_auto, space, cap=75, layer=21)
    card = chat_card(served, space, 75)
    assert served.reader.spread is not None
    mean, deviation = served.reader.spread
    assert card["spread"]["default"]["mean"] == pytest.approx(mean, rel=1e-6)
    assert card["spread"]["default"]["deviation"] == pytest.approx(deviation, rel=1e-6)
    assert card["spread"]["role"]["mean"] < mean
    assert card["spread"]["role"]["n"] > 1000
    middle = (mean + card["spread"]["role"]["mean"]) / 2
    assert card["tint"]["middle"] == pytest.approx(middle, rel=1e-6)
    first = reference(space, 0)
    assert first is not None
    assert first["default"]["n"] == card["spread"]["default"]["n"]
