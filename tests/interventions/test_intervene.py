"""`model.intervene`: acts on everything in the block, on nothing outside of it, and leaves the model as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_module, tiny_tokenizer

from persona_lens import PersonaModel, PersonaSpace, Sampling
from persona_lens.errors import InterventionError, ModelError
from persona_lens.interventions import Ablate, Add, Direction, Floor, Plan, Set
from persona_lens.transcripts import Transcript

GREEDY = Sampling(temperature=0, max_new_tokens=3)
RNG = np.random.default_rng(0)
ONE = Direction("one", (0, 1), RNG.normal(size=(2, 16)))
OTHER = Direction("other", (0, 1), RNG.normal(size=(2, 16)))
PUSH = Plan.of(Add(ONE, lengths=6.0))


@pytest.fixture(scope="module", params=["native", "bridge"])
def model(request: pytest.FixtureRequest) -> PersonaModel:
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    _ = model.sinks, model.bridge  # measured and built now, so that neither adds hooks later
    if request.param == "bridge":
        model.bridge.add_hook("blocks.2.hook_resid_post", lambda residual, hook: residual)
    return model


def prompts(model: PersonaModel) -> list[Transcript]:
    texts = ("Why is it so?", "Hi")
    return [model.encoder.prompt([{"role": "user", "content": text}]) for text in texts]


def said(model: PersonaModel) -> list[Transcript]:
    encode = model.encoder.encode
    return [
        encode([{"role": "user", "content": text}, {"role": "assistant", "content": "So."}])
        for text in ("Why is it so?", "Hi")
    ]


def replies(model: PersonaModel) -> list[list[int]]:
    return [reply.ids.tolist() for reply in model.generate(prompts(model), GREEDY)]


def everything(model: PersonaModel) -> list:
    """What `generate`, `chat`, `pooled` and `log_probs` give."""
    return [
        replies(model),
        model.chat("Hi", sampling=GREEDY),
        model.pooled(said(model)).tolist(),
        [p.tolist() for p in model.log_probs(prompts(model), [[7, 8], [9]])],
        [r.mean.tolist() for r in model.generate(prompts(model), GREEDY, layers=[1])],
    ]


def hooks_of(model: PersonaModel) -> list[tuple[int, int]]:
    """How many hooks of each sort every module there is carries, those of the bridge's included."""
    counted = []
    for whole in (model.held.backend.module, model.bridge, model.bridge.original_model):
        for part in whole.modules():
            lens = len(getattr(part, "fwd_hooks", []))
            counted.append((len(part._forward_hooks) + len(part._forward_pre_hooks), lens))
    return counted


def test_everything_in_the_block_and_nothing_after_it(model: PersonaModel) -> None:
    before, hooks = everything(model), hooks_of(model)
    with model.intervene(PUSH):
        during = everything(model)
        assert hooks_of(model) == hooks  # attached for the length of a batch only
    for there, here in zip(during, before, strict=True):
        assert there != here
    assert everything(model) == before
    assert hooks_of(model) == hooks


def test_generating_and_reading_agree_under_a_plan(model: PersonaModel) -> None:
    with model.intervene(PUSH.where("assistant") + Plan.of(Floor(OTHER, 2.0))):
        given = model.generate(prompts(model), GREEDY, layers=[0, 1, 2], log_probs=True)
        whole = [
            model.encoder.with_reply(prompt, reply.ids)
            for prompt, reply in zip(prompts(model), given, strict=True)
        ]
        read = model.pooled(whole)
        scored = model.log_probs(prompts(model), [reply.ids for reply in given])
    for reply, mean, log_probs in zip(given, read, scored, strict=True):
        np.testing.assert_allclose(reply.mean, mean, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(reply.log_probs, log_probs, rtol=1e-3, atol=1e-4)


def test_an_exception_in_the_block_ends_the_plan(model: PersonaModel) -> None:
    before, hooks = replies(model), hooks_of(model)
    with pytest.raises(ZeroDivisionError), model.intervene(PUSH):
        raise ZeroDivisionError
    assert replies(model) == before
    assert hooks_of(model) == hooks


def test_an_exception_while_generating_leaves_no_hook(model: PersonaModel) -> None:
    before, hooks = replies(model), hooks_of(model)

    def fail(_replies: int, _tokens: int) -> None:
        raise ZeroDivisionError

    with model.intervene(PUSH):
        during = replies(model)
        with pytest.raises(ZeroDivisionError):
            model.generate(prompts(model), GREEDY, on_batch=fail)
        assert hooks_of(model) == hooks
        for after in (1, 3):  # in the prompt, and at a later step
            failing = _failing(model, after)
            with pytest.raises(ZeroDivisionError):
                model.generate(prompts(model), GREEDY)
            failing()
            assert hooks_of(model) == hooks
        assert replies(model) == during
    assert replies(model) == before


def _failing(model: PersonaModel, after: int) -> Callable[[], None]:
    """Have the n-th pass fail in the middle of the model; returns what ends it."""
    passes = []

    def hook(*_: object) -> None:
        passes.append(1)
        if len(passes) == after:
            raise ZeroDivisionError

    block = model.held.backend.layers[2]  # pyright: ignore[reportAttributeAccessIssue]
    return block.register_forward_pre_hook(hook).remove


def test_a_mistake_in_the_plan_is_told_at_once(model: PersonaModel) -> None:
    far = Plan.of(Ablate(Direction("far", (7,), np.ones((1, 16)))))
    with pytest.raises(InterventionError, match="does not have"), model.intervene(far):
        pytest.fail("the block must not run")
    with model.intervene(PUSH * [1.0, 2.0, 3.0]):
        with pytest.raises(
            InterventionError, match=r"(?s)another number of rows.*3 prompts.*given 2"
        ):
            replies(model)
        with pytest.raises(InterventionError, match="another number of rows"):
            model.pooled(said(model))
        with pytest.raises(ModelError, match="does not wait"):
            model.generate(said(model))


def test_the_inner_plan_acts_on_what_the_outer_one_left(model: PersonaModel) -> None:
    # Along directions that are not orthogonal, at the same layers: the order shows.
    outer, inner = Plan.of(Set(ONE, targets=3.0)), Plan.of(Set(OTHER, targets=-3.0))
    with model.intervene(outer + inner) as both:
        expected = everything(model)
    with model.intervene(outer) as outer_receipt:
        alone = everything(model)
        with model.intervene(inner) as inner_receipt:
            assert everything(model) == expected
        counted = outer_receipt.frame()["seen"].sum()
        assert everything(model) == alone
        with model.intervene(inner), model.intervene(PUSH):
            assert everything(model) not in (expected, alone)
        assert everything(model) == alone
    with model.intervene(inner), model.intervene(outer):
        assert everything(model)[0:3] != expected[0:3]
    assert (
        counted == 2 * inner_receipt.frame()["seen"].sum()
    )  # it acted with and without the inner one
    np.testing.assert_allclose(
        inner_receipt.frame()["before"], both.frame().query("step == 2")["before"], rtol=1e-4
    )


def test_plans_of_one_thread_are_not_those_of_another(model: PersonaModel) -> None:
    plain = everything(model)
    with model.intervene(PUSH):
        pushed = everything(model)
    inside, done = threading.Event(), threading.Event()

    def with_plan() -> list:
        with model.intervene(PUSH) as receipt:
            inside.set()
            found = [everything(model) for _ in range(3)]
            done.wait(60)
        return [*found, receipt.frame()["seen"].sum()]

    def without_plan() -> list:
        inside.wait(60)
        found = [everything(model) for _ in range(3)]
        done.set()
        return found

    with ThreadPoolExecutor(3) as pool:
        first, second, third = (pool.submit(f) for f in (with_plan, without_plan, without_plan))
        *found, seen = first.result()
        assert found == [pushed] * 3
        assert second.result() == third.result() == [plain] * 3
    with model.intervene(PUSH) as receipt:
        everything(model)
    assert seen == 3 * receipt.frame()["seen"].sum()


def test_a_block_may_be_entered_again(model: PersonaModel) -> None:
    plan = PUSH * [1.0, -1.0]
    found = []
    for _ in range(2):
        with model.intervene(plan) as receipt:
            found.append((replies(model), str(receipt)))
    assert found[0] == found[1]


def test_a_gate_by_sequence_opens_afresh_for_every_batch_and_call(model: PersonaModel) -> None:
    from persona_lens.interventions import Gate

    ids = prompts(model)
    with torch.no_grad():
        plain = model.pooled(ids, [np.arange(len(p)) == 7 for p in ids], layers=[1])[:, 0]
    direction = Direction("first row", (1,), (plain[:1] - plain[1:]))
    middle = float(plain.mean(0) @ direction.units[0])
    gate = Gate(direction, middle, Add(ONE.at([1]), lengths=9.0), per="sequence")
    for batch_size in (1, 2):
        for _ in range(2):
            with model.intervene(
                Plan.of(gate).where([np.arange(len(p)) == 7 for p in ids])
            ) as receipt:
                model.generate(ids, GREEDY, batch_size=batch_size)
            row = receipt.frame().iloc[0]
            assert (row["seen"], row["changed"]) == (2, 1)


@pytest.mark.embedded
def test_a_floor_on_the_embedded_model_holds_wherever_it_is_looked_at(smol: PersonaModel) -> None:
    """Read back by a reading hook on the bridge, and told by the receipt."""
    direction = Direction("random", (12, 15), np.random.default_rng(0).normal(size=(2, 576)))
    plan = Plan.of(Floor(direction, thresholds=[2.0, 4.0]))
    ids = [smol.encoder.prompt(smol.encoder.messages("Who are you?", system="You are a ghost."))]
    with smol.intervene(plan) as receipt:
        smol.generate(ids, Sampling(temperature=0, max_new_tokens=4))
    frame = receipt.frame()
    assert (frame["lowest"] >= np.array([2.0, 4.0]) - 1e-3).all()
    assert (frame["changed"] > 0).all()
    seen: list[torch.Tensor] = []

    def read(residual: torch.Tensor, hook: object) -> torch.Tensor:
        seen.append(residual.detach()[0])
        return residual

    smol.bridge.run_with_hooks(
        torch.from_numpy(ids[0].ids)[None],
        fwd_hooks=[*plan.hooks(transcripts=ids), ("blocks.15.hook_resid_post", read)],
    )
    projections = seen[0].double() @ torch.from_numpy(direction.units[1])
    assert (projections[1:] >= 4.0 - 1e-3).all()  # the first token is a sink


def test_what_is_recorded_as_the_models_own_is_not_made_under_a_plan(
    model: PersonaModel, tmp_path: Path
) -> None:
    with (
        model.intervene(Plan(())),
        pytest.raises(InterventionError, match="while a plan acts"),
    ):
        PersonaSpace.collect(model, run=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
