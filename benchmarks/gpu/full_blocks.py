"""Blocks of the paper's models at their full size: reading, decoding under floors, dose-response, memory.

    python benchmarks/gpu/full_blocks.py --out build/gpu/full_blocks.md
    python benchmarks/gpu/full_blocks.py --models Qwen3-32B --batch-sizes 1 16

Weights are random, in bfloat16 where the card multiplies it; of a model that is too large as many layers run as
fit. `no receipt` is the same plan with nothing counted, as `plan.hooks()` runs it. Ratios are formed within a
round; peaks are those of a whole comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np
import torch
from kit import (
    Rates,
    Report,
    floors,
    greedy,
    interleave,
    options,
    peak_memory,
    persona_model,
    prompts,
    random_module,
)
from shapes import Shape, shapes

from persona_lens import PersonaModel
from persona_lens.interventions import Add, Direction, Plan
from persona_lens.interventions.running import PlanRun
from persona_lens.interventions.tokens import BatchTokens
from persona_lens.model.batching import right_padded
from persona_lens.model.hardware import choose_dtype
from persona_lens.transcripts import Transcript

STRENGTHS = np.linspace(-0.4, 0.4, 9)
HEADER = ("model", "layers", "what", "rows", "variant", "tokens a second", "times [min, max]")
HEADER = (*HEADER, "peak, GiB", "note")


def main(arguments: Sequence[str] | None = None) -> Report:
    """Print the table."""
    found = options(__doc__)
    found.add_argument("--models", nargs="+", help="default: all four")
    found.add_argument("--batch-sizes", type=int, nargs="+", help="default: 1 16 64 128")
    found.add_argument("--new-tokens", type=int, help="default: 32")
    given = found.parse_args(arguments)
    sizes = given.batch_sizes or ([2] if given.toy else [1, 16, 64, 128])
    new, rounds = (
        given.new_tokens or (4 if given.toy else 32),
        given.rounds or (1 if given.toy else 5),
    )
    prompt_tokens = 8 if given.toy else 512
    report = Report("Blocks at their full size", HEADER, given)
    dtype = torch.float32 if given.toy else choose_dtype("auto", report.device)
    for name, shape in shapes(given.toy).items():
        if given.models and name not in given.models:
            continue
        with report.part(name):
            report.refuse_late()
            layers = shape.layers_that_fit(report.device, dtype)
            model = loaded(name, shape, layers, dtype, report.device)
            measured = Measured(report, model, f"{layers} of {shape.layers}", rounds)
            with report.part(name, layers, "reading"):
                report.refuse_late()
                measured.reading(prompt_tokens)
            for rows in sizes:
                with report.part(name, layers, "decoding", rows):
                    report.refuse_late()
                    measured.decoding(rows, prompt_tokens, new)
            with report.part(name, layers, "dose-response", len(STRENGTHS)):
                report.refuse_late()
                measured.doses(prompt_tokens, new)
            del model, measured
    print(report)
    return report


def loaded(
    name: str, shape: Shape, layers: int, dtype: torch.dtype, device: torch.device
) -> PersonaModel:
    """So many blocks of a model, random."""
    module = random_module(shape.kind, shape.config(layers), dtype=dtype, device=device)
    return persona_model(name, module)


class Measured:
    """The measurements on one model, which go into a report.

    Args:
        report: Where rows go.
        model: What is measured.
        layers: How many, for people.
        rounds: Of each comparison.
    """

    def __init__(self, report: Report, model: PersonaModel, layers: str, rounds: int) -> None:
        self._report, self._model, self._layers, self._rounds = report, model, layers, rounds

    def reading(self, tokens: int) -> None:
        """Mean residuals of all layers against the blocks alone, on the same batch."""
        model, texts = self._model, prompts(self._model, 16, tokens)
        everything = [np.ones(len(text), dtype=bool) for text in texts]
        count = sum(map(len, texts))

        def plain() -> int:
            ids, mask = right_padded([text.ids for text in texts], model.pad_id, model.device)
            model.held.backend.encode(ids, mask)
            return count

        def pooled() -> int:
            model.pooled(texts, everything, token_budget=count)
            return count

        self._compare("reading", len(texts), {"plain forward": plain, "pooled, all layers": pooled})

    def decoding(self, rows: int, tokens: int, new: int) -> None:
        """Replies with nothing attached, under floors, and under the same with nothing counted."""
        model, texts = self._model, prompts(self._model, rows, tokens)

        def write(around: Callable[[], AbstractContextManager]) -> int:
            with around():
                replies = model.generate(texts, greedy(new), batch_size=rows)
            return sum(len(reply.ids) for reply in replies)

        variants: dict[str, Callable[[], int]] = {"no hooks": partial(write, nullcontext)}
        for count in (8, 16):
            plan = floors(model, count)
            n = len(plan.layers)
            variants[f"floor at {count} layers"] = partial(write, partial(model.intervene, plan))
            variants[f"floor at {count}, no receipt"] = partial(
                write, partial(uncounted, model, plan, texts)
            )
            if n < count:
                break  # fewer layers than that: the next would be the same
        self._compare("decoding", rows, variants)

    def doses(self, tokens: int, new: int) -> None:
        """Nine strengths in one batch, a strength a row, against nine runs."""
        model, [text] = self._model, prompts(self._model, 1, tokens)
        middle = model.n_layers // 2
        push = Plan.of(Add(Direction("random", (middle,), np.ones((1, model.d_model))), np.ones(1)))

        def apart() -> int:
            written = 0
            for strength in STRENGTHS:
                with model.intervene(push * float(strength)):
                    written += len(model.generate([text], greedy(new))[0].ids)
            return written

        def together() -> int:
            with model.intervene(push * STRENGTHS):
                replies = model.generate([text] * len(STRENGTHS), greedy(new))
            return sum(len(reply.ids) for reply in replies)

        variants = {"nine runs": apart, "one batch": together}
        self._compare("dose-response", len(STRENGTHS), variants)

    def _compare(self, what: str, rows: int, variants: dict[str, Callable[[], int]]) -> None:
        """Rows of all variants, each over the first."""
        with peak_memory(self._report.device) as peak:
            rates: Rates = interleave(variants, self._rounds)
        first = next(iter(variants))
        for name in variants:
            self._report.add(
                self._model.name,
                self._layers,
                what,
                rows,
                name,
                f"{rates.median(name):,.1f}",
                rates.ratio(name, first),
                peak(),
                str(self._model.dtype).removeprefix("torch."),
            )


def uncounted(
    model: PersonaModel, plan: Plan, texts: Sequence[Transcript]
) -> AbstractContextManager[None]:
    """The plan at work on one batch, with no receipt."""
    tokens = BatchTokens.of_transcripts(
        texts,
        padding_side="left",
        sinks=list(model.sinks),
        bos_id=model.tokenizer.bos_token_id,  # pyright: ignore[reportArgumentType]
    )
    return model.held.backend.taps(PlanRun(plan, tokens).taps())


if __name__ == "__main__":
    main()
