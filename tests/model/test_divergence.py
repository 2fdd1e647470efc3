"""KL of plans and projections of tokens: equal to plain forward passes, however they are batched and nested."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from persona_lens import PersonaModel
from persona_lens.interventions import Ablate, Add, Direction, Plan
from persona_lens.transcripts import Transcript

ANSWERS = ["Yes.", "It is, and it always was.", "No one can say for sure, I think."]


@pytest.fixture(scope="module")
def model(tiny_llama: Path) -> PersonaModel:
    return PersonaModel.load(tiny_llama, dtype="float32")


@pytest.fixture(scope="module")
def texts(model: PersonaModel) -> list[Transcript]:
    return [
        model.encoder.encode(
            [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": answer}]
        )
        for answer in ANSWERS
    ]


def push(layer: int, seed: int, length: float = 3.0) -> Plan:
    vector = np.random.default_rng(seed).normal(size=(1, 16))
    return Plan.of(Add(Direction(f"push {seed}", (layer,), vector), np.array([length])))


def log_probs(model: PersonaModel, text: Transcript, *plans: Plan) -> Tensor:
    """Of the tokens of the reply, by a plain forward pass with vectors added by hand."""
    spared = sorted({0, *model.sinks})  # the first token is BOS

    def adding(operation: Any) -> Any:
        vector = torch.tensor(operation.direction.units[0] * operation.lengths[0]).float()

        def hook(module: Any, given: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            moved = hidden + vector
            moved[:, spared] = hidden[:, spared]
            return (moved, *output[1:]) if isinstance(output, tuple) else moved

        return hook

    module: Any = model.held.backend.module
    with ExitStack() as stack, torch.no_grad():
        for plan in plans:
            [step] = plan.steps
            block = module.model.layers[step.operation.layers[0]]
            handle = block.register_forward_hook(adding(step.operation))
            stack.callback(handle.remove)
        logits = module(input_ids=torch.tensor(text.ids)[None]).logits[0].float()
    chosen = np.flatnonzero(text.mask("assistant", turn=-1)) - 1
    return logits[chosen].log_softmax(dim=-1)


def divergence(without: Tensor, acting: Tensor) -> np.ndarray:
    return (without.exp() * (without - acting)).sum(dim=-1).numpy()


@pytest.mark.parametrize("token_budget", [None, 40])
def test_kl_is_that_of_plain_forward_passes(
    model: PersonaModel, texts: list[Transcript], token_budget: int | None
) -> None:
    found = model.kl(push(1, 0), texts, token_budget=token_budget)
    for text, values in zip(texts, found, strict=True):
        expected = divergence(log_probs(model, text), log_probs(model, text, push(1, 0)))
        np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-5)
        assert values.mean() > 1e-3


def test_a_plan_of_strength_zero_costs_nothing(
    model: PersonaModel, texts: list[Transcript]
) -> None:
    for values in model.kl(0.0 * push(1, 0), texts):
        np.testing.assert_array_equal(values, 0.0)
    ablation = Plan.of(Ablate(Direction("ghost", (1,), np.ones((1, 16)))))
    assert max(values.max() for values in model.kl(ablation * 0.0, texts)) == 0.0
    assert model.kl(ablation, []) == []


def test_within_another_intervention_kl_is_on_top_of_it(
    model: PersonaModel, texts: list[Transcript]
) -> None:
    outer, inner = push(0, 1), push(1, 0)
    alone = model.kl(inner, texts)
    with model.intervene(outer):
        found = model.kl(inner, texts)
        nothing = model.kl(0.0 * inner, texts)
    for text, values in zip(texts, found, strict=True):
        expected = divergence(log_probs(model, text, outer), log_probs(model, text, outer, inner))
        np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-5)
    assert max(abs(values).max() for values in nothing) == 0.0
    assert not np.allclose(np.concatenate(found), np.concatenate(alone), rtol=0.01)


def test_kl_leaves_no_plan_in_force(model: PersonaModel, texts: list[Transcript]) -> None:
    before = model.pooled(texts)
    model.kl(push(1, 0), texts)
    np.testing.assert_array_equal(model.pooled(texts), before)


@pytest.mark.parametrize("token_budget", [None, 40])
def test_projections_are_those_of_pooled_residuals_of_one_token(
    model: PersonaModel, texts: list[Transcript], token_budget: int | None
) -> None:
    units = np.random.default_rng(2).normal(size=(2, 3, 16))
    units /= np.linalg.norm(units, axis=-1, keepdims=True)
    layers = [2, 0]
    for plan in (None, push(0, 1)):
        with ExitStack() as stack:
            if plan is not None:
                stack.enter_context(model.intervene(plan))
            found = model.projections(texts, units, layers=layers, token_budget=token_budget)
            for text, tokens in zip(texts, found, strict=True):
                masks = list(np.eye(len(text), dtype=bool)[model.reply_positions(text)])
                residuals = model.pooled([text] * len(masks), masks, layers=layers)
                expected = np.einsum("tld,lkd->tlk", residuals, units)
                np.testing.assert_allclose(tokens.values, expected, rtol=1e-4, atol=1e-4)
                norms = np.linalg.norm(residuals, axis=-1)
                np.testing.assert_allclose(tokens.norms, norms, rtol=1e-4)


def test_projections_of_chosen_positions_and_of_none(
    model: PersonaModel, texts: list[Transcript]
) -> None:
    units = np.eye(1, 16)[None]
    positions = [np.zeros(len(text), dtype=bool) for text in texts]
    positions[1][[3, 5]] = True
    found = model.projections(texts, units, layers=[1], positions=positions)
    assert [len(tokens.norms) for tokens in found] == [0, 2, 0]
    third = np.arange(len(texts[1])) == 3
    expected = model.pooled([texts[1]], [third], layers=[1])[0, 0, 0]
    assert found[1].values[0, 0, 0] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert model.projections([], units, layers=[1]) == []
