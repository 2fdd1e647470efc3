"""What plans ask of a device at each decoding step: few operations, nothing that waits for it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from persona_lens.interventions import Add, Direction, Floor, Gate, Plan, Receipt
from persona_lens.interventions.operations.layer_pass import rounded_as_written, shifted
from persona_lens.interventions.running import PlanRun
from persona_lens.interventions.tokens import BatchTokens

ROWS, WIDTH = 4, 16
WAITING = ("_local_scalar_dense", "nonzero", "index.Tensor", "masked_select", "unique", "equal")
"""What needs a number from the device before it goes on."""
RNG = np.random.default_rng(0)
GHOST, SAGE = (Direction(name, (0, 1), RNG.normal(size=(2, WIDTH))) for name in ("ghost", "sage"))
FLOOR = Floor(GHOST, thresholds=np.array([0.1, -0.2]))


class Counted(TorchDispatchMode):
    """Operations by name, those that only look at memory in another way left out."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func).removeprefix("aten.").removesuffix(".default")
        if not func.is_view and name != "_unsafe_view":
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))


def a_step(plan: Plan, dtype: torch.dtype, receipt: Receipt | None) -> Counter[str]:
    """Operations of the third decoding step at the last of two layers."""
    tokens = BatchTokens.of_mask(np.ones((ROWS, 3), dtype=bool))
    run = PlanRun(plan, tokens, receipt=receipt, end_ids=torch.tensor([1]))
    first, last = run.taps().values()
    with torch.no_grad():
        for columns in (3, 1, 1):
            run.watch(torch.zeros((ROWS, columns), dtype=torch.long))
            first(torch.randn(ROWS, columns, WIDTH, dtype=dtype))
            last(torch.randn(ROWS, columns, WIDTH, dtype=dtype))
        run.watch(torch.zeros((ROWS, 1), dtype=torch.long))
        first(torch.randn(ROWS, 1, WIDTH, dtype=dtype))
        residual = torch.randn(ROWS, 1, WIDTH, dtype=dtype)
        with Counted() as counted:
            last(residual)
    return counted.seen


@pytest.mark.parametrize(("dtype", "casts"), [(torch.float32, 0), (torch.bfloat16, 2)])
def test_a_floor_asks_for_four_operations_and_its_receipt_for_two(
    dtype: torch.dtype, casts: int
) -> None:
    plan = Plan.of(FLOOR)
    alone, noted = a_step(plan, dtype, None), a_step(plan, dtype, Receipt(plan))
    assert alone.total() == 4 + casts  # project, compare, cut, shift
    assert noted.total() == 6 + casts  # the norm, and one copy of all numbers
    assert noted["stack.out"] + noted["cat.out"] == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_nothing_waits_for_the_device(dtype: torch.dtype) -> None:
    gates = [
        Gate(SAGE, np.zeros(2), Add(GHOST, np.ones(2)), per=per) for per in ("token", "sequence")
    ]
    plan = Plan.of(FLOOR, *gates).where("generated") + Plan.of(FLOOR) * [0.0, 0.5, 1.0, 2.0]
    seen = a_step(plan, dtype, Receipt(plan))
    assert seen["mm"] == 2  # of the gates
    assert not [name for name in seen if name.startswith(WAITING)]


def test_all_directions_of_a_gate_are_projected_on_by_one_product() -> None:
    seen = a_step(Plan.of(Gate(SAGE, np.zeros(2), FLOOR)), torch.float32, None)
    products = [name for name in seen.elements() if name in ("mm", "mv", "bmm", "addmv", "dot")]
    assert len(products) == 1


def test_residuals_rounded_as_they_are_written_are_the_same_to_the_bit() -> None:
    h, by = torch.randn(ROWS, 3, WIDTH) * 100, torch.randn(ROWS, 3)
    unit = torch.from_numpy(GHOST.units[0]).float()
    for dtype in (torch.bfloat16, torch.float16):
        at_once = rounded_as_written(h, by.unsqueeze(-1), unit, dtype)
        assert torch.equal(at_once, torch.addcmul(h, by.unsqueeze(-1), unit).to(dtype))
        assert torch.equal(at_once, shifted(h, by, unit, dtype))


def test_a_floor_is_compiled_in_one_piece() -> None:
    unit = torch.from_numpy(GHOST.units[0]).float()

    def lifted(residual: torch.Tensor) -> torch.Tensor:
        h = residual.float()
        return shifted(h, torch.rsub(h @ unit, 0.1).clamp(min=0), unit, torch.bfloat16)

    residual = torch.randn(ROWS, 1, WIDTH, dtype=torch.bfloat16)
    whole = torch.compile(lifted, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.equal(whole(residual), lifted(residual))
