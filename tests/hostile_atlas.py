"""A small made-up space with hostile names, and a sweep of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from persona_lens.vectors.table import VectorTable

SCRIPT = "<script>window.harmed = 1</script>"
IMAGE = '<img src=x onerror="window.harmed = 2">'
CLOSING = "</script><script>window.harmed = 3</script>"
N_LAYERS, D_MODEL = 5, 24


def build_table(n_roles: int = 30, n_traits: int = 9) -> VectorTable:
    """Roles in three groups, two of them somewhat in role, traits, folds; every layer near the one before."""
    rng = np.random.default_rng(3)
    names = ["pirate", SCRIPT, IMAGE, CLOSING, *(f"role_{i}" for i in range(n_roles - 4))]
    kinds = ["default", *["role"] * (n_roles + 2), *["trait"] * n_traits]
    all_names = ["default", *names, "pirate", "role_1", "calm", SCRIPT]
    all_names += [f"trait_{i}" for i in range(n_traits - 2)]
    labels = ["all", *["fully"] * n_roles, "somewhat", "somewhat", *["pos-neg"] * n_traits]
    values = rng.normal(size=(len(kinds), 1, D_MODEL)) * 4.0 * 0.85 ** np.arange(D_MODEL)
    values = values + np.cumsum(0.5 * rng.normal(size=(len(kinds), N_LAYERS, D_MODEL)), axis=1)
    values[0] += 3.0
    noise = rng.normal(size=(len(kinds), 4, N_LAYERS, D_MODEL))
    about: list[dict[str, Any]] = [
        {"group": ("human", "assistant", IMAGE)[i % 3] if kind == "role" else None,
         "description": f"{CLOSING} number {i}"}
        for i, kind in enumerate(kinds)
    ]  # fmt: skip
    return VectorTable(
        values=values.astype(np.float32),
        names=tuple(all_names),
        kinds=tuple(kinds),
        labels=tuple(labels),
        counts=np.arange(len(kinds)) + 10,
        layers=(0, 2, 4, 6, 8),
        folds=(values[:, None] + noise).astype(np.float32),
        about=tuple(about),
        card={
            "reader": {"model": CLOSING, "n_layers": 9},
            "hook_point": f"blocks.{IMAGE}",
            "questions": 8,
            "min_count": 10,
            "below_minimum": [{"kind": "role", "name": SCRIPT, "label": "somewhat", "count": 3}],
        },
    )


def build_sweep() -> pd.DataFrame:
    """Two metrics, two kinds, five layers; one kind with an interval and two nulls, the other with neither."""
    rows = []
    for metric in ("identity", IMAGE):
        for layer in (0, 2, 4, 6, 8):
            shared = {"layer": layer, "metric": metric, "value": 0.5 + layer / 20, "n": 30}
            known = {**shared, "kind": "role", "low": 0.45, "high": 0.99, "null_mean": 0.5}
            rows.append({**known, "null": "shuffled labels", "null_95": 0.55})
            rows.append({**known, "null": "random directions", "null_95": 0.65})
            rows.append({**shared, "kind": "trait", "null": None})
    return pd.DataFrame(rows)
