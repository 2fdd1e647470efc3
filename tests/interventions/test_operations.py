"""What each operation does to residuals: properties that hold for any of them, in every dtype."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

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
)
from persona_lens.interventions.running import PlanRun
from persona_lens.interventions.tokens import BatchTokens

settings.register_profile("interventions", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("interventions")

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
D_MODEL = 12


def run(
    plan: Plan | Operation, residual: Tensor, *, present: np.ndarray | None = None
) -> tuple[Tensor, PlanRun]:
    """What the plan makes of a block of residuals at layer 0; sinks are touched too."""
    plan = plan if isinstance(plan, Plan) else Plan.of(plan)
    present = np.ones(residual.shape[:2], dtype=bool) if present is None else present
    work = PlanRun(plan, BatchTokens.of_mask(present, sinks=()))
    return work.taps()[0](residual), work


def changed(plan: Plan | Operation, residual: Tensor) -> Tensor:
    return run(plan, residual)[0]


@st.composite
def residuals(draw: st.DrawFn) -> Tensor:
    """`[2, 3, d_model]` of any size that half precision holds, some tokens much larger than others."""
    seed = draw(st.integers(0, 2**32 - 1))
    dtype = draw(st.sampled_from(DTYPES))
    size = draw(st.sampled_from([1e-2, 1.0, 30.0, 500.0]))
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, 3, D_MODEL, generator=generator) * size
    values[0, 0] *= draw(st.sampled_from([1.0, 10.0]))  # a sink among ordinary tokens
    return values.to(dtype)


@st.composite
def directions(draw: st.DrawFn) -> Direction:
    seed = draw(st.integers(0, 2**32 - 1))
    vector = np.random.default_rng(seed).normal(size=D_MODEL)
    vector *= draw(st.sampled_from([1e-3, 1.0, 40.0]))
    return Direction("d", (0,), vector[None])


def thresholds() -> st.SearchStrategy[float]:
    return st.floats(-100, 100, width=32)


def projections(residual: Tensor, direction: Direction) -> Tensor:
    return residual.double() @ torch.from_numpy(direction.units[0])


def slack(residual: Tensor, *more: float) -> Tensor:
    """How far rounding to the dtype of the residuals may move a projection."""
    largest = torch.stack(
        [residual.double().norm(dim=-1), *(torch.full((2, 3), abs(x)) for x in more)]
    )
    return 2 * torch.finfo(residual.dtype).eps * largest.amax(0) + 1e-6


def same_bits(first: Tensor, second: Tensor) -> bool:
    whole = {2: torch.int16, 4: torch.int32}[first.element_size()]
    equal = first.contiguous().view(whole) == second.contiguous().view(whole)
    return bool((equal | (first.isnan() & second.isnan())).all())  # there are many NaNs


# Capping -----------------------------------------------------------------------------------------


@given(residuals(), directions(), thresholds())
def test_after_a_floor_nothing_is_below(h: Tensor, direction: Direction, t: float) -> None:
    after = changed(Floor(direction, thresholds=t), h)
    assert after.dtype == h.dtype
    assert (projections(after, direction) >= t - slack(after, t)).all()


@given(residuals(), directions(), thresholds())
def test_after_a_ceiling_nothing_is_above(h: Tensor, direction: Direction, t: float) -> None:
    after = changed(Ceil(direction, thresholds=t), h)
    assert (projections(after, direction) <= t + slack(after, t)).all()


@given(residuals(), directions(), thresholds(), st.floats(0, 50, width=32))
def test_after_a_band_all_is_inside(
    h: Tensor, direction: Direction, low: float, width: float
) -> None:
    after = changed(Band(direction, low=low, high=low + width), h)
    found, room = projections(after, direction), slack(after, low, low + width)
    assert (found >= low - room).all()
    assert (found <= low + width + room).all()


def cappings(direction: Direction, t: float) -> list[Operation]:
    return [
        Floor(direction, thresholds=t),
        Ceil(direction, thresholds=t),
        Band(direction, low=t - 1, high=t + 1),
    ]


@given(residuals(), directions(), thresholds())
def test_capping_twice_is_capping_once(h: Tensor, direction: Direction, t: float) -> None:
    for operation in cappings(direction, t):
        once = changed(operation, h)
        twice = changed(operation, once)
        moved = (twice.double() - once.double()).norm(dim=-1)
        # A second rounding may move each number by its last bit.
        assert (moved <= 2 * slack(once, t)).all()


@given(residuals(), directions())
def test_capping_moves_along_the_direction_only(h: Tensor, direction: Direction) -> None:
    h = h.float()
    unit = torch.from_numpy(direction.units[0])
    for operation in cappings(direction, 3.0):
        step = changed(operation, h).double() - h.double()
        aside = step - (step @ unit)[..., None] * unit
        assert (aside.norm(dim=-1) <= slack(h, 3.0)).all()


@given(residuals(), directions())
def test_what_is_inside_keeps_every_bit(h: Tensor, direction: Direction) -> None:
    found = projections(h, direction)
    low, high = float(found.min()) - 0.1, float(found.max()) + 0.1
    assert same_bits(changed(Floor(direction, thresholds=low), h), h)
    assert same_bits(changed(Ceil(direction, thresholds=high), h), h)
    assert same_bits(changed(Band(direction, low=low, high=high), h), h)


# Any operation -----------------------------------------------------------------------------------


def every_kind(direction: Direction, **options: Any) -> list[Operation]:
    return [
        Add(direction, lengths=3.0, **options),
        Ablate(direction, **options),
        Set(direction, targets=5.0, **options),
        Floor(direction, thresholds=4.0, **options),
        Ceil(direction, thresholds=-4.0, **options),
        Band(direction, low=4.0, high=5.0, **options),
        Rotate(direction, radians=0.7, **options),
        Gate(direction, thresholds=-1e9, operation=Set(direction, targets=5.0), **options),
        Gate(direction, -1e9, Ablate(direction), per="sequence", **options),
    ]


@given(residuals(), directions())
def test_strength_0_keeps_every_bit(h: Tensor, direction: Direction) -> None:
    for operation in every_kind(direction, strength=0.0):
        assert same_bits(changed(operation, h), h), operation.name
    for operation in every_kind(direction):
        assert not torch.equal(changed(operation, h), h) or operation.name == "rotate"
        assert same_bits(changed(operation.scaled(0.0), h), h), operation.name


@given(residuals(), directions())
def test_half_precision_is_rounded_once(h: Tensor, direction: Direction) -> None:
    plan = Plan.of(*every_kind(direction))  # at one layer, one after the other
    exact = changed(plan, h.float())
    assert same_bits(changed(plan, h), exact.to(h.dtype))


@given(residuals(), directions())
def test_strengths_by_row_are_separate_runs(h: Tensor, direction: Direction) -> None:
    for operation in every_kind(direction):
        together = changed(operation.scaled([0.5, -2.0]), h)
        for row, strength in enumerate((0.5, -2.0)):
            alone = changed(operation.scaled(strength), h[row : row + 1])
            torch.testing.assert_close(together[row : row + 1], alone)


@given(residuals(), st.integers(0, 2**32 - 1))
def test_operations_along_orthogonal_directions_commute(h: Tensor, seed: int) -> None:
    square = np.linalg.qr(np.random.default_rng(seed).normal(size=(D_MODEL, D_MODEL)))[0]
    one, other = (Direction("d", (0,), square[None, :, column]) for column in (0, 1))
    # A rotation is left out: it moves in a plane, which is not orthogonal to the other direction.
    kinds = [kind for kind in every_kind(one) if not isinstance(kind, Rotate | Gate)]
    others = [kind for kind in every_kind(other) if not isinstance(kind, Rotate | Gate)]
    room = 8 * slack(h.float(), 5.0)[..., None]
    for first in kinds:
        for second in others:
            there = changed(Plan.of(first, second), h.float())
            back = changed(Plan.of(second, first), h.float())
            assert ((there - back).abs() <= room).all(), (first.name, second.name)


@given(residuals(), directions())
def test_ablation_leaves_no_projection(h: Tensor, direction: Direction) -> None:
    after = changed(Ablate(direction), h)
    assert (projections(after, direction).abs() <= slack(h)).all()


@given(residuals(), directions(), thresholds())
def test_set_hits_its_target(h: Tensor, direction: Direction, target: float) -> None:
    after = changed(Set(direction, targets=target), h)
    assert ((projections(after, direction) - target).abs() <= slack(h, target)).all()


@given(residuals(), directions(), thresholds(), st.floats(-3, 3, width=32))
def test_add_pushes_by_its_length_in_the_unit_asked_for(
    h: Tensor, direction: Direction, length: float, strength: float
) -> None:
    after = changed(Add(direction, lengths=length, strength=strength), h.float())
    pushed = projections(after, direction) - projections(h, direction)
    assert ((pushed - strength * length).abs() <= slack(h.float(), 300.0)).all()


# Rotation ----------------------------------------------------------------------------------------


def angles(h: Tensor, direction: Direction) -> Tensor:
    """Between each token and the direction, exact near 0 and near pi too."""
    v = torch.from_numpy(direction.units[0])
    p = h.double() @ v
    return torch.atan2((h.double() - p[..., None] * v).norm(dim=-1), p)


@given(residuals(), directions(), st.floats(-3.5, 3.5))
def test_rotation_keeps_norms_and_turns_by_the_angle(
    h: Tensor, direction: Direction, radians: float
) -> None:
    h = h.float()
    after = changed(Rotate(direction, radians=radians), h)
    torch.testing.assert_close(after.norm(dim=-1), h.norm(dim=-1), rtol=1e-4, atol=0.0)
    wanted = (angles(h, direction) - radians).clamp(0.0, math.pi)
    assert ((angles(after, direction) - wanted).abs() <= 1e-3).all()


@given(residuals(), directions(), st.floats(0.02, 0.3))
def test_rotation_by_half_precision_keeps_norms_too(
    h: Tensor, direction: Direction, radians: float
) -> None:
    for signed in (radians, -radians):
        after = changed(Rotate(direction, radians=signed), h)
        eps = 2 * torch.finfo(h.dtype).eps
        torch.testing.assert_close(
            after.double().norm(dim=-1), h.double().norm(dim=-1), rtol=max(eps, 1e-4), atol=1e-5
        )


@pytest.mark.parametrize("tilt", [0.0, 1e-5, 1e-4, 1.5e-3, 5e-3, 0.1])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_rotation_near_the_line_of_the_direction(tilt: float, sign: float) -> None:
    """Close to the line the plane is lost in rounding: such a token stays, no other loses its norm."""
    for seed in range(5):
        square = np.linalg.qr(np.random.default_rng(seed).normal(size=(D_MODEL, D_MODEL)))[0]
        direction = Direction("d", (0,), square[None, :, 0])
        token = sign * math.cos(tilt) * square[:, 0] + math.sin(tilt) * square[:, 1]
        h = torch.tensor(20.0 * token, dtype=torch.float32)[None, None]
        for radians in (0.5, -0.5, 10.0):
            after = changed(Rotate(direction, radians=radians), h)
            torch.testing.assert_close(after.norm(), h.norm(), rtol=1e-3, atol=0.0)
            if tilt < 1e-3:
                assert same_bits(after, h)
            else:
                wanted = min(max(float(angles(h, direction)) - radians, 0.0), math.pi)
                assert float(angles(after, direction)) == pytest.approx(wanted, abs=2e-3)


def test_rotation_of_zero_is_zero() -> None:
    h = torch.zeros(1, 2, D_MODEL)
    assert same_bits(changed(Rotate(Direction("d", (0,), np.ones((1, D_MODEL))), 0.5), h), h)


# Tokens that are not chosen ----------------------------------------------------------------------


@given(residuals(), directions(), st.sampled_from([math.inf, -math.inf, math.nan]))
def test_tokens_not_chosen_keep_every_bit(h: Tensor, direction: Direction, junk: float) -> None:
    present = np.array([[False, True, True], [True, True, False]])
    pads = torch.from_numpy(~present)
    h[pads] = junk
    mask = np.array([[True, False], [False, True]])  # of the tokens that are present
    for operation in every_kind(direction):
        whole, _ = run(Plan.of(operation), h, present=present)
        assert same_bits(whole[pads], h[pads]), operation.name
        assert whole[~pads].isfinite().all()
        some, _ = run(Plan.of(operation).where(list(mask)), h, present=present)
        untouched = pads.clone()
        untouched[0, 2] = untouched[1, 0] = True
        assert same_bits(some[untouched], h[untouched]), operation.name
        torch.testing.assert_close(some[~untouched], whole[~untouched])


# Gates -------------------------------------------------------------------------------------------


def line(values: list[list[float]]) -> tuple[Tensor, Direction, Direction]:
    """Tokens with these values along a first axis, and the first two axes."""
    h = torch.zeros(len(values), len(values[0]), 4)
    h[..., 0] = torch.tensor(values)
    first, second = np.eye(2, 4)[:, None]
    return h, Direction("asked", (0,), first), Direction("moved", (0,), second)


@pytest.mark.parametrize(
    ("side", "per", "opened"),
    [
        ("above", "token", [[0, 1, 0, 1], [0, 0, 0, 0]]),
        ("below", "token", [[1, 0, 1, 0], [1, 1, 1, 1]]),
        ("above", "sequence", [[0, 1, 1, 1], [0, 0, 0, 0]]),
        ("below", "sequence", [[1, 1, 1, 1], [1, 1, 1, 1]]),
    ],
)
def test_gates_by_token_and_by_sequence(side: Any, per: Any, opened: list[list[float]]) -> None:
    h, asked, moved = line([[1.0, 3.0, 1.0, 3.0], [1.0, 0.0, -1.0, 1.0]])
    gate = Gate(asked, 2.0, Add(moved, lengths=1.0), side=side, per=per)
    assert changed(gate, h)[..., 1].tolist() == opened


def test_a_gate_at_its_threshold_is_shut() -> None:
    h, asked, moved = line([[2.0]])
    for side in ("above", "below"):
        assert changed(Gate(asked, 2.0, Add(moved, lengths=1.0), side=side), h)[0, 0, 1] == 0.0


def test_a_gate_by_sequence_stays_open_from_pass_to_pass_and_asks_chosen_tokens_only() -> None:
    h, asked, moved = line([[9.0, 1.0, 1.0], [1.0, 1.0, 3.0]])
    gate = Gate(asked, 2.0, Add(moved, lengths=1.0), per="sequence")
    masks = [np.array([False, True, True]), np.array([True, True, True])]
    for plan, later in ((Plan.of(gate), 1.0), (Plan.of(gate).where("generated"), 0.0)):
        after, work = run(plan, h)
        following = work.taps()[0](line([[0.0], [0.0]])[0])
        assert following[..., 1].tolist() == [[later], [later]]
        assert (after[1, :2, 1] == 0).all()
    shut, _ = run(Plan.of(gate).where(masks), h)
    assert shut[..., 1].tolist() == [[0, 0, 0], [0, 0, 1]]
    _, work = run(Plan.of(gate).where("generated"), h)
    tap = work.taps()[0]
    steps = [tap(line([[value], [0.0]])[0])[..., 1].tolist() for value in (1.0, 3.0, 0.0)]
    assert steps == [[[0], [0]], [[1], [0]], [[1], [0]]]


def test_strengths_of_a_gate_and_of_what_it_guards_multiply() -> None:
    h, asked, moved = line([[3.0], [3.0]])
    gate = Gate(asked, 2.0, Add(moved, lengths=1.0, strength=(2.0, 3.0)), strength=0.5)
    assert changed(gate, h)[..., 1].tolist() == [[1.0], [1.5]]
    assert Plan.of(gate).rows == 2


# Gradients ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(9))
def test_gradients_pass_through(number: int) -> None:
    rng = np.random.default_rng(number)
    operation = every_kind(Direction("d", (0,), rng.normal(size=(1, D_MODEL))))[number]
    h = torch.tensor(rng.normal(size=(1, 2, D_MODEL)) * 3, requires_grad=True)

    assert torch.autograd.gradcheck(lambda h: changed(operation, h), h)


# Errors ------------------------------------------------------------------------------------------


def test_nonsense_is_refused_with_what_was_expected() -> None:
    d = Direction("ghost", (1, 2), np.ones((2, 4)))
    wide = Direction("wide", (1, 2), np.ones((2, 8)))
    with pytest.raises(
        InterventionError, match=r"(?s)thresholds of floor.*each of 2 layers.*\[3\]"
    ):
        Floor(d, thresholds=np.ones(3))
    with pytest.raises(InterventionError, match="is not a number"):
        Floor(d, thresholds=math.nan)
    with pytest.raises(InterventionError, match=r"is not a number\n.*expected numbers, given high"):
        Floor(d, thresholds="high")  # pyright: ignore[reportArgumentType]
    for strength in (math.nan, math.inf, (), "strong", None, [[1.0]]):
        with pytest.raises(InterventionError, match=r"(?s)ablate has no usable strength.*finite"):
            Ablate(d, strength=strength)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InterventionError, match=r"(?s)upside down.*low 2, high 1"):
        Band(d, low=2.0, high=1.0)
    with pytest.raises(InterventionError, match=r"side above or below"):
        Gate(d, 0.0, Ablate(d), side="left")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InterventionError, match="every layer of its gate"):
        Gate(d, 0.0, Ablate(d.at([1])))
    with pytest.raises(InterventionError, match="another gate"):
        Gate(d, 0.0, Gate(d, 0.0, Ablate(d)))
    with pytest.raises(InterventionError, match=r"(?s)another width.*d_model 4, given 8"):
        Gate(d, 0.0, Ablate(wide))
    with pytest.raises(InterventionError, match="of another number of rows"):
        Ablate(d, strength=(1.0, 2.0)).scaled([1.0, 2.0, 3.0])


ONE = Direction("d", (0,), np.random.default_rng(0).normal(size=(1, 16)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Add(ONE, lengths=np.array([np.inf])),
        lambda: Set(ONE, targets=np.array([-np.inf])),
        lambda: Rotate(ONE, radians=np.array([np.inf])),
    ],
)
def test_an_infinite_way_to_go_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InterventionError, match="expected finite numbers"):
        make()


def test_an_infinite_threshold_may_be_one_that_is_never_met() -> None:
    hook = dict(Plan.of(Floor(ONE, thresholds=np.array([-np.inf]))).hooks())[
        "blocks.0.hook_resid_post"
    ]
    h = torch.randn(1, 4, 16)
    torch.testing.assert_close(hook(h, None), h, rtol=0, atol=0)


def test_directions_are_checked() -> None:
    with pytest.raises(InterventionError, match=r"(?s)do not fit its layers.*\[2, d_model\]"):
        Direction("ghost", (1, 2), np.ones((3, 4)))
    with pytest.raises(InterventionError, match="a layer twice"):
        Direction("ghost", (1, 1), np.ones((2, 4)))
    for broken in (0.0, math.nan, math.inf):
        with pytest.raises(InterventionError, match=r"(?s)points nowhere.*layers \[2\]"):
            Direction("ghost", (1, 2), np.array([[1.0, 1.0], [broken, broken]]))
    with pytest.raises(InterventionError, match=r"(?s)not known at this layer.*1-2, given 7"):
        Direction("ghost", (1, 2), np.ones((2, 4))).at([7])
