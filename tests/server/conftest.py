"""A tiny random model behind a server that runs here; its replies are scripted, but where the real ones matter."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
from scripted import Script
from waiting import happens

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.endpoints import EndpointSettings
from persona_lens.interventions import Add, Direction, Plan
from persona_lens.server import Allowed, Limits, Served, Serving
from persona_lens.server.chatting import Chat
from persona_lens.server.other import Other

MODEL = "tiny"


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """After each test none of the threads of its own servers may be there."""

    def ours() -> set[threading.Thread]:
        names = "persona-lens-worker", "persona-lens-server"
        return {each for each in threading.enumerate() if each.name in names}

    before = ours()
    yield
    assert happens(lambda: ours() <= before), ours() - before


@pytest.fixture(scope="session")
def tiny_model(tiny_llama: Path) -> PersonaModel:
    return PersonaModel.load(tiny_llama, device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def tiny_space(tiny_model: PersonaModel) -> PersonaSpace:
    rng = np.random.default_rng(0)
    shape = (tiny_model.n_layers, tiny_model.d_model)
    roles = {f"role_{place}": rng.normal(size=shape) for place in range(6)}
    return PersonaSpace.from_vectors(roles, default=rng.normal(size=shape)).fit()


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def serving(
    tiny_model: PersonaModel, tiny_space: PersonaSpace, script: Script
) -> Iterator[Callable[..., Serving]]:
    """Starts servers of scripted replies."""
    made: list[Serving] = []

    def start(key: str | None = None, limits: Limits | None = None, **options) -> Serving:
        served = Served.of(tiny_model, tiny_space, name=MODEL, limits=limits, **options)
        server = Serving(served, port=0, key=key, checked=False, make=script.make)
        made.append(server)
        return server.__enter__()

    yield start
    script.go.set()
    for server in made:
        server.__exit__()


@pytest.fixture
def chatting(
    tiny_model: PersonaModel, tiny_space: PersonaSpace, script: Script
) -> Iterator[Callable[..., Serving]]:
    """Starts servers of scripted replies with the live chat's page, two plans, and layers to choose."""
    made: list[Serving] = []
    units = np.ones((2, tiny_model.d_model))
    push = Plan.of(Add(Direction("ghost", (1, 2), units), lengths=np.ones(2)))

    def start(
        key: str | None = None,
        limits: Limits | None = None,
        other: EndpointSettings | None = None,
        **options,
    ) -> Serving:
        options = {"name": MODEL, "default": push, "plans": {"calm": push}, **options}
        allowed = Allowed(percentiles=(50, 90), layers=(1, 2))
        served = Served.of(tiny_model, tiny_space, limits=limits, allowed=allowed, **options)
        chat = Chat(served, tiny_space, other=None if other is None else Other(other))
        server = Serving(served, port=0, key=key, checked=False, make=script.make, chat=chat)
        made.append(server)
        return server.__enter__()

    yield start
    script.go.set()
    for server in made:
        server.__exit__()


@pytest.fixture
def client() -> Iterator[Callable[..., openai.OpenAI]]:
    made: list[openai.OpenAI] = []

    def of(server: Serving, key: str = "-") -> openai.OpenAI:
        made.append(openai.OpenAI(base_url=server.url, api_key=key, max_retries=0, timeout=60))
        return made[-1]

    yield of
    for each in made:
        each.close()
