"""`chat` as a shell starts it: what is refused before anything is loaded, and the page with its plan."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from test_cli import run

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.interventions import Add, Plan

NAME = "smollm2-135m-instruct"
CHAT = ("chat", NAME, "--model", NAME)


def test_help_does_without_torch_and_the_server():
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "import persona_lens.cli\n"
        "result = CliRunner().invoke(persona_lens.cli.app, ['chat', '--help'])\n"
        "assert result.exit_code == 0, result.output\n"
        "print(sorted({'torch', 'fastapi', 'uvicorn', 'openai', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--host", "0.0.0.0"], "others could use this server"),
        (["--plan", "plans/none"], "plans/none"),
        (["--cap", "101"], "percentile"),
        (["--allow-percentiles", "some"], "cannot read --allow-percentiles"),
    ],
)
def test_what_cannot_be_is_said_before_the_model_is_loaded(given, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(PersonaModel, "load", lambda *_, **__: pytest.fail("loaded"))
    done = run(*CHAT, *given)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3


def test_the_page_is_served_with_the_plan_beside_the_api(tmp_path: Path, tiny_llama: Path):
    rng = np.random.default_rng(0)
    roles = {f"role_{place}": rng.normal(size=(3, 16)) for place in range(6)}
    space = PersonaSpace.from_vectors(roles, default=rng.normal(size=(3, 16))).fit()
    space.save(tmp_path / "space")
    push = Plan.of(Add(space.direction("assistant", layers=[1]), lengths=np.array([2.0])))
    push.save(tmp_path / "push")
    command = [sys.executable, "-m", "persona_lens.cli", "chat", str(tmp_path / "space")]
    command += ["--model", str(tiny_llama), "--plan", f"far={tmp_path / 'push'}", "--no-open"]
    process = subprocess.Popen(
        [*command, "--port", "0", "--dtype", "float32"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = ""
    try:
        for line in process.stderr:
            said += line
            if line.startswith("  open http"):
                break
        address = re.findall(r"http://[\d.:]+/chat", said)[-1]
        with httpx.Client(timeout=120) as http:
            assert "<title>Live chat with " in http.get(address).text
            card = http.get(f"{address}/card").json()
            health = http.get(address.removesuffix("chat") + "health").json()
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
        assert process.wait(60) in (0, 130, -signal.SIGINT)
    finally:
        process.kill()
    assert health["status"] == "ok"
    assert [plan["name"] for plan in card["plans"]] == ["none", "default", "far"]
    assert card["plans"][1]["digest"] == card["plans"][2]["digest"]
    assert card["reading"]["layer"] == 1
    assert card["allowed"] == {"percentiles": [0.0, 100.0], "layers": [0, 1, 2]}
    assert card["cap"] is None
    assert "Traceback" not in said + rest
