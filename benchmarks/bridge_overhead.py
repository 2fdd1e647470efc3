"""TransformerLens bridge against the native twin: why bulk work does not run on the bridge.

The bridge runs every block through components of its own, with attention that keeps its pattern, and its forward
pass unembeds every position. `PersonaModel` gives long work to the plain module on the same weights, and the
bridge to the user. All sequences have the same length, so that no variant is slowed down by pads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from harness import add_model_options, add_rounds, heading, interleave, parser
from workload import MODEL, conversations, never_end

from persona_lens import PersonaModel, Sampling, Transcript


@dataclass(frozen=True)
class Sequences:
    """Conversations of the same length, and the ways to read or continue them.

    Attributes:
        rows, length: Number and tokens of the sequences.
        new_tokens: Tokens to continue with.
    """

    model: PersonaModel
    rows: int
    length: int
    new_tokens: int

    @cached_property
    def transcripts(self) -> list[Transcript]:
        """The sequences."""
        return conversations(self.model, self.rows, shortest=self.length, longest=self.length)

    @cached_property
    def ids(self) -> torch.Tensor:
        """Their ids."""
        rows = [torch.from_numpy(transcript.ids) for transcript in self.transcripts]
        return torch.stack(rows).to(self.model.device)

    def pooled(self) -> int:
        """Mean residuals at every layer, on the native twin."""
        self.model.pooled(self.transcripts)
        return self.ids.numel()

    @torch.inference_mode()
    def bridge_forward(self) -> int:
        """The bridge's forward pass; nothing is read."""
        self.model.bridge(self.ids, use_cache=False)
        return self.ids.numel()

    @torch.inference_mode()
    def bridge_cache(self) -> int:
        """`run_with_cache` on the residual stream of every layer, then the mean."""
        names = {self.model.hook_name(layer) for layer in range(self.model.n_layers)}
        _, cache = self.model.bridge.run_with_cache(
            self.ids, names_filter=lambda name: name in names, use_cache=False
        )
        for name in names:
            cache[name].float().mean(dim=1)
        return self.ids.numel()

    def generate(self) -> int:
        """Replies from the native twin."""
        replies = self.model.generate(
            [replace(transcript, generating=True) for transcript in self.transcripts],
            Sampling(max_new_tokens=self.new_tokens),
            batch_size=self.rows,
        )
        return sum(len(reply.ids) for reply in replies)

    def bridge_generate(self) -> int:
        """Replies from the bridge's own loop."""
        self.model.bridge.generate(
            self.ids,
            max_new_tokens=self.new_tokens,
            stop_at_eos=False,
            temperature=0.7,
            top_p=0.9,
            return_type="tokens",
            verbose=False,
        )
        return self.rows * self.new_tokens

    def reading(self) -> Mapping[str, Callable[[], int]]:
        """Variants of reading."""
        return {
            "pooled, native": self.pooled,
            "bridge forward": self.bridge_forward,
            "bridge run_with_cache, then mean": self.bridge_cache,
        }

    def writing(self) -> Mapping[str, Callable[[], int]]:
        """Variants of writing."""
        return {"generate, native": self.generate, "bridge.generate": self.bridge_generate}


def main() -> None:
    """Compare reading and writing at a large batch and at one sequence."""
    options = parser(__doc__)
    add_rounds(options, 5)
    add_model_options(options)
    args = options.parse_args()
    length, new_tokens = (64, 6) if args.quick else (256, 32)

    model = PersonaModel.load(MODEL, dtype=args.dtype, device=args.device)
    never_end(model)
    heading(f"The bridge and its native twin, {model}")
    for rows in (1, 4) if args.quick else (1, 16):
        sequences = Sequences(model, rows, length, new_tokens)
        rates = interleave(sequences.reading(), args.rounds)
        print(f"Reading {rows} x {length} tokens\n\n{rates.table('tokens', 'bridge forward')}\n")
        rates = interleave(sequences.writing(), args.rounds)
        print(
            f"Writing {rows} x {new_tokens} tokens\n\n{rates.table('tokens', 'bridge.generate')}\n"
        )


if __name__ == "__main__":
    main()
