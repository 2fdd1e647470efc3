"""At which depth a persona or a trait becomes known: the layer where a unit's curve passes half of its own
maximum.

A curve is first freed of chance. It is found at a depth only if at its best layer it beats shuffled labels: the
largest standardised value over layers is compared with that of the shuffled curves of all units of the kind,
and the false discovery rate over units is held at 5 %. Half of one's own maximum is a matter of shape, not of
size, so kinds whose scores differ in height can be compared.

Intervals come from question folds drawn anew (for kinds: folds and units), placed about the estimate: curves of
drawn folds are noisier than the whole, which moves them all to one side. Folds are few, so their draws are widened
as Student's t is: with six folds by 1.4, with two by 9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import einops
import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.errors import SpaceError
from persona_lens.spelling import did_you_mean
from persona_lens.statistics import (
    draw_counts,
    draw_rows,
    fdr,
    interval_of,
    known_mean,
    permutation_p,
    widened,
)

if TYPE_CHECKING:
    from persona_lens.separability import Separability

LEVEL = 0.05
KINDS = ("role", "trait")
COLUMNS = ("kind", "name", "depth", "low", "high", "relative", "p", "q", "folds")
N_PERMUTATIONS = 2000


def emergence(
    found: Separability,
    metric: str,
    *,
    threshold: float = 0.5,
    n_draws: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Depth of every unit, one row each; see `Sweep.emergence`."""
    frames = [
        _of_kind(found, metric, kind, threshold=threshold, n_draws=n_draws, seed=seed)[0]
        for kind in kinds_of(found, metric)
    ]
    return pd.concat(frames, ignore_index=True)


def emergence_by_kind(
    found: Separability,
    metric: str,
    *,
    threshold: float = 0.5,
    n_draws: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Median depth of the roles, of the traits, and the difference; see `Sweep.emergence_by_kind`."""
    rng = np.random.default_rng(seed)
    medians, samples, depths, rows = {}, {}, {}, []
    last = max(found.layers)
    for kind in kinds_of(found, metric):
        frame, draws = _of_kind(
            found, metric, kind, threshold=threshold, n_draws=n_draws, seed=seed
        )
        there = np.isfinite(frame["depth"].to_numpy())
        depths[kind] = frame["depth"].to_numpy()[there]
        n = len(depths[kind])
        medians[kind] = float(np.median(depths[kind])) if n else np.nan
        chosen = draw_rows(n, n_draws, rng)
        drawn = np.take_along_axis(draws[:, there], chosen, axis=1)
        samples[kind] = _median(drawn) if n > 1 else np.full(n_draws, np.nan)
        low, high = about(medians[kind], samples[kind], (float(min(found.layers)), float(last)))
        rows.append(
            {"kind": kind, "depth": medians[kind], "low": low, "high": high}
            | {"relative": medians[kind] / max(last, 1), "n": n, "p": np.nan}
        )
    if len(medians) == len(KINDS):
        role, trait = KINDS
        difference = medians[role] - medians[trait]
        low, high = about(difference, samples[role] - samples[trait], (-np.inf, np.inf))
        rows.append(
            {"kind": "role minus trait", "depth": difference, "low": low, "high": high}
            | {"relative": difference / max(last, 1), "n": sum(map(len, depths.values()))}
            | {"p": _exchange_p(depths[role], depths[trait], rng)}
        )
    return pd.DataFrame(rows)


def first_passage(
    curves: Float[np.ndarray, "*batch layer"], layers: Float[np.ndarray, " layer"], threshold: float
) -> Float[np.ndarray, " *batch"]:
    """First depth at which each curve reaches `threshold` of its own maximum, linear between layers.

    Layers where a curve is not known are passed over; NaN for curves that never exceed zero.

    Examples:
        >>> first_passage(np.array([0.0, 0.0, 1.0, 1.0]), np.arange(4.0), 0.5)
        array(1.5)
    """
    known = np.isfinite(curves)
    values = np.where(known, curves, -np.inf)
    best = values.max(axis=-1, keepdims=True)
    goal = threshold * best
    place = (values >= goal).argmax(axis=-1)
    depth = layers[place].astype(float)
    # The last known layer before it, where the curve is still below.
    numbers = np.where(known, np.arange(len(layers)), -1)
    before = np.maximum.accumulate(numbers, axis=-1)
    previous = np.take_along_axis(before, np.maximum(place - 1, 0)[..., None], axis=-1)[..., 0]
    within = (place > 0) & (previous >= 0)
    here = np.take_along_axis(values, place[..., None], axis=-1)[..., 0]
    there = np.take_along_axis(values, np.maximum(previous, 0)[..., None], axis=-1)[..., 0]
    step = layers[place] - layers[np.maximum(previous, 0)]
    with np.errstate(invalid="ignore"):  # a curve that is known nowhere
        rise = np.where(within, here - there, 1.0)
        back = np.where(within, (here - goal[..., 0]) / np.where(rise > 0, rise, 1.0), 0.0)
    return np.where(best[..., 0] > 0, depth - back * step, np.nan)


def kinds_of(found: Separability, metric: str) -> list[str]:
    """The kinds that have scores of a metric.

    Raises:
        SpaceError: None has, or one has no shuffled labels.
    """
    kinds = [kind for kind in KINDS if (metric, kind) in found.scores]
    if not kinds:
        known = sorted({name for name, _ in found.scores})
        raise SpaceError(
            f"no scores of {metric!r}",
            expected=", ".join(known),
            remedy=did_you_mean(metric, known),
        )
    lacking = [kind for kind in kinds if len(found.shuffled.get((metric, kind), ())) < 2]
    if lacking:
        raise SpaceError(
            f"no shuffled labels of {metric!r} to compare with",
            given=", ".join(lacking),
            remedy="measure the run again with n_shuffles=20",
        )
    return kinds


def _of_kind(
    found: Separability, metric: str, kind: str, *, threshold: float, n_draws: int, seed: int
) -> tuple[pd.DataFrame, Float[np.ndarray, "draw unit"]]:
    """The frame of one kind, and the depths of its units in draws of the question folds."""
    scores = found.scores[metric, kind].astype(np.float64)
    shuffled = found.shuffled[metric, kind].astype(np.float64)
    layers = np.array(found.layers, dtype=float)
    chance = found.chance.get(metric)
    base = known_mean(shuffled, axis=0) if chance is None else chance
    curves = known_mean(scores, axis=1)
    p = _max_p(curves, shuffled)
    q = fdr(p)
    depth = np.where(q < LEVEL, first_passage(curves - base, layers, threshold), np.nan)

    n_folds = scores.shape[1]
    drawn = np.stack(
        [
            first_passage(_weighted(scores, counts) - base, layers, threshold)
            for counts in draw_counts(n_folds, n_draws, np.random.default_rng(seed))
        ]
    )
    drawn = widened(drawn, n_folds)
    ends = float(layers.min()), float(layers.max())
    intervals = [
        about(depth[unit], drawn[:, unit] if n_folds > 1 else np.empty(0), ends)
        for unit in range(len(depth))
    ]
    low, high = np.array(intervals).reshape(-1, 2).T
    columns = (kind, found.names[kind], depth, low, high, depth / max(ends[1], 1), p, q, n_folds)
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True))), drawn


def _max_p(
    curves: Float[np.ndarray, "unit layer"], shuffled: Float[np.ndarray, "draw unit layer"]
) -> Float[np.ndarray, " unit"]:
    """p of the largest standardised value over layers, against the shuffled curves of all units of the kind.

    Twenty shuffles of one unit cannot tell p = 0.05 from less; those of all units can, once each is measured
    in its own standard deviations (a factor for the unit times one for the layer).
    """
    n_draws = len(shuffled)
    mean = known_mean(shuffled, axis=0)
    variance = known_mean((shuffled - mean) ** 2, axis=0) * n_draws / (n_draws - 1)
    of_layer = known_mean(variance, axis=0)
    of_unit = known_mean(variance / np.where(of_layer > 0, of_layer, np.nan), axis=1)
    deviation = np.sqrt(of_unit[:, None] * of_layer)
    deviation = np.where(deviation > 0, deviation, np.nan)
    # A shuffled curve is compared with the mean of the others, as the real one is with that of all.
    left_out = (shuffled - mean) * n_draws / (n_draws - 1)
    null = _max(left_out / deviation).ravel()
    return permutation_p(_max((curves - mean) / deviation), null[np.isfinite(null)][:, None])


def _max(values: Float[np.ndarray, "*batch layer"]) -> Float[np.ndarray, " *batch"]:
    best = np.where(np.isfinite(values), values, -np.inf).max(axis=-1)
    return np.where(np.isfinite(best), best, np.nan)


def _weighted(
    scores: Float[np.ndarray, "unit fold layer"], counts: Float[np.ndarray, " fold"]
) -> Float[np.ndarray, "unit layer"]:
    """Mean over the folds, each as often as it was drawn."""
    known = np.isfinite(scores)
    over_folds = "fold, unit fold layer -> unit layer"
    total = einops.einsum(counts, np.where(known, scores, 0.0), over_folds)
    weight = einops.einsum(counts, known.astype(float), over_folds)
    return np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), np.nan)


def about(
    value: float, draws: Float[np.ndarray, " draw"], ends: tuple[float, float]
) -> tuple[float, float]:
    """The middle 95 % of the draws, moved so that their median is the estimate, within `ends`."""
    known = draws[np.isfinite(draws)]
    if not np.isfinite(value) or len(known) < 2:
        return np.nan, np.nan
    low, high = interval_of(known - np.median(known) + value)
    return float(np.clip(low, *ends)), float(np.clip(high, *ends))


def _median(values: Float[np.ndarray, "draw unit"]) -> Float[np.ndarray, " draw"]:
    known = np.isfinite(values).any(axis=1)
    medians = np.full(len(values), np.nan)
    medians[known] = np.nanmedian(values[known], axis=1)
    return medians


def _exchange_p(
    roles: Float[np.ndarray, " role"], traits: Float[np.ndarray, " trait"], rng: np.random.Generator
) -> float:
    """Two-sided p of the difference of medians when roles and traits are exchanged."""
    if len(roles) < 2 or len(traits) < 2:
        return np.nan
    together = np.concatenate([roles, traits])
    orders = rng.random((N_PERMUTATIONS, len(together))).argsort(axis=1)
    mixed = together[orders]
    null = np.median(mixed[:, : len(roles)], axis=1) - np.median(mixed[:, len(roles) :], axis=1)
    difference = float(np.median(roles) - np.median(traits))
    return float(permutation_p(difference, null, "two-sided"))
