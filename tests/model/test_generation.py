"""Replies: batched as single, repeatable, and sampled from the right distribution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_module, tiny_tokenizer
from transformers import TopPLogitsWarper

from persona_lens import PersonaModel, Sampling
from persona_lens.errors import ModelError
from persona_lens.model.sampling import NucleusFilter

QUESTIONS = ["Hi", "What do you fear?", "How would you spend a free day by the sea, and with whom?"]


def prompts_of(model: PersonaModel, system: str = ""):
    return [model.encoder.prompt(model.encoder.messages(q, system=system)) for q in QUESTIONS]


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_batched_greedy_replies_equal_transformers_one_by_one(architecture: str) -> None:
    module, tokenizer = tiny_module(architecture), tiny_tokenizer()
    model = PersonaModel.load(module, tokenizer=tokenizer)
    prompts = prompts_of(model)
    replies = model.generate(prompts, Sampling(temperature=0, max_new_tokens=12), batch_size=3)
    for prompt, reply in zip(prompts, replies, strict=True):
        ids = torch.tensor(prompt.ids)[None]
        alone = module.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :].tolist()
        alone = [token for token in alone if token not in model.end_ids]
        assert reply.ids.tolist() == alone


@pytest.mark.embedded
def test_embedded_model_answers_alike_in_a_batch_and_alone(smol: PersonaModel) -> None:
    prompts = prompts_of(smol, system="You are a pirate.")
    greedy = Sampling(temperature=0, max_new_tokens=16)
    together = [reply.ids.tolist() for reply in smol.generate(prompts, greedy)]
    alone = [smol.generate([prompt], greedy)[0].ids.tolist() for prompt in prompts]
    assert together == alone
    assert all(together)


def test_the_seed_decides_and_the_random_state_is_left_alone(tiny_llama: Path) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    prompts = prompts_of(model)

    def sample(seed: int) -> list[list[int]]:
        replies = model.generate(prompts, Sampling(seed=seed, max_new_tokens=16))
        return [reply.ids.tolist() for reply in replies]

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    assert sample(0) == sample(0) != sample(1)
    torch.testing.assert_close(torch.rand(3), expected)


def test_pooling_does_not_change_what_is_said(tiny_llama: Path) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    prompts, sampling = prompts_of(model), Sampling(max_new_tokens=10, seed=3)
    plain = model.generate(prompts, sampling, batch_size=1)
    pooled = model.generate(prompts, sampling, layers=[0, 2], batch_size=1)
    assert [r.ids.tolist() for r in plain] == [r.ids.tolist() for r in pooled]
    assert [r.finish for r in plain] == [r.finish for r in pooled]
    assert all(reply.mean is None for reply in plain)
    assert all(reply.mean.shape == (2, 16) for reply in pooled)
    assert max(len(reply.ids) for reply in pooled) <= 10


def test_a_reply_that_ends_at_once_is_empty_and_its_mean_is_nan(tiny_llama: Path) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    head = model.held.backend.module.get_output_embeddings()
    with torch.no_grad():
        head.weight.zero_()  # all logits equal: greedy takes token 0, the pad, which we call an end below
    model.__dict__["end_ids"] = (0,)
    reply = model.generate(prompts_of(model)[:1], Sampling(temperature=0), layers=[0, 1, 2])[0]
    assert (reply.ids.tolist(), reply.text, reply.finish) == ([], "", "stop")
    assert np.isnan(reply.mean).all()


@pytest.mark.parametrize("spread", [0.01, 1.0, 6.0])
def test_the_nucleus_is_that_of_transformers(spread: float) -> None:
    torch.manual_seed(0)
    scores = (
        torch.randn(16, 5000) * spread
    )  # 0.01 is nearly flat: the nucleus is thousands of tokens
    for top_p, temperature in ((0.9, 0.7), (0.5, 1.0), (0.99, 1.3)):
        ours = NucleusFilter(temperature, top_p, head=64)(torch.empty(16, 0), scores)
        theirs = TopPLogitsWarper(top_p)(torch.empty(16, 0), scores / temperature)
        kept, expected = ours.isfinite(), theirs.isfinite()
        # Where the mass meets top_p exactly, rounding may keep or drop one token; no more than that may differ.
        assert (kept != expected).sum(-1).max() <= 1
        both = kept & expected
        torch.testing.assert_close(ours[both], theirs[both])
        assert (kept.sum(-1) >= 1).all()


def test_the_nucleus_holds_at_least_top_p_and_not_a_token_more() -> None:
    torch.manual_seed(1)
    scores = torch.randn(8, 300) * 3
    probability = scores.softmax(-1)
    kept = NucleusFilter(1.0, 0.9, head=16)(torch.empty(8, 0), scores).isfinite()
    mass = (probability * kept).sum(-1)
    smallest = torch.where(kept, probability, torch.inf).min(-1).values
    assert (mass >= 0.9 - 1e-6).all()
    assert (mass - smallest < 0.9).all()


@pytest.mark.parametrize(
    "field", [{"temperature": -1}, {"top_p": 0}, {"max_new_tokens": 0}, {"top_k": 5}]
)
def test_sampling_refuses_nonsense(field: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        Sampling(**field)


def test_the_generation_config_of_a_model_changes_nothing_unasked(tiny_llama: Path) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    prompts, greedy = prompts_of(model), Sampling(temperature=0, max_new_tokens=12)
    before = [reply.ids.tolist() for reply in model.generate(prompts, greedy)]
    config = model.held.backend.module.generation_config
    config.repetition_penalty, config.num_beams, config.return_dict_in_generate = 5.0, 3, True
    assert [reply.ids.tolist() for reply in model.generate(prompts, greedy)] == before
    assert model.held.backend.module.generation_config is config


def test_thinking_is_not_averaged(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    prompt = prompts_of(model)[0]
    script = model.tokenizer("<think>sea?</think>Yes.", add_special_tokens=False).input_ids
    script += [model.tokenizer.eos_token_id]
    backend = model.held.backend
    real = backend.generate

    def scripted(ids, mask, **options):
        def allowed(_batch: int, so_far: torch.Tensor) -> list[int]:
            return [script[len(so_far) - ids.shape[1]]]

        return real(ids, mask, **{**options, "prefix_allowed_tokens_fn": allowed})

    monkeypatch.setattr(backend, "generate", scripted)
    reply = model.generate([prompt], Sampling(max_new_tokens=40), layers=[0, 1, 2])[0]
    assert reply.text == "<think>sea?</think>Yes."
    whole = model.encoder.with_reply(prompt, reply.ids)
    answer = whole.mask("assistant", turn=-1)
    assert answer.sum() == len("Yes.")
    np.testing.assert_allclose(reply.mean, model.pooled([whole], [answer])[0], rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_the_context_is_refused_at_once(tiny_llama: Path) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    with pytest.raises(ModelError, match=r"(?s)do not fit.*at most 512 tokens"):
        model.generate(prompts_of(model), Sampling(max_new_tokens=500))
    with pytest.raises(ModelError, match="does not wait for a reply"):
        model.generate([model.encoder.encode([{"role": "user", "content": "Hi"}])])
    with pytest.raises(ModelError, match="at least 1"):
        model.generate(prompts_of(model), batch_size=0)
