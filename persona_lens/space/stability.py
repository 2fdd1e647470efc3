"""How far the axis and PC1 can be trusted: nulls, bootstrap intervals and split halves, layer by layer.

Every number comes with what chance would give and with how much it moves when roles or questions are drawn anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.stats import beta

from persona_lens.statistics import draw_counts, even_splits, fisher_interval
from persona_lens.statistics.gram import GramGeometry
from persona_lens.statistics.pca import unit

LOW, HIGH = 2.5, 97.5


@dataclass(frozen=True, eq=False)
class LayerStability:
    """Statistics of one layer, all in PCA coordinates; every cosine lies in [-1, 1].

    Attributes:
        cosine: cos(PC1, axis); PC1 points along the axis, so it is not negative.
        cosine_low, cosine_high: 95 % interval over roles, from the bootstrap standard error on Fisher's z scale.
            (Percentiles would not do: a resample repeats roles, which lowers its cosine.)
        shuffled_mean, shuffled_95: The same cosine when a role plays the default, mean and 95th percentile.
        shuffled_p: Share of such exchanges with a cosine at least as large (plus one, exact test).
        random_95: 95th percentile of |cos| of a random direction with PC1.
        axis_roles, axis_roles_low, axis_roles_high: The same for two halves of the roles.
        pc1_roles: Cosine of the first components of two halves of the roles.
        axis_questions, ..._low, ..._high: Cosine of the axes from two halves of the questions: median, and the
            range that holds 95 % of the splits (not an interval of the median: splits share their replies).
    """

    cosine: float
    cosine_low: float
    cosine_high: float
    shuffled_mean: float
    shuffled_95: float
    shuffled_p: float
    random_95: float
    axis_roles: float
    axis_roles_low: float
    axis_roles_high: float
    pc1_roles: float
    axis_questions: float
    axis_questions_low: float
    axis_questions_high: float


def layer_stability(
    geometry: GramGeometry,
    role_of: Int[np.ndarray, " vector"],
    d_model: int,
    axis_folds: Float[np.ndarray, "fold d_model"] | None,
    *,
    n_resamples: int,
    rng: np.random.Generator,
) -> LayerStability:
    """Nulls, intervals and split halves of one layer.

    Args:
        geometry: The default vector and the role vectors, in PCA coordinates.
        role_of: Number of the role each role vector belongs to: both vectors of a role are drawn together.
        d_model: Width of the residual stream, for the null of random directions.
        axis_folds: The axis from each fold of the questions; None if the folds are not known.
        n_resamples: Bootstrap samples, role splits and (at most) exchanges of the default.
    """
    n_roles = int(role_of.max()) + 1
    as_it_is = np.concatenate([[0.0], np.ones(len(role_of))])[None]
    observed = geometry.resample(as_it_is, np.array([0]))
    cosine = float(geometry.cosines(observed.pc1, observed.axes)[0])

    drawn = draw_counts(n_roles, n_resamples, rng)[:, role_of]
    # A draw of roles none of which is on the axis has no axis; with three such roles it is one in thousands.
    drawn = drawn[(drawn * geometry.on_axis).sum(axis=1) > 0]
    weights = np.concatenate([np.zeros((len(drawn), 1)), drawn], axis=1)
    default = np.zeros(n_resamples, dtype=int)
    drawn_anew = geometry.resample(weights, default[: len(drawn)])
    boot = geometry.cosines(drawn_anew.pc1, drawn_anew.axes)
    low, high = fisher_interval(cosine, boot)
    low = max(0.0, low)  # PC1 points along the axis

    impostors = 1 + rng.permutation(np.flatnonzero(geometry.on_axis))[:n_resamples]
    others = role_of != role_of[impostors - 1][:, None]
    weights = np.concatenate([np.ones((len(impostors), 1)), others], axis=1)
    exchanged = geometry.resample(weights, impostors)
    null = geometry.cosines(exchanged.pc1, exchanged.axes)

    in_first = _halves(geometry.on_axis, role_of, n_resamples, rng)
    pad = np.zeros((n_resamples, 1))
    first = geometry.resample(np.concatenate([pad, in_first], axis=1), default)
    second = geometry.resample(np.concatenate([pad, 1 - in_first], axis=1), default)
    axis_roles = geometry.cosines(first.axes, second.axes)

    questions = np.full(3, np.nan) if axis_folds is None else _question_halves(axis_folds)
    return LayerStability(
        cosine=cosine,
        cosine_low=float(low),
        cosine_high=float(high),
        shuffled_mean=float(null.mean()),
        shuffled_95=float(np.percentile(null, 95)),
        shuffled_p=float((1 + (null >= cosine).sum()) / (1 + len(null))),
        random_95=random_cosine_quantile(d_model, 0.95),
        axis_roles=float(np.median(axis_roles)),
        axis_roles_low=float(np.percentile(axis_roles, LOW)),
        axis_roles_high=float(np.percentile(axis_roles, HIGH)),
        pc1_roles=float(np.median(np.abs(geometry.cosines(first.pc1, second.pc1)))),
        axis_questions=float(questions[0]),
        axis_questions_low=float(questions[1]),
        axis_questions_high=float(questions[2]),
    )


def stability_frame(layers: tuple[int, ...], statistics: list[LayerStability]) -> pd.DataFrame:
    """One row a layer, one column a statistic."""
    frame = pd.DataFrame([vars(entry) for entry in statistics])
    frame.insert(0, "layer", layers)
    return frame


def random_cosine_quantile(d_model: int, quantile: float) -> float:
    """Quantile of |cos| between a fixed direction and an isotropic random one: its square is Beta(1/2, (d-1)/2).

    Examples:
        >>> round(random_cosine_quantile(576, 0.95), 3)
        0.082
    """
    return float(np.sqrt(beta.ppf(quantile, 0.5, (d_model - 1) / 2)))


def _halves(
    on_axis: Bool[np.ndarray, " vector"],
    role_of: Int[np.ndarray, " vector"],
    n_splits: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "split vector"]:
    """Halves of the roles; those on the axis and the rest are halved apart, so that each half has an axis."""
    n_roles = int(role_of.max()) + 1
    strata = np.isin(np.arange(n_roles), role_of[on_axis])
    first = np.zeros((n_splits, n_roles))
    for stratum in (np.flatnonzero(strata), np.flatnonzero(~strata)):
        order = rng.random((n_splits, len(stratum))).argsort(axis=1)
        first[:, stratum] = order < len(stratum) // 2
    return first[:, role_of]


def _question_halves(axis_folds: Float[np.ndarray, "fold d_model"]) -> Float[np.ndarray, " 3"]:
    """Median and 2.5/97.5 percentile, over all even splits of the folds, of the cosine of the two axes."""
    known = axis_folds[np.isfinite(axis_folds).all(axis=1)]
    n_folds = len(known)
    if n_folds < 2:
        return np.full(3, np.nan)
    first = even_splits(n_folds).astype(float)
    axes = [unit(half @ known) for half in (first, 1 - first)]
    return np.percentile((axes[0] * axes[1]).sum(axis=1), [50, LOW, HIGH])
