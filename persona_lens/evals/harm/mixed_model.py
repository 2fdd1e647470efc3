"""Harm against the projection with each role's own inclination to harm as a random effect.

    mixed_model(result.replies, by="first_projection")

The model is that of `persona_lens.evals.mixed_effects`: of a first turn, whose projection many replies share, the
null deals out the turns, and the interval allows for what replies of a role share.
"""

from __future__ import annotations

import pandas as pd

from persona_lens.errors import EvaluationError
from persona_lens.evals.harm.projection_effect import By
from persona_lens.evals.harm.reply_outcomes import reply_outcomes
from persona_lens.evals.mixed_effects import NULL_DRAWS, role_slope
from persona_lens.progress import StageProgress


def mixed_model(
    replies: pd.DataFrame,
    *,
    by: By = "projection",
    outcome: str = "harm",
    judge: str | None = None,
    null_draws: int = NULL_DRAWS,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Logistic regression with a random intercept of each role, under each condition.

    Args:
        replies: `Evaluated.replies` of `harm`; harmful requests are used.
        by: As for `projection_effect`.
        outcome: `harm`, `full`, `miss`, `refusal` or `nonsensical`.
        judge: As for `reply_outcomes`.
        null_draws: Fits with the projections dealt out within roles.
        seed: Of these.
        progress: Show a progress bar.

    Returns:
        One row for each `condition`: `by`, `outcome`, and what `role_slope` returns: `slope`, log-odds of harm per
        standard deviation of the projection, with interval, null and `p`; `role_sd`; `n` replies, `units` (first
        turns), `roles`. A persona's name is its role; replies without one are one role.

    Raises:
        EvaluationError: There are no projections.

    Source: our choice; the paper has none.
    """
    frame = reply_outcomes(replies, judge)
    frame = frame.loc[~frame["benign"].astype(bool)]
    if by not in frame or frame[by].isna().all():
        raise EvaluationError(f"the replies have no {by}", remedy="evaluate with space=")
    frame = frame.dropna(subset=[by, outcome])
    rows = []
    scopes = list(frame.groupby("condition", sort=False))
    bar = StageProgress(f"{outcome} and projection", len(scopes), shown=progress, unit="fits")
    with bar.running():
        for condition, some in bar.counted(scopes):
            turn = pd.factorize(some["first_turn"])[0] if by == "first_projection" else None
            found = role_slope(
                some[by].to_numpy(float),
                some[outcome].to_numpy(float),
                pd.factorize(some["persona"])[0],
                turn,
                null_draws=null_draws,
                seed=seed,
            )
            rows.append({"condition": condition, "by": by, "outcome": outcome, **found})
    return pd.DataFrame(rows)
