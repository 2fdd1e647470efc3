"""OpenMP threads do not spin for long, unless the user wants it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment | variables
    )


@pytest.mark.skipif(sys.platform != "linux", reason="torch brings GNU OpenMP on Linux only")
def test_openmp_itself_says_that_it_spins_briefly() -> None:
    told = run("import persona_lens, torch", OMP_DISPLAY_ENV="VERBOSE").stderr
    assert "GOMP_SPINCOUNT = '10000'" in told


@pytest.mark.parametrize(
    ("chosen", "spins"),
    [
        ({}, "10000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "None"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "None"),
    ],
)
def test_what_the_user_has_set_stays(chosen: dict[str, str], spins: str) -> None:
    code = "import os, persona_lens; print(os.environ.get('GOMP_SPINCOUNT'))"
    assert run(code, **chosen).stdout.strip() == spins


def test_the_environment_is_left_alone_once_torch_is_loaded() -> None:
    code = (
        "import os, sys, types; sys.modules['torch'] = types.ModuleType('torch'); "
        "import persona_lens; print(os.environ.get('GOMP_SPINCOUNT'))"
    )
    assert run(code).stdout.strip() == "None"
