"""Continuous batching: what rows of their own cost, and what they bring.

First table: 16 requests that arrive at once, against one batched `generate` of the same prompts, with no plan and
with a floor on eight layers on every row. All rows write the same number of tokens, so this is what keeping the
rows apart costs.

Second table: the time to the first token of a request, alone and while 15 others run.

Third table: replies whose lengths have a long tail, answered as places come free, against batches of `generate`
that run to the end of their longest reply. Here no rows idle, so this is what is gained.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

import numpy as np
from harness import (
    Ratio,
    add_model_options,
    add_rounds,
    heading,
    interleave,
    markdown,
    parser,
    requirement,
)
from workload import MODEL, never_end, role_prompts

from persona_lens import PersonaModel, Sampling, Transcript
from persona_lens.interventions import Direction, Floor, Plan
from persona_lens.model.continuous import ContinuousBatch, Finished, Request, Token

LAYERS = range(15, 23)


def main() -> None:
    """Print the tables."""
    options = parser(__doc__)
    add_rounds(options, 5)
    add_model_options(options)
    options.add_argument("--rows", type=int, default=16, help="default: 16")
    options.add_argument("--requests", type=int, default=64, help="of the long tail; default: 64")
    options.add_argument("--new-tokens", type=int, default=64, help="default: 64")
    args = options.parse_args()
    if args.quick:
        args.rounds, args.requests, args.new_tokens = 2, 24, 12

    model = PersonaModel.load(MODEL, dtype=args.dtype, device=args.device)
    never_end(model)
    heading(f"Continuous batching, {args.rows} rows of {args.new_tokens} tokens, with {model}")
    prompts = role_prompts(model, max(args.rows, args.requests))
    with ContinuousBatch(model, most_rows=args.rows) as batch:
        _at_once(batch, prompts[: args.rows], args)
        _first_token(batch, prompts[: args.rows], args)
        _long_tail(batch, prompts[: args.requests], args)


def _floor(model: PersonaModel) -> Plan:
    """About half of the tokens engage."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((len(LAYERS), model.d_model))
    return Plan.of(Floor(Direction("random", tuple(LAYERS), values), np.zeros(len(LAYERS))))


def _written(batch: ContinuousBatch, requests: Sequence[Request]) -> int:
    for request in requests:
        batch.add(request)
    return sum(len(event.reply.ids) for event in batch.run() if isinstance(event, Finished))


def _at_once(
    batch: ContinuousBatch, prompts: Sequence[Transcript], args: argparse.Namespace
) -> None:
    model, floor = batch.model, _floor(batch.model)
    sampling = Sampling(max_new_tokens=args.new_tokens)

    def together(plan: Plan | None) -> int:
        with nullcontext() if plan is None else model.intervene(plan):
            replies = model.generate(prompts, sampling, batch_size=len(prompts))
        return sum(len(reply.ids) for reply in replies)

    def apart(plan: Plan | None) -> int:
        return _written(batch, [Request(prompt, sampling, plan) for prompt in prompts])

    rates = interleave(
        {
            "generate": partial(together, None),
            "continuous": partial(apart, None),
            "generate, floor": partial(together, floor),
            "continuous, floor": partial(apart, floor),
        },
        args.rounds,
    )
    print(f"{len(prompts)} requests at once\n")
    print(rates.table("reply tokens", over="generate"), end="\n\n")
    for name in ("", ", floor"):
        ratio = rates.ratio(f"continuous{name}", f"generate{name}")
        requirement(f"`continuous{name}` over `generate{name}`", ratio, 0.8)
    print()


def _first_token(
    batch: ContinuousBatch, prompts: Sequence[Transcript], args: argparse.Namespace
) -> None:
    """Requests come at any moment of a step, so half a step of the others is added to what is measured."""
    sampling = Sampling(max_new_tokens=args.new_tokens)
    *others, newcomer = (Request(prompt, sampling) for prompt in prompts)
    quick = Request(newcomer.prompt, Sampling(max_new_tokens=1))

    def waited() -> float:
        start, ticket = time.perf_counter(), batch.add(quick)
        while not any(
            isinstance(event, Token) and event.ticket == ticket for event in batch.step()
        ):
            pass
        return time.perf_counter() - start

    alone, beside = [], []
    waited()
    for _ in range(max(args.rounds, 3)):
        alone.append(waited())
        tickets = [batch.add(request) for request in others]
        for _ in range(4):
            batch.step()
        start = time.perf_counter()
        batch.step()
        step = time.perf_counter() - start
        beside.append(waited() + step / 2)
        for ticket in tickets:
            batch.cancel(ticket)
    ratio = Ratio.of([two / one for one, two in zip(alone, beside, strict=True)])
    rows = [
        (name, f"{1000 * float(np.median(seconds)):.0f}")
        for name, seconds in (("alone", alone), (f"while {len(others)} run", beside))
    ]
    print(markdown(("time to the first token", "ms"), rows), end="\n\n")
    verdict = "met" if ratio.median <= 2 else "MISSED"
    print(f"- {verdict}: while {len(others)} run over alone, at most 2.00: {ratio}\n")


def _long_tail(
    batch: ContinuousBatch, prompts: Sequence[Transcript], args: argparse.Namespace
) -> None:
    """Log-normal lengths, whose mean is about the number of tokens asked for."""
    draws = np.random.default_rng(0).lognormal(-0.5, 1.0, len(prompts))
    lengths = np.clip(np.round(args.new_tokens * draws), 1, 8 * args.new_tokens).astype(int)
    samplings = [Sampling(max_new_tokens=int(length)) for length in lengths]
    model, rows = batch.model, args.rows

    def in_batches() -> int:
        for start in range(0, len(prompts), rows):
            longest = Sampling(max_new_tokens=int(lengths[start : start + rows].max()))
            model.generate(prompts[start : start + rows], longest, batch_size=rows)
        return int(
            lengths.sum()
        )  # what is written behind the length that was wanted does not count

    def as_places_come_free() -> int:
        pairs = zip(prompts, samplings, strict=True)
        return _written(batch, [Request(prompt, sampling) for prompt, sampling in pairs])

    rates = interleave(
        {"batches of generate": in_batches, "continuous": as_places_come_free}, args.rounds
    )
    print(
        f"{len(prompts)} replies of {lengths.min()} to {lengths.max()} tokens, "
        f"{lengths.mean():.0f} on average, {rows} at a time\n"
    )
    print(rates.table("reply tokens", over="batches of generate"), end="\n\n")
    requirement(
        "`continuous` over `batches of generate`",
        rates.ratio("continuous", "batches of generate"),
        1.0,
    )
    print()


if __name__ == "__main__":
    main()
