"""Plans: sums, factors, layers, tokens, text, checks, and the way to disk and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from persona_lens.errors import InterventionError
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
    Where,
)
from persona_lens.interventions.running import PlanRun
from persona_lens.interventions.tokens import BatchTokens

RNG = np.random.default_rng(0)
GHOST = Direction("ghost", (1, 2, 4), RNG.normal(size=(3, 8)))
SAGE = Direction("sage", (1, 2, 4), RNG.normal(size=(3, 8)))

EVERY = (
    Add(GHOST, lengths=[1.0, 2.0, 3.0], unit="fraction of the norm", strength=0.5),
    Ablate(GHOST),
    Set(GHOST, targets=2.0),
    Floor(GHOST, thresholds=[0.0, 1.0, -np.inf]),
    Ceil(GHOST, thresholds=1.5, strength=(0.5, 1.0)),
    Band(GHOST, low=-1.0, high=[1.0, 2.0, 3.0]),
    Rotate(GHOST, radians=0.3, strength=-1.0),
    Gate(SAGE, thresholds=[0.1, 0.2, 0.3], operation=Floor(GHOST, thresholds=2.0)),
    Gate(
        *(SAGE, 0.5, Add(GHOST, lengths=1.0, strength=(1.0, -1.0))),
        side="below",
        per="sequence",
        strength=0.5,
    ),
)


def acts_alike(first: Plan, second: Plan, *, rows: int = 2) -> bool:
    """Whether two plans do the same to the same residuals at every layer."""
    h = torch.randn(rows, 5, 8, generator=torch.Generator().manual_seed(1))
    tokens = BatchTokens.of_mask(np.ones((rows, 5), dtype=bool))
    if first.layers != second.layers:
        return False
    taps = [PlanRun(plan, tokens).taps() for plan in (first, second)]
    return all(torch.equal(taps[0][layer](h), taps[1][layer](h)) for layer in first.layers)


def test_a_sum_runs_its_parts_in_order() -> None:
    set_, ablate = Plan.of(Set(GHOST, targets=2.0)), Plan.of(Ablate(GHOST))
    assert [step.operation.name for step in (set_ + ablate).steps] == ["set", "ablate"]
    assert not acts_alike(set_ + ablate, ablate + set_)
    assert acts_alike(set_ + ablate, Plan.of(Set(GHOST, targets=2.0), Ablate(GHOST)))
    assert acts_alike((set_ + ablate) + set_, set_ + (ablate + set_))
    with pytest.raises(InterventionError):
        set_ + 1  # pyright: ignore[reportUnusedExpression]


def test_factors_scale_strengths() -> None:
    plan = Plan.of(Add(GHOST, lengths=2.0))
    assert acts_alike(0.5 * plan, plan * 0.5)
    assert acts_alike(np.float64(0.5) * plan, Plan.of(Add(GHOST, lengths=1.0)))
    assert acts_alike(-plan, Plan.of(Add(GHOST, lengths=-2.0)))
    assert acts_alike(2 * (0.5 * plan), plan)
    assert plan.steps[0].operation.strength == 1.0  # the plan itself is as it was


@pytest.mark.parametrize("factors", [[1.0, -2.0], (1.0, -2.0), np.array([1.0, -2.0])])
def test_a_factor_for_each_row(factors: Any) -> None:
    plan = Plan.of(Ablate(GHOST), Floor(SAGE, thresholds=1.0))
    for scaled in (plan * factors, factors * plan):
        assert isinstance(scaled, Plan)
        assert scaled.rows == 2
        assert [step.operation.strength for step in scaled.steps] == [(1.0, -2.0)] * 2
    assert plan.rows is None
    assert (2.0 * (plan * factors)).steps[0].operation.strength == (2.0, -4.0)


def test_layers_are_chosen_with_what_belongs_to_them() -> None:
    floor = Floor(GHOST, thresholds=[1.0, 2.0, 3.0])
    gate = Gate(SAGE, thresholds=[1.0, 2.0, 3.0], operation=floor)
    plan = Plan.of(floor, gate)
    assert plan.layers == (1, 2, 4)
    for chosen in (4, np.int64(4), [4], range(4, 5), np.array([4])):
        one = plan.at(layers=chosen)
        assert one.layers == (4,)
        first, second = (step.operation for step in one.steps)
        assert isinstance(first, Floor)
        assert isinstance(second, Gate)
        assert isinstance(second.operation, Floor)
        assert first.thresholds == second.thresholds == second.operation.thresholds == [3.0]
        np.testing.assert_array_equal(first.direction.values, GHOST.values[2:])
    with pytest.raises(InterventionError, match=r"(?s)'ghost' is not known.*1-2, 4, given 3"):
        plan.at(3)


def test_a_gate_takes_of_its_operation_what_it_needs() -> None:
    gate = Gate(SAGE.at([4]), 0.0, Floor(GHOST, thresholds=[1.0, 2.0, 3.0]))
    assert gate.layers == gate.operation.layers == (4,)


def test_tokens_are_chosen_for_every_step() -> None:
    plan = Plan.of(Ablate(GHOST)).where("user") + Plan.of(Ablate(SAGE))
    assert [str(step.where) for step in plan.steps] == ["user", "all"]
    assert [str(step.where) for step in plan.where("generated").steps] == ["generated"] * 2
    assert str(Where.of("user", turn=-1, sinks=True)) == "user, turn -1, sinks too"
    assert Where.of(["user", "system"]).names == Where.of("user", "system").names
    assert Where.of().names == ("all",)


def test_masks_come_in_many_forms() -> None:
    rows = [[True, False], [False, True, True]]
    forms: list[Any] = [rows, [np.array(row) for row in rows], [torch.tensor(row) for row in rows]]
    for form in forms:
        masks = Where.of(form).masks
        assert masks is not None
        assert [mask.tolist() for mask in masks] == rows
    for single in (rows[0], np.array(rows[0]), torch.tensor(rows[0]), torch.tensor([rows[0]])):
        masks = Where.of(single).masks
        assert masks is not None
        assert [mask.tolist() for mask in masks] == rows[:1]
    assert Plan.of(Ablate(GHOST)).where(rows).rows == 2


def test_a_plan_says_what_it_does() -> None:
    plan = (
        Plan.of(Floor(GHOST, thresholds=[1.0, 1.5, 2.0])).where("generated")
        + 0.5 * Plan.of(Add(SAGE, lengths=4.0, unit="fraction of the norm")).at([1, 2])
        + Plan.of(EVERY[-1]).where("user", turn=0)
        + Plan.of(Rotate(GHOST, radians=np.pi / 6), Band(GHOST, low=-1, high=1)) * [1.0, 2.0]
    )
    assert repr(plan).splitlines() == [
        "Plan of 5 steps",
        "  1. floor 'ghost'; at layers 1-2, 4; tokens generated; at 1 to 2",
        "  2. add 'sage'; at layers 1-2; tokens all; unit fraction of the norm; strength 0.5",
        "  3. gate 'sage'; at layers 1-2, 4; tokens user, turn 0; < 0.5 per sequence: add 'ghost' unit raw, "
        "strengths 1, -1 by row; strength 0.5",
        "  4. rotate 'ghost'; at layers 1-2, 4; tokens all; by 30 degrees; strengths 1, 2 by row",
        "  5. band 'ghost'; at layers 1-2, 4; tokens all; from -1 to 1; strengths 1, 2 by row",
    ]


def test_a_gated_plan_says_how_strong_it_is() -> None:
    gated = Gate(
        GHOST.at([1]), np.array([1.0]), Add(GHOST.at([1]), lengths=np.array([2.0]), strength=0.25)
    )
    assert "strength 0.25" in repr(Plan.of(gated))
    by_row = Gate(
        GHOST.at([1]),
        np.array([1.0]),
        Add(GHOST.at([1]), lengths=np.array([2.0]), strength=(0.0, 1.0)),
    )
    assert "unit raw, strengths 0, 1 by row" in repr(Plan.of(by_row))


def test_a_plan_stays_as_it_was_made_whatever_becomes_of_the_arrays_given() -> None:
    values, thresholds = np.ones((1, 4), dtype=np.float32), np.array([1.0])
    floor = Floor(Direction("d", (0,), values), thresholds=thresholds)
    values[:], thresholds[:] = 0.0, 9.0
    np.testing.assert_array_equal(floor.direction.values, np.ones((1, 4)))
    assert floor.thresholds.tolist() == [1.0]


def test_a_model_that_does_not_fit_is_refused() -> None:
    plan = Plan.of(Ablate(GHOST))
    plan.check(n_layers=5, d_model=8)
    with pytest.raises(InterventionError, match=r"(?s)does not have.*0 to 3, given 4.*plan\.at"):
        plan.check(n_layers=4, d_model=8)
    with pytest.raises(InterventionError, match=r"(?s)another width.*d_model 16, given 8"):
        plan.check(n_layers=5, d_model=16)


def test_steps_for_different_numbers_of_rows_are_refused() -> None:
    plan = Plan.of(Ablate(GHOST)) * [1.0, 2.0] + Plan.of(Ablate(SAGE)) * [1.0, 2.0, 3.0]
    with pytest.raises(InterventionError, match=r"(?s)different numbers of rows.*2, 3"):
        plan.check(n_layers=5, d_model=8)
    guarded = Plan.of(EVERY[-1]) + Plan.of(Ablate(SAGE, strength=(1.0, 2.0, 3.0)))
    with pytest.raises(InterventionError, match="different numbers of rows"):
        guarded.check(n_layers=5, d_model=8)


@pytest.mark.parametrize(
    ("choice", "options", "message"),
    [
        (("users",), {}, r"(?s)no such choice.*prompt, generated.*given 'users'"),
        (("system",), {"turn": 0}, r"(?s)only some tokens have turns.*leave the turn out"),
        ((), {"turn": 0}, "only some tokens have turns"),
        ((np.array([0.5, 1.0]),), {}, r"(?s)one boolean a token.*given float64\[2\]"),
        ((np.array([True]), np.array([True])), {}, "by names or by masks"),
        ((np.array([True]),), {"turn": 1}, "by names or by masks"),
        (("user", np.array([True])), {}, "by names or by masks"),
    ],
)
def test_choices_of_tokens_are_checked(choice: tuple, options: dict, message: str) -> None:
    with pytest.raises(InterventionError, match=message):
        Plan.of(Ablate(GHOST)).where(*choice, **options)


# Saved and loaded --------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", EVERY, ids=lambda operation: operation.name)
def test_every_operation_comes_back_from_disk(operation: Operation, tmp_path: Path) -> None:
    plan = Plan.of(operation)
    back = Plan.load(plan.save(tmp_path / "plans" / "one"))
    assert repr(back) == repr(plan)
    assert acts_alike(back, plan)
    assert back.rows == plan.rows


def test_a_whole_plan_comes_back_with_its_choices_of_tokens(tmp_path: Path) -> None:
    rows = [np.array([True, False]), np.array([False, True, True])]
    plan = (
        Plan.of(*EVERY).where("user", turn=-1, sinks=True)
        + Plan.of(Ablate(SAGE)).where("system", "last")
        + Plan.of(Ablate(SAGE)).where(rows)
    )
    back = Plan.load(plan.save(tmp_path))
    assert repr(back) == repr(plan)
    masks = back.steps[-1].where.masks
    assert masks is not None
    assert [mask.tolist() for mask in masks] == [row.tolist() for row in rows]
    assert all(mask.dtype == bool for mask in masks)
    np.testing.assert_array_equal(back.steps[0].operation.direction.values, GHOST.values)
    assert {path.name for path in tmp_path.iterdir()} == {"plan.json", "plan.safetensors"}


def test_saving_again_replaces_the_plan(tmp_path: Path) -> None:
    Plan.of(*EVERY).save(tmp_path)
    Plan.of(Ablate(SAGE)).save(tmp_path)
    assert repr(Plan.load(tmp_path)) == repr(Plan.of(Ablate(SAGE)))


def test_an_empty_plan_is_a_plan(tmp_path: Path) -> None:
    back = Plan.load(Plan(()).save(tmp_path))
    assert (len(back), back.layers, back.rows, repr(back)) == (0, (), None, "Plan of 0 steps")


def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    with pytest.raises(InterventionError, match="no plan in"):
        Plan.load(tmp_path / "nowhere")
    folder = Plan.of(Ablate(GHOST)).save(tmp_path / "plan")
    card = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({**card, "format": 99}))
    with pytest.raises(InterventionError, match=r"(?s)newer Persona Lens.*given 99.*upgrade"):
        Plan.load(folder)
    card["steps"][0]["operation"]["kind"] = "explode"
    (folder / "plan.json").write_text(json.dumps(card))
    with pytest.raises(InterventionError, match=r"(?s)unknown operation.*add, ablate.*explode"):
        Plan.load(folder)
    (folder / "plan.json").write_text("{")
    with pytest.raises(InterventionError, match=r"(?s)damaged.*save it again"):
        Plan.load(folder)
    (folder / "plan.json").write_text("{}")
    with pytest.raises(InterventionError, match="damaged"):
        Plan.load(folder)
    Plan.of(Ablate(GHOST)).save(folder)
    (folder / "plan.safetensors").write_bytes(b"junk")
    with pytest.raises(InterventionError, match="damaged"):
        Plan.load(folder)


def test_vectors_and_numbers_of_every_kind_people_hold() -> None:
    rows = [[0.5, -1.0, 2.0], [3.0, 4.0, -5.0]]
    half = torch.tensor(rows, dtype=torch.bfloat16)
    forms = [half, half.requires_grad_(), list(half), {4: half[1], np.int64(3): rows[0]}]
    for values in forms:
        direction = Direction("a", np.arange(3, 5), values)  # pyright: ignore[reportArgumentType]
        assert direction.layers == (3, 4)
        assert direction.values.dtype == np.float32
        np.testing.assert_array_equal(direction.values, rows)
    numbers = [{4: 2.0, 3: torch.tensor(1.5).bfloat16()}, torch.tensor([1.5, 2.0]).bfloat16()]
    for thresholds in numbers:
        assert Floor(direction, thresholds=thresholds).thresholds.tolist() == [1.5, 2.0]  # pyright: ignore[reportArgumentType]
    strengths = torch.tensor([0.5, 1.0], dtype=torch.bfloat16, requires_grad=True)
    plan = strengths * Plan.of(Add(direction, lengths=np.float32(2.0)))  # pyright: ignore[reportOperatorIssue, reportArgumentType]
    assert plan.steps[0].operation.strength == (0.5, 1.0)
    single = Ablate(direction, strength=np.float32(0.5))
    assert type(single.strength) is float


def test_vectors_and_numbers_that_are_none() -> None:
    for values in (torch.ones(1, 3, device="meta"), torch.ones(1, 3, dtype=torch.cfloat), "abc"):
        with pytest.raises(InterventionError, match="the vectors of 'a' are no array of numbers"):
            Direction("a", (0,), values)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InterventionError, match=r"(?s)not given at every layer.*none at 1"):
        Direction("a", (0, 1), {0: np.ones(3)})  # pyright: ignore[reportArgumentType]
    direction = Direction("a", (0, 1), np.ones((2, 3)))
    for thresholds in ({0: 1.0}, "high", torch.ones(2, dtype=torch.bool)):
        with pytest.raises(InterventionError, match="thresholds of floor is not a number"):
            Floor(direction, thresholds=thresholds)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InterventionError, match="no usable strength"):
        Ablate(direction, strength={0: 1.0})  # pyright: ignore[reportArgumentType]


def test_numpy_in_a_plan_is_saved(tmp_path: Path) -> None:
    direction = Direction("a", np.arange(2), torch.ones(2, 3).bfloat16())  # pyright: ignore[reportArgumentType]
    plan = Plan.of(Add(direction, lengths=2.0, strength=np.float32(0.5)))  # pyright: ignore[reportArgumentType]
    plan = plan.where("user", turn=np.int64(1), sinks=np.bool_(True))  # pyright: ignore[reportArgumentType]
    assert repr(Plan.load(plan.save(tmp_path))) == repr(plan)
