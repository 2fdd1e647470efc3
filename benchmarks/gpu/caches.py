"""How fast replies are written with a dynamic and a static cache, compiled or not, and whether floors hold there.

    python benchmarks/gpu/caches.py --out build/gpu/caches.md
    python benchmarks/gpu/caches.py --model Llama-3.1-8B --rows 1

The package writes with a dynamic cache, uncompiled. The others are what `generate` of transformers offers beside
it, with the functions of a plan hung behind the blocks as the package hangs them. `same tokens` is the share of
greedy tokens that are those of the dynamic cache under the same plan: less says that compiled code has lost the
plan, or that another kernel has rounded otherwise. `floored` is the least projection behind the last floor, over
the norm: below zero, and by more than rounding, where a floor is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from full_blocks import loaded, uncounted
from kit import Report, floors, interleave, options, prompts
from shapes import shapes
from transformers import CompileConfig

from persona_lens import PersonaModel
from persona_lens.interventions import Plan
from persona_lens.model.batching import left_padded
from persona_lens.model.hardware import choose_dtype
from persona_lens.transcripts import Transcript

HEADER = ("cache", "rows", "plan", "same tokens", "floored", "tokens a second")
HEADER = (*HEADER, "times dynamic, no plan [min, max]", "note")


def main(arguments: Sequence[str] | None = None) -> Report:
    """Print the table."""
    found = options(__doc__)
    found.add_argument("--model", default="Llama-3.1-8B", help="default: Llama-3.1-8B")
    found.add_argument("--rows", type=int, nargs="+", help="default: 1 16")
    found.add_argument("--new-tokens", type=int, help="default: 64")
    found.add_argument("--caches", nargs="+", help="some of: dynamic, static, 'static, compiled'")
    given = found.parse_args(arguments)
    report = Report("Caches and compiling", HEADER, given)
    name, shape = next(
        (name, shape)
        for name, shape in shapes(given.toy).items()
        if given.toy or name == given.model
    )
    new = given.new_tokens or (4 if given.toy else 64)
    dtype = torch.float32 if given.toy else choose_dtype("auto", report.device)
    with report.part(name):
        report.refuse_late()
        layers = shape.layers_that_fit(report.device, dtype)
        model = loaded(name, shape, layers, dtype, report.device)
        for rows in given.rows or ([2] if given.toy else [1, 16]):
            writing = _Writing(model, prompts(model, rows, 8 if given.toy else 128), new)
            for cache, settings in _caches(given.toy).items():
                if cache not in (given.caches or [cache]):
                    continue
                for plan in (floors(model, 8),) if given.toy else (None, floors(model, 8)):
                    acting = "none" if plan is None else f"floor at {len(plan.layers)} layers"
                    with report.part(cache, rows, acting):
                        report.refuse_late()
                        cells = writing.compared(
                            settings, plan, given.rounds or (1 if given.toy else 5)
                        )
                        report.add(cache, rows, acting, *cells, f"{name}, {layers} layers")
    print(report)
    return report


def _caches(toy: bool) -> dict[str, dict[str, Any]]:
    """Options of `generate`; what is compiled on a CPU is compiled to nothing, to see that it runs."""
    compiling: dict[str, Any] = {}
    if toy:
        config = CompileConfig(backend="eager")
        config.mode = None  # pyright: ignore[reportAttributeAccessIssue] - of inductor's only
        config._compile_all_devices = True  # pyright: ignore[reportAttributeAccessIssue]
        compiling = {"compile_config": config}
    return {
        "dynamic": {},
        "static": {"cache_implementation": "static", "disable_compile": True},
        "static, compiled": {"cache_implementation": "static", **compiling},
    }


class _Writing:
    """Greedy replies to the same prompts in every way."""

    def __init__(self, model: PersonaModel, texts: list[Transcript], new: int) -> None:
        self._model, self._texts = model, texts
        self._ids, self._mask = left_padded(
            [text.ids for text in texts], model.pad_id, model.device
        )
        self._fixed: dict[str, Any] = {
            "max_new_tokens": new,
            "do_sample": False,
            "eos_token_id": [],
            "pad_token_id": model.pad_id,
        }

    def compared(
        self, settings: dict[str, Any], plan: Plan | None, rounds: int
    ) -> tuple[object, ...]:
        """Same tokens, least projection, rate and ratio of one way of writing."""
        usual = self._sampled({}, plan)
        lowest: list[torch.Tensor] = []
        mine = self._sampled(settings, plan, lowest)
        same = float((usual == mine).float().mean())
        floored = f"{float(torch.stack(lowest).min()):.2g}" if lowest else ""
        rates = interleave(
            {"usual": self._writes({}, None), "this": self._writes(settings, plan)}, rounds
        )
        return f"{same:.0%}", floored, f"{rates.median('this'):,.1f}", rates.ratio("this", "usual")

    def _writes(self, settings: dict[str, Any], plan: Plan | None) -> Callable[[], int]:
        return lambda: self._sampled(settings, plan).numel()

    def _sampled(
        self, settings: dict[str, Any], plan: Plan | None, lowest: list[torch.Tensor] | None = None
    ) -> torch.Tensor:
        backend = self._model.held.backend
        with self._acting(plan), self._watched(plan, lowest):
            output = backend.generate(self._ids, self._mask, **self._fixed, **settings)
        return output[:, self._ids.shape[1] :]

    @contextmanager
    def _acting(self, plan: Plan | None) -> Iterator[None]:
        if plan is None:
            yield
            return
        with uncounted(self._model, plan, self._texts):
            yield

    @contextmanager
    def _watched(self, plan: Plan | None, lowest: list[torch.Tensor] | None) -> Iterator[None]:
        """Note the least projection behind the last floor, where that is asked for."""
        if plan is None or lowest is None:
            yield
            return
        layer, direction = plan.layers[-1], plan.steps[0].operation.direction
        row = torch.from_numpy(direction.units[direction.index(layer)])

        def tap(residual: torch.Tensor) -> None:
            last = residual[:, -1].float()
            projection = last @ row.to(last.device, last.dtype)
            lowest.append((projection / last.norm(dim=-1)).min())

        with self._model.held.backend.taps({layer: tap}):
            yield


if __name__ == "__main__":
    main()
