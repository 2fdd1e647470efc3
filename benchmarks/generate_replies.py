"""Writing replies: tokens a second of `PersonaModel.generate`, with and without pooling, against transformers.

All variants sample with the paper's settings (temperature 0.7, top-p 0.9) from the same prompts in one batch, and
no token ends a reply, so that all do the same number of steps. With pooling there is one step more: the
last token of a reply must be fed to have a residual.

The second table shows where the difference comes from: the filter that keeps the nucleus, alone, on the logits
of real steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from harness import (
    add_model_options,
    add_rounds,
    heading,
    interleave,
    markdown,
    parser,
    requirement,
)
from transformers import TemperatureLogitsWarper, TopPLogitsWarper
from workload import MODEL, never_end, plain_model, role_prompts

from persona_lens import PersonaModel, Sampling
from persona_lens.model.batching import left_padded
from persona_lens.model.sampling import NucleusFilter

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from persona_lens import Transcript

TEMPERATURE, TOP_P = 0.7, 0.9
FILTERED_STEPS = 8


@dataclass(frozen=True)
class Writing:
    """The ways to sample replies to the same prompts; each returns the tokens it has written."""

    model: PersonaModel
    plain: PreTrainedModel
    prompts: Sequence[Transcript]
    new_tokens: int

    def persona(self, *, pooling: bool) -> int:
        """What the package does."""
        replies = self.model.generate(
            self.prompts,
            Sampling(temperature=TEMPERATURE, top_p=TOP_P, max_new_tokens=self.new_tokens),
            layers=range(self.model.n_layers) if pooling else None,
            batch_size=len(self.prompts),
        )
        return sum(len(reply.ids) for reply in replies)

    def transformers(self) -> int:
        """`generate` of transformers."""
        return self._plain(self.new_tokens).sequences.shape[0] * self.new_tokens

    def step_logits(self) -> list[torch.Tensor]:
        """The logits of the first steps of a batch."""
        return list(self._plain(FILTERED_STEPS, output_logits=True).logits)

    @torch.inference_mode()
    def _plain(self, new_tokens: int, *, output_logits: bool = False):
        ids, mask = left_padded(
            [prompt.ids for prompt in self.prompts], self.model.pad_id, self.model.device
        )
        return self.plain.generate(  # pyright: ignore[reportCallIssue]
            input_ids=ids,
            attention_mask=mask.long(),
            do_sample=True,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            top_k=0,
            max_new_tokens=new_tokens,
            eos_token_id=list(self.model.end_ids),
            pad_token_id=self.model.pad_id,
            return_dict_in_generate=True,
            output_logits=output_logits,
        )


def main() -> None:
    """Compare rates at each batch size, then the filters."""
    options = parser(__doc__)
    add_rounds(options, 5)
    add_model_options(options)
    options.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 64])
    options.add_argument("--new-tokens", type=int, default=64, help="default: 64")
    args = options.parse_args()
    if args.quick:
        args.batch_sizes, args.new_tokens = [8], 12

    model = PersonaModel.load(MODEL, dtype=args.dtype, device=args.device)
    plain = plain_model(model)
    never_end(model)
    heading(f"Writing replies of {args.new_tokens} tokens with {model}")
    for batch_size in args.batch_sizes:
        writing = Writing(model, plain, role_prompts(model, batch_size), args.new_tokens)
        _compare(writing, args)
        _compare_filters(writing.step_logits(), args.rounds)


def _compare(writing: Writing, args: argparse.Namespace) -> None:
    rates = interleave(
        {
            "generate, all layers pooled": partial(writing.persona, pooling=True),
            "generate": partial(writing.persona, pooling=False),
            "transformers": writing.transformers,
        },
        args.rounds,
    )
    print(f"Batches of {len(writing.prompts)}\n")
    print(rates.table("reply tokens", over="transformers"), end="\n\n")
    for name in ("generate", "generate, all layers pooled"):
        requirement(f"`{name}` over `transformers`", rates.ratio(name, "transformers"), 0.95)
    print()


def _compare_filters(logits: Sequence[torch.Tensor], rounds: int) -> None:
    ids = torch.zeros((len(logits[0]), 1), dtype=torch.long, device=logits[0].device)
    ours = NucleusFilter(TEMPERATURE, TOP_P)
    scale, top_p = TemperatureLogitsWarper(TEMPERATURE), TopPLogitsWarper(TOP_P)

    def sort_free() -> int:
        for step in logits:
            ours(ids, step)
        return len(logits)

    def sorted_whole() -> int:
        for step in logits:
            top_p(ids, scale(ids, step))  # pyright: ignore[reportArgumentType]
        return len(logits)

    rates = interleave({"NucleusFilter": sort_free, "TopPLogitsWarper": sorted_whole}, rounds)
    rows = [(name, f"{1000 / rates.median(name):.1f}") for name in rates.rounds]
    print(markdown(("filter alone", "ms a step"), rows), end="\n\n")
    print(
        f"- nuclei of more than {ours.head} tokens: {_large_nuclei(ours, ids, logits):.2%} of rows\n"
    )


def _large_nuclei(
    nucleus: NucleusFilter, ids: torch.Tensor, logits: Sequence[torch.Tensor]
) -> float:
    """Share of rows that the filter has to rank in full."""
    sizes = torch.cat([nucleus(ids, step).isfinite().sum(dim=-1) for step in logits])
    return float((sizes > nucleus.head).float().mean())


if __name__ == "__main__":
    main()
