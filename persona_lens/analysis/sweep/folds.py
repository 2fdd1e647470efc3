"""Split-half reliability of the vectors themselves, from the folds of the questions kept in the table.

Of each unit only the inner products between its folds are kept, so every split of the folds costs next to
nothing. Roles are centred on the mean of the roles in each fold; a fold that a unit lacks is left out of its
halves.

`split_half` is the cosine of the vectors from two halves of the folds, a mean over all even splits.
`split_half_spearman_brown` is what that says of the vector from all folds: 2r / (1 + r).

The interval adds the variance between units (a mean) to that between folds (delete one fold), on Fisher's
scale. The null takes the other half from another unit.
"""

from __future__ import annotations

from typing import Any

import einops
import numpy as np
from jaxtyping import Float
from scipy.stats import t as student_t

from persona_lens.analysis.sweep.draws import null_columns
from persona_lens.analysis.sweep.registry import FOLD_METRICS, SHUFFLED
from persona_lens.statistics import even_splits, known_mean, to_z
from persona_lens.statistics.pca import unit
from persona_lens.vectors.table import VectorTable

MIN_FOLDS = 3
"""With fewer the interval is over units alone."""
NULL_SPLITS = 4
_EDGE = 1e-9


def fold_rows(
    table: VectorTable,
    rows: list[int],
    place: int,
    kind: str,
    metrics: tuple[str, ...],
    *,
    n_null: int,
    rng: np.random.Generator,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of `Sweep.frame` and of `Sweep.units` for one layer and kind; none without at least two folds.

    Args:
        table: With folds.
        rows: Of the units.
        place: Of the layer.
        kind: `role` or `trait`.
        metrics: Of `FOLD_METRICS`.
        n_null: Draws of the null.
        rng: Of the null.
    """
    assert table.folds is not None
    vectors = table.folds[rows, :, place].astype(np.float64)
    known = np.asarray(np.isfinite(vectors).all(axis=2))
    vectors = np.where(known[:, :, None], vectors, 0.0)
    if kind == "role":
        means = vectors.sum(axis=0) / np.maximum(known.sum(axis=0), 1)[:, None]
        vectors = np.where(known[:, :, None], vectors - means, 0.0)
    n_units, n_folds = vectors.shape[:2]
    splits = _splits(n_folds)
    if not len(splits) or n_units < 2:
        return [], []
    inner = vectors @ vectors.transpose(0, 2, 1)
    cosines = split_cosines(inner, splits)
    of_units = known_mean(cosines, axis=1)
    known_units = np.isfinite(of_units)
    if known_units.sum() < 2:
        return [], []
    null = _swapped(vectors, splits, n_null, rng)
    value = float(of_units[known_units].mean())
    error = _error(inner, of_units[known_units], n_folds)
    degrees = min(int(known_units.sum()), n_folds) - 1
    margin = student_t.ppf(0.975, degrees) * error
    centre = to_z(value)
    ends = np.tanh([centre - margin, centre + margin])
    found, units = [], []
    for name in (name for name in FOLD_METRICS if name in metrics):
        step = spearman_brown if name == "split_half_spearman_brown" else np.asarray
        low, high = (float(step(np.array(end))) for end in ends)
        found.append(
            {
                "layer": table.layers[place],
                "metric": name,
                "kind": kind,
                "value": float(step(np.array(value))),
                "low": low,
                "high": high,
                **null_columns(SHUFFLED, [step(null)]),
                "n": int(known_units.sum()),
            }
        )
        units += [
            {"kind": kind, "unit": int(number), "metric": name, "layer": table.layers[place]}
            | {"value": float(step(of_units[number]))}
            for number in np.flatnonzero(known_units)
        ]
    return found, units


def spearman_brown(r: Float[np.ndarray, " *batch"]) -> Float[np.ndarray, " *batch"]:
    """Reliability of the whole from that of its halves; below zero there is none to step up.

    Examples:
        >>> float(spearman_brown(np.array(0.5)).round(3))
        0.667
    """
    r = np.asarray(r, dtype=float)
    return np.where(r > 0, 2 * r / (1 + np.maximum(r, 0)), r)


def split_cosines(
    inner: Float[np.ndarray, "unit fold fold"], splits: Float[np.ndarray, "split fold"]
) -> Float[np.ndarray, "unit split"]:
    """Cosine of the vectors from the two halves of each split; NaN where a unit has nothing in one of them.

    Args:
        inner: Inner products of each unit's folds, zero where it lacks one.
        splits: One for the first half, minus one for the second, zero for folds that are left out.
    """
    first, second = np.maximum(splits, 0.0), np.maximum(-splits, 0.0)
    toward_first = inner @ first.T
    onto = "split fold, unit fold split -> unit split"
    between = einops.einsum(second, toward_first, onto)
    one = einops.einsum(first, toward_first, onto)
    two = einops.einsum(second, inner @ second.T, onto)
    there = (one > 0) & (two > 0)
    return np.where(there, between / np.sqrt(np.where(there, one * two, 1.0)), np.nan)


def _splits(n_folds: int, without: int | None = None) -> Float[np.ndarray, "split fold"]:
    """Every even split of the folds once; of an odd number the second half has one more."""
    folds = [fold for fold in range(n_folds) if fold != without]
    if len(folds) < 2:
        return np.empty((0, n_folds))
    first = even_splits(len(folds))
    splits = np.zeros((len(first), n_folds))
    splits[:, folds] = np.where(first, 1.0, -1.0)
    return splits


def _error(
    inner: Float[np.ndarray, "unit fold fold"], of_units: Float[np.ndarray, " unit"], n_folds: int
) -> float:
    """Standard error on Fisher's scale; what units and folds share is counted twice, so it is rather too wide."""
    slope = 1 / max(1 - of_units.mean() ** 2, _EDGE)
    between_units = of_units.var(ddof=1) / len(of_units) * slope**2
    if n_folds < MIN_FOLDS:
        return float(np.sqrt(between_units))
    left = [
        np.nanmean(split_cosines(inner, _splits(n_folds, without=fold))) for fold in range(n_folds)
    ]
    on_scale = to_z(np.array(left))
    between_folds = (n_folds - 1) ** 2 / n_folds * on_scale.var(ddof=1)
    return float(np.sqrt(between_units + between_folds))


def _swapped(
    vectors: Float[np.ndarray, "unit fold d_model"],
    splits: Float[np.ndarray, "split fold"],
    n_null: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, " draw"]:
    """Mean cosine of each unit's first half with the second half of another unit, over some of the splits."""
    some = splits[rng.permutation(len(splits))[:NULL_SPLITS]]
    between = np.zeros((len(vectors), len(vectors)))
    for split in some:
        first, second = (unit(np.maximum(sign * split, 0.0) @ vectors) for sign in (1, -1))
        between += first @ second.T / len(some)
    orders = rng.random((n_null, len(vectors))).argsort(axis=1)
    return between[orders, np.roll(orders, 1, axis=1)].mean(axis=1)
