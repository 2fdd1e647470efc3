"""Tracing conversations: every turn in one pass, against encoding the past anew at each turn.

`trace` is `persona_lens.drift.trace` with the axis at one layer: laying out the turns, reading, projecting,
intervals and nearest roles. `plain forward` is what cannot be avoided: the blocks of the plain Hugging Face
model on the whole conversations, in the same batches. `turn by turn` reads the conversation up to each turn and
pools its last reply. Tokens are those of the whole conversations, each counted once. User messages are of the
everyday catalogue, replies are texts of the neutral one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING

import torch
from harness import (
    MIB,
    add_model_options,
    add_rounds,
    cost_apart,
    heading,
    interleave,
    markdown,
    parser,
    report_cost,
    requirement,
)
from workload import MODEL, plain_model

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.catalog import load_everyday
from persona_lens.catalog.neutral import load_neutral
from persona_lens.conversations import Conversation
from persona_lens.drift import trace
from persona_lens.model.batching import MAX_ROWS, right_padded, token_budget_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from persona_lens import Transcript

TOKEN_BUDGET = 2048
LAYER = 15
TURNS = 12
MEMORY_TURNS = (3, TURNS)


def chats(n: int, turns: int) -> list[Conversation]:
    """Conversations of so many turns."""
    messages = cycle(message for chat in load_everyday() for message in chat.messages)
    replies = cycle(exchange.answer for exchange in load_neutral())
    return [
        Conversation.of(
            [
                said
                for _ in range(turns)
                for said in (("user", next(messages)), ("assistant", next(replies)))
            ],
            id=str(number),
        )
        for number in range(n)
    ]


@dataclass(frozen=True)
class Tracing:
    """The three ways to read the same conversations; each returns the tokens of them, each counted once."""

    model: PersonaModel
    plain: PreTrainedModel
    space: PersonaSpace
    chats: list[Conversation]
    lengths: list[int]

    def trace(self) -> int:
        """What the package does."""
        trace(
            self.space,
            self.model,
            self.chats,
            layers=LAYER,
            token_budget=TOKEN_BUDGET,
            progress=False,
        )
        return sum(self.lengths)

    @torch.inference_mode()
    def forward(self) -> int:
        """Only the blocks, on whole conversations."""
        decoder = self.plain.get_decoder()
        texts = [encoded(self.model, chat, chat.n_turns).ids for chat in self.chats]
        for batch in token_budget_batches(self.lengths, budget=TOKEN_BUDGET, max_rows=MAX_ROWS):
            ids, mask = right_padded(
                [texts[row] for row in batch], self.model.pad_id, self.model.device
            )
            decoder(input_ids=ids, attention_mask=mask.long(), use_cache=False)
        return sum(self.lengths)

    def turn_by_turn(self) -> int:
        """The past encoded anew at each turn, in full batches."""
        prefixes = (
            encoded(self.model, chat, turns + 1)
            for chat in self.chats
            for turns in range(chat.n_turns)
        )
        for group in _groups(prefixes, 128):
            means = self.model.pooled(group, layers=[LAYER], token_budget=TOKEN_BUDGET)
            self.space.project(means[:, 0], LAYER)
        return sum(self.lengths)


def encoded(model: PersonaModel, chat: Conversation, turns: int) -> Transcript:
    """The first turns of a conversation."""
    messages = chat.as_dicts()[: 2 * turns]
    first = model.encoder.messages(messages[0]["content"])
    return model.encoder.encode([*first, *messages[1:]])


def _groups(items: Iterator[Transcript], size: int) -> Iterator[list[Transcript]]:
    while group := list(islice(items, size)):
        yield group


def prepared(args: argparse.Namespace, turns: int) -> Tracing:
    """Model, space and conversations."""
    model = PersonaModel.load(MODEL, dtype=args.dtype, device=args.device)
    made = chats(2 if args.quick else args.conversations, turns)
    lengths = [len(encoded(model, chat, turns)) for chat in made]
    return Tracing(model, plain_model(model), PersonaSpace.load(MODEL), made, lengths)


def main() -> None:
    """Compare rates, then memory over the number of turns."""
    options = parser(__doc__)
    add_rounds(options, 3)
    add_model_options(options)
    options.add_argument("--conversations", type=int, default=100, help="default: 100")
    args = options.parse_args()
    if args.only:
        tracing = prepared(args, int(args.only))
        report_cost(tracing.trace)
        return
    tracing = prepared(args, TURNS)
    heading(
        f"Tracing {len(tracing.chats)} conversations of {TURNS} turns, "
        f"{sum(tracing.lengths):,} tokens, with {tracing.model}"
    )
    variants: dict[str, Callable[[], int]] = {
        "trace": tracing.trace,
        "plain forward": tracing.forward,
        "turn by turn": tracing.turn_by_turn,
    }
    rates = interleave({name: partial(run) for name, run in variants.items()}, args.rounds)
    print(rates.table("tokens", over="plain forward"), end="\n\n")
    flags = ["--conversations", str(args.conversations), "--dtype", args.dtype, "--device", "cpu"]
    flags += ["--quick"] if args.quick else []
    costs = {turns: cost_apart(__file__, str(turns), flags) for turns in MEMORY_TURNS}
    rows = [(turns, f"{cost.above / MIB:,.0f}") for turns, cost in costs.items()]
    print(markdown(("turns, on the CPU", "peak above the model, MiB"), rows), end="\n\n")
    requirement("`trace` over `turn by turn`", rates.ratio("trace", "turn by turn"), 5.0)
    requirement("`trace` over `plain forward`", rates.ratio("trace", "plain forward"), 0.85)


if __name__ == "__main__":
    main()
