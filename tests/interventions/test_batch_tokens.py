"""Which tokens of a batch are which, where the batch says so itself."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import shared_model

from persona_lens.errors import InterventionError
from persona_lens.interventions import Add, Direction, Plan
from persona_lens.interventions.tokens import BatchTokens

PUSH = Plan.of(Add(Direction("d", (0, 1), np.random.default_rng(0).normal(size=(2, 16))), 2.0))


def test_where_the_user_speaks_last_nothing_was_sampled() -> None:
    model = shared_model("llama")
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Who are you?"},
    ]
    open_, finished = model.encoder.encode(messages), model.encoder.encode(messages[:2])
    tokens = BatchTokens.of_transcripts([open_, finished], padding_side="right")
    first = int(finished.mask("assistant").nonzero()[0][0])
    assert not tokens.sampled[0].any()
    np.testing.assert_array_equal(tokens.sampled[1].nonzero()[0], np.arange(first, len(finished)))


def test_masks_with_pads_are_refused_where_the_model_does_the_padding() -> None:
    model = shared_model("llama")
    texts = ("Hi", "Tell me of the sea.")
    prompts = [model.encoder.prompt([{"role": "user", "content": text}]) for text in texts]
    width = max(map(len, prompts))
    last = np.zeros((2, width), dtype=bool)
    last[:, -1] = True
    everywhere = [np.ones(len(prompt), dtype=bool) for prompt in prompts]
    with (
        pytest.raises(
            InterventionError, match=rf"(?s)mask of row 0.*given {width}.*leave pads out"
        ),
        model.intervene(PUSH.where(last)),
    ):
        model.pooled(prompts, everywhere)
    with model.intervene(
        PUSH.where([mask[-len(p) :] for mask, p in zip(last, prompts, strict=True)])
    ) as receipt:
        model.pooled(prompts, everywhere)
    assert receipt.frame()["seen"].tolist() == [2, 2]
