"""Interventions: what a floor on eight layers costs while decoding, and what batching a dose-response saves.

First table: tokens a second of `PersonaModel.generate` with nothing attached, under `model.intervene(plan)` (with
its receipt), and with forward hooks that do the same the usual way: normalise the vector, project with einsum,
clone, and subtract a broadcast outer product, at every step.

Second table: nine strengths of a steering vector in one batch, a strength a row, against nine runs, one a
strength, with the same number of rows in all.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from harness import add_model_options, add_rounds, heading, interleave, parser, requirement
from workload import MODEL, never_end, role_prompts

from persona_lens import PersonaModel, Sampling
from persona_lens.interventions import Add, Direction, Floor, Plan

LAYERS = range(15, 23)
STRENGTHS = np.linspace(-0.4, 0.4, 9)


def main() -> None:
    """Print both tables."""
    options = parser(__doc__)
    add_rounds(options, 7)
    add_model_options(options)
    options.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16, 64])
    options.add_argument("--prompts", type=int, nargs="+", default=[1, 2, 4])
    options.add_argument("--new-tokens", type=int, default=64, help="default: 64")
    args = options.parse_args()
    if args.quick:
        args.batch_sizes, args.prompts, args.new_tokens = [4], [1], 12

    model = PersonaModel.load(MODEL, dtype=args.dtype, device=args.device)
    never_end(model)
    heading(f"Interventions while writing {args.new_tokens} tokens with {model}")
    direction = _random_direction(model)
    for batch_size in args.batch_sizes:
        _compare_decoding(model, direction, batch_size, args)
    for count in args.prompts:
        _compare_doses(model, direction, count, args)


def _random_direction(model: PersonaModel) -> Direction:
    rng = np.random.default_rng(0)
    return Direction("random", tuple(LAYERS), rng.standard_normal((len(LAYERS), model.d_model)))


def _compare_decoding(
    model: PersonaModel, direction: Direction, batch_size: int, args: argparse.Namespace
) -> None:
    prompts = role_prompts(model, batch_size)
    sampling = Sampling(max_new_tokens=args.new_tokens)
    plan = Plan.of(Floor(direction, np.zeros(len(LAYERS))))  # about half of the tokens engage
    vectors = {
        layer: -torch.from_numpy(vector).to(model.device, model.dtype)
        for layer, vector in zip(direction.layers, direction.values, strict=True)
    }

    def write(attached: Callable) -> int:
        with attached():
            replies = model.generate(prompts, sampling, batch_size=batch_size)
        return sum(len(reply.ids) for reply in replies)

    usual = {layer: _usual_hook(vector) for layer, vector in vectors.items()}
    rates = interleave(
        {
            "no hooks": partial(write, nullcontext),
            "floor, eight layers": partial(write, partial(model.intervene, plan)),
            "floor, the usual hook": partial(write, partial(model.held.backend.taps, usual)),
        },
        args.rounds,
    )
    print(f"Batches of {batch_size}\n")
    print(rates.table("reply tokens", over="no hooks"), end="\n\n")
    requirement("floor over no hooks", rates.ratio("floor, eight layers", "no hooks"), 0.97)
    requirement(
        "floor over the usual hook",
        rates.ratio("floor, eight layers", "floor, the usual hook"),
        1.0,
    )
    print()


def _usual_hook(vector: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """A ceiling at zero on the reversed vector, which is the same floor, on every token."""

    def hook(residual: torch.Tensor) -> torch.Tensor:
        unit = vector / vector.norm()
        excess = torch.einsum("bld,d->bl", residual, unit).clamp(min=0)
        changed = residual.clone()
        changed -= torch.einsum("bl,d->bld", excess, unit)
        return changed

    return hook


def _compare_doses(
    model: PersonaModel, direction: Direction, count: int, args: argparse.Namespace
) -> None:
    prompts = role_prompts(model, count)
    sampling = Sampling(max_new_tokens=args.new_tokens)
    push = Plan.of(Add(direction.at(LAYERS[:1]), np.array([100.0])))

    def together() -> int:
        rows = [prompt for prompt in prompts for _ in STRENGTHS]
        with model.intervene(push * np.tile(STRENGTHS, count)):
            replies = model.generate(rows, sampling, batch_size=len(rows))
        return sum(len(reply.ids) for reply in replies)

    def apart() -> int:
        written = 0
        for strength in STRENGTHS:
            with model.intervene(push * float(strength)):
                replies = model.generate(prompts, sampling, batch_size=count)
            written += sum(len(reply.ids) for reply in replies)
        return written

    rates = interleave({"one batch": together, "nine runs": apart}, args.rounds)
    print(f"Nine strengths, {9 * count} rows in all\n")
    print(rates.table("reply tokens", over="nine runs"), end="\n\n")
    requirement("one batch over nine runs", rates.ratio("one batch", "nine runs"), 4.0)
    print()


if __name__ == "__main__":
    main()
