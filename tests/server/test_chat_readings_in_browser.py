"""The live chat in a browser: another server in a column, readings token by token, nearest roles, an alarm."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scripted import SAID, Script
from talking import COLOURS, LANES, Page

from persona_lens.drift.monitor import Monitor
from persona_lens.drift.places import Places
from persona_lens.endpoints import EndpointSettings
from persona_lens.server import Served, Serving
from persona_lens.server.readings import Said

FOREIGN = "Boo, I am of another place."
LAYER = 1
STYLES = """[...document.querySelectorAll(".reply.plain .said span")].map(
    (each) => each.style.backgroundColor)"""
TITLES = """[...document.querySelectorAll(".reply.plain .said span")].map((each) => each.title)"""


@pytest.fixture
def elsewhere(tiny_model, tiny_space) -> Iterator[Serving]:
    """Another server."""
    served = Served.of(tiny_model, tiny_space, name="foreign")
    script = Script(FOREIGN)
    with Serving(served, port=0, key="k" * 20, checked=False, make=script.make) as server:
        yield server


@pytest.fixture
def chat(chatting, browse) -> Callable[..., Page]:
    def start(**options: Any) -> Page:
        started = chatting(layer=LAYER, **options)
        page = Page(browse(started.url.removesuffix("/v1") + "/chat"))
        page.server = started
        return page

    return start


def choose(page: Page, reading: str) -> None:
    page.ask(f"document.querySelector('input[value={reading}]').click()")


def test_another_server_fills_a_column_and_ours_reads_it(chat, elsewhere, monkeypatch):
    monkeypatch.setenv("THEIR_KEY", "k" * 20)
    settings = EndpointSettings(
        model="foreign", base_url=elsewhere.url, api_key_env="THEIR_KEY", timeout=60
    )
    page = chat(other=settings)
    assert page.ask("byId('first-group').hidden") is False
    assert "clean re-readings" in page.text("#first-note")
    page.send("Hi")
    assert page.ask(LANES) == [SAID, SAID]
    page.type("first", "other")
    page.send("And you?")
    assert page.ask(LANES) == [FOREIGN, SAID]
    assert page.text(".turn:last-child .reply.plain h3") == "foreign at 127.0.0.1"

    served = page.server.app.desk.served
    encoder = served.model.encoder
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": SAID},
        {"role": "user", "content": "And you?"},
    ]
    whole = encoder.with_reply(
        page.server.app.desk.asker.prompt(messages), encoder.plain_ids(FOREIGN)
    )
    (read,) = served.reader.read([Said(messages, whole)])
    for reading in ("after", "before", "clean"):  # there is one, whatever is chosen
        choose(page, reading)
        notes = page.text(".turn:last-child .reply.plain .notes")
        assert f"Clean re-reading by tiny: {read.last['mean']:.2f} (" in notes.replace("−", "-")
    assert page.count(".turn:last-child .reply.plain .said span") == len(read.tokens)
    assert len(set(page.ask(STYLES))) > 2
    labels = page.ask(
        "[...document.querySelectorAll('#trace .point')].map((each) => each.ariaLabel)"
    )
    assert [label for label in labels if "foreign at 127.0.0.1, clean re-reading" in label]
    line = json.loads(page.saved("export-log").splitlines()[0])
    assert [turn["other_model"] for turn in line["turns"]] == [None, "foreign at 127.0.0.1"]
    assert "k" * 20 not in json.dumps(line)

    elsewhere.__exit__()
    page.send("Still there?")
    assert "foreign at 127.0.0.1: it does not answer" in page.text(".turn:last-child .trouble")
    assert page.complaints == []


def test_a_refusal_of_the_other_server_is_told(chat, elsewhere, monkeypatch):
    monkeypatch.setenv("THEIR_KEY", "x" * 20)
    page = chat(
        other=EndpointSettings(model="foreign", base_url=elsewhere.url, api_key_env="THEIR_KEY")
    )
    page.type("first", "other")
    page.send("Hi")
    assert "Incorrect API key" in page.text(".reply.plain .trouble")
    assert page.ask(LANES)[1] == SAID
    assert page.complaints == []


def test_every_reading_tints_token_by_token_and_roles_are_named(chat):
    page = chat()
    assert page.ask("byId('first-group').hidden")
    page.send("Hi")
    tints = {}
    for reading in ("after", "before", "clean"):
        choose(page, reading)
        tints[reading] = page.ask(STYLES)
        assert page.ask(COLOURS) > 2
    assert tints["clean"] != tints["before"] != tints["after"]
    assert all("by the clean re-reading" in title for title in page.ask(TITLES))
    notes = page.text(".reply.plan .notes")
    assert "Nearest roles: role " in notes
    page.ask("byId('clean').click()")
    page.send("Again")
    assert page.ask(LANES) == [SAID, SAID]
    assert "Nearest" not in page.text(".turn:last-child .reply.plan .notes")
    assert page.complaints == []


def test_an_alarm_is_seen_heard_and_named(chat, tiny_space):
    rng = np.random.default_rng(0)
    calm = pd.DataFrame(
        {
            "conversation": np.repeat(np.arange(99), 2),
            "turn": np.tile(np.arange(2), 99),
            "projection": rng.normal(1000.0, 1.0, 198),  # far above all that a reply can be
        }
    )
    places = Places.of(tiny_space, [LAYER], ["axis"])
    monitor = Monitor.calibrate(calm, "lowest", false_alarms=0.05, layer=LAYER, places=places)
    page = chat(monitor=monitor)
    assert page.ask("byId('alarm-key').hidden") is False
    page.send("Hi")
    notes = page.text(".reply.plan .alarm-note")
    assert "Drift since turn 1, by the clean re-reading" in notes
    assert "Note: the false-alarm rate was set on replies without a plan" in notes
    assert "Note:" not in page.text(".reply.plain .alarm-note")
    assert page.count("#trace .alarm") == 2
    assert "the monitor alarms" in page.ask("document.querySelector('#trace .point').ariaLabel")
    assert page.text("#heard").endswith("The monitor alarms.")
    assert page.complaints == []
