"""Single residuals and logits: those the means and log-probabilities are made of, with and without a plan."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_module, tiny_tokenizer

from persona_lens import PersonaModel
from persona_lens.errors import ModelError
from persona_lens.interventions import Add, Direction, Plan
from persona_lens.transcripts import Transcript

PUSH = Plan.of(Add(Direction("push", (1,), np.ones((1, 16))), lengths=5.0)).where("assistant")


@pytest.fixture(scope="module")
def model() -> PersonaModel:
    return PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())


@pytest.fixture(scope="module")
def said(model: PersonaModel) -> list[Transcript]:
    talks = [("Who keeps the lamp?", "A ghost."), ("Why?", "Nobody else would, at that hour.")]
    return [
        model.encoder.encode(
            [*model.encoder.messages(asked), {"role": "assistant", "content": told}]
        )
        for asked, told in talks
    ]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("plan", [Plan(()), PUSH])
def test_means_are_of_these_residuals(model, said, side, plan) -> None:
    with model.intervene(plan):
        found = model.residuals(said, layers=[2, 1], padding_side=side)
        means = model.pooled(said, layers=[2, 1])
    assert found.present.sum() == sum(map(len, said))
    for row, transcript in enumerate(said):
        chosen = model.reply_positions(transcript)
        for place, layer in enumerate((2, 1)):
            mean = found.row(layer, row)[chosen].mean(axis=0)
            np.testing.assert_allclose(mean, means[row, place], rtol=1e-3, atol=1e-4)


def test_logits_are_those_of_the_module_and_move_under_a_plan(model, said) -> None:
    found = model.logits(said[0])
    with torch.no_grad():
        expected = model.held.backend.module(torch.from_numpy(said[0].ids)[None]).logits[0]
    torch.testing.assert_close(found, expected.float())
    with model.intervene(PUSH):
        assert not torch.allclose(model.logits(said[0]), found)


def test_what_cannot_be_read_is_refused(model, said) -> None:
    with pytest.raises(ModelError, match="no such layer"):
        model.residuals(said, layers=[9])
    with pytest.raises(ModelError, match="no transcripts"):
        model.logits("Who keeps the lamp?")
    assert model.residuals([], layers=[1]).by_layer[1].shape == (0, 0, 16)
