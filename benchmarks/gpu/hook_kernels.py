"""What a floor asks of a device at each layer of a decoding step: operations, kernels, microseconds.

    python benchmarks/gpu/hook_kernels.py --out build/gpu/hook_kernels.md

The functions a plan hangs behind the blocks are called by themselves, on residuals of decoding steps, and counted
by the profiler: operations are what Python asks of torch (those that torch asks of itself are not counted twice),
kernels what is launched on a GPU. Eight layers; what is done once a step is shared among them. `compiled` is the
same arithmetic as one function that torch.compile has made what it can of, without tokens to leave alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import numpy as np
import torch
from kit import Ratio, Report, options, timed
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from persona_lens.interventions import Direction, Floor, Plan, Receipt
from persona_lens.interventions.operations.layer_pass import shifted
from persona_lens.interventions.running import PlanRun
from persona_lens.interventions.tokens import BatchTokens

LAYERS = 8
HEADER = ("variant", "rows", "dtype", "operations a layer", "kernels a layer")
HEADER = (*HEADER, "microseconds a layer [min, max]", "note")


def main(arguments: Sequence[str] | None = None) -> Report:
    """Print the table."""
    found = options(__doc__)
    found.add_argument("--d-model", type=int, help="default: 4096")
    found.add_argument("--backend", help="of torch.compile; default: inductor, of toys eager")
    given = found.parse_args(arguments)
    d_model = given.d_model or (16 if given.toy else 4096)
    backend = given.backend or ("eager" if given.toy else "inductor")
    rounds = given.rounds or (3 if given.toy else 200)
    report = Report(f"A floor at {LAYERS} layers of width {d_model}", HEADER, given)
    for dtype in (torch.bfloat16,) if given.toy else (torch.bfloat16, torch.float32):
        for rows in (2,) if given.toy else (1, 16):
            for name, receipt in (("floor, no receipt", False), ("floor, receipt", True)):
                with report.part(name, rows, dtype):
                    report.refuse_late()
                    step = decoding(rows, d_model, dtype, report.device, receipt=receipt)
                    report.add(name, rows, dtype, *_measured(step, report.device, rounds), "")
            name = "floor, compiled"
            with report.part(name, rows, dtype):
                report.refuse_late()
                step = compiled(rows, d_model, dtype, report.device, backend)
                report.add(name, rows, dtype, *_measured(step, report.device, rounds), backend)
    print(report)
    return report


def decoding(
    rows: int, d_model: int, dtype: torch.dtype, device: torch.device, *, receipt: bool
) -> Callable[[], int]:
    """A decoding step of a batch under the plan, behind its prompt."""
    values = np.random.default_rng(0).standard_normal((LAYERS, d_model))
    plan = Plan.of(
        Floor(Direction("random", tuple(range(LAYERS)), values), thresholds=np.zeros(LAYERS))
    )
    tokens = BatchTokens.of_mask(np.ones((rows, 4), dtype=bool))
    noted = Receipt(plan) if receipt else None
    run = PlanRun(plan, tokens, receipt=noted, end_ids=torch.tensor([1]))
    taps = run.taps()

    @torch.inference_mode()
    def fed(columns: int) -> int:
        run.watch(torch.zeros((rows, columns), dtype=torch.long, device=device))
        for layer in range(LAYERS):
            taps[layer](residuals[columns])
        return LAYERS

    residuals = {
        columns: torch.randn((rows, columns, d_model), dtype=dtype, device=device)
        for columns in (4, 1)
    }
    fed(4)
    return lambda: fed(1)


def compiled(
    rows: int, d_model: int, dtype: torch.dtype, device: torch.device, backend: str
) -> Callable[[], int]:
    """The arithmetic of a step, one function a layer."""
    unit = torch.nn.functional.normalize(torch.randn(d_model, device=device), dim=0)

    def lifted(residual: torch.Tensor) -> torch.Tensor:
        h = residual.float()
        return shifted(h, torch.rsub(h @ unit, 0.0).clamp(min=0), unit, dtype)

    fused = torch.compile(lifted, backend=backend, fullgraph=True)
    residual = torch.randn((rows, 1, d_model), dtype=dtype, device=device)

    @torch.inference_mode()
    def step() -> int:
        for _ in range(LAYERS):
            fused(residual)
        return LAYERS

    return step


def _measured(step: Callable[[], int], device: torch.device, rounds: int) -> tuple[str, str, str]:
    for _ in range(3):
        step()
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as seen:
        step()
    events = seen.events() or []
    asked = sum(_asked_by_python(event) for event in events)
    launched = sum(event.device_type == DeviceType.CUDA for event in events)
    times = [1e6 * seconds / layers for layers, seconds in (timed(step) for _ in range(rounds))]
    spread = Ratio(statistics.median(times), min(times), max(times))
    kernels = f"{launched / LAYERS:.1f}" if device.type == "cuda" else ""
    return f"{asked / LAYERS:.1f}", kernels, str(spread)


def _asked_by_python(event: object) -> bool:
    parent = getattr(event, "cpu_parent", None)
    inside = parent is not None and parent.name.startswith("aten::")
    return getattr(event, "name", "").startswith("aten::") and not inside


if __name__ == "__main__":
    main()
