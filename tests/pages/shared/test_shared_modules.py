"""What scripts of pages share, run in a browser: numbers, text, unpacking."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from persona_lens.pages.shared.inline import deflated, packed

RunScript = Callable[[str, str], Any]


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("fixed(-1.256, 2)", "−1.26"),
        ("fixed(-0.001, 2)", "0.00"),
        ("fixed(NaN, 2)", "not known"),
        ("signed(0.5, 1)", "+0.5"),
        ("signed(-0.5, 1)", "−0.5"),
        ("number(12.34567)", "12.35"),
        ("number(-12345.6)", "−12346"),
        ("number(1e-7)", "1e−7"),
        ("number(Infinity)", "not known"),
    ],
)
def test_numbers_are_as_people_read_them(run_script: RunScript, expression: str, text: str) -> None:
    assert run_script("shared/numbers.js", expression) == text


@pytest.mark.parametrize(
    ("values", "digits"),
    [([0.012, -0.5], 4), ([3.0], 3), ([-250.0, 1.0], 1), ([1e6], 0), ([0.0], 6)],
)
def test_columns_share_their_digits(
    run_script: RunScript, values: list[float], digits: int
) -> None:
    assert run_script("shared/numbers.js", f"digitsFor({values})") == digits


def test_text_cannot_become_a_tag(run_script: RunScript) -> None:
    text = '<b title="&">'
    assert run_script("shared/text.js", f"escaped({json.dumps(text)})") == '&lt;b title="&amp;"&gt;'
    lines = run_script("shared/text.js", f"wrapped({json.dumps(f'one {text} two three')}, 12)")
    assert lines == 'one &lt;b<br>title="&amp;"&gt;<br>two three'


def test_cells_and_searches(run_script: RunScript) -> None:
    assert run_script("shared/text.js", """quoted('say "ah", now')""") == '"say ""ah"", now"'
    assert run_script("shared/text.js", "plain(' Sea_Dog ')") == "sea dog"


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.int8])
def test_arrays_are_what_was_packed(run_script: RunScript, dtype: type[np.generic]) -> None:
    array = np.array([[1, -2, 3], [100, -100, 0]]).astype(dtype)
    found = run_script("shared/unpacking.js", f"[...unpack({json.dumps(packed(array))})]")
    assert found == array.ravel().tolist()


def test_steps_are_what_was_deflated(run_script: RunScript) -> None:
    steps = np.random.default_rng(0).integers(-100, 101, size=(4, 3, 5)).astype(np.int8)
    call = f"inflate({json.dumps(deflated(steps))}, 15).then((found) => [...found])"
    assert run_script("shared/unpacking.js", call) == steps.ravel().tolist()
