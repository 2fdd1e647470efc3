"""Replies read again as they were sampled, receipts of several calls, and plans that say all they do."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_module, tiny_tokenizer

from persona_lens import PersonaModel, Sampling
from persona_lens.errors import InterventionError
from persona_lens.interventions import Add, Direction, Floor, Gate, Plan, Rotate, Set
from persona_lens.interventions.tokens import BatchTokens
from persona_lens.transcripts import Transcript

THOUGHTFUL = "<think>sea?</think>Yes."


def direction(*layers: int) -> Direction:
    values = np.random.default_rng(0).normal(size=(len(layers), 16))
    return Direction("d", layers, values)


def push() -> Plan:
    return Plan.of(Add(direction(0, 1), lengths=np.array([2.0, 2.0])))


@pytest.fixture
def thinker(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> PersonaModel:
    """A model that says `THOUGHTFUL` whatever it is asked."""
    model = PersonaModel.load(tiny_llama, dtype="float32")
    script = model.tokenizer(THOUGHTFUL, add_special_tokens=False).input_ids
    script += [model.tokenizer.eos_token_id]
    backend = model.held.backend
    real = backend.generate

    def scripted(ids: torch.Tensor, mask: torch.Tensor, **options: object) -> torch.Tensor:
        def allowed(_batch: int, so_far: torch.Tensor) -> list[int]:
            return [script[len(so_far) - ids.shape[1]]]

        return real(ids, mask, **{**options, "prefix_allowed_tokens_fn": allowed})

    monkeypatch.setattr(backend, "generate", scripted)
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
    with thinker.intervene(push().where(name)):
        replies = thinker.generate(prompts, Sampling(max_new_tokens=40), layers=[0, 1, 2])
        ids = [reply.ids for reply in replies]
        scored = thinker.log_probs(prompts, ids)
    assert [reply.text for reply in replies] == [THOUGHTFUL] * 2
    whole = [thinker.encoder.with_reply(prompt, i) for prompt, i in zip(prompts, ids, strict=True)]
    answers = [said.mask("assistant", turn=-1) for said in whole]
    with thinker.intervene(push().where(whole_replies(prompts, ids))):
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
    with thinker.intervene(push().where("template")) as receipt:
        thinker.log_probs(prompts, ids)
    assert receipt.frame()["seen"].tolist() == [int(prompts[0].mask("template").sum())] * 2


def test_tokens_read_again_are_counted_once(thinker: PersonaModel) -> None:
    with thinker.intervene(push().where("generated"), detail=True) as receipt:
        reply = thinker.generate(asked(thinker, "Hi"), Sampling(max_new_tokens=40), layers=[2])[0]
    assert receipt.frame()["seen"].tolist() == [len(reply.ids)] * 2
    assert len(receipt.tokens()) == 1


def test_calls_are_told_apart_whatever_rows_their_first_batches_have() -> None:
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    short = Sampling(temperature=0, max_new_tokens=2)
    with model.intervene(push(), detail=True) as receipt:
        model.generate(asked(model, "One."), short)
        # The longest row runs first, and this call has rows the first had not.
        model.generate(asked(model, "a", "as it is", "as long as it is"), short, batch_size=1)
    assert [touched.row for touched in receipt.tokens()] == [0, 0, 1, 2]
    lengths = [len(touched.ids) for touched in receipt.tokens()]
    assert lengths[1] < lengths[0] < lengths[2] < lengths[3]


def test_a_receipt_that_is_kept_does_not_keep_the_model() -> None:
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    with model.intervene(push(), detail=True) as receipt:
        model.chat("Hi", sampling=Sampling(max_new_tokens=2))
    held = weakref.ref(model)
    del model
    assert held() is None
    assert len(receipt.tokens()) == 1


def test_where_the_user_speaks_last_nothing_was_sampled() -> None:
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
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
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    prompts = asked(model, "Hi", "Tell me of the sea.")
    width = max(map(len, prompts))
    last = np.zeros((2, width), dtype=bool)
    last[:, -1] = True
    everywhere = [np.ones(len(prompt), dtype=bool) for prompt in prompts]
    with (
        pytest.raises(
            InterventionError, match=rf"(?s)mask of row 0.*given {width}.*leave pads out"
        ),
        model.intervene(push().where(last)),
    ):
        model.pooled(prompts, everywhere)
    with model.intervene(
        push().where([mask[-len(p) :] for mask, p in zip(last, prompts, strict=True)])
    ) as receipt:
        model.pooled(prompts, everywhere)
    assert receipt.frame()["seen"].tolist() == [2, 2]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Add(direction(0), lengths=np.array([np.inf])),
        lambda: Set(direction(0), targets=np.array([-np.inf])),
        lambda: Rotate(direction(0), radians=np.array([np.inf])),
    ],
)
def test_an_infinite_way_to_go_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InterventionError, match="expected finite numbers"):
        make()


def test_an_infinite_threshold_may_be_one_that_is_never_met() -> None:
    hook = dict(Plan.of(Floor(direction(0), thresholds=np.array([-np.inf]))).hooks())[
        "blocks.0.hook_resid_post"
    ]
    h = torch.randn(1, 4, 16)
    torch.testing.assert_close(hook(h, None), h, rtol=0, atol=0)


def test_a_gated_plan_says_how_strong_it_is() -> None:
    gated = Gate(
        direction(0), np.array([1.0]), Add(direction(0), lengths=np.array([2.0]), strength=0.25)
    )
    assert "strength 0.25" in repr(Plan.of(gated))
    by_row = Gate(
        direction(0),
        np.array([1.0]),
        Add(direction(0), lengths=np.array([2.0]), strength=(0.0, 1.0)),
    )
    assert "unit raw, strengths 0, 1 by row" in repr(Plan.of(by_row))


def test_a_plan_stays_as_it_was_made_whatever_becomes_of_the_arrays_given() -> None:
    values, thresholds = np.ones((1, 4), dtype=np.float32), np.array([1.0])
    floor = Floor(Direction("d", (0,), values), thresholds=thresholds)
    values[:], thresholds[:] = 0.0, 9.0
    np.testing.assert_array_equal(floor.direction.values, np.ones((1, 4)))
    assert floor.thresholds.tolist() == [1.0]
