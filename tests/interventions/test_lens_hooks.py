"""`plan.hooks()` in plain TransformerLens: whose tokens, which pass, and what they refuse.

That they touch the right tokens in `generate` is shown in `test_where_oracle.py`.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import shared_model
from torch import Tensor

from persona_lens import PersonaModel
from persona_lens.errors import InterventionError
from persona_lens.interventions import Add, Direction, Gate, Plan, Receipt, Set
from persona_lens.model.batching import left_padded, right_padded
from persona_lens.transcripts import Transcript

RNG = np.random.default_rng(0)
ONE = Direction("one", (0, 2), RNG.normal(size=(2, 16)))
PUSH = Plan.of(Add(ONE, lengths=6.0))


@pytest.fixture
def model() -> PersonaModel:
    return shared_model("llama")


def prompts(model: PersonaModel) -> list[Transcript]:
    texts = ("Why is it so?", "Hi")
    return [model.encoder.prompt([{"role": "user", "content": text}]) for text in texts]


def call(hooks: list, h: Tensor) -> Tensor:
    """What the first hook makes of a block of residuals."""
    return hooks[0][1](h, hook=None)


def touched(hooks: list, *shape: int) -> list[list[bool]]:
    return (call(hooks, torch.zeros(*shape, 16)).norm(dim=-1) > 0).tolist()


def test_one_hook_a_layer_and_none_left_behind(model: PersonaModel) -> None:
    hooks = PUSH.hooks()
    assert [name for name, _ in hooks] == ["blocks.0.hook_resid_post", "blocks.2.hook_resid_post"]
    ids = torch.from_numpy(prompts(model)[0].ids)[None]
    before = model.bridge(ids)
    during = model.bridge.run_with_hooks(ids, fwd_hooks=hooks)
    assert not torch.allclose(before, during)
    assert torch.equal(model.bridge(ids), before)
    assert not model.has_bridge_hooks


def test_the_cache_holds_what_the_plan_left(model: PersonaModel) -> None:
    ids = torch.from_numpy(prompts(model)[0].ids)[None]
    names = [name for name, _ in PUSH.hooks()]
    with model.bridge.hooks(fwd_hooks=Plan.of(Set(ONE, targets=[4.0, 5.0])).hooks()):
        _, cache = model.bridge.run_with_cache(ids, names_filter=names)
    for name, unit, target in zip(names, ONE.units, (4.0, 5.0), strict=True):
        projections = cache[name][0].double() @ torch.from_numpy(unit)
        assert (projections[1:] - target).abs().max() < 1e-4
        assert (projections[0] - target).abs() > 1e-2  # the first token is a sink


@pytest.mark.parametrize("side", ["left", "right"])
def test_pads_told_by_mask_or_by_transcripts(model: PersonaModel, side: str) -> None:
    ids = [prompt.ids for prompt in prompts(model)]
    _, mask = (left_padded if side == "left" else right_padded)(ids, 0, "cpu")
    expected = mask.clone()
    for row in mask.nonzero()[:, 0].unique():
        expected[row, mask[row].nonzero()[0]] = False  # the first token is a sink
    for form in (mask, mask.long(), mask.numpy(), mask.tolist()):
        assert touched(PUSH.hooks(mask=form), *mask.shape) == expected.tolist()
    by_role = PUSH.hooks(transcripts=prompts(model), padding_side=side)
    assert touched(by_role, *mask.shape) == expected.tolist()
    everything = PUSH.where("all", sinks=True).hooks(mask=mask)
    assert touched(everything, *mask.shape) == mask.tolist()
    none = PUSH.hooks(mask=mask, sinks=())
    assert touched(none, *mask.shape) == mask.tolist()


def test_sinks_are_those_given() -> None:
    for sinks, expected in (((0, 2), [False, True, False]), ((), [True] * 3), ((3,), [True] * 3)):
        hooks = PUSH.hooks(sinks=sinks)
        assert touched(hooks, 1, 3) == [expected]
        assert touched(hooks, 1, 1) == [[3 not in sinks]]


def test_a_longer_pass_begins_anew_and_one_token_goes_on() -> None:
    hooks = PUSH.where("generated").hooks()
    for length in (3, 5, 4):  # other sequences, other lengths
        assert touched(hooks, 2, length) == [[False] * length] * 2
        assert touched(hooks, 2, 1) == [[True]] * 2
        assert touched(hooks, 2, 1) == [[True]] * 2
    assert touched(hooks, 1, 1) == [[False]]  # another number of rows: a prompt of one token
    assert touched(hooks, 1, 1) == [[True]]


def test_uncached_generation_is_told_by_the_prompt_it_grows_from() -> None:
    hooks = PUSH.where("last").hooks(mask=np.array([[False, True, True], [True, True, True]]))
    assert touched(hooks, 2, 3) == [[False, False, True]] * 2
    assert touched(hooks, 2, 4) == [[False, False, True, True]] * 2
    assert touched(hooks, 2, 5) == [[False, False, True, True, True]] * 2
    assert touched(hooks, 2, 3) == [[False, False, True]] * 2


def test_a_gate_by_sequence_is_shut_again_for_another_sequence() -> None:
    axis = Direction("axis", (0,), np.eye(1, 16))
    moved = Direction("moved", (0,), np.eye(2, 16)[1:])
    hooks = Plan.of(Gate(axis, 2.0, Add(moved, lengths=1.0), per="sequence")).hooks()
    high, low = torch.zeros(1, 2, 16), torch.zeros(1, 2, 16)
    high[0, 1, 0] = 3.0
    for _ in range(2):
        assert call(hooks, high)[0, :, 1].tolist() == [0.0, 1.0]
        assert call(hooks, low[:, :1])[0, :, 1].tolist() == [1.0]
        assert call(hooks, low)[0, :, 1].tolist() == [0.0, 0.0]
        assert call(hooks, low[:, :1])[0, :, 1].tolist() == [0.0]


def test_strengths_by_row(model: PersonaModel) -> None:
    hooks = (PUSH * [1.0, 0.0]).hooks()
    lengths = call(hooks, torch.zeros(2, 3, 16)).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.tensor([[0.0, 6.0, 6.0], [0.0, 0.0, 0.0]]))
    with pytest.raises(InterventionError, match="another number of rows"):
        call(hooks, torch.zeros(3, 3, 16))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_the_dtype_is_kept(dtype: torch.dtype) -> None:
    assert call(PUSH.hooks(), torch.zeros(1, 2, 16, dtype=dtype)).dtype == dtype


def test_hooks_run_without_gradients_run_with_them_later(model: PersonaModel) -> None:
    plan = (PUSH + Plan.of(Set(ONE, targets=1.0))).where("last")
    hooks = (plan * [1.0]).hooks()
    ids = torch.from_numpy(prompts(model)[0].ids)[None]
    with torch.inference_mode():
        plain = model.bridge.run_with_hooks(ids, fwd_hooks=hooks)
    logits = model.bridge.run_with_hooks(ids, fwd_hooks=hooks)
    torch.testing.assert_close(logits.detach(), plain.clone())
    weight = model.bridge.original_model.get_input_embeddings().weight
    (slope,) = torch.autograd.grad(logits[0, -1].logsumexp(-1), weight)
    assert slope.abs().max() > 0


def test_the_residuals_given_are_not_edited() -> None:
    h = torch.zeros(1, 3, 16)
    assert (call(PUSH.hooks(receipt=Receipt(PUSH)), h) != 0).any()
    assert (h == 0).all()


def test_what_hooks_cannot_know_is_refused(model: PersonaModel) -> None:
    said = prompts(model)
    with pytest.raises(InterventionError, match="not both"):
        PUSH.hooks(transcripts=said, mask=np.ones((2, 3), dtype=bool))
    with pytest.raises(InterventionError, match=r"(?s)'user' is not known here.*transcripts"):
        call(PUSH.where("user").hooks(), torch.zeros(1, 3, 16))
    wrong = PUSH.hooks(transcripts=said)
    for shape in ((2, 3, 16), (1, 60, 16), (3, 60, 16)):
        with pytest.raises(InterventionError, match=r"(?s)not the one the hooks were made for"):
            call(wrong, torch.zeros(*shape))
