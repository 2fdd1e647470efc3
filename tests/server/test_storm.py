"""Under load, with clients that go away and bodies that are nonsense, every reply is the one written alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from storm import Storm, alone, held, idle, tasks_of
from waiting import happens

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.interventions import Add, Floor, Plan
from persona_lens.server import Limits, Served, Serving

QUESTIONS = [
    "Hi",
    "Who are you?",
    "Is water wet?",
    "Sing me a song of the sea, old pirate, and tell me where the treasure lies.",
]
TOKENS = 8
GROWTH = {"hooks": 0, "tensors": 0, "threads": 0, "sockets": 0, "tasks": 0, "MiB": 64}
"""By how much what is held may be more after the storm than before it."""


@pytest.fixture(scope="module")
def server(tiny_model: PersonaModel, tiny_space: PersonaSpace) -> Iterator[Serving]:
    push = Plan.of(Add(tiny_space.direction("assistant", layers=[1]), lengths=np.array([4.0])))
    floor = Plan.of(Floor(tiny_space.direction("assistant", layers=[0, 1, 2]), thresholds=1.0))
    served = Served.of(
        tiny_model,
        tiny_space,
        name="tiny",
        default=push,
        plans={"floor": floor},
        limits=Limits(rows=8, waiting=24),
    )
    with Serving(served, port=0) as running:
        yield running


def test_a_storm_gets_right_replies_and_leaves_nothing(server: Serving):
    served = server.app.desk.served
    expected = alone(served, QUESTIONS, TOKENS)
    said = {tuple(right.ids) for right in expected.values()}
    assert len(said) > 2 * len(QUESTIONS)  # plans do something
    options = {"url": server.url, "name": "tiny", "expected": expected, "tokens": TOKENS}
    Storm(**options, requests=2, seed=1).blow()
    assert happens(lambda: idle(server))
    tasks = tasks_of(server)
    assert happens(lambda: tasks() <= 4)
    before = held(served.model, tasks)

    storm = Storm(**options)
    storm.blow()
    assert storm.wrong == []
    assert storm.told["malformed"] >= 100
    assert storm.told["gone"] >= 100
    assert min(storm.told[name] for name in ("whole", "streamed", *served.plans.names)) >= 30
    assert happens(lambda: idle(server))
    assert happens(lambda: tasks() <= before["tasks"])
    after = held(served.model, tasks)
    grown = {name: after[name] - before[name] for name in after}
    assert {name: more for name, more in grown.items() if more > GROWTH[name]} == {}
    assert (
        'persona_lens_running_replies{model="tiny"} 0.0'
        in server.app.desk.metrics.render().decode()
    )
