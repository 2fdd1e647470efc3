"""`serve` and `chat` as a shell starts them: what is refused early, a kill and a new start, and the end."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from test_cli import run, run_apart

from persona_lens import PersonaModel, PersonaSpace, Sampling
from persona_lens.interventions import Add, Plan

NAME = "smollm2-135m-instruct"
COMMANDS = {"serve": ("serve", NAME, "--space", NAME), "chat": ("chat", NAME, "--model", NAME)}
each_command = pytest.mark.parametrize("command", COMMANDS)
KEY = "a-key-of-some-length"
TOKENS = 100
_BROKEN = openai.APIConnectionError, httpx.TransportError


@each_command
def test_help_does_without_torch_and_the_server(command):
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "import persona_lens.cli\n"
        f"result = CliRunner().invoke(persona_lens.cli.app, ['{command}', '--help'])\n"
        "assert result.exit_code == 0, result.output\n"
        "print(sorted({'torch', 'fastapi', 'uvicorn', 'openai', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@each_command
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--host", "0.0.0.0"], "others could use this server"),
        (["--api-key-env", "NO_SUCH_VARIABLE"], "there is no key"),
        (["--plan", "plans/none"], "plans/none"),
        (["--cap", "101"], "percentile"),
        (["--allow-percentiles", "90-50"], "no percentiles"),
        (["--allow-percentiles", "some"], "cannot read --allow-percentiles"),
        (["--allow-layers", "5-2"], "cannot read the layers"),
    ],
)
def test_what_cannot_be_is_said_before_the_model_is_loaded(
    command, given, said, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(PersonaModel, "load", lambda *_, **__: pytest.fail("loaded"))
    done = run(*COMMANDS[command], *given)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3


def test_two_plans_of_one_name_are_refused(tmp_path):
    plan = Plan.of(
        Add(PersonaSpace.load(NAME).direction("assistant", layers=[20]), lengths=np.ones(1))
    )
    for folder in ("a/calm", "b/calm"):
        plan.save(tmp_path / folder)
    done = run(*COMMANDS["serve"], "--plan", f"{tmp_path}/a/calm", "--plan", f"{tmp_path}/b/calm")
    assert "two plans have one name" in done.stderr


@each_command
def test_without_the_extra_it_says_what_to_install(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "persona_lens.server.serving", raising=False)
    done = run(*COMMANDS[command])
    assert 'pip install "persona-lens[serve]"' in done.stderr


def test_examples_of_the_help_name_options_that_there_are():
    text = run_apart("serve", "--help").stdout
    known = set(re.findall(r"--[a-z-]+", text.split("Example")[0]))
    asked = set(re.findall(r"--[a-z-]+", text.split("Example")[1]))
    assert asked <= known


@dataclass
class Made:
    """A folder with a space and a plan for the tiny model."""

    folder: Path
    model: Path
    push: Plan

    @property
    def space(self) -> Path:
        return self.folder / "space"

    @property
    def options(self) -> str:
        return f"--plan far={self.folder / 'push'} --dtype float32"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Made:
    folder = tmp_path_factory.mktemp("live")
    rng = np.random.default_rng(0)
    roles = {f"role_{place}": rng.normal(size=(3, 16)) for place in range(6)}
    space = PersonaSpace.from_vectors(roles, default=rng.normal(size=(3, 16))).fit()
    space.save(folder / "space")
    push = Plan.of(Add(space.direction("assistant", layers=[1]), lengths=np.array([2.0])))
    push.save(folder / "push")
    return Made(folder, tiny_llama, push)


@dataclass
class Started:
    """A command at work."""

    process: subprocess.Popen[str]
    said: str = ""

    @property
    def root(self) -> str:
        return re.findall(r"http://[\d.:]+", self.said)[-1]

    def ended(self, sign: signal.Signals) -> str:
        """All it has said, once it has come to its end by a signal."""
        self.process.send_signal(sign)
        assert self.process.stderr is not None
        self.said += self.process.stderr.read()
        assert self.process.wait(60) in (0, 130, -sign)
        return self.said


@contextmanager
def started(line: str, until: str) -> Iterator[Started]:
    """Start a command, and wait until it says something."""
    command = [sys.executable, "-m", "persona_lens.cli", *shlex.split(line)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "SERVE_KEY": KEY}
    )
    found = Started(process)
    assert process.stderr is not None
    try:
        for said in process.stderr:
            found.said += said
            if until in said:
                break
        yield found
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@dataclass
class Clients:
    """Some that stream replies from the same address, again and again.

    Attributes:
        url: Address.
        expected: What is to be said, by plan.
        broken: How many streams broke.
        whole: How many came to their end.
        streaming: Those that are being read.
        begun: Comes true when all are being read.
    """

    url: str
    expected: dict[str, str]
    broken: int = 0
    whole: int = 0
    streaming: set[str] = field(default_factory=set)
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, plan: str) -> None:
        """Stream one reply: it is right, or the connection breaks."""
        async with openai.AsyncOpenAI(base_url=self.url, api_key=KEY, max_retries=0) as client:
            try:
                said = await self._heard(client, plan)
            except _BROKEN:
                self.broken += 1
                return
        assert said == self.expected[plan]
        self.whole += 1

    async def _heard(self, client: openai.AsyncOpenAI, plan: str) -> str:
        said = ""
        stream = await client.chat.completions.create(
            model=NAME,
            messages=[{"role": "user", "content": "a secret"}],
            temperature=0,
            max_tokens=TOKENS,
            stream=True,
            extra_body={"persona": {"plan": plan}},
        )
        async for chunk in stream:
            said += chunk.choices[0].delta.content or ""
            self.streaming.add(plan)
            if len(self.streaming) == len(self.expected):
                self.begun.set()
        return said

    async def ask_all(self, killed: subprocess.Popen[str] | None = None) -> None:
        """All at once; with a process, it is killed as soon as all are being answered."""
        asking = asyncio.gather(*(self.ask(plan) for plan in self.expected))
        if killed is not None:
            await self.begun.wait()
            killed.kill()
        await asking


def test_a_server_that_was_killed_is_right_again_at_once_and_ends_when_told(made: Made):
    model = PersonaModel.load(made.model, device="cpu", dtype="float32")
    prompt = model.encoder.prompt(model.encoder.messages("a secret"))
    expected = {}
    for plan in ("far", "none"):
        with nullcontext() if plan == "none" else model.intervene(made.push):
            (reply,) = model.generate([prompt], Sampling(temperature=0, max_new_tokens=TOKENS))
        expected[plan] = reply.answer
        assert len(reply.ids) == TOKENS
    assert expected["far"] != expected["none"]
    line = f"serve {made.model} --space {made.space} --name {NAME} --api-key-env SERVE_KEY {made.options}"
    with started(f"{line} --port 0", "/metrics") as first:
        assert "canary: far" in first.said
        assert "plans none, default, far" in first.said
        url = first.root + "/v1"
        clients = Clients(url, expected)
        asyncio.run(clients.ask_all(killed=first.process))
        assert (clients.broken, clients.whole) == (2, 0)
        asyncio.run(clients.ask_all())  # nobody is there
        assert (clients.broken, clients.whole) == (4, 0)
    with started(f"{line} --port {url.split(':')[2].removesuffix('/v1')}", "/metrics") as second:
        clients = Clients(url, expected)
        asyncio.run(clients.ask_all())
        assert (clients.broken, clients.whole) == (0, 2)
        said = second.ended(signal.SIGTERM)
    assert KEY not in first.said + said
    assert "secret" not in first.said + said
    assert "ending" in said
    assert "Traceback" not in said


def test_the_page_is_served_with_the_plan_beside_the_api(made: Made):
    line = f"chat {made.space} --model {made.model} --no-open --port 0 {made.options}"
    with started(line, "  open http") as chat, httpx.Client(timeout=120) as http:
        assert "<title>Live chat with " in http.get(f"{chat.root}/chat").text
        card = http.get(f"{chat.root}/chat/card").json()
        health = http.get(f"{chat.root}/health").json()
        said = chat.ended(signal.SIGINT)
    assert health["status"] == "ok"
    assert [plan["name"] for plan in card["plans"]] == ["none", "default", "far"]
    assert card["plans"][1]["digest"] == card["plans"][2]["digest"]
    assert card["reading"]["layer"] == 1
    assert card["allowed"] == {"percentiles": [0.0, 100.0], "layers": [0, 1, 2]}
    assert card["cap"] is None
    assert "Traceback" not in said
