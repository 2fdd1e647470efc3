"""A release in the paper's layout, made up: bfloat16 vectors, capping settings pointing either way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

N_LAYERS, D_MODEL, N_ROLES = 6, 16, 8
THRESHOLDS = {2: 1.5, 3: -0.75, 4: 0.25}
"""Floors on the Assistant-positive axis, by layer."""
WINDOW = "layers_2:5-p0.25"


def write_release(
    folder: Path, *, caps: str = "reversed", axis: str = "assistant", pipeline: bool = False
) -> Path:
    """Write a release.

    Args:
        folder: Of one model.
        caps: Where the capping vectors point: "reversed" as the released ones (ceilings), "positive" as in the
            paper's text (floors), "across" (orthogonal to the axis), or "none".
        axis: Where the axis file points: "assistant", "roles", or "none" without one.
        pipeline: The layout the paper's pipeline writes, not that of the published dataset.
    """
    generator = torch.Generator().manual_seed(0)

    def drawn() -> torch.Tensor:
        return torch.randn(N_LAYERS, D_MODEL, generator=generator)

    default = (drawn() + 3).bfloat16()
    roles = {f"role_{i}": (drawn() + 2).bfloat16() for i in range(N_ROLES)}
    direction = default.float() - torch.stack([v.float() for v in roles.values()]).mean(0)
    stored = (-direction if axis == "roles" else direction).bfloat16()
    folder.mkdir(parents=True)
    if pipeline:
        (folder / "vectors").mkdir()
        entries = {"default": (default, "mean"), **{n: (v, "pos_3") for n, v in roles.items()}}
        for name, (vector, kind) in entries.items():
            content = {"vector": vector, "type": kind, "role": name}
            torch.save(content, folder / "vectors" / f"{name}.pt")
        torch.save({"axis": stored, "metadata": {"n_roles": N_ROLES}}, folder / "axis.pt")
    else:
        torch.save(default, folder / "default_vector.pt")
        (folder / "role_vectors").mkdir()
        for name, vector in roles.items():
            torch.save(vector, folder / "role_vectors" / f"{name}.pt")
        if axis != "none":
            torch.save(stored, folder / "assistant_axis.pt")
    (folder / "trait_vectors").mkdir()
    for name in ("calm", "dramatic"):
        torch.save(drawn().bfloat16(), folder / "trait_vectors" / f"{name}.pt")
    if caps != "none":
        torch.save(_capping(direction, caps), folder / "capping_config.pt")
    return folder


def _capping(direction: torch.Tensor, caps: str) -> dict[str, Any]:
    sign = -1.0 if caps == "reversed" else 1.0
    vectors = sign * direction.bfloat16()
    if (
        caps == "across"
    ):  # swap pairs of entries with a change of sign: orthogonal, of the same length
        pairs = direction.bfloat16().reshape(N_LAYERS, -1, 2)
        vectors = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).reshape(N_LAYERS, D_MODEL)
    keys = {layer: f"layer_{layer}/contrast_role_pos3_default1" for layer in range(N_LAYERS)}
    interventions = [
        {"vector": keys[layer], "cap": sign * threshold} for layer, threshold in THRESHOLDS.items()
    ]
    return {
        "vectors": {
            keys[layer]: {"vector": vectors[layer].clone(), "layer": layer}
            for layer in range(N_LAYERS)
        },
        "experiments": [
            {"id": WINDOW, "interventions": interventions},
            {"id": "layers_3:4-p0.01", "interventions": interventions[1:2]},
        ],
    }
