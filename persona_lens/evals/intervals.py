"""Intervals for replies that come in clusters: several strengths of one question are not independent."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression

CLUSTER = ["kind", "name", "question_id", "sample"]
RESAMPLES = 500
_FIT_RESAMPLES = 200
_GRID = 81


def resampled(
    n_clusters: int, resamples: int, seed: int = 0
) -> Int[np.ndarray, "resample cluster"]:
    """Clusters drawn with replacement."""
    return np.random.default_rng(seed).integers(n_clusters, size=(resamples, n_clusters))


def cluster_table(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Values of one column, a row a cluster (persona, question, sample) and a column a strength."""
    known = frame.dropna(subset=[column])
    return known.pivot_table(index=CLUSTER, columns="strength", values=column, aggfunc="mean")


def means_by_strength(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean at each strength with a 95 % interval, by bootstrap over clusters.

    Returns:
        Columns `strength`, `value`, `low`, `high`, `n` (replies with a value).
    """
    table = cluster_table(frame, column)
    values = table.to_numpy()
    draws = np.nanmean(values[resampled(len(values), RESAMPLES)], axis=1)
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    return pd.DataFrame(
        {
            "strength": table.columns.to_numpy(),
            "value": np.nanmean(values, axis=0),
            "low": low,
            "high": high,
            "n": np.isfinite(values).sum(axis=0),
        }
    )


def sigmoid_fit(frame: pd.DataFrame, column: str) -> tuple[dict[str, float], pd.DataFrame]:
    """Logistic regression of a yes-or-no outcome on the strength, with intervals by bootstrap over clusters.

    Returns:
        The slope (log-odds for one unit of strength) and the midpoint (strength at which half say yes), each with
        `_low` and `_high`, the midpoint NaN where the slope may be zero; and the curve: `strength`, `value`,
        `low`, `high`.
    """
    table = cluster_table(frame, column)
    strengths = table.columns.to_numpy(dtype=np.float64)
    values = table.to_numpy()
    grid = np.linspace(strengths.min(), strengths.max(), _GRID)
    whole = _logistic(strengths, values)
    draws = np.array(
        [_logistic(strengths, values[rows]) for rows in resampled(len(values), _FIT_RESAMPLES)]
    )
    slope_low, slope_high = np.percentile(draws[:, 1], [2.5, 97.5])
    middle = np.full(3, np.nan)
    if slope_low * slope_high > 0:  # else the outcome may not depend on the strength at all
        middle[0] = -whole[0] / whole[1]
        middle[1:] = np.percentile(-draws[:, 0] / draws[:, 1], [2.5, 97.5])
    curves = _curve(draws, grid)
    low, high = np.percentile(curves, [2.5, 97.5], axis=0)
    fit = {
        "slope": whole[1],
        "slope_low": slope_low,
        "slope_high": slope_high,
        "midpoint": middle[0],
        "midpoint_low": middle[1],
        "midpoint_high": middle[2],
        "n": float(np.isfinite(values).sum()),
    }
    curve = pd.DataFrame(
        {"strength": grid, "value": _curve(whole[None], grid)[0], "low": low, "high": high}
    )
    return {name: float(value) for name, value in fit.items()}, curve


def _logistic(
    strengths: Float[np.ndarray, " strength"], values: Float[np.ndarray, "cluster strength"]
) -> Float[np.ndarray, " 2"]:
    """Intercept and slope; a trace of both outcomes at every strength keeps separable data finite."""
    known = np.isfinite(values)
    yes = np.where(known, values, 0.0).sum(axis=0) + 1e-3
    no = np.where(known, 1 - values, 0.0).sum(axis=0) + 1e-3
    model = LogisticRegression(C=np.inf)
    model.fit(
        np.concatenate([strengths, strengths])[:, None],
        np.repeat([1, 0], len(strengths)),
        sample_weight=np.concatenate([yes, no]),
    )
    return np.concatenate([np.ravel(model.intercept_), np.ravel(model.coef_)])


def _curve(
    fits: Float[np.ndarray, "fit 2"], grid: Float[np.ndarray, " grid"]
) -> Float[np.ndarray, "fit grid"]:
    return 1 / (1 + np.exp(-(fits[:, :1] + fits[:, 1:] * grid)))
