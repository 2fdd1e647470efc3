"""Replies where other processes want the cores too: how long OpenMP's threads should spin while they wait.

Every number is of a process of its own, because OpenMP reads its settings when it is loaded; `ours` is what
`import persona_lens` sets where nothing is set. The load is one endless loop a core.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from harness import Rates, add_rounds, heading, parser, requirement, timed
from workload import MODEL, never_end, role_prompts

from persona_lens import PersonaModel, Sampling

DEFAULT, OURS = "torch's default", "ours"
SETTINGS = {
    DEFAULT: {"GOMP_SPINCOUNT": "300000"},  # GNU OpenMP's own default
    OURS: {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
}


def write(batch_size: int, new_tokens: int) -> None:
    """Print the tokens a second of one batch, after a short one that warms up."""
    model = PersonaModel.load(MODEL, dtype="float32")
    never_end(model)
    prompts = role_prompts(model, batch_size)

    def work(tokens: int) -> int:
        replies = model.generate(prompts, Sampling(max_new_tokens=tokens))
        return sum(len(reply.ids) for reply in replies)

    work(2)
    tokens, seconds = timed(partial(work, new_tokens))
    print(tokens / seconds)


def rate(variant: str, flags: list[str]) -> float:
    """Tokens a second of a process with the settings of a variant."""
    spinning = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in spinning}
    environment |= SETTINGS[variant]
    command = [sys.executable, __file__, "--only", variant, *flags]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return float(done.stdout.splitlines()[-1])


@contextmanager
def load(processes: int) -> Iterator[None]:
    """So many endless loops beside us."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def main() -> None:
    """Compare the settings, on a quiet and on a busy machine, one reply at a time and in a batch."""
    options = parser(__doc__)
    add_rounds(options, 3)
    options.add_argument("--batch-size", type=int, default=32)
    options.add_argument("--new-tokens", type=int, default=8)
    args = options.parse_args()
    if args.only:
        write(args.batch_size, args.new_tokens)
        return

    heading(f"Writing replies on a busy machine, {MODEL}, float32")
    cores = os.cpu_count() or 1
    for processes in (0, cores):
        flags = ["--batch-size", str(args.batch_size), "--new-tokens", str(args.new_tokens)]
        with load(processes):
            rounds = [{name: rate(name, flags) for name in SETTINGS} for _ in range(args.rounds)]
        rates = Rates({name: [each[name] for each in rounds] for name in SETTINGS})
        beside = f"{processes} busy processes beside it" if processes else "nothing beside it"
        print(f"Batches of {args.batch_size}, {beside}\n\n{rates.table('tokens', over=DEFAULT)}\n")
        least = 1.2 if processes else 0.95
        requirement(f"ours over {DEFAULT}, {beside}", rates.ratio(OURS, DEFAULT), least)
        print()


if __name__ == "__main__":
    main()
