"""Whose weights a direction was read from: kept through plan algebra and files, shown on receipts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from persona_lens.interventions import Ablate, Add, Direction, Gate, Origin, Plan, Receipt

TINY = Origin("tiny", "f00", "LlamaForCausalLM", "float32")
GHOST = Direction("ghost", (0, 1), np.eye(2, 8), origin=TINY)
BARD = Direction("bard", (0, 1), np.eye(2, 8), origin=Origin("other"))
PLAN = Plan.of(Gate(GHOST, 1.0, Add(BARD, 2.0))) + Plan.of(Ablate(GHOST))


def test_an_origin_survives_whatever_is_done_to_a_plan() -> None:
    for plan in (PLAN, 0.5 * PLAN, -PLAN, PLAN.at(1), PLAN.where("user"), PLAN + PLAN):
        assert plan.origins == (TINY, Origin("other"))
    assert PLAN.without_origins().origins == GHOST.random().at([0]).layers[1:] == ()


def test_an_origin_is_saved_and_plans_without_one_still_load(tmp_path: Path) -> None:
    assert Plan.load(PLAN.save(tmp_path)).origins == PLAN.origins
    card = json.loads((tmp_path / "plan.json").read_text())
    for step in card["steps"]:
        step["operation"].pop("origin")
        step["operation"].get("operation", {}).pop("origin", None)
    (tmp_path / "plan.json").write_text(json.dumps(card))
    assert Plan.load(tmp_path).origins == ()


def test_a_receipt_begins_with_its_caution() -> None:
    receipt = Receipt(PLAN, caution="directions of <a>, weights of b")
    assert str(receipt).startswith("directions of <a>, weights of b\n1. gate")
    assert "directions of &lt;a&gt;, weights of b" in receipt._repr_html_()
    assert str(Receipt(PLAN)).startswith("1. gate")
