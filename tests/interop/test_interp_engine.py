"""What interp-engine does with our plans on its eager backend, against our own hooks, on the same ids."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import interp_engine
import numpy as np
import pytest
import torch
from tiny import shared_model, tiny_module, tiny_tokenizer

from persona_lens import PersonaModel
from persona_lens.errors import InterventionError
from persona_lens.interop import check_interp_engine, to_interp_engine
from persona_lens.interventions import (
    Ablate,
    Add,
    Band,
    Ceil,
    Direction,
    Floor,
    Gate,
    Operation,
    Plan,
    Rotate,
    Set,
)
from persona_lens.transcripts import Transcript

D_MODEL = 16
LAYERS = (0, 1, 2)
MESSAGES = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Who are you?"}]


def drawn(seed: int = 0, layers: tuple[int, ...] = LAYERS) -> Direction:
    values = np.random.default_rng(seed).normal(size=(len(layers), D_MODEL)) * 3
    return Direction("drawn", layers, values)


OPERATIONS: dict[str, Callable[[Direction], Operation]] = {
    "add": lambda d: Add(d, lengths=4.0, strength=-0.5),
    "floor": lambda d: Floor(d, thresholds=[3.0, 2.5, 4.0]),
    "ceil": lambda d: Ceil(d, thresholds=-1.0),
    "band": lambda d: Band(d, low=-0.5, high=0.5),
    "ablate": Ablate,
    "half-ablate": lambda d: Ablate(d, strength=0.5),
    "set": lambda d: Set(d, targets=2.0),
    "half-set": lambda d: Set(d, targets=2.0, strength=0.5),
    "overshoot": lambda d: Ablate(d, strength=2.0),
}


@pytest.fixture(scope="module")
def engine() -> interp_engine.EagerModel:
    return interp_engine.EagerModel(
        "tiny",
        hf_model=tiny_module("llama"),
        tokenizer=tiny_tokenizer(),
        device="cpu",
        dtype="float32",
    )


@pytest.fixture(scope="module")
def ours() -> PersonaModel:
    return shared_model("llama")


@pytest.fixture(scope="module")
def prompt(ours: PersonaModel) -> Transcript:
    return ours.encoder.prompt(MESSAGES)


def both(
    plan: Plan, engine: interp_engine.EagerModel, ours: PersonaModel, prompt: Transcript
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the prompt in the engine and here."""
    bos = ours.tokenizer.bos_token_id
    steering = to_interp_engine(plan, prompt, sinks=tuple(ours.sinks), bos_id=bos)
    ids = torch.tensor([prompt.ids.tolist()])
    with steering.on(engine), torch.no_grad():
        theirs = engine.hf_model(ids).logits[0]
    sinks = sorted({0, *ours.sinks})
    hooks = plan.hooks([prompt], sinks=sinks)
    with torch.no_grad():
        return theirs, ours.bridge.run_with_hooks(ids, fwd_hooks=hooks)[0]


@pytest.mark.parametrize("kind", OPERATIONS)
def test_logits_are_those_of_our_hooks(
    kind: str, engine: interp_engine.EagerModel, ours: PersonaModel, prompt: Transcript
) -> None:
    plan = Plan.of(OPERATIONS[kind](drawn()))
    theirs, here = both(plan, engine, ours, prompt)
    plain, _ = both(Plan(()), engine, ours, prompt)
    assert (plain - here).abs().max() > 0.05  # it does something, so that agreement means something
    torch.testing.assert_close(theirs, here, atol=2e-4, rtol=1e-4)


def test_steps_of_one_layer_run_in_order(
    engine: interp_engine.EagerModel, ours: PersonaModel, prompt: Transcript
) -> None:
    push, cap = Plan.of(Add(drawn(1), lengths=6.0)), Plan.of(Ceil(drawn(2), thresholds=-2.0))
    for plan, other in ((push + cap, cap + push), (cap + push, push + cap)):
        theirs, here = both(plan, engine, ours, prompt)
        torch.testing.assert_close(theirs, here, atol=2e-4, rtol=1e-4)
        assert (theirs - both(other, engine, ours, prompt)[1]).abs().max() > 0.01


@pytest.mark.parametrize("where", ["all", "prompt", "last", "system", "user", "template"])
def test_tokens_are_those_of_our_hooks(
    where: str, engine: interp_engine.EagerModel, ours: PersonaModel, prompt: Transcript
) -> None:
    plan = Plan.of(Add(drawn(), lengths=9.0)).where(where)
    theirs, here = both(plan, engine, ours, prompt)
    torch.testing.assert_close(theirs, here, atol=2e-4, rtol=1e-4)


def test_sinks_are_touched_only_on_demand(ours: PersonaModel, prompt: Transcript) -> None:
    plan = Plan.of(Ablate(drawn()))
    assert to_interp_engine(plan, prompt).position_mask == [0]
    assert to_interp_engine(plan.where("all", sinks=True), prompt).position_mask == []
    assert to_interp_engine(plan, prompt, sinks=(0, 3)).position_mask == [0, 3]
    bos = int(prompt.ids[0])
    assert to_interp_engine(plan, prompt.ids.tolist(), sinks=(), bos_id=bos).position_mask == [0]
    special = interp_engine.resolve_masked_positions(
        interp_engine.SteerMask.SPECIAL_TOKENS,
        prompt_token_ids=prompt.ids.tolist(),
        tokenizer=ours.tokenizer,
    )
    spared = to_interp_engine(plan.where("all", sinks=True), prompt, spare_special=True)
    assert spared.position_mask == sorted(special)
    assert len(special) > 3


@pytest.mark.parametrize("where", ["all", "prompt", "generated", "last", "assistant", "user"])
def test_sampled_tokens_are_those_of_our_hooks(
    where: str, engine: interp_engine.EagerModel, ours: PersonaModel, prompt: Transcript
) -> None:
    plan = Plan.of(Add(drawn(3), lengths=9.0), Floor(drawn(4), thresholds=5.0)).where(where)
    bos = ours.tokenizer.bos_token_id
    steering = to_interp_engine(plan, prompt, sinks=tuple(ours.sinks), bos_id=bos)
    with steering.on(engine):
        steps = list(
            interp_engine.generate_stream(
                engine, steering.ids, max_tokens=6, temperature=0.0, stop_at_eos=False
            )
        )
    ids = [*steering.ids]
    transcripts = [ours.encoder.prompt(MESSAGES)]
    for step in steps:  # every logit vector as our hooks give it, over all so far and with no cache
        hooks = plan.hooks(transcripts, sinks=sorted({0, *ours.sinks}))
        with torch.no_grad():
            here = ours.bridge.run_with_hooks(torch.tensor([ids]), fwd_hooks=hooks)[0, -1]
        assert step.logits is not None
        torch.testing.assert_close(step.logits, here, atol=5e-4, rtol=1e-3)
        ids.append(step.token_id)


def test_the_check_tells_a_plan_that_runs_from_one_that_does_not(
    engine: interp_engine.EagerModel, prompt: Transcript, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan.of(Floor(drawn(), thresholds=4.0), Add(drawn(5, (1, 2)), lengths=3.0))
    found = check_interp_engine(engine, plan, prompt)
    assert [check.layer for check in found] == [0, 1, 2]
    for check in found:
        assert check.steered
        assert check.moved > 0.05
        assert check.difference < 1e-5
        assert check.left_alone == 0.0
    wide = [check._replace(left_alone=check.moved) for check in found]
    assert not any(check.steered for check in wide)

    def idle(self: object, model: object) -> object:
        return interp_engine.steer(engine, interp_engine.SteeringSpec())

    monkeypatch.setattr("persona_lens.interop.interp_engine.EngineSteering.on", idle)
    assert not any(check.steered for check in check_interp_engine(engine, plan, prompt))


axis = drawn()
REFUSED = {
    "turns the residual": Plan.of(Rotate(axis, radians=0.1)),
    "no words for a condition": Plan.of(Gate(axis, thresholds=0.0, operation=Ablate(axis))),
    "a request is one row": np.array([1.0, 2.0]) * Plan.of(Ablate(axis)),
    "caps at strength 0.5": 0.5 * Plan.of(Floor(axis, thresholds=0.0)),
    "infinite end at layer 0": Plan.of(Floor(axis, thresholds=np.inf)),
    "other tokens of this prompt": Plan.of(Ablate(axis)) + Plan.of(Ablate(axis)).where("last"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_the_engine_cannot_do_is_refused_with_its_step(why: str, prompt: Transcript) -> None:
    harmless = Plan.of(Add(axis, lengths=1.0))
    plan = harmless + REFUSED[why]
    number = len(plan)
    with pytest.raises(InterventionError, match=rf"step {number}[^\n]*{re.escape(why)}"):
        to_interp_engine(plan, prompt)


def test_masks_of_several_rows_are_refused(prompt: Transcript) -> None:
    masks = [np.ones(len(prompt), dtype=bool)] * 2
    with pytest.raises(InterventionError, match=r"step 1.*masks for 2 rows"):
        to_interp_engine(Plan.of(Ablate(axis)).where(masks), prompt)
    one = Plan.of(Ablate(axis)).where([np.arange(len(prompt)) > 4])
    steering = to_interp_engine(one, prompt)
    assert steering.position_mask == [0, 1, 2, 3, 4]
    assert not steering.generated


def test_what_changes_nothing_is_no_operation(prompt: Transcript) -> None:
    plan = Plan.of(
        Add(axis, lengths=1.0, strength=0.0), Floor(axis, thresholds=[-np.inf, 1.0, -np.inf])
    )
    assert list(to_interp_engine(plan, prompt).spec.layers) == [1]


def test_a_prompt_that_ends_before_a_sink_is_refused() -> None:
    with pytest.raises(InterventionError, match="longer prompt"):
        to_interp_engine(Plan.of(Ablate(axis)), [1, 2], sinks=(0, 5))
    with pytest.raises(InterventionError, match="empty"):
        to_interp_engine(Plan.of(Ablate(axis)), [])
    with pytest.raises(InterventionError, match="transcripts"):
        to_interp_engine(Plan.of(Ablate(axis)).where("user"), [1, 2, 3])


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "interp_engine", None)
    with pytest.raises(InterventionError, match=r"persona-lens\[interp-engine\]"):
        to_interp_engine(Plan.of(Ablate(axis)), [1, 2, 3])
