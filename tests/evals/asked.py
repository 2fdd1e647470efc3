"""What the evaluations are asked in tests, and a stand-in for a model that may not be."""

from __future__ import annotations

from typing import Any

from persona_lens import Sampling

ASKED: dict[str, Any] = {
    "roles": ["pirate", "ghost"],
    "questions": ["q11", "q14"],
    "sampling": Sampling(max_new_tokens=5),
    "controls": 1,
    "progress": False,
}


def explode(*_: object, **__: object) -> Any:
    raise AssertionError("the model was asked again")
