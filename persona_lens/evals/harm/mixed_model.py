"""Harm against the projection with each role's own inclination to harm as a random effect.

    mixed_model(result.replies, by="first_projection")       # needs statsmodels

Angel and demon may stand equally far from the Assistant and not be equally bad: the slope here is what the
projection says once it is known who speaks.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from persona_lens.errors import EvaluationError
from persona_lens.evals.harm.projection_effect import By
from persona_lens.evals.harm.reply_outcomes import reply_outcomes

_LEVEL = 1.959963984540054
_FEWEST_ROLES = 3
_OFF_THE_MODE = 0.01
"""Squared, in standard deviations of the posterior."""


def mixed_model(
    replies: pd.DataFrame,
    *,
    by: By = "projection",
    outcome: str = "harm",
    judge: str | None = None,
    null_draws: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Logistic regression with a random intercept of each role, under each condition.

    Args:
        replies: `Evaluated.replies` of `harm`; harmful requests are used.
        by: As for `projection_effect`.
        outcome: `harm`, `full`, `miss`, `refusal` or `nonsensical`.
        judge: As for `reply_outcomes`.
        null_draws: Fits with the projections dealt out within roles.
        seed: Of these.

    Returns:
        One row for each `condition`: `slope`, log-odds of harm per standard deviation of the projection, with
        `low` and `high` (95 %, of the posterior) and `null_low`, `null_high` (least and greatest slope of the
        null fits); `role_sd`, of the roles' intercepts in log-odds; `n` replies, `roles`. NaN where nothing or
        everything is harm, there are fewer than three roles, or no mode is found.

    Raises:
        EvaluationError: statsmodels is not installed, or there are no projections.

    Source: statsmodels' `BinomialBayesMixedGLM`, by Laplace's approximation; our choice, the paper has none.
    """
    try:
        from statsmodels.genmod.bayes_mixed_glm import (  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
            BinomialBayesMixedGLM,
        )
    except ImportError as error:
        raise EvaluationError(
            "mixed models need statsmodels, which is not installed",
            remedy="pip install 'persona-lens[evals]'; without it, projection_effect(...) correlates within roles",
        ) from error
    frame = reply_outcomes(replies, judge)
    frame = frame.loc[~frame["benign"].astype(bool)]
    if by not in frame or frame[by].isna().all():
        raise EvaluationError(f"the replies have no {by}", remedy="evaluate with space=")
    frame = frame.dropna(subset=[by, outcome])
    rng = np.random.default_rng(seed)

    def fitted(x: np.ndarray, y: np.ndarray, role: np.ndarray) -> tuple[float, float, float]:
        fixed = np.column_stack([np.ones_like(x), x])
        effects = np.eye(int(role.max()) + 1)[role]
        model = BinomialBayesMixedGLM(y, fixed, effects, np.zeros(effects.shape[1], dtype=int))
        with warnings.catch_warnings():
            # It warns of any gradient left by rounding. What counts is how far off the mode it can be.
            warnings.simplefilter("ignore")
            found = model.fit_map()
        ended: Any = found.optim_retvals
        left = ended.jac
        if left @ found.cov_params() @ left > _OFF_THE_MODE:
            return np.nan, np.nan, np.nan
        return float(found.fe_mean[1]), float(found.fe_sd[1]), float(np.exp(found.vcp_mean[0]))

    rows = []
    for condition, some in frame.groupby("condition", sort=False):
        x, y = some[by].to_numpy(float), some[outcome].to_numpy(float)
        role = pd.factorize(some["persona"])[0]
        roles = int(role.max()) + 1
        slope = error = role_sd = low = high = np.nan
        if roles >= _FEWEST_ROLES and 0 < y.mean() < 1 and np.ptp(x) > 0:
            x = (x - x.mean()) / x.std()
            slope, error, role_sd = fitted(x, y, role)
            null = [fitted(_within(x, role, rng), y, role)[0] for _ in range(null_draws)]
            low, high = (np.nanmin(null), np.nanmax(null)) if null else (np.nan, np.nan)
        rows.append(
            {
                "condition": condition,
                "by": by,
                "outcome": outcome,
                "slope": slope,
                "low": slope - _LEVEL * error,
                "high": slope + _LEVEL * error,
                "null_low": low,
                "null_high": high,
                "role_sd": role_sd,
                "n": len(y),
                "roles": roles,
            }
        )
    return pd.DataFrame(rows)


def _within(x: np.ndarray, role: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The projections dealt out anew among the replies of each role."""
    order = np.lexsort((rng.random(len(x)), role))
    dealt = np.empty_like(x)
    dealt[np.argsort(role, kind="stable")] = x[order]
    return dealt
