"""`verify` on this device, by architecture, dtype and attention; and whether it computes what a CPU computes.

    python benchmarks/gpu/verify_models.py --out build/gpu/verify_models.md
    python benchmarks/gpu/verify_models.py --architectures gemma2 qwen3 --dtypes bfloat16

`means`, `projections` and `floor` (means under one) are how far these lie from those of the same weights in
float32 on the CPU, as a fraction of the residual norm; a row passes if `verify` does and none of them exceeds the
tolerance that `verify` has for the dtype. Random models of 6 layers of 512 dimensions.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from kit import Report, floors, options, persona_model, prompts, random_module
from tiny_architectures import CASES, tiny_shape

from persona_lens import PersonaModel
from persona_lens.verify import CHECKS, verify
from persona_lens.verify.subject import tolerances

ARCHITECTURES = (
    *("gemma2", "gemma3_text", "qwen2", "qwen3", "llama", "mistral", "olmo2", "phi3"),
    *("gpt_oss", "qwen3_next"),
)
DTYPES = ("bfloat16", "float16", "float32")
ATTENTION = ("default", "flash_attention_2")
"""What transformers takes by itself, sdpa for most, and flash attention."""
LARGER: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "initializer_range": 0.05,
}
OF_THE_LENS = ("bridge", "lens-hooks")
"""Checks that need TransformerLens."""
HEADER = ("architecture", "dtype", "attention", "verify", "means", "projections", "floor")
HEADER = (*HEADER, "at most", "note")


def main(arguments: Sequence[str] | None = None) -> Report:
    """Print the table."""
    found = options(__doc__)
    found.add_argument("--architectures", nargs="+", choices=sorted(CASES), metavar="NAME")
    found.add_argument("--dtypes", nargs="+", choices=DTYPES)
    found.add_argument("--attention", nargs="+", default=ATTENTION)
    found.add_argument("--checks", nargs="+", help="of verify; default: all that can run here")
    given = found.parse_args(arguments)
    architectures = given.architectures or (("llama",) if given.toy else ARCHITECTURES)
    dtypes = given.dtypes or (("float32",) if given.toy else DTYPES)
    report = Report("Architectures", HEADER, given)
    for name in architectures:
        for dtype in dtypes:
            for attention in given.attention:
                with report.part(name, dtype, attention):
                    report.refuse_late()
                    _refuse_what_cannot_be(attention, dtype, report.device)
                    row = _row(report, name, getattr(torch, dtype), attention, given)
                    report.add(name, dtype, attention, *row)
    print(report)
    return report


def _refuse_what_cannot_be(attention: str, dtype: str, device: torch.device) -> None:
    if not attention.startswith("flash"):
        return
    if dtype == "float32" or device.type != "cuda":
        raise ValueError("flash attention is for half precision on a GPU")
    if importlib.util.find_spec("flash_attn") is None:
        raise ImportError("flash_attn is not installed")


def _row(
    report: Report, name: str, dtype: torch.dtype, attention: str, given: Any
) -> tuple[object, ...]:
    shape = tiny_shape(name)
    if not given.toy:
        shape |= {key: value for key, value in _larger(name).items() if shape.get(key) is not None}
    module = random_module(
        name,
        shape,
        dtype=dtype,
        device=report.device,
        attention=None if attention == "default" else attention,
    )
    reference = cast("Any", copy.deepcopy(module)).float().cpu()
    if attention.startswith("flash"):
        reference.set_attn_implementation("eager")
    model, exact = persona_model(name, module, ends=True), persona_model(name, reference)
    lens = importlib.util.find_spec("transformer_lens") is not None
    checks = given.checks or [check for check in CHECKS if lens or check not in OF_THE_LENS]
    report_of = verify(model, only=checks)
    limit = tolerances(dtype).residual
    apart = _apart(model, exact)
    notes = [f"{failed.name} fails" for failed in report_of.failures]
    notes += [] if lens else ["without TransformerLens"]
    passed = len(report_of.results) - len(report_of.failures)
    told = f"{passed} of {len(report_of.results)}"
    notes += ["differs from the CPU"] if max(apart) > limit else []
    return (told, *(f"{value:.2g}" for value in apart), f"{limit:g}", "; ".join(notes))


def _larger(name: str) -> dict[str, Any]:
    """Shapes at which kernels are those of real models; layer types repeat to the number of layers."""
    held = CASES[name].get("layer_types")
    kinds = {} if held is None else {"layer_types": list(held) * 2}
    return LARGER | kinds


def _apart(model: PersonaModel, exact: PersonaModel) -> tuple[float, float, float]:
    """Means, projections and means under a floor: largest difference over the residual norm."""
    texts = prompts(exact, 3, 24)
    whole = [np.arange(len(text)) >= 2 for text in texts]
    layers = list(range(exact.n_layers))
    units = np.stack([direction_units(exact, layer) for layer in layers])
    plan = floors(exact, 3)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    norms = np.ones(1)
    for each in (exact, model):
        means = each.pooled(texts, whole)
        told = each.projections(texts, units, layers=layers, positions=whole)
        projections = np.concatenate([one.values[..., 0] for one in told])
        if each is exact:
            norms = np.concatenate([one.norms for one in told]).mean(axis=0)
        with each.intervene(plan):
            under = each.pooled(texts, whole)
        found.append((means, projections, under))
    (means, projections, under), (mine, projected, acted) = found
    return (
        float((np.linalg.norm(mine - means, axis=-1) / norms).max()),
        float((np.abs(projected - projections) / norms).max()),
        float((np.linalg.norm(acted - under, axis=-1) / norms).max()),
    )


def direction_units(model: PersonaModel, layer: int) -> np.ndarray:
    """One random unit vector, `[1, d_model]`."""
    drawn = np.random.default_rng(layer).standard_normal((1, model.d_model))
    return drawn / np.linalg.norm(drawn)


if __name__ == "__main__":
    main()
