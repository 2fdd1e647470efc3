"""From a table of vectors to axis, components and their statistics, layer by layer."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import t as student_t
from threadpoolctl import threadpool_limits

from persona_lens.errors import SpaceError
from persona_lens.space.stability import LayerStability, layer_stability, stability_frame
from persona_lens.statistics.gram import GramGeometry
from persona_lens.statistics.pca import Scaler, Scaling, Spectrum, unit
from persona_lens.vectors.table import VectorTable

MAX_COMPONENTS = 64


@dataclass(frozen=True, eq=False)
class Fit:
    """What fitting finds; see the attributes of `PersonaSpace` of the same names.

    `role_mean` is over the roles the axis is made of; PCA is centred on the mean of all role vectors. An axis
    that was given, as by a file, is the axis whatever default and roles say.
    """

    default: Float[np.ndarray, "layer d_model"]
    role_mean: Float[np.ndarray, "layer d_model"]
    components: Float[np.ndarray, "layer component d_model"]
    explained_variance_ratio: Float[np.ndarray, "layer rank"]
    scaler: Scaler
    stability: pd.DataFrame
    projection_margins: Float[np.ndarray, "vector layer"]
    given_axis: Float[np.ndarray, "layer d_model"] | None = None

    @property
    def axis(self) -> Float[np.ndarray, "layer d_model"]:
        """The axis that was given, else default minus mean of the roles."""
        return self.recomputed_axis if self.given_axis is None else self.given_axis

    @property
    def recomputed_axis(self) -> Float[np.ndarray, "layer d_model"]:
        """Default minus mean of the roles."""
        return self.default - self.role_mean

    @property
    def assistant_end(self) -> Float[np.ndarray, "layer d_model"]:
        """Where the axis ends that begins at the mean of the roles: the default, unless an axis was given."""
        return self.default if self.given_axis is None else self.role_mean + self.given_axis


def fit_table(
    table: VectorTable,
    *,
    scaling: Scaling,
    n_components: int | None,
    n_resamples: int,
    seed: int,
    axis: Float[np.ndarray, "layer d_model"] | None = None,
) -> Fit:
    """Fit every layer of `table`, with default minus mean of the roles for the axis, or another that is given.

    In a judged table the axis is made of the vectors fully in role, and PCA of those somewhat in role as well
    (paper sections 2.1.3 and 3.1).

    Raises:
        SpaceError: Not exactly one default vector, fewer than three roles, or an unknown scaling.
    """
    default_rows, axis_rows = table.indices(kind="default"), table.axis_rows()
    role_rows = table.indices(kind="role")
    if len(default_rows) != 1:
        raise SpaceError(
            "a space needs one vector of the default Assistant", given=len(default_rows)
        )
    if len(axis_rows) < 3:
        raise SpaceError("a space needs roles", expected="at least 3", given=len(axis_rows))
    if n_resamples < 2:
        raise SpaceError("resamples are too few", expected="at least 2", given=n_resamples)
    _check_axis(axis, table)
    rows = [*default_rows, *role_rows]
    on_axis = np.isin(role_rows, axis_rows)
    role_of = np.unique([table.names[row] for row in role_rows], return_inverse=True)[1]
    n_layers, d_model = table.values.shape[1:]
    rank = min(len(role_rows) - 1, d_model)
    kept = min(rank, MAX_COMPONENTS if n_components is None else n_components)

    scaler = Scaler.unfitted(n_layers, d_model, scaling)
    role_mean = np.empty((n_layers, d_model), dtype=np.float32)
    components = np.empty((n_layers, kept, d_model), dtype=np.float32)
    ratios = np.empty((n_layers, rank))
    seeds = np.random.SeedSequence(seed).spawn(n_layers)

    def fit_layer(layer: int) -> LayerStability:
        vectors = table.values[rows, layer]
        role_mean[layer] = vectors[1:][on_axis].mean(axis=0, dtype=np.float64)
        if axis is not None:
            vectors[0] = role_mean[layer] + axis[layer]
        scaler.fit_layer(vectors[1:], layer)
        scaled = scaler(vectors, layer)
        gram = scaled @ scaled.T
        spectrum = Spectrum.of_gram(gram[1:, 1:], d_model)
        found = spectrum.components(scaled[1:], kept)
        along = scaled[0] - scaled[1:][on_axis].mean(axis=0)
        components[layer] = found * np.where(found @ along < 0, -1.0, 1.0)[:, None]
        ratios[layer] = spectrum.squares / max(spectrum.squares.sum(), np.finfo(float).tiny)
        return layer_stability(
            GramGeometry(gram, spectrum, on_axis),
            role_of,
            d_model,
            _axis_folds(table, [*default_rows, *axis_rows], layer, scaler),
            n_resamples=n_resamples,
            rng=np.random.default_rng(seeds[layer]),
        )

    # A thread a layer and one BLAS thread each: decompositions of this size do not scale over cores.
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        statistics = list(pool.map(fit_layer, range(n_layers)))
    default = table.values[default_rows[0]]
    return Fit(
        default=default,
        role_mean=role_mean,
        components=components,
        explained_variance_ratio=ratios,
        scaler=scaler,
        stability=stability_frame(table.layers, statistics),
        projection_margins=_projection_margins(
            table, default - role_mean if axis is None else axis
        ),
        given_axis=axis,
    )


def _check_axis(axis: Float[np.ndarray, "layer d_model"] | None, table: VectorTable) -> None:
    if axis is None:
        return
    shape = table.values.shape[1:]
    if axis.shape != shape or not np.isfinite(axis).all() or not axis.any(axis=1).all():
        raise SpaceError(
            "this axis does not fit the vectors",
            expected=f"finite and not zero, of shape {list(shape)}",
            given=f"shape {list(axis.shape)}"
            + ("" if axis.shape != shape else ", with rows of zeros or values that are not finite"),
        )


def _axis_folds(
    table: VectorTable, rows: list[int], layer: int, scaler: Scaler
) -> Float[np.ndarray, "fold d_model"] | None:
    """The axis from each fold of the questions alone, in PCA coordinates; a role without the fold is left out."""
    if table.folds is None:
        return None
    folds = scaler(table.folds[rows, :, layer], layer)
    known = np.isfinite(folds[1:, :, :1]).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return folds[0] - np.nansum(folds[1:], axis=0) / known


def _projection_margins(
    table: VectorTable, axis: Float[np.ndarray, "layer d_model"]
) -> Float[np.ndarray, "vector layer"]:
    """Half-width of the 95 % t interval of each projection on the axis, over folds of the questions.

    Of the default and the roles, what is estimated is the distance from the mean of the roles: a question that
    moves all of them alike does not make their places less certain.
    """
    if table.folds is None:
        return np.full(table.values.shape[:2], np.nan)
    projections = np.einsum(
        "vfld,ld->vfl", table.folds, unit(axis).astype(np.float32), optimize=True
    ).astype(np.float64)
    placed = [row for row, kind in enumerate(table.kinds) if kind != "trait"]
    known = np.isfinite(projections).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a fold without any reply has no mean
        projections[placed] -= np.nanmean(projections[table.axis_rows()], axis=0)
        deviations = projections - np.nanmean(projections, axis=1, keepdims=True)
        errors = np.sqrt(np.nansum(deviations**2, axis=1) / (known - 1) / known)
        return np.where(known > 1, student_t.ppf(0.975, known - 1) * errors, np.nan)
