"""Two Ray workers on one card, half of it each, against one worker that has it alone.

    python benchmarks/gpu/ray_shares.py --out build/gpu/ray_shares.md

Each worker holds a copy of the model. Both do the same units of the core catalogue, with the same seeds. Without a
GPU the workers share the CPU, to see that it runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from kit import Report, interleave, options, random_module
from kit import tiny_tokenizer as tokenizer
from shapes import SHAPES, TOY, Shape

from persona_lens import Sampling
from persona_lens.catalog import load_defaults, load_questions, load_roles
from persona_lens.rollouts.plan import plan_shards, work_units
from persona_lens.runs.engines.ray_engine import ModelSpec, RayEngine, WorkerSpec
from persona_lens.runs.engines.worker import Job, WorkSettings

HEADER = ("workers", "GPUs each", "layers", "tokens a second", "times one [min, max]", "note")


def main(arguments: Sequence[str] | None = None) -> Report:
    """Print the table."""
    found = options(__doc__)
    found.add_argument("--layers", type=int, help="of Llama-3.1-8B's shape; default: 8")
    found.add_argument("--units", type=int, help="default: 8")
    found.add_argument("--batch-size", type=int, help="default: 16")
    found.add_argument("--new-tokens", type=int, help="default: 64")
    given = found.parse_args(arguments)
    toy = given.toy
    report = Report("Two Ray workers on one card", HEADER, given)
    shape, layers = (TOY, 3) if toy else (SHAPES["Llama-3.1-8B"], given.layers or 8)
    jobs, settings = _work(
        layers,
        units=given.units or (3 if toy else 8),
        batch_size=given.batch_size or (2 if toy else 16),
        new_tokens=given.new_tokens or (2 if toy else 64),
    )
    card = report.device.type == "cuda"
    with report.part("1 and 2"), tempfile.TemporaryDirectory() as folder:
        report.refuse_late()
        _save(shape, layers, report.device, Path(folder))
        spec = WorkerSpec(ModelSpec(folder, dtype="bfloat16" if card else "float32"))
        rates: dict[str, float] = {}
        for workers, share in ((1, 1.0), (2, 0.5)):
            gpus = share if card else 0
            with report.part(workers, gpus, layers):
                report.refuse_late()
                cpus = 1 if card else 0.5
                with RayEngine(
                    spec, workers=workers, gpus_per_worker=gpus, cpus_per_worker=cpus
                ) as engine:

                    def work(engine: RayEngine = engine) -> int:
                        done = engine.products(jobs, settings)
                        made = [product for _, products in done for product in products]
                        return sum(len(reply.ids) for each in made for reply in each.replies)

                    measured = interleave({"this": work}, given.rounds or (1 if toy else 3))
                    rates[str(workers)] = measured.median("this")
                each = sorted(measured.rounds["this"])
                spread = [rate / rates.get("1", float("nan")) for rate in (each[0], each[-1])]
                ratio = rates[str(workers)] / rates.get("1", float("nan"))
                told = f"{ratio:.2f} [{spread[0]:.2f}, {spread[1]:.2f}]"
                report.add(workers, gpus, layers, f"{rates[str(workers)]:,.1f}", told, "")
    print(report)
    return report


def _work(
    layers: int, *, units: int, batch_size: int, new_tokens: int
) -> tuple[list[Job], WorkSettings]:
    """So many units, each of one batch."""
    shards = plan_shards(
        load_roles()[:units],
        [],
        load_questions()[:batch_size],
        load_defaults()[:1],
        model_name="random",
        prompts=1,
    )[1:]  # without the default
    sampling = Sampling(max_new_tokens=new_tokens)
    settings = WorkSettings(sampling, tuple(range(layers)), batch_size)
    return [Job(unit) for unit in work_units(shards, batch_size)], settings


def _save(shape: Shape, layers: int, device: torch.device, folder: Path) -> None:
    module = random_module(
        shape.kind, shape.config(layers), dtype=torch.float32, device=torch.device("cpu")
    )
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    cast("Any", module).to(dtype).save_pretrained(folder)
    tokenizer().save_pretrained(folder)


if __name__ == "__main__":
    main()
