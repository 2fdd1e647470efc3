"""`serve` as a shell starts it: what is refused before anything is loaded, and a drain on SIGTERM."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from test_cli import run, run_apart

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.interventions import Add, Plan

NAME = "smollm2-135m-instruct"
SERVE = ("serve", NAME, "--space", NAME)


def test_help_does_without_torch_and_the_server():
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "import persona_lens.cli\n"
        "result = CliRunner().invoke(persona_lens.cli.app, ['serve', '--help'])\n"
        "assert result.exit_code == 0, result.output\n"
        "print(sorted({'torch', 'fastapi', 'uvicorn', 'openai', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--host", "0.0.0.0"], "others could use this server"),
        (["--api-key-env", "NO_SUCH_VARIABLE"], "there is no key"),
        (["--plan", "plans/none"], "plans/none"),
        (["--allow-percentiles", "90-50"], "no percentiles"),
        (["--allow-percentiles", "some"], "cannot read --allow-percentiles"),
        (["--allow-layers", "5-2"], "cannot read the layers"),
    ],
)
def test_what_cannot_be_is_said_before_the_model_is_loaded(given, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(PersonaModel, "load", lambda *_, **__: pytest.fail("loaded"))
    done = run(*SERVE, *given)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3


def test_two_plans_of_one_name_are_refused(tmp_path, monkeypatch, tiny_llama):
    plan = Plan.of(
        Add(PersonaSpace.load(NAME).direction("assistant", layers=[20]), lengths=np.ones(1))
    )
    for folder in ("a/calm", "b/calm"):
        plan.save(tmp_path / folder)
    done = run(*SERVE, "--plan", f"{tmp_path}/a/calm", "--plan", f"{tmp_path}/b/calm")
    assert "two plans have one name" in done.stderr


def test_it_serves_until_it_is_told_to_end(tmp_path: Path, tiny_llama: Path):
    rng = np.random.default_rng(0)
    roles = {f"role_{place}": rng.normal(size=(3, 16)) for place in range(6)}
    space = PersonaSpace.from_vectors(roles, default=rng.normal(size=(3, 16))).fit()
    space.save(tmp_path / "space")
    push = Plan.of(Add(space.direction("assistant", layers=[1]), lengths=np.array([2.0])))
    push.save(tmp_path / "push")
    command = f"{sys.executable} -m persona_lens.cli serve {tiny_llama} --space {tmp_path / 'space'} --name {NAME}"
    options = f"--port 0 --plan far={tmp_path / 'push'} --dtype float32 --api-key-env SERVE_KEY"
    command = shlex.split(f"{command} {options}")
    key = "a-key-of-some-length"
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "SERVE_KEY": key}
    )
    assert process.stderr is not None
    said = ""
    try:
        for line in process.stderr:
            said += line
            if "/metrics" in line:
                break
        assert "canary: far" in said
        assert "plans none, default, far" in said
        url = re.findall(r"http://[\d.:]+", said)[0]
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=url, headers=headers, timeout=120) as http:
            body = {
                "model": NAME,
                "messages": [{"role": "user", "content": "a secret"}],
                "max_tokens": 4,
            }
            reply = http.post("/v1/chat/completions", json={**body, "persona": {"plan": "far"}})
            assert reply.json()["persona"]["plan"]["name"] == "far"
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
        assert process.wait(60) in (0, -signal.SIGTERM)
    finally:
        process.kill()
    assert key not in said + rest
    assert "secret" not in said + rest
    assert "ending" in rest


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "persona_lens.server.serving", raising=False)
    done = run(*SERVE)
    assert 'pip install "persona-lens[serve]"' in done.stderr


def test_examples_of_the_help_name_options_that_there_are():
    text = run_apart("serve", "--help").stdout
    known = set(re.findall(r"--[a-z-]+", text.split("Example")[0]))
    asked = set(re.findall(r"--[a-z-]+", text.split("Example")[1]))
    assert asked <= known
