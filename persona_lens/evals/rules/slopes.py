"""Do rules break where replies lie further from the Assistant, once it is known which persona speaks?

    rule_slopes(result.replies)                              # of each reply
    rule_slopes(result.replies, by="first_projection")       # of the turn before, where items have one

A logistic regression with each role's own inclination to break rules as a random effect. Every packaged rule comes
with a persona of its own, so that a role there is a rule with its two twins.
"""

from __future__ import annotations

import pandas as pd

from persona_lens.errors import EvaluationError
from persona_lens.evals.mixed_effects import NULL_DRAWS, role_slope
from persona_lens.evals.rules.effects import broken_replies
from persona_lens.progress import StageProgress

ALL = "all conditions"


def rule_slopes(
    replies: pd.DataFrame,
    by: str = "projection",
    *,
    judge: str = "rule",
    role: str | None = None,
    twin: str | None = None,
    null_draws: int = NULL_DRAWS,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Rule broken against projection, with role as a random effect, under each condition and over all.

    Args:
        replies: `Evaluated.replies` of `rules()`, evaluated with a space.
        by: `projection`, of each reply; `first_projection`, of the turn before, which items of your own may have
            in `about`, beside `first_turn`, its name.
        judge: As in `persona_effect`.
        role: Column that says who speaks; `role` if there is one, else the pair of twins.
        twin: Only replies of the `persona`, or of its `neutral` twin; by default both. A role then needs several
            replies: more samples, or conditions taken together.
        null_draws: Fits with the projections dealt out within roles.
        seed: Of these.
        progress: Show a progress bar.

    Returns:
        A row for each condition, and one for all together if there are several (what plans move is then part of
        what moves replies): `condition`, `by`, and what `role_slope` returns: `slope`, in log-odds per standard
        deviation, negative where replies further from the Assistant break more, with interval, null, `p` and
        counts.

    Raises:
        EvaluationError: No reply has such a projection, or there is no such column or twin.
    """
    known = broken_replies(replies, judge)
    role = role or ("role" if "role" in known else "cluster")
    if role not in known or by not in known or known[by].isna().all():
        raise EvaluationError(
            "rules cannot be related to the projection",
            expected=f"columns {by} and {role}, with values",
            given=", ".join(known.columns),
            remedy="give evaluate() a space that is fitted and calibrated; a first_projection is to be in about",
        )
    if twin is not None:
        known = known.loc[known["twin"] == twin]
    known = known.dropna(subset=[by])
    if known.empty:
        raise EvaluationError(
            "no reply is left",
            expected="a twin that was asked",
            given=f"twin {twin!r}",
        )
    scopes = {str(name): some for name, some in known.groupby("condition", sort=False)}
    if len(scopes) > 1:
        scopes[ALL] = known
    bar = StageProgress("Rules and projection", len(scopes), shown=progress, unit="fits")
    rows = []
    with bar.running():
        for name, some in bar.counted(scopes.items()):
            shared = by == "first_projection" and "first_turn" in some
            found = role_slope(
                some[by].to_numpy(float),
                some["broken"].to_numpy(float),
                pd.factorize(some[role])[0],
                pd.factorize(some["first_turn"])[0] if shared else None,
                null_draws=null_draws,
                seed=seed,
            )
            rows.append({"condition": name, "by": by, **found})
    return pd.DataFrame(rows)
