"""Reading replies: tokens a second of mean residuals at every layer, and the memory it takes.

`pooled` is `PersonaModel.pooled`. `plain forward` is what cannot be avoided: the blocks of the plain Hugging Face
model on the very same batches, nothing read. `store, then pool` is the usual way: batches of 16 as they come, the
whole model with logits and its default cache, all residuals stacked as [layer, batch, position, d_model], averaged
afterwards. Pads do not count as tokens.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

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
from workload import MODEL, conversations, plain_model

from persona_lens import PersonaModel
from persona_lens.model.batching import MAX_ROWS, right_padded, token_budget_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from persona_lens import Transcript

TOKEN_BUDGET = 2048
STORED_ROWS = 16
QUICK_REPLIES = 16


@dataclass(frozen=True)
class Reading:
    """The three ways to read the same conversations; each returns the tokens it has read."""

    model: PersonaModel
    plain: PreTrainedModel

    def pooled(self, transcripts: Sequence[Transcript]) -> int:
        """What the package does."""
        self.model.pooled(transcripts, token_budget=TOKEN_BUDGET)
        return _tokens(transcripts)

    @torch.inference_mode()
    def forward(self, transcripts: Sequence[Transcript]) -> int:
        """Only the blocks, on the batches that `pooled` makes."""
        lengths = [len(transcript.ids) for transcript in transcripts]
        decoder = self.plain.get_decoder()
        for batch in token_budget_batches(lengths, budget=TOKEN_BUDGET, max_rows=MAX_ROWS):
            ids, mask = self._padded([transcripts[index] for index in batch])
            decoder(input_ids=ids, attention_mask=mask, use_cache=False)
        return _tokens(transcripts)

    @torch.inference_mode()
    def stored(self, transcripts: Sequence[Transcript]) -> int:
        """Keep every residual of a batch, then average."""
        for start in range(0, len(transcripts), STORED_ROWS):
            batch = transcripts[start : start + STORED_ROWS]
            residuals = self._all_residuals(*self._padded(batch))
            for row, transcript in enumerate(batch):
                positions = torch.from_numpy(self.model.reply_positions(transcript))
                reply = residuals[:, row, : len(transcript.ids)]
                reply[:, positions.to(reply.device)].float().mean(dim=1).cpu()
        return _tokens(transcripts)

    def _all_residuals(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        kept: list[torch.Tensor] = []

        def keep(_module: torch.nn.Module, _args: tuple, output: torch.Tensor) -> None:
            kept.append(output)

        blocks = cast("torch.nn.ModuleList", self.plain.get_decoder().layers)
        handles = [block.register_forward_hook(keep) for block in blocks]
        try:
            self.plain(input_ids=ids, attention_mask=mask)
        finally:
            for handle in handles:
                handle.remove()
        return torch.stack(kept)

    def _padded(self, transcripts: Sequence[Transcript]) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [transcript.ids for transcript in transcripts]
        ids, mask = right_padded(rows, self.model.pad_id, self.model.device)
        return ids, mask.long()


def _tokens(transcripts: Sequence[Transcript]) -> int:
    return sum(len(transcript.ids) for transcript in transcripts)


def main() -> None:
    """Compare rates, then memory."""
    options = parser(__doc__)
    add_rounds(options, 5)
    add_model_options(options)
    options.add_argument("--replies", type=int, default=96, help="default: 96")
    args = options.parse_args()

    model = PersonaModel.load(MODEL, dtype=args.dtype, device=args.device)
    reading = Reading(model, plain_model(model))
    transcripts = conversations(model, QUICK_REPLIES if args.quick else args.replies)
    variants: dict[str, Callable[[Sequence[Transcript]], int]] = {
        "pooled": reading.pooled,
        "plain forward": reading.forward,
        "store, then pool": reading.stored,
    }
    if args.only:
        variants[args.only](transcripts[:1])  # weights are mapped from disk when first used
        report_cost(partial(variants[args.only], transcripts))
        return

    heading(f"Reading {len(transcripts)} replies with {model}")
    rates = interleave(
        {name: partial(run, transcripts) for name, run in variants.items()}, args.rounds
    )
    print(rates.table("tokens", over="plain forward"), end="\n\n")
    _print_memory(list(variants), args)
    requirement("`pooled` over `plain forward`", rates.ratio("pooled", "plain forward"), 0.90)
    requirement("`pooled` over `store, then pool`", rates.ratio("pooled", "store, then pool"), 2.0)


def _print_memory(names: Sequence[str], args: argparse.Namespace) -> None:
    flags = ["--replies", str(args.replies), "--dtype", args.dtype, "--device", "cpu"]
    flags += ["--quick"] if args.quick else []
    costs = {name: cost_apart(__file__, name, flags) for name in names}
    rows = [(name, f"{cost.above / MIB:,.0f}") for name, cost in costs.items()]
    print(markdown(("variant, on the CPU", "peak above the model, MiB"), rows), end="\n\n")


if __name__ == "__main__":
    main()
