"""Rows leave their batch as replies end: the others, and all that is kept of each, are as if none had left."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import shared_model, tiny_tokenizer
from tiny_architectures import tiny_case

from persona_lens import PersonaModel, Sampling
from persona_lens.interventions import Add, Direction, Floor, Gate, Plan
from persona_lens.model.sampling import NucleusFilter, RowDraws, waits_are_logarithms
from persona_lens.rollouts.reply import Reply

WORDS = ["Hi", "What do you fear?", "How would you spend a free day by the sea?", "Why?", "A tree"]
ENDS = tuple(range(3, 259, 12))
"""So many tokens of the tiny tokenizer end a reply that replies differ in length."""


def written(
    model: PersonaModel,
    sampling: Sampling,
    *,
    stay: bool,
    plan: Plan | None = None,
    **options: bool,
) -> tuple[list[Reply], int, pd.DataFrame | None]:
    """Replies with means and log-probabilities, how many tokens were run, and the receipt."""
    prompts = [model.encoder.prompt(model.encoder.messages(word)) for word in WORDS * 3]
    measured = model.conduct.lets_rows_leave
    ends, model.end_ids = model.end_ids, ENDS
    run: list[int] = []
    model.conduct.__dict__["lets_rows_leave"] = measured and not stay
    try:
        with model.held.backend.before_forward(lambda ids: run.append(ids.numel())):
            arguments = {"layers": range(model.n_layers), "before": True, "log_probs": True}
            if plan is None:
                replies, receipt = model.generate(prompts, sampling, **arguments), None
            else:
                with model.intervene(plan, **options) as receipt:
                    replies = model.generate(prompts, sampling, **arguments)
    finally:
        model.end_ids = ends
        model.conduct.__dict__["lets_rows_leave"] = measured
    return replies, sum(run), None if receipt is None else receipt.frame()


def check_same(stayed: list[Reply], left: list[Reply]) -> None:
    assert [one.ids.tolist() for one in left] == [one.ids.tolist() for one in stayed]
    assert [one.finish for one in left] == [one.finish for one in stayed]
    for one, other in zip(left, stayed, strict=True):
        np.testing.assert_allclose(one.log_probs, other.log_probs, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(one.mean, other.mean, rtol=1e-4, atol=1e-4)
        if other.before is not None:
            np.testing.assert_allclose(one.before, other.before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "gemma3_text", "qwen3_next", "falcon_h1"])
def test_replies_are_those_of_a_batch_that_stays_whole(architecture: str) -> None:
    model = PersonaModel.load(tiny_case(architecture), tokenizer=tiny_tokenizer())
    for temperature in (0.0, 1.0):
        sampling = Sampling(temperature=temperature, max_new_tokens=24, seed=3)
        stayed, all_run, _ = written(model, sampling, stay=True)
        left, run, _ = written(model, sampling, stay=False)
        check_same(stayed, left)
        assert run <= all_run
    assert run < 0.9 * all_run


def floor(model: PersonaModel) -> Floor:
    values = np.random.default_rng(0).standard_normal((2, model.d_model))
    return Floor(Direction("random", (0, 1), values), thresholds=0.5)


PLANS: dict[str, Callable[[PersonaModel], Plan]] = {
    "floor": lambda model: Plan.of(floor(model)).where("generated"),
    "gate": lambda model: Plan.of(Gate(floor(model).direction, 0.0, floor(model), per="sequence")),
    "a strength a row": lambda model: Plan.of(
        Add(floor(model).direction, 1.0, strength=tuple(np.linspace(0, 1, 15)))
    ),
}


@pytest.mark.parametrize("kind", PLANS)
def test_plans_and_receipts_follow_the_rows(kind: str) -> None:
    model = shared_model("llama")
    sampling = Sampling(temperature=1.0, max_new_tokens=24)
    plan = PLANS[kind](model)
    stayed, all_run, expected = written(model, sampling, stay=True, plan=plan)
    left, run, receipt = written(model, sampling, stay=False, plan=plan)
    check_same(stayed, left)
    assert run < 0.9 * all_run
    assert receipt is not None
    assert expected is not None
    assert receipt["seen"].min() > 0
    pd.testing.assert_frame_equal(receipt, expected, rtol=1e-4)


def test_a_receipt_of_every_token_keeps_all_rows() -> None:
    model = shared_model("llama")
    plan = PLANS["floor"](model)
    sampling = Sampling(temperature=1.0, max_new_tokens=24)
    stayed, all_run, _ = written(model, sampling, stay=True, plan=plan, detail=True)
    left, run, _ = written(model, sampling, stay=False, plan=plan, detail=True)
    check_same(stayed, left)
    assert run == all_run


@pytest.mark.parametrize(("temperature", "top_p"), [(0.7, 0.9), (3.0, 0.99), (1.0, 1.0)])
@pytest.mark.parametrize("knows", [True, False])
def test_draws_are_those_of_the_whole_batch(
    temperature: float, top_p: float, knows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert waits_are_logarithms()  # or `RowDraws` is tested in one of its two ways only
    if not knows:
        monkeypatch.setattr("persona_lens.model.sampling.waits_are_logarithms", lambda: False)
    nucleus, no_ids = NucleusFilter(temperature, top_p, head=32), torch.empty(0, 0).long()
    draws, places = RowDraws(nucleus, 12), torch.arange(12)
    steps = 3 * torch.randn(40, 12, 500, generator=torch.Generator().manual_seed(5))
    torch.manual_seed(1)
    expected = [torch.multinomial(nucleus(no_ids, step).softmax(-1), 1)[:, 0] for step in steps]
    after = torch.get_rng_state()
    torch.manual_seed(1)
    for number, (step, whole) in enumerate(zip(steps, expected, strict=True)):
        drawn = draws(no_ids, step[places])
        assert drawn.argmax(dim=1).tolist() == whole[places].tolist()
        assert drawn.isfinite().sum().item() == len(places)
        if number in (10, 25):
            kept = torch.arange(len(places))[number % 2 :: 2]
            draws.keep(kept)
            places = places[kept]
    assert torch.equal(torch.get_rng_state(), after)


def test_logits_that_are_no_numbers_are_not_drawn_from() -> None:
    scores = torch.zeros(2, 300)
    scores[1, 4] = torch.nan
    with pytest.raises(RuntimeError):
        RowDraws(NucleusFilter(0.7, 0.9), 2)(torch.empty(0, 0).long(), scores)
