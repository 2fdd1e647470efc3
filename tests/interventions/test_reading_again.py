"""Replies read again as they were sampled: thoughts under the plan they came under, tokens counted once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from persona_lens import PersonaModel, Sampling
from persona_lens.interventions import Add, Direction, Plan
from persona_lens.transcripts import Transcript

THOUGHTFUL = "<think>sea?</think>Yes."
TOWARDS = Direction("d", (0, 1), np.random.default_rng(0).normal(size=(2, 16)))
PUSH = Plan.of(Add(TOWARDS, lengths=np.array([2.0, 2.0])))


@pytest.fixture
def thinker(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> PersonaModel:
    """A model that says `THOUGHTFUL` whatever it is asked."""
    model = PersonaModel.load(tiny_llama, dtype="float32")
    script = model.tokenizer(THOUGHTFUL, add_special_tokens=False).input_ids
    script += [model.tokenizer.eos_token_id]
    assert model.conduct.lets_rows_leave  # measured before every reply is scripted
    backend = model.held.backend

    def scripting(real: Callable[..., Any]) -> Callable[..., Any]:
        def scripted(ids: torch.Tensor, mask: torch.Tensor, *past: Any, **options: Any) -> Any:
            def allowed(_batch: int, so_far: torch.Tensor) -> list[int]:
                return [script[len(so_far) - ids.shape[1]]]

            return real(ids, mask, *past, **{**options, "prefix_allowed_tokens_fn": allowed})

        return scripted

    for door in ("generate", "generate_on"):
        monkeypatch.setattr(backend, door, scripting(getattr(backend, door)))
    return model


def asked(model: PersonaModel, *texts: str) -> list[Transcript]:
    return [model.encoder.prompt([{"role": "user", "content": text}]) for text in texts]


def whole_replies(prompts: list[Transcript], replies: list) -> list[np.ndarray]:
    """Masks over prompt and reply that choose the reply, thinking and tags too."""
    return [
        np.arange(len(prompt) + len(reply)) >= len(prompt)
        for prompt, reply in zip(prompts, replies, strict=True)
    ]


@pytest.mark.parametrize("name", ["assistant", "generated"])
def test_thoughts_are_read_again_under_the_plan_they_were_sampled_under(
    thinker: PersonaModel, name: str
) -> None:
    prompts = asked(thinker, "Hi", "Tell me of the sea.")
    with thinker.intervene(PUSH.where(name)):
        replies = thinker.generate(prompts, Sampling(max_new_tokens=40), layers=[0, 1, 2])
        ids = [reply.ids for reply in replies]
        scored = thinker.log_probs(prompts, ids)
    assert [reply.text for reply in replies] == [THOUGHTFUL] * 2
    whole = [thinker.encoder.with_reply(prompt, i) for prompt, i in zip(prompts, ids, strict=True)]
    answers = [said.mask("assistant", turn=-1) for said in whole]
    with thinker.intervene(PUSH.where(whole_replies(prompts, ids))):
        means = thinker.pooled(whole, answers)
        expected = thinker.log_probs(prompts, ids)
    for reply, mean in zip(replies, means, strict=True):
        assert reply.mean is not None
        np.testing.assert_allclose(reply.mean, mean, rtol=1e-4, atol=1e-5)
    for one, other in zip(scored, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_plan_on_template_tokens_leaves_sampled_think_tags_alone(thinker: PersonaModel) -> None:
    prompts = asked(thinker, "Hi")
    ids = [np.array(thinker.tokenizer(THOUGHTFUL, add_special_tokens=False).input_ids)]
    with thinker.intervene(PUSH.where("template")) as receipt:
        thinker.log_probs(prompts, ids)
    assert receipt.frame()["seen"].tolist() == [int(prompts[0].mask("template").sum())] * 2


def test_tokens_read_again_are_counted_once(thinker: PersonaModel) -> None:
    with thinker.intervene(PUSH.where("generated"), detail=True) as receipt:
        reply = thinker.generate(asked(thinker, "Hi"), Sampling(max_new_tokens=40), layers=[2])[0]
    assert receipt.frame()["seen"].tolist() == [len(reply.ids)] * 2
    assert len(receipt.tokens()) == 1
