"""Where replies lie and whether they drift: what a server says is what a trace of the conversation says."""

from __future__ import annotations

import numpy as np
import openai
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families
from scripted import Script

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.conversations import Conversation
from persona_lens.drift import trace
from persona_lens.drift.monitor import Monitor
from persona_lens.drift.places import Places
from persona_lens.errors import MonitorError, ServerError
from persona_lens.server import Served, Serving
from persona_lens.server.readings import ReplyReader, Said

NAME = "smollm2-135m-instruct"
LAYER = 20
TALK = [
    {"role": "user", "content": "Is water wet?"},
    {"role": "assistant", "content": "Yes, to the touch."},
    {"role": "user", "content": "Speak as a ghost."},
    {"role": "assistant", "content": "Whooo... I drift through the walls of this old house."},
    {"role": "user", "content": "And now?"},
]
REPLY = "I am still here, in the dark."


@pytest.fixture(scope="module")
def space() -> PersonaSpace:
    return PersonaSpace.load(NAME)


def monitor_at(space: PersonaSpace, level: float, statistic: str = "lowest") -> Monitor:
    """Of calm conversations around a level."""
    rng = np.random.default_rng(0)
    calm = pd.DataFrame(
        {
            "conversation": np.repeat(np.arange(99), 4),
            "turn": np.tile(np.arange(4), 99),
            "projection": rng.normal(level, 1.0, 396),
        }
    )
    places = Places.of(space, [LAYER], ["axis"])
    return Monitor.calibrate(calm, statistic, false_alarms=0.05, layer=LAYER, places=places)


def said(model: PersonaModel, messages: list[dict[str, str]], reply: str) -> Said:
    encoder = model.encoder
    first = encoder.messages(messages[0]["content"])
    prompt = encoder.prompt([*first, *messages[1:]])
    return Said(messages, encoder.with_reply(prompt, encoder.plain_ids(reply)))


@pytest.mark.embedded
@pytest.mark.parametrize("statistic", ["lowest", "cusum"])
def test_a_conversation_is_read_as_a_trace_reads_it(smol, space, statistic):
    monitor = monitor_at(space, 0.0, statistic)
    reader = ReplyReader(smol, space, layer=15, monitor=monitor)
    many = [
        said(smol, TALK, REPLY),
        said(smol, TALK[:1], "Yes."),
        Said(None, said(smol, TALK[:1], "No").whole),
    ]
    found = reader.read(many)
    pairs = [(each["role"], each["content"]) for each in TALK]
    chat = Conversation.of([*pairs, ("assistant", REPLY)], id="a")
    traced = trace(space, smol, [chat], layers=[15, LAYER], progress=False)
    here = traced.frame[traced.frame["layer"] == 15]
    for name, column in (
        ("mean", "projection"),
        ("z", "z_default"),
        ("low", "low"),
        ("tokens", "tokens"),
    ):
        values = [turn[name] for turn in found[0].turns]
        assert values == pytest.approx(here[column].tolist(), rel=1e-3, abs=1e-3), name
    whole = monitor.values(traced.frame[traced.frame["layer"] == LAYER]).iloc[-1]
    verdict = found[0].verdict
    assert verdict["value"] == pytest.approx(whole["value"], rel=1e-3)
    assert verdict["alarming"] == whole["alarming"]
    assert (verdict["turn"], verdict["layer"]) == (2, LAYER)
    assert [len(each.turns) for each in found] == [3, 1, 1]
    assert verdict["false_alarms"]["calm"] == monitor.n
    assert reader.layer == 15


@pytest.mark.embedded
def test_a_turn_that_cannot_be_read_is_told_as_such(smol, space):
    reader = ReplyReader(smol, space, monitor=monitor_at(space, 0.0))
    (found,) = reader.read(
        [said(smol, [TALK[0], {"role": "assistant", "content": ""}, TALK[2]], "")]
    )
    assert [turn["mean"] for turn in found.turns] == [None, None]
    assert found.verdict["value"] is None
    assert not found.verdict["alarming"]
    assert reader.layer == LAYER


@pytest.mark.embedded
def test_an_alert_is_told_and_counted_once_a_conversation(smol, space):
    script = Script(text=REPLY)
    served = Served.of(smol, space, monitor=monitor_at(space, 100.0))  # anything is low beside that
    calm = Served.of(smol, space, monitor=monitor_at(space, -100.0))

    def alerts(server: Serving) -> float:
        families = text_string_to_metric_families(server.app.desk.metrics.render().decode())
        return sum(
            each.value
            for family in families
            for each in family.samples
            if each.name.endswith("alerts_total")
        )

    def monitored(server: Serving, messages: list[dict[str, str]]) -> dict:
        with openai.OpenAI(base_url=server.url, api_key="-") as client:
            found = client.chat.completions.create(model=NAME, messages=messages)
        (about,) = found.model_extra["persona"]["choices"]
        assert len(about["conversation"]["turns"]) == about["monitor"]["turn"] + 1
        return about["monitor"]

    with Serving(served, port=0, checked=False, make=script.make) as server:
        first = monitored(server, TALK[:1])
        assert (first["alarming"], first["since"], alerts(server)) == (True, 0, 1)
        assert first["p"] == pytest.approx(1 / (first["false_alarms"]["calm"] + 1))
        again = monitored(server, TALK)
        assert (again["alarming"], again["since"], alerts(server)) == (True, 0, 1)
    with Serving(calm, port=0, checked=False, make=script.make) as server:
        assert not monitored(server, TALK)["alarming"]
        assert alerts(server) == 0


def test_spaces_and_monitors_of_other_models_are_refused(tiny_model, tiny_space, space):
    with pytest.raises(ServerError, match="of another model"):
        ReplyReader(tiny_model, space)
    calm = pd.DataFrame({"conversation": range(30), "turn": 0, "projection": np.arange(30.0)})
    monitor = Monitor.calibrate(calm, "lowest", false_alarms=0.1)
    with pytest.raises(MonitorError, match="no directions"):
        ReplyReader(tiny_model, tiny_space, monitor=monitor)
