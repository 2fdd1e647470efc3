"""Log-probabilities: equal to a plain forward pass, however prompts are shared, padded and batched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import ARCHITECTURES, tiny_folder

from persona_lens import PersonaModel, Sampling

QUESTIONS = ["Who are you?", "Why?", "Tell me a very short story about a locked door."]


def by_plain_forward(model: PersonaModel, prompt: np.ndarray, reply: np.ndarray) -> np.ndarray:
    ids = torch.tensor([*prompt, *reply])[None]
    with torch.inference_mode():
        logits = model.held.backend.module(input_ids=ids).logits[0].float()
    scores = torch.log_softmax(logits, -1)[len(prompt) - 1 : -1]
    return scores.gather(1, ids[0, len(prompt) :, None]).squeeze(1).numpy()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_are_those_of_a_plain_forward_pass(architecture: str, tmp_path: Path) -> None:
    model = PersonaModel.load(tiny_folder(tmp_path / architecture, architecture), dtype="float32")
    rng = np.random.default_rng(0)
    prompts = [model.encoder.prompt(model.encoder.messages(QUESTIONS[i % 3])) for i in range(9)]
    replies = [rng.integers(3, 250, size=size) for size in (5, 1, 0, 12, 7, 2, 30, 4, 9)]
    scores = model.log_probs(prompts, replies, token_budget=200)
    for prompt, reply, found in zip(prompts, replies, scores, strict=True):
        assert found.shape == (len(reply),)
        if len(reply):
            expected = by_plain_forward(model, prompt.ids, reply)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("layers", [None, [1]])
def test_generation_notes_the_same_scores(
    tiny_llama: Path, temperature: float, layers: list[int] | None
) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    prompts = [model.encoder.prompt(model.encoder.messages(text)) for text in QUESTIONS]
    sampling = Sampling(max_new_tokens=20, temperature=temperature)
    replies = model.generate(prompts, sampling, layers=layers, log_probs=True)
    again = model.log_probs(prompts, [reply.ids for reply in replies])
    for reply, scores in zip(replies, again, strict=True):
        assert reply.log_probs is not None
        np.testing.assert_allclose(reply.log_probs, scores, rtol=1e-4, atol=1e-4)
    plain = model.generate(prompts, sampling, layers=layers)
    assert [r.ids.tolist() for r in plain] == [r.ids.tolist() for r in replies]
    assert plain[0].log_probs is None


@pytest.mark.embedded
def test_a_role_prompt_makes_its_own_replies_likelier(smol: PersonaModel) -> None:
    encoder = smol.encoder
    systems = ["You are a pirate who lives for gold, rum and the sea.", ""]
    prompts = [encoder.prompt(encoder.messages("Who are you?", system=it)) for it in systems]
    said = smol.tokenizer("I am a pirate, sailing the seven seas for gold!")["input_ids"]
    as_pirate, as_itself = smol.log_probs(prompts, [said, said])
    assert as_pirate.sum() > as_itself.sum() + 1
