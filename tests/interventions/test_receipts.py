"""Receipts: counts and changes against a brute-force account, and what they cost."""

from __future__ import annotations

import gc
import weakref
from functools import cache

import numpy as np
import pytest
import torch
from brute_force import Spec, plan_of, run_alone
from tiny import shared_module, tiny_module, tiny_tokenizer

from persona_lens import PersonaModel, Sampling
from persona_lens.errors import InterventionError, NotFiniteWarning
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
    Receipt,
    Rotate,
)
from persona_lens.interventions.operations.layer_pass import Move
from persona_lens.interventions.pages import Changes
from persona_lens.interventions.receipt import _FOLD_AFTER
from persona_lens.interventions.running import PlanRun
from persona_lens.interventions.touched import Note

STEPS = 6
GREEDY = Sampling(temperature=0, max_new_tokens=STEPS)
TEXTS = ("Why is it so?", "Hi", "Tell me of the sea, please.")
ENDS = (255, 35)  # tokens that two of the replies come to


@cache
def model() -> PersonaModel:
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    model.__dict__["end_ids"] = ENDS
    return model


def asked(*texts: str) -> list:
    encoder = model().encoder
    return [encoder.prompt([{"role": "user", "content": text}]) for text in texts]


def prompts() -> list:
    return asked(*TEXTS)


def vectors(seed: int, *layers: int) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {layer: rng.normal(size=16) for layer in layers}


SPECS = (
    Spec("floor", vectors(1, 0, 2), 1.0),
    Spec("rotate", vectors(2, 1), 0.3).on("generated"),
    Spec("set", vectors(3, 1), 2.0, gate=(vectors(4, 1), 0.5, "above", "token")).on("user"),
    Spec("ceil", vectors(5, 2), 1e6).on("last"),
)


@cache
def alone() -> list:
    """Each row alone; what is fed and counted is the prompt and the reply without its last token."""
    return [
        run_alone(shared_module("llama"), prompt, SPECS, steps=STEPS, end_ids=ENDS)
        for prompt in prompts()
    ]


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_counts_and_changes_are_those_of_a_brute_force_account(batch_size: int) -> None:
    rows = alone()
    assert [len(row.ids) for row in rows] == [STEPS, 1, 3]
    with model().intervene(plan_of(SPECS)) as receipt:
        replies = model().generate(prompts(), GREEDY, batch_size=batch_size)
    assert [reply.ids.tolist() for reply in replies] == [row.ids for row in rows]
    frame = receipt.frame().set_index(["step", "layer"])
    assert len(frame) == sum(len(spec.vectors) for spec in SPECS)
    for (number, layer), found in frame.iterrows():  # pyright: ignore[reportGeneralTypeIssues]
        before, after, change = torch.cat(
            [row.projections[number - 1, layer] for row in rows], dim=1
        ).numpy()
        moved = change > 0
        assert found["seen"] == len(change)
        assert found["changed"] == moved.sum()
        assert found["share"] == pytest.approx(moved.mean())
        assert found["before"] == pytest.approx(before.mean(), abs=1e-4)
        assert found["after"] == pytest.approx(after.mean(), abs=1e-4)
        assert found["lowest"] == pytest.approx(after.min(), abs=1e-4)
        assert found["highest"] == pytest.approx(after.max(), abs=1e-4)
        if moved.any():
            assert found["mean_change"] == pytest.approx(change[moved].mean(), abs=1e-4)
            assert found["max_change"] == pytest.approx(change.max(), abs=1e-4)
    assert 0 < frame.loc[(1, 0), "changed"] < frame.loc[(1, 0), "seen"]
    assert 0 < frame.loc[(3, 1), "changed"] < frame.loc[(3, 1), "seen"]


def test_a_cap_that_never_engages_says_so() -> None:
    with model().intervene(plan_of(SPECS)) as receipt:
        model().generate(prompts(), GREEDY)
    lines = str(receipt).splitlines()
    assert len(lines) == 2 * len(SPECS)
    assert lines[-2].startswith("4. ceil 'd'; at layers 2; tokens last")
    seen = int(receipt.frame().iloc[-1]["seen"])
    assert lines[-1].strip() == f"never engaged: none of {seen} tokens was changed"
    assert "changed 100% of" in lines[3]
    assert "of the residual norm on average" in lines[1]


def test_a_cap_idle_at_some_layers_names_them() -> None:
    plan = Plan.of(Floor(Direction("d", (0, 1, 2), np.ones((3, 16))), [-1e6, 1e3, -1e6]))
    with model().intervene(plan) as receipt:
        model().generate(prompts(), GREEDY)
    assert str(receipt).endswith("never engaged at layers 0, 2")


def test_nothing_chosen_and_nothing_run_are_told_apart() -> None:
    plan = Plan.of(Floor(Direction("d", (0,), np.ones((1, 16))), 0.0)).where("system")
    with model().intervene(plan) as receipt:
        assert str(receipt).endswith("nothing ran under it yet")
        model().generate(prompts()[:1], GREEDY)
        assert str(receipt).endswith("no token was chosen")
    row = receipt.frame().iloc[0]
    assert (row["seen"], row["changed"]) == (0, 0)
    assert row[["share", "before", "after", "lowest", "highest"]].isna().all()


def test_reading_midway_changes_nothing() -> None:
    def gather(often: bool) -> Receipt:
        with model().intervene(plan_of(SPECS), detail=True) as receipt:

            def look(_replies: int, _tokens: int) -> None:
                if often:
                    str(receipt), receipt.frame(), receipt.tokens(), receipt._repr_html_()

            for _ in range(2):
                model().generate(prompts(), GREEDY, batch_size=2, on_batch=look)
                look(0, 0)
        return receipt

    often, once = gather(True), gather(False)
    assert often.frame().drop(columns="before").notna().all().all()
    # Sums are in float32 until they are read.
    np.testing.assert_allclose(
        often.frame().select_dtypes("number"), once.frame().select_dtypes("number"), rtol=1e-5
    )
    assert len(often.tokens()) == len(once.tokens()) == 6
    assert str(often) == str(once)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_tokens_with_their_changes_row_by_row(batch_size: int) -> None:
    rows = alone()
    with model().intervene(plan_of(SPECS), detail=True) as receipt:
        model().generate(prompts(), GREEDY, batch_size=batch_size)
        model().generate(prompts()[:1], GREEDY)
    touched = receipt.tokens()
    assert [tokens.row for tokens in touched] == [0, 1, 2, 0]
    for tokens, prompt, row in zip(touched, prompts(), rows, strict=False):
        fed = row.ids if len(row.ids) < STEPS else row.ids[:-1]
        assert tokens.ids.tolist() == [*prompt.ids.tolist(), *fed]
        assert tokens.change.shape == (len(receipt.places), len(tokens.ids))
        for place, changes in zip(receipt.places, tokens.change, strict=True):
            chosen = ~np.isnan(changes)
            expected = row.projections[place][2].numpy()
            np.testing.assert_allclose(changes[chosen], expected, atol=1e-4)
        assert np.isnan(tokens.change[:, 0]).all()  # the sink
    np.testing.assert_array_equal(touched[0].ids, touched[3].ids)


def test_tokens_of_finished_conversations() -> None:
    said = [
        model().encoder.encode(
            [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
        )
        for text in TEXTS
    ]
    plan = plan_of([Spec("add", vectors(1, 0, 1), 2.0).on("assistant")])
    with model().intervene(plan, detail=True) as receipt:
        model().pooled(said, token_budget=60)
    touched = receipt.tokens()
    assert [tokens.row for tokens in touched] == [0, 1, 2]
    for tokens, transcript in zip(touched, said, strict=True):
        assert tokens.ids.tolist() == transcript.ids.tolist()
        for changes in tokens.change:
            np.testing.assert_array_equal(~np.isnan(changes), transcript.mask("assistant"))


def test_without_detail_there_are_no_tokens() -> None:
    with model().intervene(plan_of(SPECS)) as receipt:
        model().generate(prompts(), GREEDY)
    assert receipt.tokens() == []


def test_a_batch_that_failed_leaves_no_tokens_behind() -> None:
    with model().intervene(plan_of(SPECS), detail=True) as receipt:
        module = model().held.backend.module
        broken = module.get_output_embeddings().register_forward_hook(_fail_at_the_third_step())
        with pytest.raises(ZeroDivisionError):
            model().generate(prompts(), GREEDY)
        broken.remove()
        assert receipt.tokens() == []
        model().generate(prompts()[:1], GREEDY)
    assert [tokens.row for tokens in receipt.tokens()] == [0]


def _fail_at_the_third_step():
    calls = []

    def hook(*_: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise ZeroDivisionError

    return hook


PUSH = plan_of([Spec("add", vectors(0, 0, 1), 2.0)])


def test_calls_are_told_apart_whatever_rows_their_first_batches_have() -> None:
    short = Sampling(temperature=0, max_new_tokens=2)
    with model().intervene(PUSH, detail=True) as receipt:
        model().generate(asked("One."), short)
        # The longest row runs first, and this call has rows the first had not.
        model().generate(asked("a", "as it is", "as long as it is"), short, batch_size=1)
    assert [touched.row for touched in receipt.tokens()] == [0, 0, 1, 2]
    lengths = [len(touched.ids) for touched in receipt.tokens()]
    assert lengths[1] < lengths[0] < lengths[2] < lengths[3]


def test_a_receipt_that_is_kept_does_not_keep_the_model() -> None:
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    with model.intervene(PUSH, detail=True) as receipt:
        model.chat("Hi", sampling=Sampling(max_new_tokens=2))
    held = weakref.ref(model)
    del model
    assert held() is None
    assert len(receipt.tokens()) == 1


# What receipts cost ------------------------------------------------------------------------------


def note(value: float, rows: int, columns: int) -> Note:
    values = torch.full((rows, columns), value)
    return Note(values, torch.ones_like(values), Move(values), None, None, 0)


def test_what_is_held_does_not_grow_with_the_passes() -> None:
    receipt = Receipt(plan_of([Spec("add", vectors(1, 0), 1.0)]))
    place = (0, 0)
    for index in range(_FOLD_AFTER * (_FOLD_AFTER + 3) + 10):
        receipt.note(0, 0, note(float(index % 7), 1, 1))
        assert len(receipt._notes[place]) <= _FOLD_AFTER
        assert len(receipt._folded.get(place, [])) <= _FOLD_AFTER
    assert receipt.frame().iloc[0]["seen"] == _FOLD_AFTER * (_FOLD_AFTER + 3) + 10
    assert receipt.frame().iloc[0]["max_change"] == 6.0


def test_small_passes_are_copied_and_their_tensors_let_go() -> None:
    receipt = Receipt(plan_of([Spec("floor", vectors(1, 0, 2), 1.0)]))
    given = [note(float(index), 2, 1) for index in range(50)]
    held = [weakref.ref(each.before) for each in given]
    for each in given:
        receipt.note(0, 0, each)
    del given, each
    assert [ref() for ref in held] == [None] * 50
    row = receipt.frame().iloc[0]
    assert (row["seen"], row["max_change"]) == (100, 49.0)


def test_what_was_noted_in_inference_mode_is_added_to_outside_of_it() -> None:
    receipt = Receipt(plan_of([Spec("floor", vectors(1, 0, 2), 1.0)]))
    with torch.inference_mode():
        receipt.note(0, 0, note(1.0, 2, 1))
    receipt.note(0, 0, note(2.0, 2, 1))
    with torch.inference_mode():
        receipt.note(0, 0, note(3.0, 2, 1))
    assert receipt.frame().iloc[0]["seen"] == 6
    changes = Changes(1)
    with torch.inference_mode():
        changes.write(0, note(1.0, 2, 3))
    changes.write(0, note(2.0, 2, 1)._replace(start=3))
    assert changes.until(4)[0].tolist() == [[1.0, 1.0, 1.0, 2.0]] * 2


def test_a_run_that_is_over_holds_nothing() -> None:
    held = model()
    with held.intervene(PUSH, detail=True) as receipt:
        gc.collect()
        gc.disable()
        try:
            for _ in range(2):
                held.chat("Hi", sampling=Sampling(max_new_tokens=2))
            left = sum(isinstance(each, PlanRun) for each in gc.get_objects())
        finally:
            gc.enable()
    assert left == 0
    assert len(receipt.tokens()) == 2


def test_a_long_prompt_is_not_held_at_all() -> None:
    receipt = Receipt(plan_of([Spec("add", vectors(1, 0), 1.0)]))
    receipt.note(0, 0, note(1.0, 16, 1024))
    assert receipt._notes[0, 0] == []
    receipt.note(0, 0, note(3.0, 2, 5))
    row = receipt.frame().iloc[0]
    assert (row["seen"], row["max_change"]) == (16 * 1024 + 10, 3.0)


def test_counts_are_exact_beyond_what_float32_counts() -> None:
    receipt = Receipt(plan_of([Spec("add", vectors(1, 0), 1.0)]))
    for _ in range(5):
        receipt.note(0, 0, note(1.0, 1, 2**22 + 1))
    assert receipt.frame().iloc[0]["seen"] == 5 * (2**22 + 1)


def test_hooks_without_a_receipt_hold_nothing() -> None:
    plan = plan_of([Spec("floor", vectors(1, 0, 2), 1.0)])
    bridge, hooks = model().bridge, plan.hooks()
    ids = torch.from_numpy(prompts()[0].ids)[None]

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(held), torch.Tensor) for held in gc.get_objects())

    gc.freeze()  # what is there already need not be looked through
    with torch.no_grad():
        bridge.run_with_hooks(ids, fwd_hooks=hooks)
        before = tensors()
        for _ in range(10):
            bridge.run_with_hooks(ids, fwd_hooks=hooks)
        assert tensors() == before
    gc.unfreeze()


def test_hooks_with_a_receipt() -> None:
    plan = plan_of([Spec("floor", vectors(1, 0, 2), 1.0)])
    receipt = Receipt(plan)
    ids = torch.from_numpy(prompts()[0].ids)[None]
    for _ in range(2):  # with gradients, of which the receipt keeps none alive
        model().bridge.run_with_hooks(ids, fwd_hooks=plan.hooks(receipt=receipt))
    assert receipt.frame()["seen"].tolist() == [2 * (ids.shape[1] - 1)] * 2
    assert not any(held.change.requires_grad for notes in receipt._notes.values() for held in notes)


def test_hooks_refuse_receipts_they_cannot_write() -> None:
    plan = plan_of([Spec("floor", vectors(1, 0, 2), 1.0)])
    with pytest.raises(InterventionError, match="belongs to another plan"):
        plan.where("user").hooks(receipt=Receipt(plan))
    with pytest.raises(InterventionError, match=r"(?s)ids of the tokens.*model\.intervene"):
        plan.hooks(receipt=Receipt(plan, detail=True))


# --- numbers that are none ------------------------------------------------------------------------


@cache
def half_model() -> PersonaModel:
    return PersonaModel.load(tiny_module("llama").half(), tokenizer=tiny_tokenizer())


TOWARDS = Direction("light", (0, 1, 2), np.random.default_rng(1).normal(size=(3, 16)))
FAR = Add(TOWARDS.at([1]), lengths=5e5)  # float16 ends at 65,504


def read_under(held: PersonaModel, plan: Plan, **options) -> Receipt:
    said = held.encoder.encode(
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well."}]
    )
    with (
        held.intervene(plan, **options) as receipt,
        pytest.warns(NotFiniteWarning, match="at layer 1 on, in float16"),
    ):
        held.pooled([said])
    return receipt


@pytest.mark.parametrize(
    "later",
    [
        Floor(TOWARDS.at([2]), thresholds=10.0),
        Ceil(TOWARDS.at([2]), thresholds=-10.0),
        Band(TOWARDS.at([2]), low=-1.0, high=1.0),
        Ablate(TOWARDS.at([2])),
        Rotate(TOWARDS.at([2]), radians=0.3),
        Gate(TOWARDS.at([2]), thresholds=0.0, operation=Ablate(TOWARDS.at([2]))),
    ],
    ids=lambda operation: operation.name,
)
def test_an_overflow_is_no_idle_cap(later: Operation) -> None:
    receipt = read_under(half_model(), Plan.of(FAR, later))
    frame = receipt.frame().set_index("step")
    assert frame["not_finite"].tolist() == frame["seen"].tolist()
    assert frame["changed"].tolist() == [0, 0]
    assert frame[["share", "before", "after", "lowest", "highest"]].isna().all(axis=None)
    first, second = str(receipt).splitlines()[1::2]
    seen = frame.loc[1, "seen"]
    assert first.strip() == (
        f"not finite (infinite or no number) at layer 1: {seen} of {seen} tokens"
    )
    assert "at layer 2" in second
    assert "never engaged" not in str(receipt)


def test_what_is_sound_before_an_overflow_is_counted_as_ever() -> None:
    floor = Floor(TOWARDS, thresholds=1.0)
    receipt = read_under(half_model(), Plan.of(FAR, floor))
    frame = receipt.frame().set_index(["step", "layer"])
    alone = receipt_of(half_model(), Plan.of(floor.at([0]))).frame().set_index(["step", "layer"])
    for column in ("seen", "not_finite", "changed", "mean_change", "before", "after"):
        assert frame.loc[(2, 0), column] == pytest.approx(alone.loc[(1, 0), column])
    assert frame["not_finite"].tolist() == [frame["seen"].iloc[0]] + [0] + 2 * [
        frame["seen"].iloc[0]
    ]
    said = receipt.sentence(2, receipt.frame())
    assert said.startswith("not finite (infinite or no number) at layer 1 on: ")
    assert "; changed " in said


def receipt_of(held: PersonaModel, plan: Plan) -> Receipt:
    said = held.encoder.encode(
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well."}]
    )
    with held.intervene(plan) as receipt:
        held.pooled([said])
    return receipt


def test_one_broken_weight_is_told_with_its_layer() -> None:
    module = tiny_module("llama")
    with torch.no_grad():
        module.get_decoder().layers[1].mlp.down_proj.weight[3, 4] = torch.nan
    held = PersonaModel.load(module, tokenizer=tiny_tokenizer())
    with pytest.warns(NotFiniteWarning, match="at layer 1 on, in float32"):
        receipt = receipt_of(held, Plan.of(Ablate(TOWARDS)))
    assert receipt.frame()["not_finite"].tolist() == [0, *2 * [receipt.frame()["seen"].iloc[0]]]


def test_a_receipt_with_detail_shows_which_tokens_are_no_numbers() -> None:
    receipt = read_under(half_model(), Plan.of(FAR).where("assistant"), detail=True)
    change = receipt.tokens()[0].change[0]
    assert np.isposinf(change[~np.isnan(change)]).all()
    page = receipt._repr_html_()
    assert page.count('class="pl-broken"') > 1
    assert "add light: not finite" in page
    assert "no token was changed" not in page
