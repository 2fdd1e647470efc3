"""Workers: two Ray workers of one thread each, against one such worker and against no Ray.

All variants sample and read the same units of the core catalogue at all layers, with the same seeds, so they do
the same work to the token. A first pass, which is not timed, gives all workers the time to load; those that are
not asked sleep. `one process` is `LocalEngine` on one thread: what a single worker falls behind it is the price of
Ray. What is made is counted and dropped, not stored.

Needs a core for each worker, with nothing else on it: Ray's workers run at niceness 15 and give way to whatever
else there is, unless `RAY_worker_niceness=0` is set.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from harness import add_rounds, heading, interleave, parser, requirement
from workload import MODEL

from persona_lens import Sampling
from persona_lens.catalog import load_defaults, load_questions, load_roles
from persona_lens.rollouts.plan import plan_shards, work_units
from persona_lens.runs.engines.engine import Engine, LocalEngine
from persona_lens.runs.engines.ray_engine import ModelSpec, RayEngine, WorkerSpec
from persona_lens.runs.engines.worker import Job, WorkSettings

WORKERS = 2


@dataclass(frozen=True)
class Collecting:
    """The same jobs for every engine."""

    jobs: list[Job]
    settings: WorkSettings

    def by(self, engine: Engine) -> int:
        """Tokens of the replies that the engine has sampled and read."""
        done = engine.products(self.jobs, self.settings)
        made = [product for _, products in done for product in products]
        return sum(len(reply.ids) for product in made for reply in product.replies)

    def on_one_thread(self, engine: Engine) -> int:
        """The same in this process, whose threads are then what they were."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self.by(engine)
        finally:
            torch.set_num_threads(threads)


def planned(engine: Engine, *, units: int, batch_size: int, new_tokens: int) -> Collecting:
    """So many units, each of one batch: every role asks as many questions as a batch has rows."""
    shards = plan_shards(
        load_roles()[:units],
        [],
        load_questions()[:batch_size],
        load_defaults()[:1],
        model_name=engine.facts().name,
        prompts=1,
    )[1:]  # without the default
    settings = WorkSettings(
        Sampling(max_new_tokens=new_tokens), tuple(range(engine.facts().n_layers)), batch_size
    )
    return Collecting([Job(unit) for unit in work_units(shards, batch_size)], settings)


def main() -> None:
    """Compare rates."""
    options = parser(__doc__)
    add_rounds(options, 5)
    options.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    options.add_argument("--units", type=int, default=12, help="default: 12")
    options.add_argument("--batch-size", type=int, default=8, help="default: 8")
    options.add_argument("--new-tokens", type=int, default=32, help="default: 32")
    args = options.parse_args()
    if args.quick:
        args.units, args.batch_size, args.new_tokens = 4, 2, 8

    spec = WorkerSpec(ModelSpec(MODEL, dtype=args.dtype, device="cpu"), threads=1)
    share = (os.cpu_count() or 1) / (WORKERS + 1)  # Ray's bookkeeping: one set of workers sleeps
    with (
        RayEngine(spec, workers=1, cpus_per_worker=share) as one,
        RayEngine(spec, workers=WORKERS, cpus_per_worker=share) as two,
    ):
        here = LocalEngine(spec.writer.load())
        work = planned(
            here, units=args.units, batch_size=args.batch_size, new_tokens=args.new_tokens
        )
        heading(
            f"{args.units} units of {args.batch_size} replies of up to {args.new_tokens} tokens, {MODEL}"
        )
        variants: dict[str, Callable[[], int]] = {
            "two Ray workers": lambda: work.by(two),
            "one Ray worker": lambda: work.by(one),
            "one process": lambda: work.on_one_thread(here),
        }
        rates = interleave(variants, args.rounds)
    print(rates.table("reply tokens", over="one Ray worker"), end="\n\n")
    requirement(
        "`two Ray workers` over `one Ray worker`",
        rates.ratio("two Ray workers", "one Ray worker"),
        1.7,
    )


if __name__ == "__main__":
    main()
