"""One model over several devices, and partly in the memory of the CPU: the same numbers, and how fast.

    python benchmarks/gpu/devices.py --out build/gpu/devices.md

Every placement is compared with the same weights on one device: mean residuals and what a floor makes of them, as
the largest difference over the norm of the means, and greedy replies under the floor. Placing needs accelerate.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kit import Report, floors, greedy, interleave, options, persona_model, prompts, random_module
from kit import tiny_tokenizer as tokenizer
from shapes import SHAPES, TOY, Shape

from persona_lens import PersonaModel

HEADER = ("placement", "layers", "dtype", "means", "floor", "equal reply tokens")
HEADER = (*HEADER, "tokens a second", "times one device [min, max]", "note")


def main(arguments: Sequence[str] | None = None) -> Report:
    """Print the table."""
    found = options(__doc__)
    found.add_argument("--layers", type=int, help="of Llama-3.1-8B's shape; default: 8")
    given = found.parse_args(arguments)
    report = Report("One model on several devices", HEADER, given)
    shape = TOY if given.toy else SHAPES["Llama-3.1-8B"]
    layers = given.layers or (3 if given.toy else 8)
    dtype = torch.float32 if report.device.type == "cpu" else torch.bfloat16
    new, rounds = (4, 1) if given.toy else (32, given.rounds or 3)
    placements = _placements(layers, report.device)
    with tempfile.TemporaryDirectory() as folder, report.part("one device", layers, dtype):
        report.refuse_late()
        one = _saved(shape, layers, dtype, report.device, Path(folder))
        expected = _numbers(one, new)
        for name, device_map in placements.items():
            with report.part(name, layers, dtype):
                report.refuse_late()
                if isinstance(device_map, str) and device_map.startswith("no "):
                    raise RuntimeError(device_map)
                spread = PersonaModel.load(
                    folder, tokenizer=tokenizer(), device_map=device_map, dtype=dtype
                )
                spread.end_ids = one.end_ids
                got = _numbers(spread, new)
                rates = interleave({"one": _writes(one, new), name: _writes(spread, new)}, rounds)
                cells = (*_compared(got, expected), f"{rates.median(name):,.1f}")
                report.add(name, layers, dtype, *cells, rates.ratio(name, "one"), "")
                del spread
    print(report)
    return report


def _placements(layers: int, device: torch.device) -> dict[str, Any]:
    """What to try: everything transformers spreads by itself, two cards, and half of the layers on the CPU."""
    first = 0 if device.type == "cuda" else "cpu"
    cards = torch.cuda.device_count()
    return {
        "auto": "auto",
        "two cards": _split(layers, 0, 1) if cards > 1 else f"no second device: {cards} there",
        "half on the CPU": _split(layers, first, "cpu"),
    }


def _split(layers: int, first: int | str, second: int | str) -> dict[str, int | str]:
    """The first half of the blocks on one device, the others and the head on another."""
    blocks = {
        f"model.layers.{layer}": first if layer < layers // 2 else second for layer in range(layers)
    }
    ends = {"model.norm": second, "lm_head": second}
    return {"model.embed_tokens": first, "model.rotary_emb": first, **blocks, **ends}


def _saved(
    shape: Shape, layers: int, dtype: torch.dtype, device: torch.device, folder: Path
) -> PersonaModel:
    module = random_module(shape.kind, shape.config(layers), dtype=dtype, device=device)
    module.save_pretrained(folder)
    return persona_model("one device", module)


def _numbers(model: PersonaModel, new: int) -> dict[str, np.ndarray]:
    texts = prompts(model, 4, 32)
    whole = [np.arange(len(text)) >= 2 for text in texts]
    numbers = {"means": model.pooled(texts, whole)}
    with model.intervene(floors(model, 2)):
        numbers["floor"] = model.pooled(texts, whole)
        replies = model.generate(texts, greedy(new))
    return numbers | {"replies": np.array([reply.ids for reply in replies])}


def _compared(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> tuple[str, str, str]:
    norms = np.linalg.norm(expected["means"], axis=-1)
    apart = [
        float((np.linalg.norm(got[name] - expected[name], axis=-1) / norms).max())
        for name in ("means", "floor")
    ]
    equal = float((got["replies"] == expected["replies"]).mean())
    return f"{apart[0]:.2g}", f"{apart[1]:.2g}", f"{equal:.0%}"


def _writes(model: PersonaModel, new: int) -> Callable[[], int]:
    texts = prompts(model, 4, 32)
    return lambda: sum(len(reply.ids) for reply in model.generate(texts, greedy(new)))


if __name__ == "__main__":
    main()
