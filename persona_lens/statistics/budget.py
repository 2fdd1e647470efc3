"""How many more default replies the axis needs, and whether replies are what it lacks.

The axis is the default minus the mean of the roles. Some hundred roles share the work of the latter, while the
former is one vector, so that its replies are the bottleneck of an axis from few replies.

Formula: with N default replies of spread v each, and e the squared error of the mean of the roles,

    reliability = signal² / (signal² + v / N + e),    signal² = |axis|² - v / n - e

where signal² is that of the axis from infinitely many replies and n are the replies there are. The reliability
is the cosine to be expected between this axis and another one collected likewise; its root, that with the truth.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import t as student_t

from persona_lens.errors import SpaceError
from persona_lens.statistics.resampling import LEVEL
from persona_lens.vectors.table import VectorTable


class HasTable(Protocol):
    """Anything with a table of vectors, such as a `PersonaSpace`."""

    table: VectorTable


def default_reply_advice(
    space_or_table: HasTable | VectorTable, target: float = 0.9
) -> pd.DataFrame:
    """Reliability of the axis at every layer, and how many more default replies bring it to `target`.

    Replies share questions and prompts, so that the model of independent replies is too hopeful. Beside its
    numbers stand those from folds of the questions, where the table has them: what as many new questions would
    give. `halves` is meant to be compared with `axis_questions` of `PersonaSpace.stability_`, the same measured
    on halves of the questions; where that is much lower, more questions help, and asking the same ones more often
    does not.

    Args:
        space_or_table: A space or its table, with `squared_errors`.
        target: Reliability to reach, between 0 and 1.

    Returns:
        One row a layer: `layer`; `signal`, `error_default`, `error_roles` (lengths, in the units of the residual
        stream); `reliability`; `halves` (cosine to be expected between the axes of two halves of the replies);
        `reliability_questions` with `questions_low` and `questions_high` (95 % jackknife over at least three
        folds, NaN without); `replies` (default replies there are), `needed`, `more`; `times_questions` (how
        many times as many questions reach the target over new questions; 1 if those there are do); `advice`,
        the same in words. `needed` is infinite where the noise of the roles alone forbids the target; it and
        `times_questions` are NaN where the axis is not longer than noise would make it.

    Raises:
        SpaceError: Errors are not known, or there are no default replies or roles, or an impossible target.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> replies = rng.normal(size=(5, 40, 3, 64))   # vector, reply, layer, d_model
        >>> replies[0] += 0.5
        >>> table = VectorTable(
        ...     replies.mean(axis=1), ("default", "a", "b", "c", "d"), ("default", *["role"] * 4),
        ...     ("all",) * 5, np.full(5, 40), (0, 1, 2),
        ...     squared_errors=replies.var(axis=1, ddof=1).sum(axis=2) / 40)
        >>> advice = default_reply_advice(table, target=0.9)
        >>> advice["reliability"].between(0.8, 0.95).all()
        np.True_
    """
    table = space_or_table if isinstance(space_or_table, VectorTable) else space_or_table.table
    if not 0 < target < 1:
        raise SpaceError("no such reliability", expected="between 0 and 1", given=target)
    default_rows, role_rows = table.indices(kind="default"), table.axis_rows()
    if len(default_rows) != 1 or not role_rows:
        raise SpaceError(
            "advice on the axis needs one default vector and roles",
            given=f"{len(default_rows)} and {len(role_rows)}",
        )
    replies = int(table.counts[default_rows[0]])
    if table.squared_errors is None or replies < 2:
        raise SpaceError(
            "how far the replies scatter is not known",
            expected="squared errors, and at least two default replies",
            given=f"{replies} default replies",
            remedy="fit the space from its run",
        )
    errors = table.squared_errors.astype(np.float64)
    error_default = errors[default_rows[0]]
    error_roles = _error_of_mean(errors[role_rows], table.counts[role_rows])
    roles = table.values[role_rows].mean(axis=0, dtype=np.float64)
    length = ((table.values[default_rows[0]] - roles) ** 2).sum(axis=1)
    error = error_default + error_roles
    signal = np.maximum(length - error, 0.0)

    affordable = signal * (1 / target - 1) - error_roles
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = np.where(affordable > 0, np.ceil(error_default * replies / affordable), np.inf)
        frame = pd.DataFrame(
            {
                "layer": table.layers,
                "signal": np.sqrt(signal),
                "error_default": np.sqrt(error_default),
                "error_roles": np.sqrt(error_roles),
                "reliability": signal / (signal + error),
                "halves": signal / (signal + 2 * error),
            }
        )
    needed = np.where(signal > 0, needed, np.nan)
    frame[["reliability_questions", "questions_low", "questions_high"]] = _over_questions(
        table, default_rows + role_rows
    )
    frame["replies"] = replies
    frame["needed"] = needed
    frame["more"] = np.maximum(needed - replies, 0.0)
    over = frame["reliability_questions"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        # With x times as many questions their squared error is an x-th: solved for reliability = target.
        times = (1 - over) / over * target / (1 - target)
    frame["times_questions"] = np.where(over > 0, np.maximum(times, 1.0), np.nan)
    frame["advice"] = [
        _words(more, target) + _words_on_questions(*questions)
        for more, *questions in zip(frame["more"], over, frame["times_questions"], strict=True)
    ]
    return frame


def _error_of_mean(
    errors: Float[np.ndarray, "role layer"], counts: np.ndarray
) -> Float[np.ndarray, " layer"]:
    """Squared error of the mean of the roles; one with a single reply scatters as the others do."""
    known = np.isfinite(errors)
    replies = counts[:, None]
    spread = np.where(known, errors, 0.0) * replies
    with np.errstate(divide="ignore", invalid="ignore"):
        usual = spread.sum(axis=0) / known.sum(axis=0)
    filled = np.where(known, errors, usual / np.maximum(replies, 1))
    return filled.sum(axis=0) / len(errors) ** 2


def _over_questions(table: VectorTable, rows: list[int]) -> Float[np.ndarray, "layer 3"]:
    """Reliability by the scatter of the axis between folds of the questions, with its jackknife interval."""
    unknown = np.full((len(table.layers), 3), np.nan)
    if table.folds is None:
        return unknown
    folds = table.folds[rows].astype(np.float64)
    present = np.asarray(np.isfinite(folds).all(axis=(2, 3)))
    whole = present[0] & present[1:].any(axis=0)
    folds, present = folds[:, whole], present[:, whole]
    n = int(whole.sum())
    if n < 2:
        return unknown
    roles = np.where(present[1:, :, None, None], folds[1:], 0.0).sum(axis=0)
    axes = folds[0] - roles / present[1:].sum(axis=0)[:, None, None]
    found = unknown.copy()
    found[:, 0] = _reliability(axes)
    if n > 2:
        without = np.stack([_reliability(np.delete(axes, fold, axis=0)) for fold in range(n)])
        error = np.sqrt((n - 1) * without.var(axis=0))
        reach = student_t.ppf((1 + LEVEL) / 2, n - 1) * error
        found[:, 1] = np.maximum(found[:, 0] - reach, 0.0)
        found[:, 2] = np.minimum(found[:, 0] + reach, 1.0)
    return found


def _reliability(axes: Float[np.ndarray, "fold layer d_model"]) -> Float[np.ndarray, " layer"]:
    """Share of the squared length of the mean that its scatter between folds does not account for."""
    n = len(axes)
    mean = axes.mean(axis=0)
    error = ((axes - mean) ** 2).sum(axis=(0, 2)) / (n * (n - 1))
    length = (mean**2).sum(axis=1)
    return np.maximum(length - error, 0.0) / np.where(length == 0, 1.0, length)


def _words(more: float, target: float) -> str:
    if np.isnan(more):
        return "the axis is not longer than noise: collect more of everything"
    if np.isinf(more):
        return f"the roles' own noise forbids reliability {target:g}: collect more replies of the roles"
    if more == 0:
        return f"enough default replies for reliability {target:g}"
    return f"{more:.0f} more default replies for reliability {target:g}"


def _words_on_questions(reliability: float, times: float) -> str:
    if np.isnan(times) or times == 1:
        return ""
    return f"; over new questions it is {reliability:.2f} now: ask {times:.1f} times as many"
