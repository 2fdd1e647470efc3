"""Made-up frames of sweeps, reconstructions and comparisons, in the columns that the figures take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

METRICS = (
    *("identity", "identity_top1", "auc", "auc_probe", "d_prime", "silhouette"),
    *("fisher", "reliability"),
)
CHANCE = {"identity": 0.5, "auc": 0.5, "auc_probe": 0.5}
UNITS = {"role": 275, "trait": 240}


def sweep_frame(
    metrics: Sequence[str] = METRICS, n_layers: int = 30, strength: float = 1.0
) -> pd.DataFrame:
    """Metrics that rise over the first layers; roles beat traits."""
    rng = np.random.default_rng(5)
    rows = []
    for place, metric in enumerate(metrics):
        base = CHANCE.get(metric, 0.0)
        top = 2.5 if metric in ("d_prime", "fisher") else 0.45
        for kind, units in UNITS.items():
            reach = top * strength * (1.0 if kind == "role" else 0.7)
            for layer in range(n_layers):
                rise = 1 / (1 + np.exp(-(layer - 8 - place) / 2.5))
                value = base + reach * rise + 0.01 * reach * rng.normal()
                half = 0.05 * top
                rows.append(
                    {
                        "layer": layer,
                        "metric": metric,
                        "kind": kind,
                        "value": value,
                        "low": value - half,
                        "high": value + half,
                        "null": "labels shuffled between system prompts",
                        "null_mean": base,
                        "null_95": base + 0.04 * top,
                        "n": units,
                    }
                )
    return pd.DataFrame(rows)


def emergence_frame(roles: Sequence[str], traits: Sequence[str]) -> pd.DataFrame:
    """Roles emerge earlier than traits; a few units never do."""
    rng = np.random.default_rng(6)
    parts = []
    for kind, names, middle in (("role", roles, 9.0), ("trait", traits, 14.0)):
        depth = np.clip(rng.normal(middle, 2.8, size=len(names)), 0.0, 29.0)
        depth[:: max(20, len(names) // 9)] = np.nan
        p = rng.uniform(0.0, 0.02, size=len(names))
        frame = pd.DataFrame({"kind": kind, "name": list(names), "depth": depth})
        parts.append(frame.assign(low=depth - 1.5, high=depth + 2.0, p=p, q=p * 3))
    return pd.concat(parts, ignore_index=True)


def trait_frame(
    traits: Sequence[str], targets: Sequence[str], layers: Sequence[int] = (0,)
) -> pd.DataFrame:
    """Three planted clusters of traits, shuffled among each other, with a little noise."""
    rng = np.random.default_rng(8)
    centres = rng.normal(0.0, 0.3, size=(3, len(targets)))
    rows = []
    for layer in layers:
        fade = (layer + 1) / (max(layers) + 1)
        for place, trait in enumerate(traits):
            cosines = np.clip(centres[place % 3] * fade + rng.normal(0, 0.03, len(targets)), -1, 1)
            rows += [(layer, trait, t, c) for t, c in zip(targets, cosines, strict=True)]
    return pd.DataFrame(rows, columns=["layer", "trait", "target", "cosine"])


def similarity_frame(n_a: int = 30, n_b: int = 24) -> pd.DataFrame:
    """Layers at the same relative depth are alike."""
    rows = []
    for kind, top in (("role", 0.9), ("trait", 0.7)):
        for a in range(n_a):
            for b in range(n_b):
                apart = a / n_a - b / n_b
                rows.append((a, b, kind, top * np.exp(-4 * apart**2), 0.1))
    return pd.DataFrame(rows, columns=["layer_a", "layer_b", "kind", "value", "null_95"])


def reconstruction_frame(layers: Sequence[int] = (6, 12, 18), n_k: int = 20) -> pd.DataFrame:
    """Traits beat their controls and stay below the components; with many atoms, random ones overfit."""
    tops = {
        "traits": 0.55,
        "random directions": 0.1,
        "matched random directions": 0.45,
        "shuffled traits": 0.35,
        "PCs": 0.75,
    }
    rows = []
    for layer in layers:
        for held_out, ease in (("questions", 1.0), ("roles", 0.85)):
            for dictionary, top in tops.items():
                method = "pca" if dictionary == "PCs" else "omp"
                for k in range(1, n_k + 1):
                    r2 = ease * top * (1 - np.exp(-k / 5)) * (layer + 6) / (max(layers) + 6)
                    rows.append((layer, k, method, dictionary, held_out, r2, r2 - 0.03, r2 + 0.03))
    columns = ["layer", "k", "method", "dictionary", "held_out", "r2", "low", "high"]
    return pd.DataFrame(rows, columns=columns).assign(n=275, ceiling=0.85)


def comparison_frame(n_depths: int = 24, kinds: Sequence[str] = ("role", "trait")) -> pd.DataFrame:
    """Agreement grows with depth; the first components agree best."""
    rng = np.random.default_rng(9)
    measures = {"pc_loadings": 5, "axis_ranks": 0, "similarity": 0, "cka": 0, "procrustes": 0}
    rows = []
    for kind in kinds:
        for measure, components in measures.items():
            for component in range(1, components + 1) if components else [np.nan]:
                top = 0.9 - 0.15 * np.nan_to_num(component) - 0.1 * (kind == "trait")
                for place in range(n_depths):
                    depth = place / (n_depths - 1)
                    value = top * (0.4 + 0.6 * depth) + 0.01 * rng.normal()
                    rows.append((depth, place, place, kind, measure, component, component, value))
    columns = ["depth", "layer_a", "layer_b", "kind", "measure", "component", "partner", "value"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(
        low=frame["value"] - 0.04, high=frame["value"] + 0.04, null_mean=0.02, null_95=0.12, n=240
    )


def places_frame(names: Sequence[str], groups: Sequence[str | None]) -> pd.DataFrame:
    """Roles on two axes that agree in part."""
    rng = np.random.default_rng(10)
    z_a = rng.normal(size=len(names))
    z_b = 0.8 * z_a + 0.6 * rng.normal(size=len(names))
    return pd.DataFrame(
        {
            "depth": 0.5,
            "layer_a": 15,
            "layer_b": 12,
            "kind": "role",
            "name": list(names),
            "group": list(groups),
            "projection_a": 3 * z_a,
            "projection_b": 9 * z_b,
            "z_a": z_a,
            "z_b": z_b,
        }
    )


def composed_frame(roles: Sequence[str]) -> pd.DataFrame:
    """The role vector steers best, its traits somewhat less, wrong traits and random ones hardly."""
    rng = np.random.default_rng(11)
    reach = {"traits": 0.5, "role vector": 0.6, "wrong traits": 0.15, "random": 0.05}
    rows = []
    for role in roles:
        ease = rng.uniform(0.7, 1.1)
        for condition, top in reach.items():
            for strength in np.linspace(0.0, 0.4, 6).round(2):
                value = 0.1 + ease * top * strength / 0.4
                rows.append((role, condition, strength, value, value - 0.08, value + 0.08, 24))
    columns = ["role", "condition", "strength", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)
