"""Residuals, pooled means and log-probabilities of a HookedTransformer equal those of the Hugging Face module."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hooked import RAW, Pair, hooked_transformer
from tiny import tiny_module, tiny_tokenizer
from transformer_lens.components.abstract_attention import AbstractAttention

from persona_lens import PersonaModel
from persona_lens.model.batching import left_padded, right_padded

TEXTS = [
    ("Who are you?", "I am the keeper of the lighthouse, and I have not slept since the storm."),
    ("Why?", "No."),
    ("Tell me a very short story about a locked door.", "It opened."),
]


def residuals(model, ids, mask) -> torch.Tensor:
    seen: dict[int, torch.Tensor] = {}

    def tap(layer: int):
        return lambda residual: seen.__setitem__(layer, residual.clone())

    with model.held.backend.taps({layer: tap(layer) for layer in range(model.n_layers)}):
        model.held.backend.encode(ids, mask)
    return torch.stack([seen[layer] for layer in range(model.n_layers)], dim=2)


def test_every_token_of_a_padded_batch_has_the_same_residual(pair: Pair) -> None:
    encoder = pair.plain.encoder
    rows = [encoder.prompt(encoder.messages(question)).ids for question, _ in TEXTS]
    ids, mask = right_padded(rows, pair.plain.pad_id, "cpu")
    plain, hooked = (residuals(model, ids, mask) for model in (pair.plain, pair.hooked))
    assert plain[mask].std() > 0.1
    torch.testing.assert_close(hooked[mask], plain[mask], rtol=1e-4, atol=1e-4)


def test_pads_in_front_change_no_residual(pair: Pair) -> None:
    encoder, backend = pair.hooked.encoder, pair.hooked.held.backend
    rows = [encoder.prompt(encoder.messages(question)).ids for question, _ in TEXTS]
    states = []
    for padded in (left_padded, right_padded):
        ids, mask = padded(rows, pair.hooked.pad_id, "cpu")
        found, _ = backend.advance(ids, mask)
        states.append(found[mask])
    torch.testing.assert_close(*states, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cap", [0.0, 2.0])
def test_logits_are_those_of_its_own_forward_pass(pair: Pair, cap: float) -> None:
    ids, mask = right_padded([[5, 6, 7, 8], [9, 10, 11, 12]], 0, "cpu")
    pair.transformer.cfg.output_logits_soft_cap = cap
    backend = pair.hooked.held.backend
    states, _ = backend.advance(ids, mask)
    expected = pair.transformer(ids, attention_mask=mask.long())
    torch.testing.assert_close(backend.unembed(states), expected)
    torch.testing.assert_close(backend.unembed(states[mask]), expected[mask])


def test_pooled_means_are_the_same_however_they_are_batched(pair: Pair) -> None:
    encoder = pair.plain.encoder
    said = [
        encoder.encode([*encoder.messages(question), {"role": "assistant", "content": answer}])
        for question, answer in TEXTS
    ]
    expected = pair.plain.pooled(said)
    for budget in (16, 2048):
        found = pair.hooked.pooled(said, token_budget=budget)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_log_probs_are_the_same(pair: Pair) -> None:
    encoder, rng = pair.plain.encoder, np.random.default_rng(0)
    prompts = [encoder.prompt(encoder.messages(TEXTS[i % 3][0])) for i in range(7)]
    replies = [rng.integers(3, 250, size=size) for size in (5, 1, 0, 12, 7, 2, 30)]
    expected = pair.plain.log_probs(prompts, replies)
    found = pair.hooked.log_probs(prompts, replies, token_budget=200)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_nothing_stays_attached_after_an_error(pair: Pair) -> None:
    ids, mask = right_padded([[5, 6, 7]], 0, "cpu")

    def fail(residual: torch.Tensor) -> None:
        raise RuntimeError("from a tap")

    backend = pair.hooked.held.backend
    with (
        pytest.raises(RuntimeError, match="from a tap"),
        backend.before_forward(lambda ids: None),
        backend.taps({1: fail}),
    ):
        backend.encode(ids, mask)
    assert not pair.transformer.list_hooks()
    assert not pair.transformer._forward_pre_hooks
    backend.encode(ids, mask)


def test_a_text_longer_than_any_before_leaves_the_model_as_good_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(AbstractAttention, "ROTARY_INITIAL_CACHE_SIZE", 4)
    transformer = hooked_transformer(tiny_module("llama"), RAW)
    model, same = (PersonaModel.load(transformer, tokenizer=tiny_tokenizer()) for _ in range(2))
    fingerprint = model.fingerprint
    ids, mask = right_padded([range(5, 25)], 0, "cpu")
    model.held.backend.encode(ids, mask)
    assert transformer.blocks[0].attn.rotary_cos.shape[0] >= 20
    assert same.fingerprint == fingerprint
    transformer(ids, return_type="loss").backward()
    assert transformer.embed.W_E.grad is not None
