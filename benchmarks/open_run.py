"""Time and memory of opening a run, as the number of replies grows: memory should stay that of the vectors.

275 roles under five system prompts each, and more questions for more replies, up to the size of the paper's runs.
Nothing is sampled: replies, activations and labels are written by `OpenRun` and `Labels` as a collection and a
judge write them. `manifest` reads the plan, `vectors` is `vector_table` over all replies, `labelled` the same by
the labels of a judge, `check` reads every file and compares digests; each in a process of its own for every size.
A peak leaves out the pages of libraries and other files, and is the smallest of some repeats, as the allocator
only ever adds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from harness import MIB, Cost, cost_apart, heading, markdown, parser, report_cost

from persona_lens.judges import Verdict
from persona_lens.rollouts.plan import Request, Shard
from persona_lens.rollouts.reply import Reply
from persona_lens.runs.store.checking import check_run
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.store.labels import Labels
from persona_lens.runs.store.manifest import Manifest
from persona_lens.runs.vectors import MAX_FOLDS, vector_table

QUESTIONS, QUICK_QUESTIONS = [24, 80, 240], [4, 8]
ROLES, PROMPTS, TOKENS = 275, 5, 64
N_LAYERS, D_MODEL = 4, 128
JUDGE = "bench-00000000"
LABELS = ("not", "somewhat", "fully")


def write_run(path: Path, questions: int, roles: int = ROLES) -> None:
    """A finished and labelled run of `roles` times five times `questions` replies, and some of the default."""
    run = RunFolder(path).started(plan(questions, roles))
    labels = Labels(run, JUDGE)
    rng = np.random.default_rng(0)
    replies = [
        Reply(
            ids=rng.integers(0, 50_000, TOKENS),
            text=" ".join(f"{number:06x}" for number in rng.integers(0, 2**24, TOKENS // 2)),
            log_probs=-rng.random(TOKENS, dtype=np.float32),
        )
        for _ in range(questions)
    ]
    labels.write_card({"name": "bench"})
    for shard in run.shards:
        means = rng.standard_normal((questions, N_LAYERS, D_MODEL), dtype=np.float32)
        run.write_replies(shard, replies)
        run.write_activations(shard, replies, means)
        if shard.kind == "role":
            drawn = rng.integers(0, len(LABELS), questions)
            labels.write(shard, [Verdict(label=LABELS[label]) for label in drawn])


def plan(questions: int, roles: int) -> Manifest:
    """The plan of such a run."""
    asked = tuple(
        Request(question_id=f"q{number:03}", question=f"Question {number}? " + "Why so? " * 10)
        for number in range(questions)
    )
    names = ["default", *(f"role_{number}" for number in range(roles))]
    card = {"model": "bench", "d_model": D_MODEL}
    return Manifest(
        conditions={"model": card, "sampling": {}},
        reader=card,
        reader_key="bench",
        layers=tuple(range(N_LAYERS)),
        shards=tuple(
            Shard(
                kind="default" if name == "default" else "role",
                name=name,
                prompt_index=prompt,
                system=f"You are {name}, {prompt}. " + "Stay in character. " * 10,
                requests=asked,
            )
            for name in names
            for prompt in range(PROMPTS)
        ),
        about={},
        versions={},
    )


STAGES: dict[str, Callable[[RunFolder], object]] = {
    "manifest": lambda run: run.manifest().stems,
    "vectors": vector_table,
    "labelled": partial(vector_table, judge=JUDGE, min_count=1),
    "check": partial(check_run, progress=False),
}


def main() -> None:
    """Measure every size, then the slope."""
    options = parser(__doc__)
    options.add_argument("--questions", type=int, nargs="+", default=QUESTIONS)
    options.add_argument("--repeats", type=int, default=3, help="default: 3")
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of the parent process
    args = options.parse_args()
    if args.only:
        _run_one(args.only, args.folder)
        return
    questions, repeats = (QUICK_QUESTIONS, 1) if args.quick else (args.questions, args.repeats)
    heading(f"Opening a run, {N_LAYERS} layers of {D_MODEL} dimensions")
    costs = {}
    for count in questions:
        with tempfile.TemporaryDirectory() as name:  # one at a time: the largest takes 1.5 GB
            write_run(Path(name), count)
            costs |= {(stage, count): _measure(stage, Path(name), repeats) for stage in STAGES}
    _print_table(questions, costs)
    _print_slopes(questions, costs)


def _measure(stage: str, run: Path, repeats: int) -> Cost:
    measured = [cost_apart(__file__, stage, ["--folder", str(run)]) for _ in range(repeats)]
    return min(measured, key=lambda cost: cost.own)


def _run_one(stage: str, folder: Path) -> None:
    work = STAGES[stage]
    # A small run first: libraries and thread pools are no part of what grows.
    with tempfile.TemporaryDirectory() as name:
        write_run(Path(name), QUICK_QUESTIONS[0], roles=3)
        work(RunFolder(name))
    report_cost(partial(work, RunFolder(folder)))


def _replies(questions: int) -> int:
    return (ROLES + 1) * PROMPTS * questions


def _print_table(questions: Sequence[int], costs: dict[tuple[str, int], Cost]) -> None:
    rows = [
        (
            f"{_replies(count):,}",
            *(f"{costs[stage, count].own / MIB:,.0f}" for stage in STAGES),
            *(f"{costs[stage, count].seconds:.1f}" for stage in STAGES),
        )
        for count in questions
    ]
    columns = ("peak MiB", "seconds")
    header = ("replies", *(f"{stage}, {column}" for column in columns for stage in STAGES))
    print(markdown(header, rows), end="\n\n")


def _print_slopes(questions: Sequence[int], costs: dict[tuple[str, int], Cost]) -> None:
    more = _replies(questions[-1]) - _replies(questions[0])
    for stage in STAGES:
        growth = costs[stage, questions[-1]].own - costs[stage, questions[0]].own
        print(f"- {stage}: {growth / more:,.0f} bytes per reply")
    means = N_LAYERS * D_MODEL * 4
    print(f"- to compare, mean residuals: {means:,} bytes per reply")
    folds = (1 + MAX_FOLDS) * (ROLES + 1) * means / MIB
    print(f"- to compare, the vectors with their folds: {folds:.1f} MiB, by label twice that")


if __name__ == "__main__":
    main()
