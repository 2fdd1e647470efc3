"""Made-up results of steering and capping, as the figures take them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

MEASURES = (
    ("Stays in the persona (likelihood)", "share", -14.0, 0.02),
    ("Stays in the persona (rules)", "share", -9.0, 0.0),
    ("Says it is an AI", "share", 20.0, 0.08),
    ("Nats per token without steering", "nats", 0.0, 0.0),
    ("Distinct bigrams", "ratio", 0.0, 0.0),
)
STRENGTHS = tuple(np.linspace(-0.3, 0.3, 9).round(3))


def directions(n_random: int) -> list[tuple[str, bool]]:
    return [("Assistant Axis", False), *((f"random {i + 1}", True) for i in range(n_random))]


def dose_frames(
    n_random: int = 3,
    strengths: Sequence[float] = STRENGTHS,
    measures: Sequence[tuple[str, str, float, float]] = MEASURES,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Points of every measure, and sigmoids for those that are shares."""
    rng = np.random.default_rng(3)
    points, curves = [], []
    for name, unit, slope, middle in measures:
        for direction, control in directions(n_random):
            own = slope * (0.08 * rng.normal() if control else 1.0)
            about = {"direction": direction, "control": control, "measure": name}
            for strength in strengths:
                n = int(rng.integers(40, 49))
                cost = abs(strength) * (0.6 if control else 1.0)
                if unit == "share":
                    value = rng.binomial(n, _sigmoid(own * (strength - middle))) / n
                    half = 1.96 * np.sqrt(value * (1 - value) / n + 0.25 / n**2)
                else:
                    value = 0.9 + 40 * cost**2 if unit == "nats" else 0.93 - 4 * cost**2
                    value += 0.02 * rng.normal()
                    half = 0.03 + 0.1 * cost
                low, high = value - half, value + half
                if unit == "share":
                    low, high = max(0.0, low), min(1.0, high)
                at = {"unit": unit, "strength": strength, "value": value}
                points.append({**about, **at, "low": low, "high": high, "n": n})
            if unit != "share" or len(strengths) < 4:
                continue
            for strength in np.linspace(min(strengths), max(strengths), 61):
                ends = [_sigmoid(own * (strength - middle) + shift) for shift in (-0.4, 0, 0.4)]
                fitted = dict(zip(("low", "value", "high"), ends, strict=True))
                curves.append({**about, "strength": strength, **fitted})
    columns = ["direction", "control", "measure", "strength", "value", "low", "high"]
    return pd.DataFrame(points), pd.DataFrame(curves, columns=columns)


def pareto_frame(
    ranges: Sequence[str] = ("6-11", "11-16", "16-21", "21-26", "24-29"),
    percentiles: Sequence[float] = (25, 50, 75, 95),
    n_random: int = 1,
) -> pd.DataFrame:
    """Capping at several layers and percentiles: later ranges lower adoption at a lower price."""
    rng = np.random.default_rng(5)
    nowhere = {"layers": "", "depth": np.nan, "percentile": np.nan, "engaged": 0.0}
    rows = [_capped(direction="", control=False, **nowhere, adoption=0.82, kl=0.0)]
    for direction, control in directions(n_random):
        for layers in ranges:
            first, last = (int(end) for end in layers.split("-"))
            depth = (first + last) / 60
            for percentile in percentiles:
                engaged = percentile / 100 * 0.9
                kl = 0.4 * engaged**4 * (1.5 - depth) * float(np.exp(0.3 * rng.normal()))
                effect = 0.0 if control else 0.75 * engaged * np.exp(-((depth - 0.75) ** 2) / 0.08)
                adoption = float(np.clip(0.82 - effect + 0.02 * rng.normal(), 0, 1))
                rows.append(
                    _capped(
                        direction=direction,
                        control=control,
                        layers=layers,
                        depth=depth,
                        percentile=percentile,
                        engaged=engaged,
                        adoption=adoption,
                        kl=kl,
                    )
                )
    return pd.DataFrame(rows)


def _capped(
    *,
    direction: str,
    control: bool,
    layers: str,
    depth: float,
    percentile: float,
    adoption: float,
    kl: float,
    engaged: float,
) -> dict:
    half = 1.96 * float(np.sqrt(adoption * (1 - adoption) / 96))
    return {
        "direction": direction,
        "control": control,
        "layers": layers,
        "depth": depth,
        "percentile": percentile,
        "adoption": adoption,
        "adoption_low": max(0.0, adoption - half),
        "adoption_high": min(1.0, adoption + half),
        "n": 96,
        "kl": kl,
        "kl_low": kl * 0.8,
        "kl_high": kl * 1.3,
        "perplexity_ratio": float(np.exp(kl)),
        "distinct": 0.93 - kl / 4,
        "engagement": engaged,
    }


def sink_frame(n_rows: int = 5) -> pd.DataFrame:
    """Interventions that spare the sink token or touch it."""
    rng = np.random.default_rng(2)
    names = ("Assistant Axis", "PC2", "random 1", "random 2")
    pairs = [(name, operation) for name in names for operation in ("floor", "ceil", "ablate")]
    rows = []
    for place, (direction, operation) in enumerate(pairs[:n_rows]):
        spared = float(10 ** rng.uniform(-4, -1.5))
        touched = spared * float(10 ** rng.uniform(0.0, 2.5)) * (0.7 if place == 1 else 1)
        rows.append(
            {
                "direction": direction,
                "operation": operation,
                "layer": 20,
                "kl_spared": spared,
                "kl_spared_low": spared * 0.8,
                "kl_spared_high": spared * 1.25,
                "kl_touched": touched,
                "kl_touched_low": touched * 0.7,
                "kl_touched_high": touched * 1.4,
                "ratio": touched / spared,
            }
        )
    return pd.DataFrame(rows)


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))
