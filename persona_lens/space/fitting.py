"""From a table of vectors to axis, components and their statistics, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import t as student_t

from persona_lens.errors import SpaceError
from persona_lens.space.pca import Scaler, Scaling, principal_components
from persona_lens.space.stability import layer_stability, stability_frame
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
    rng = np.random.default_rng(seed)
    statistics = []
    for layer in range(n_layers):
        scaled = scaler(table.values[rows, layer], layer)
        found, variances = principal_components(scaled[1:], kept)
        towards_assistant = np.where(
            found @ scaled[0] < 0, -1.0, 1.0
        )  # row 0 is the axis: roles are centred
        components[layer] = found * towards_assistant[:, None]
        ratios[layer] = variances / max(variances.sum(), np.finfo(float).tiny)
        statistics.append(
            layer_stability(
                scaled, _axis_folds(table, rows, layer), n_resamples=n_resamples, rng=rng
            )
        )
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


def unit(vectors: Float[np.ndarray, "*batch d_model"]) -> Float[np.ndarray, "*batch d_model"]:
    """Vectors of length one, float64; zero stays zero."""
    values = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.where(norms == 0, 1.0, norms)


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
