"""Long replies in batches: what rows that are over cost, and what their leaving brings.

The embedded model answers prompts of roles with the paper's settings (temperature 0.7, top-p 0.9, up to 512
tokens), all layers pooled and log-probabilities noted, as a collection does. Its replies end where they end: their
lengths are the model's own. `whole` keeps every row in its batch until the last one is over; `leaving` is what
`generate` does. Both have the same seed, and the script says whether their replies are the same.

Row-steps are counted, not timed: rows times columns of every pass behind the prompts. `--temperature 0` takes the
likeliest tokens. `--dtype float32` rounds less: with bfloat16, batches of other sizes may round differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from harness import (
    add_model_options,
    add_rounds,
    heading,
    interleave,
    markdown,
    parser,
    requirement,
)
from jaxtyping import Int
from torch import Tensor
from workload import MODEL, role_prompts

from persona_lens import PersonaModel, Sampling, Transcript
from persona_lens.rollouts.reply import Reply


@dataclass
class Writing:
    """The same replies in batches that stay whole, or whose rows leave; each way returns the tokens written."""

    model: PersonaModel
    prompts: Sequence[Transcript]
    sampling: Sampling
    batch_size: int
    replies: dict[bool, list[Reply]] = field(default_factory=dict)
    row_steps: dict[bool, int] = field(default_factory=dict)

    def write(self, *, leaving: bool) -> int:
        """All replies, one way."""
        steps: list[int] = []

        def watch(ids: Int[Tensor, "row column"]) -> None:
            steps.append(len(ids) if ids.shape[1] == 1 else 0)

        conduct = self.model.conduct.__dict__  # what was measured is kept there
        measured = self.model.conduct.lets_rows_leave
        conduct["lets_rows_leave"] = leaving and measured
        try:
            with self.model.held.backend.before_forward(watch):
                self.replies[leaving] = self.model.generate(
                    self.prompts,
                    self.sampling,
                    layers=range(self.model.n_layers),
                    batch_size=self.batch_size,
                    log_probs=True,
                )
        finally:
            conduct["lets_rows_leave"] = measured
        self.row_steps[leaving] = sum(steps)
        return sum(len(reply.ids) for reply in self.replies[leaving])


def main() -> None:
    """Print rates, row-steps and whether replies are the same."""
    options = parser(__doc__)
    add_rounds(options, 3)
    add_model_options(options)
    options.add_argument("--replies", type=int, default=128, help="default: 128")
    options.add_argument("--batch-size", type=int, default=64, help="default: 64")
    options.add_argument("--new-tokens", type=int, default=512, help="default: 512")
    options.add_argument("--temperature", type=float, default=0.7, help="default: 0.7")
    args = options.parse_args()
    if args.quick:
        args.rounds, args.replies, args.batch_size, args.new_tokens = 1, 12, 12, 64

    model = PersonaModel.load(MODEL, dtype=args.dtype, device=args.device)
    sampling = Sampling(
        temperature=args.temperature, top_p=0.9, max_new_tokens=args.new_tokens, seed=0
    )
    writing = Writing(model, role_prompts(model, args.replies), sampling, args.batch_size)
    heading(f"{args.replies} replies of up to {args.new_tokens} tokens with {model}")
    rates = interleave(
        {
            "leaving": partial(writing.write, leaving=True),
            "whole": partial(writing.write, leaving=False),
        },
        args.rounds,
    )
    left, whole = writing.replies[True], writing.replies[False]
    lengths = np.array([len(reply.ids) for reply in whole])
    quartiles = ", ".join(f"{value:.0f}" for value in np.quantile(lengths, [0.25, 0.5, 0.75]))
    at_limit = np.mean([reply.finish == "length" for reply in whole])
    print(
        f"Lengths: mean {lengths.mean():.0f}, quartiles {quartiles}, {at_limit:.0%} cut at the limit\n"
    )
    print(rates.table("reply tokens", over="whole"), end="\n\n")
    rows = [
        (name, f"{writing.row_steps[key]:,}", f"{1 - lengths.sum() / writing.row_steps[key]:.0%}")
        for name, key in (("leaving", True), ("whole", False))
    ]
    print(markdown(("variant", "row-steps", "spent on rows that are over"), rows), end="\n\n")
    saved = writing.row_steps[False] / writing.row_steps[True]
    print(f"- row-steps of `whole` over `leaving`: {saved:.2f}")
    requirement("`leaving` over `whole`", rates.ratio("leaving", "whole"), 1.3)
    same = np.mean(
        [one.ids.tolist() == two.ids.tolist() for one, two in zip(left, whole, strict=True)]
    )
    print(f"- replies that are the same token by token: {same:.0%}")


if __name__ == "__main__":
    main()
