"""Watching: what a monitor costs that listens while replies are written.

The same prompts are answered with nobody listening, and in `monitor.watching(model)`: the mean of every reply at
one layer is pooled on the way, which takes one decoding step more than the reply is long, its conversation is
recognised, and the statistic is computed. Prompts are second turns, so that there is a past to recognise. No
token ends a reply, and no special one is drawn.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import numpy as np
import pandas as pd
from harness import add_model_options, add_rounds, heading, interleave, parser, requirement
from workload import MODEL, never_end, only_words

from persona_lens import PersonaModel, PersonaSpace, Sampling, Transcript, load_questions
from persona_lens.drift.monitor import Monitor
from persona_lens.drift.places import Places

LAYER = 20


def main() -> None:
    """Print a table for each batch size."""
    options = parser(__doc__)
    add_rounds(options, 7)
    add_model_options(options)
    options.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 16])
    options.add_argument("--new-tokens", type=int, default=128, help="default: 128")
    args = options.parse_args()
    if args.quick:
        args.batch_sizes, args.new_tokens = [4], 12
    logging.getLogger("persona_lens.drift.monitor").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")  # benchmarks are other traffic than any

    model = PersonaModel.load(MODEL, dtype=args.dtype, device=args.device)
    never_end(model)
    only_words(model)
    monitor = _monitor()
    heading(f"Watching while writing {args.new_tokens} tokens with {model}")
    for batch_size in args.batch_sizes:
        _compare(model, monitor, batch_size, args)


def _monitor() -> Monitor:
    """Any: what it costs does not depend on where its threshold is."""
    rng = np.random.default_rng(0)
    calm = pd.DataFrame(
        {
            "conversation": np.repeat(np.arange(150), 10),
            "turn": np.tile(np.arange(10), 150),
            "projection": rng.normal(size=1500),
        }
    )
    places = Places.of(PersonaSpace.load(MODEL), [LAYER], ["axis"])
    return Monitor.calibrate(calm, "cusum", layer=LAYER, places=places)


def _compare(
    model: PersonaModel, monitor: Monitor, batch_size: int, args: argparse.Namespace
) -> None:
    prompts = _second_turns(model, batch_size)
    sampling = Sampling(max_new_tokens=args.new_tokens)

    def write(block: Callable) -> int:
        with block():
            replies = model.generate(prompts, sampling, batch_size=batch_size)
        return sum(len(reply.ids) for reply in replies)

    rates = interleave(
        {
            "generating alone": partial(write, nullcontext),
            "watched": partial(write, partial(monitor.watching, model)),
        },
        args.rounds,
    )
    print(f"Batches of {batch_size}\n")
    print(rates.table("reply tokens", over="generating alone"), end="\n\n")
    requirement("watched over alone", rates.ratio("watched", "generating alone"), 0.97)
    print()


def _second_turns(model: PersonaModel, count: int) -> list[Transcript]:
    """Prompts with a past."""
    questions = load_questions()
    encoder = model.encoder
    return [
        encoder.prompt(
            [
                *encoder.messages(questions[row % len(questions)].text),
                {"role": "assistant", "content": f"That depends on {row} things."},
                {"role": "user", "content": "Which ones?"},
            ]
        )
        for row in range(count)
    ]


if __name__ == "__main__":
    main()
