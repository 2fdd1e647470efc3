"""Controls are like their plan in what they claim to be: share of tokens moved, or mean move."""

from __future__ import annotations

import numpy as np
import pytest

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.evals.conditions import capped, engagement, steered
from persona_lens.space.budget import neutral_transcripts


@pytest.mark.embedded
def test_controls_of_a_cap_move_as_many_tokens_or_as_far(smol: PersonaModel):
    space = PersonaSpace.load("smollm2-135m-instruct")
    texts = neutral_transcripts(smol, 8)
    conditions = capped(smol, space, percentile=75, layers=range(14, 18), controls=1, texts=texts)
    did = {}
    for condition in conditions:
        assert condition.plan is not None
        with smol.intervene(condition.plan) as receipt:
            smol.pooled(texts, layers=[17])
        did[condition.matched] = engagement(receipt), receipt.frame()["share"].to_numpy()
    (share, move), by_layer = did[""]
    assert 0.05 < share < 0.95
    np.testing.assert_allclose(did["engagement"][1], by_layer, atol=0.01)
    assert did["norm"][0][0] == 1.0
    # A push is a fraction of the mean norm, a move one of each token's own.
    assert did["norm"][0][1] == pytest.approx(move, rel=0.25)
    assert [condition.kind for condition in conditions] == ["plan", "control", "control"]
    assert {condition.control_of for condition in conditions[1:]} == {conditions[0].series}
    of_pc1 = capped(smol, space, "pc1", 75, layers=[17], controls=1, texts=texts[:2])
    # Both can be conditions of one evaluation, with controls of their own.
    assert len({each.name for each in (*conditions, *of_pc1)}) == 6
    assert of_pc1[1].control_of == of_pc1[0].series == "floor pc1"


def test_controls_of_a_push_are_as_long():
    space = PersonaSpace.load("smollm2-135m-instruct")
    conditions = steered(space, "assistant", (-0.2, 0.0, 0.2), layers=15, controls=2)
    assert [condition.strength for condition in conditions] == [-0.2, 0.2] * 3
    lengths = set()
    for condition in conditions:
        assert condition.plan is not None
        operation = condition.plan.steps[0].operation
        lengths.add(round(float(abs(operation.strengths[0]) * operation.lengths[0]), 4))
    assert len(lengths) == 1
    assert [condition.kind for condition in conditions] == ["plan"] * 2 + ["control"] * 4
