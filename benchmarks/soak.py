"""A server under storms of clients, one after another: whether replies stay right, and whether anything grows.

In each storm 32 clients send 20 requests each: whole and streamed, with a plan, with a cap and with none, at
temperature 0. About a fifth are malformed, and three in ten clients go away: in the middle of their body, before
the reply, or in the middle of it. Every reply that comes is held against `generate` of its prompt alone, and
behind every storm hooks, tensors, threads, sockets, tasks and memory of the process are counted.

The clients and the counting are those of `tests/server/storm.py`, where a tiny model passes one storm; this is
the embedded model for as long as one likes. Memory is held against that behind the first storm: by then
everything was in use once.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from harness import add_model_options, heading, parser
from workload import MODEL

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / part) for part in ("", "server")]

from storm import Storm, alone, held, idle, tasks_of  # noqa: E402
from waiting import happens  # noqa: E402

from persona_lens import PersonaModel, PersonaSpace  # noqa: E402
from persona_lens.server import Limits, Served, Serving  # noqa: E402

QUESTIONS = (
    "Hi",
    "Who are you?",
    "Is water wet?",
    "Speak as a ghost.",
    "Sing me a song of the sea.",
)
GROWTH_MIB = 64


def main() -> None:
    """Print what was held behind each storm."""
    options = parser(__doc__)
    add_model_options(options)
    options.add_argument("--storms", type=int, default=10, help="default: 10")
    options.add_argument("--clients", type=int, default=32, help="default: 32")
    options.add_argument("--requests", type=int, default=20, help="of each client; default: 20")
    options.add_argument("--new-tokens", type=int, default=24, help="default: 24")
    args = options.parse_args()
    if args.quick:
        args.storms, args.clients, args.requests, args.new_tokens = 2, 8, 4, 6
    # In float32 a reply at temperature 0 is the same in any company.
    model = PersonaModel.load(MODEL, dtype="float32", device=args.device)
    space = PersonaSpace.load(MODEL)
    served = Served.of(
        model,
        space,
        cap=75,
        plans={"low": space.floor(percentile=25)},
        limits=Limits(rows=16, waiting=args.clients),
    )
    heading(f"{args.storms} storms of {args.clients} clients, {args.requests} requests each")
    with Serving(served, port=0) as server:
        _soak(server, args)


def _soak(server: Serving, args: argparse.Namespace) -> None:
    model = server.app.desk.served.model
    expected = alone(server.app.desk.served, QUESTIONS, args.new_tokens)
    tasks = tasks_of(server)
    print(
        "| storm | seconds | right | malformed | gone | turned away | wrong | "
        + " | ".join(held(model, tasks))
        + " |"
    )
    print("|" + "---:|" * (7 + len(held(model, tasks))))
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    wrong = 0
    for number in range(args.storms):
        start = time.monotonic()
        storm = Storm(
            server.url,
            MODEL,
            expected,
            args.new_tokens,
            clients=args.clients,
            requests=args.requests,
            seed=number,
        )
        storm.blow()
        assert happens(lambda: idle(server))
        last = held(model, tasks)
        first = first or last
        told = storm.told
        wrong += len(storm.wrong)
        right = told["whole"] + told["streamed"] - len(storm.wrong)
        seconds = f"{time.monotonic() - start:.0f}"
        counts = right, told["malformed"], told["gone"], told["turned away"], len(storm.wrong)
        print(
            "| " + " | ".join(map(str, (number, seconds, *counts, *last.values()))) + " |",
            flush=True,
        )
    grown = {name: last[name] - first[name] for name in last}
    memory = grown.pop("MiB")
    print()
    print(f"- {'met' if not wrong else 'MISSED'}: no wrong reply: {wrong}")
    print(
        f"- {'met' if not any(more > 0 for more in grown.values()) else 'MISSED'}: nothing is left: {grown}"
    )
    print(
        f"- {'met' if memory <= GROWTH_MIB else 'MISSED'}: memory grows by {GROWTH_MIB} MiB at most: {memory} MiB"
    )


if __name__ == "__main__":
    main()
