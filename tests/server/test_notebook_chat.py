"""The live chat below a cell: shown, closed by hand, and closed when nobody holds it."""

from __future__ import annotations

import gc
import re
import sys

import httpx
import numpy as np
import pytest
from waiting import happens

from persona_lens.errors import ServerError
from persona_lens.interventions import Add, Plan


@pytest.fixture(scope="module")
def push(tiny_space):
    return Plan.of(Add(tiny_space.direction("assistant", layers=[1]), lengths=np.array([3.0])))


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_a_cell_shows_the_page_until_it_is_closed(tiny_model, tiny_space, push):
    talk = tiny_space.chat(tiny_model, plan=push, height=500)
    shown = talk._repr_html_()
    assert re.search(rf'<iframe src="{re.escape(talk.url)}" width="100%" height="500"', shown)
    found = httpx.get(talk.url)
    policy = found.headers["Content-Security-Policy"]
    assert "frame-ancestors 'self' http://localhost:* http://127.0.0.1:*" in policy
    card = httpx.get(f"{talk.url}/card").json()
    assert card["plans"][1]["layers"] == [1]
    assert card["reading"]["layer"] == 1
    talk.close()
    talk.close()
    assert not answers(talk.url)
    assert "iframe" not in talk._repr_html_()
    assert repr(talk) == "LiveChat(closed)"


def test_nobody_holds_it(tiny_model, tiny_space, push):
    talk = tiny_space.chat(tiny_model, plan=push)
    url = talk.url
    assert answers(url)
    del talk
    gc.collect()
    assert happens(lambda: not answers(url))


def test_a_cap_and_a_plan_are_one_too_many(tiny_model, tiny_space, push):
    with pytest.raises(ServerError, match="two plans for one column"):
        tiny_space.chat(tiny_model, cap=75, plan=push)


def test_without_the_extra_it_says_what_to_install(tiny_model, tiny_space, push, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ServerError, match=r"persona-lens\[serve\]"):
        tiny_space.chat(tiny_model, plan=push)
