"""Replies of a HookedTransformer equal those of transformers' `generate` on the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hooked import Pair

from persona_lens import PersonaModel, Sampling
from persona_lens.errors import ModelError
from persona_lens.model.batching import left_padded

QUESTIONS = ["Who are you?", "Why?", "Tell me a very short story about a locked door."]


def prompts_of(model: PersonaModel):
    return [model.encoder.prompt(model.encoder.messages(text)) for text in QUESTIONS]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_replies_of_a_padded_batch_are_the_same(pair: Pair, temperature: float) -> None:
    sampling = Sampling(temperature=temperature, max_new_tokens=20)
    plain, hooked = (
        model.generate(prompts_of(model), sampling, layers=[0, 2], log_probs=True)
        for model in (pair.plain, pair.hooked)
    )
    for ours, theirs in zip(hooked, plain, strict=True):
        assert ours.ids.tolist() == theirs.ids.tolist()
        assert ours.finish == theirs.finish
        np.testing.assert_allclose(ours.log_probs, theirs.log_probs, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-4, atol=1e-4)


def test_a_batch_gives_the_replies_of_single_prompts(pair: Pair) -> None:
    greedy, prompts = Sampling(temperature=0, max_new_tokens=20), prompts_of(pair.hooked)
    together = pair.hooked.generate(prompts, greedy)
    alone = [pair.hooked.generate([prompt], greedy)[0] for prompt in prompts]
    assert [reply.ids.tolist() for reply in together] == [reply.ids.tolist() for reply in alone]


def test_rows_end_where_those_of_transformers_do_and_are_padded(pair: Pair) -> None:
    rows = [prompt.ids for prompt in prompts_of(pair.hooked)]
    ids, mask = left_padded(rows, 0, "cpu")
    options = {"max_new_tokens": 12, "pad_token_id": 0, "do_sample": False}
    long = pair.plain.held.backend.generate(ids, mask, eos_token_id=[2], **options)
    # Tokens the rows do say, at different steps, so that rows end one after another and all before the last step.
    ends = [int(long[0, -9]), int(long[1, -6]), int(long[2, -3])]
    backends = (pair.plain.held.backend, pair.hooked.held.backend)
    plain, hooked = (b.generate(ids, mask, eos_token_id=ends, **options) for b in backends)
    assert hooked.tolist() == plain.tolist()
    assert ids.shape[1] < hooked.shape[1] < ids.shape[1] + 12
    assert bool((hooked[:, -1] == 0).any())


def test_logits_processors_run_in_order_and_see_the_whole_text(pair: Pair) -> None:
    ids, mask = left_padded([[5, 6, 7]], 0, "cpu")
    seen: list[list[int]] = []

    def only(token: int):
        def process(text: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            seen.append([token, *text[0].tolist()])
            return torch.full_like(scores, -torch.inf).index_fill(1, torch.tensor([token]), 0.0)

        return process

    output = pair.hooked.held.backend.generate(
        ids,
        mask,
        max_new_tokens=2,
        eos_token_id=[2],
        pad_token_id=0,
        do_sample=True,
        logits_processor=[only(8), only(9)],
    )
    assert output.tolist() == [[5, 6, 7, 9, 9]]
    assert seen == [[8, 5, 6, 7], [9, 5, 6, 7], [8, 5, 6, 7, 9], [9, 5, 6, 7, 9]]


def test_every_forward_pass_is_shown(pair: Pair) -> None:
    ids, mask = left_padded([prompt.ids for prompt in prompts_of(pair.hooked)], 0, "cpu")
    shapes, residual_shapes = [], []
    backend = pair.hooked.held.backend
    with (
        backend.before_forward(lambda fed: shapes.append(tuple(fed.shape))),
        backend.taps({1: lambda residual: residual_shapes.append(tuple(residual.shape[:2]))}),
    ):
        backend.generate(
            ids, mask, max_new_tokens=3, eos_token_id=[], pad_token_id=0, do_sample=False
        )
    assert shapes == residual_shapes == [tuple(ids.shape), (3, 1), (3, 1)]


def test_a_tap_that_replaces_steers_both_alike(pair: Pair) -> None:
    ids, mask = left_padded([prompt.ids for prompt in prompts_of(pair.hooked)], 0, "cpu")
    push = torch.linspace(-3, 3, pair.hooked.d_model)
    options = {"max_new_tokens": 8, "eos_token_id": [2], "pad_token_id": 0, "do_sample": False}
    replies = []
    for model in (pair.plain, pair.hooked):
        with model.held.backend.taps({1: lambda residual: residual + push}):
            replies.append(model.held.backend.generate(ids, mask, **options).tolist())
    assert replies[0] == replies[1]
    assert replies[1] != pair.hooked.held.backend.generate(ids, mask, **options).tolist()


@pytest.mark.parametrize("unknown", [{"temperature": 0.5}, {"num_beams": 4}])
def test_options_it_would_ignore_are_refused(pair: Pair, unknown: dict[str, float]) -> None:
    ids, mask = left_padded([[5, 6]], 0, "cpu")
    with pytest.raises(ModelError, match=rf"(?s){next(iter(unknown))}.*logits processor"):
        pair.hooked.held.backend.generate(
            ids,
            mask,
            max_new_tokens=1,
            eos_token_id=[2],
            pad_token_id=0,
            do_sample=True,
            **unknown,
        )
