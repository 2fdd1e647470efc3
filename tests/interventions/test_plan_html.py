"""A plan in a notebook: its steps, with names that are text and not tags."""

from __future__ import annotations

import numpy as np

from persona_lens.interventions import Ablate, Direction, Plan
from persona_lens.notebook import facts_html


def test_a_plan_shows_its_steps() -> None:
    plan = Plan.of(Ablate(Direction("<img onerror=alert(1)>", (3, 4), np.eye(2, 8))))
    page = plan._repr_html_()
    assert "Plan of 1 step<" in page
    assert "<img" not in page
    assert "&lt;img onerror=alert(1)&gt;" in page
    assert "at layers 3-4" in page


def test_names_and_facts_are_escaped() -> None:
    assert "<b>" not in facts_html("<b>", {"<b>": "<b>"})
