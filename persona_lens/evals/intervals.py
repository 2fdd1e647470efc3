"""Sigmoids of replies that come in clusters: several strengths of one question are not independent."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression

from persona_lens.statistics import draw_rows, interval_of

_FIT_RESAMPLES = 200
_GRID = 81
_FLAT = 1e-6
"""Change of the log-odds over all strengths below which there is none."""

_FIT = ("slope", "slope_low", "slope_high", "midpoint", "midpoint_low", "midpoint_high")
_CURVE = ["strength", "value", "low", "high"]


def sigmoid_fit(frame: pd.DataFrame, column: str) -> tuple[dict[str, float], pd.DataFrame]:
    """Logistic regression of a yes-or-no outcome on the strength, with intervals by bootstrap over clusters.

    Args:
        frame: Columns `cluster`, `strength`, and the outcome's: 1 for yes, 0 for no, NaN where not known.
        column: The outcome's.

    Returns:
        The slope (log-odds for one unit of strength) and the midpoint (strength at which half say yes), each with
        `_low` and `_high`, the midpoint NaN where the slope may be zero; and the curve: `strength`, `value`,
        `low`, `high`. All is NaN, and the curve empty, where no outcome is known.
    """
    known = frame.dropna(subset=[column])
    table = known.pivot_table(index="cluster", columns="strength", values=column, aggfunc="mean")
    strengths = table.columns.to_numpy(dtype=np.float64)
    values = table.to_numpy()
    if not len(values):
        return {**dict.fromkeys(_FIT, np.nan), "n": 0.0}, pd.DataFrame(columns=_CURVE, dtype=float)
    grid = np.linspace(strengths.min(), strengths.max(), _GRID)
    whole = _logistic(strengths, values)
    draws = np.array(
        [
            _logistic(strengths, values[rows])
            for rows in draw_rows(len(values), _FIT_RESAMPLES, np.random.default_rng(0))
        ]
    )
    slope_low, slope_high = interval_of(draws[:, 1])
    middle = np.full(3, np.nan)
    # Where the outcome never changes, the slope is zero but for rounding.
    flat = _FLAT / max(np.ptp(strengths), 1e-12)
    if slope_low > flat or slope_high < -flat:
        middle[0] = -whole[0] / whole[1]
        tilted = draws[draws[:, 1] * np.sign(whole[1]) > flat]  # the others have no midpoint
        middle[1:] = interval_of(-tilted[:, 0] / tilted[:, 1])
    curves = _curve(draws, grid)
    low, high = np.percentile(curves, [2.5, 97.5], axis=0)
    found = (whole[1], slope_low, slope_high, *middle)
    fit = {name: float(value) for name, value in zip(_FIT, found, strict=True)}
    curve = np.stack([grid, _curve(whole[None], grid)[0], low, high], axis=1)
    return {**fit, "n": float(len(known))}, pd.DataFrame(curve, columns=_CURVE)


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
