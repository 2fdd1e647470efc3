"""Serving: what HTTP costs beside a batched call, and what projections and readings cost beside none.

First table: 16 streams over HTTP at once, as clients see them, against one `generate` of the same prompts.

Second table: the same 16 requests through the server with nothing read of any token, with projections on the axis
before and after a cap (which every reply is placed by), with those of every token in every chunk, and with the
finished conversation read again, as a monitor does it. The server's metrics are kept in all of them.

No token ends a reply.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

import openai
from harness import add_model_options, add_rounds, heading, interleave, parser, requirement
from workload import MODEL, never_end, only_words

from persona_lens import PersonaModel, PersonaSpace, Sampling, load_questions
from persona_lens.model.continuous import ContinuousBatch
from persona_lens.server import Limits, Served, Serving

CAP = 75


def main() -> None:
    """Print the tables."""
    options = parser(__doc__)
    add_rounds(options, 5)
    add_model_options(options)
    options.add_argument("--streams", type=int, default=16, help="default: 16")
    options.add_argument("--new-tokens", type=int, default=64, help="default: 64")
    args = options.parse_args()
    if args.quick:
        args.rounds, args.streams, args.new_tokens = 2, 4, 12

    model = PersonaModel.load(MODEL, dtype=args.dtype, device=args.device)
    never_end(model)
    only_words(model)
    served = Served.of(model, PersonaSpace.load(MODEL), cap=CAP, limits=Limits(rows=args.streams))
    heading(f"{args.streams} streams of {args.new_tokens} tokens, with {model}")
    with (
        Serving(served, port=0, checked=False) as server,
        Serving(served, port=0, checked=False, make=_unread) as bare,
    ):
        _over_http(server, args)
        _what_reading_costs(server, bare, args)


def _unread(served: Served) -> ContinuousBatch:
    """A batch that reads nothing."""
    return ContinuousBatch(served.model, most_rows=served.limits.rows)


def _over_http(server: Serving, args: argparse.Namespace) -> None:
    model = server.app.desk.served.model
    encoder = model.encoder
    prompts = [encoder.prompt(encoder.messages(text)) for text in _questions(args.streams)]
    sampling = Sampling(temperature=0, max_new_tokens=args.new_tokens)
    cap = server.app.desk.served.plans.choose(None).plan
    assert cap is not None

    def called(acting: Callable[[], Any]) -> int:
        with acting():
            replies = model.generate(prompts, sampling, batch_size=args.streams)
        return sum(len(reply.ids) for reply in replies)

    rates = interleave(
        {
            "one call": partial(called, nullcontext),
            "over HTTP": partial(_streamed, server, args, {"plan": "none"}),
            "one call, capped": partial(called, partial(model.intervene, cap)),
            "over HTTP, capped": partial(_streamed, server, args, {}),
        },
        args.rounds,
    )
    print(rates.table("reply tokens", over="one call"), end="\n\n")
    requirement("streams over one call", rates.ratio("over HTTP", "one call"), 0.7)
    requirement(
        "streams over one call, capped", rates.ratio("over HTTP, capped", "one call, capped"), 0.7
    )
    print()


def _what_reading_costs(server: Serving, bare: Serving, args: argparse.Namespace) -> None:
    variants = {
        "nothing read": (bare, {}),
        "placed on the axis": (server, {}),
        "every token told": (server, {"projections": True}),
        "read again": (server, {"clean": True}),
    }
    rates = interleave(
        {
            name: partial(_streamed, which, args, persona)
            for name, (which, persona) in variants.items()
        },
        args.rounds,
    )
    print(rates.table("reply tokens", over="nothing read"), end="\n\n")
    requirement("placed over nothing read", rates.ratio("placed on the axis", "nothing read"), 0.9)
    print()


def _streamed(server: Serving, args: argparse.Namespace, persona: Mapping[str, Any]) -> int:
    """Tokens that as many clients got."""

    async def one(client: openai.AsyncOpenAI, text: str) -> int:
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": text}],
            temperature=0,
            max_tokens=args.new_tokens,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"persona": dict(persona)},
        )
        tokens = 0
        async for chunk in stream:
            if chunk.usage is not None:
                tokens = chunk.usage.completion_tokens
        return tokens

    async def run() -> int:
        async with openai.AsyncOpenAI(base_url=server.url, api_key="-", max_retries=0) as client:
            return sum(
                await asyncio.gather(*(one(client, text) for text in _questions(args.streams)))
            )

    return asyncio.run(run())


def _questions(count: int) -> list[str]:
    questions = load_questions()
    return [questions[row % len(questions)].text for row in range(count)]


if __name__ == "__main__":
    main()
