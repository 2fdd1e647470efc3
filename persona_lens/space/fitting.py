"""From a table of vectors to axis, components and their statistics, layer by layer."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import t as student_t
from threadpoolctl import threadpool_limits

from persona_lens.errors import SpaceError
from persona_lens.space.gram import GramGeometry
from persona_lens.space.pca import Scaler, Scaling, Spectrum, unit
from persona_lens.space.stability import LayerStability, layer_stability, stability_frame
from persona_lens.vectors import VectorTable

MAX_COMPONENTS = 64


@dataclass(frozen=True, eq=False)
class Fit:
    """What fitting finds; see the attributes of `PersonaSpace` of the same names."""

    default: Float[np.ndarray, "layer d_model"]
    role_mean: Float[np.ndarray, "layer d_model"]
    components: Float[np.ndarray, "layer component d_model"]
    explained_variance_ratio: Float[np.ndarray, "layer rank"]
    scaler: Scaler
    stability: pd.DataFrame
    projection_margins: Float[np.ndarray, "vector layer"]

    @property
    def axis(self) -> Float[np.ndarray, "layer d_model"]:
        """Default minus mean of the roles."""
        return self.default - self.role_mean


def fit_table(
    table: VectorTable,
    *,
    scaling: Scaling,
    n_components: int | None,
    n_resamples: int,
    seed: int,
) -> Fit:
    """Fit every layer of `table`.

    Raises:
        SpaceError: Not exactly one default vector, fewer than three roles, or an unknown scaling.
    """
    default_rows, role_rows = table.indices(kind="default"), table.indices(kind="role")
    if len(default_rows) != 1:
        raise SpaceError(
            "a space needs one vector of the default Assistant", given=len(default_rows)
        )
    if len(role_rows) < 3:
        raise SpaceError("a space needs roles", expected="at least 3", given=len(role_rows))
    rows = [*default_rows, *role_rows]
    n_layers, d_model = table.values.shape[1:]
    rank = min(len(role_rows) - 1, d_model)
    kept = min(rank, MAX_COMPONENTS if n_components is None else n_components)

    scaler = Scaler.fit(table.values, role_rows, scaling)
    components = np.empty((n_layers, kept, d_model), dtype=np.float32)
    ratios = np.empty((n_layers, rank))
    seeds = np.random.SeedSequence(seed).spawn(n_layers)

    def fit_layer(layer: int) -> LayerStability:
        scaled = scaler(table.values[rows, layer], layer)
        gram = scaled @ scaled.T
        spectrum = Spectrum.of_gram(gram[1:, 1:], d_model)
        found = spectrum.components(scaled[1:], kept)
        # Row 0 is the axis, since the roles are centred.
        components[layer] = found * np.where(found @ scaled[0] < 0, -1.0, 1.0)[:, None]
        ratios[layer] = spectrum.squares / max(spectrum.squares.sum(), np.finfo(float).tiny)
        return layer_stability(
            GramGeometry(gram, spectrum.vectors, spectrum.squares),
            d_model,
            _axis_folds(table, rows, layer),
            n_resamples=n_resamples,
            rng=np.random.default_rng(seeds[layer]),
        )

    # A thread a layer and one BLAS thread each: decompositions of this size do not scale over cores.
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        statistics = list(pool.map(fit_layer, range(n_layers)))
    default = table.values[default_rows[0]]
    role_mean = _mean(table.values, role_rows)
    return Fit(
        default=default,
        role_mean=role_mean,
        components=components,
        explained_variance_ratio=ratios,
        scaler=scaler,
        stability=stability_frame(table.layers, statistics),
        projection_margins=_projection_margins(table, default - role_mean),
    )


def _mean(values: np.ndarray, rows: list[int]) -> Float[np.ndarray, "layer d_model"]:
    total = np.zeros(values.shape[1:], dtype=np.float64)
    for row in rows:  # a fancy-indexed copy of a large table would double its memory
        total += values[row]
    return (total / len(rows)).astype(np.float32)


def _axis_folds(
    table: VectorTable, rows: list[int], layer: int
) -> Float[np.ndarray, "fold d_model"] | None:
    """The axis from each fold of the questions alone."""
    if table.folds is None:
        return None
    folds = table.folds[rows, :, layer].astype(np.float64)
    return folds[0] - folds[1:].mean(axis=0)


def _projection_margins(
    table: VectorTable, axis: Float[np.ndarray, "layer d_model"]
) -> Float[np.ndarray, "vector layer"]:
    """Half-width of the 95 % t interval of each vector's projection on the axis, over folds of the questions."""
    if table.folds is None:
        return np.full(table.values.shape[:2], np.nan)
    projections = np.einsum(
        "vfld,ld->vfl", table.folds, unit(axis).astype(np.float32), optimize=True
    )
    known = np.isfinite(projections).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviations = projections - np.nanmean(projections, axis=1, keepdims=True)
        errors = np.sqrt(np.nansum(deviations**2, axis=1) / (known - 1) / known)
        return np.where(known > 1, student_t.ppf(0.975, known - 1) * errors, np.nan)
