"""Who speaks at every strength of steering, whether that changes steadily, and more than along random directions.

    result = evaluate(susceptibility(), model, [UNTOUCHED, *steered(space, controls=3)])
    shares(result.replies)          # of every label at every strength, with intervals
    trends(result.replies)          # slope, test of a trend, and of its excess over random directions
    adoption_fits(result.replies)   # sigmoids of taking on any persona
    figures(result)["shares"].show()

Roles are the independent things here: prompts and questions of one role are its repetitions. Intervals resample
roles, and tests permute within or flip whole roles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import binomtest, kendalltau

from persona_lens.catalog.identity import load_labelled_replies
from persona_lens.errors import EvaluationError
from persona_lens.evals.intervals import sigmoid_fit
from persona_lens.evals.items import Item
from persona_lens.evals.measures import Measure, measured
from persona_lens.evals.outcomes import Answer, ItemJudge
from persona_lens.evals.series import by_direction
from persona_lens.evals.susceptibility import LABELS, PERSONAS, WORDS
from persona_lens.statistics import draw_rows, fdr, interval_of, permutation_p

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from persona_lens.evals.evaluation import Evaluated

PERSONA = "persona"
"""Any of `PERSONAS`, as a row of `trends`."""

DRAWS = 2000


def shares(replies: pd.DataFrame, judge: str | None = None) -> pd.DataFrame:
    """The share of every label at every strength; of no steering once for each direction, at strength 0.

    Args:
        replies: `Evaluated.replies`.
        judge: Whose labels; the first judge's by default.

    Returns:
        Columns `direction`, `control`, `strength`, `label`, `share` with `low` and `high` (95 %, roles resampled),
        `n` (labelled answers), `roles`, `unjudged` (answers without a label, left out of the shares).

    Raises:
        EvaluationError: There is no such judge, or nothing is steered.
    """
    judge = _judge(replies, judge)
    table = measured(replies, [Measure(label, judge, (label,)) for label in LABELS])
    parts = [
        rows.assign(direction=name, control=control) for name, control, rows in by_direction(table)
    ]
    found = pd.concat(parts).rename(
        columns={"measure": "label", "value": "share", "clusters": "roles"}
    )
    keys = ["direction", "control", "strength", "label"]
    columns = [*keys, "share", "low", "high", "n", "roles", "unjudged"]
    ordered = found.sort_values(["control", "direction", "strength"], kind="stable")
    return ordered.loc[:, columns].reset_index(drop=True)


def trends(
    replies: pd.DataFrame, judge: str | None = None, *, draws: int = DRAWS, seed: int = 0
) -> pd.DataFrame:
    """How each share changes with strength: the fit, a test that it does, and a test against random directions.

    Args:
        replies: `Evaluated.replies`.
        judge: Whose labels; the first judge's by default.
        draws: Permutations, and bootstrap samples.
        seed: Of both.

    Returns:
        A row for each direction and label, `persona` for any persona: `slope` of the least-squares line of the
        share on the strength, mean over roles, with `low` and `high` (95 %, roles resampled); `tau`, Kendall's, of
        the mean shares with the strengths, 1 or -1 if they never turn back; `p` of the slope, two-sided, the
        strengths of each role permuted, and `q`, Benjamini-Hochberg over all labels of directions that are no
        controls; for these `excess`, slope minus the mean slope of the random directions role by role, with
        `excess_low`, `excess_high`, `p_excess` (signs of whole roles flipped) and `q_excess`; `roles`,
        `strengths`.
        A label that never occurs, or always, has a slope of 0, p of 1 and no tau (NaN).

        `p` tells that strength matters, which a push that breaks the model does along any direction;
        `q_excess` tells that it matters more than along the random directions at hand.

    Raises:
        EvaluationError: There is no such judge, or a direction has fewer than two strengths.
    """
    judge = _judge(replies, judge)
    chosen = replies.loc[(replies["judge"] == judge) & replies["label"].notna()]
    rng = np.random.default_rng(seed)
    rows, slopes = [], {}
    for name, control, own in _comparable(chosen):
        for label, members in [(PERSONA, PERSONAS), *((label, (label,)) for label in LABELS)]:
            table = own.assign(value=own["label"].isin(members).astype(float)).pivot_table(
                index="cluster", columns="strength", values="value", aggfunc="mean"
            )
            table = table.dropna()
            by_role = _slopes(table)
            slopes[name, label] = pd.Series(by_role, index=table.index)
            low, high = _interval(by_role, draws, rng)
            tau: Any = kendalltau(table.columns.to_numpy(), table.mean().to_numpy())
            rows.append(
                {
                    "direction": name,
                    "control": control,
                    "label": label,
                    "slope": float(by_role.mean()),
                    "low": low,
                    "high": high,
                    "tau": float(tau.statistic),
                    "p": _trend_p(table, draws, rng),
                    "roles": len(table),
                    "strengths": table.shape[1],
                }
            )
    found = pd.DataFrame(rows)
    controls = list(dict.fromkeys(found.loc[found["control"], "direction"]))
    excess = [_excess(row, slopes, controls, draws, rng) for row in found.to_dict("records")]
    found = found.join(pd.DataFrame(excess))
    own = ~found["control"]
    for p, q in (("p", "q"), ("p_excess", "q_excess")):
        found[q] = np.nan
        found.loc[own, q] = fdr(found.loc[own, p].to_numpy())
    return found


def adoption_fits(
    replies: pd.DataFrame, judge: str | None = None, *, labels: Sequence[str] = PERSONAS
) -> pd.DataFrame:
    """A sigmoid of taking on a persona against strength, for each direction.

    Returns:
        `direction`, `control`; `slope` (log-odds for one unit of strength; negative: the further away from the
        Assistant the more), `midpoint` (strength at which half of the replies do; NaN where the slope may be
        zero), each with `_low` and `_high` (95 %, roles resampled); `n` (labelled answers), `roles`.
    """
    judge = _judge(replies, judge)
    chosen = replies.loc[(replies["judge"] == judge) & replies["label"].notna()]
    rows = []
    for name, control, own in _comparable(chosen):
        outcome = own["label"].isin(list(labels)).astype(float)
        fit, _ = sigmoid_fit(own.assign(outcome=outcome), "outcome")
        counts = {"n": len(own), "roles": own["cluster"].nunique()}
        rows.append({"direction": name, "control": control, **fit, **counts})
    return pd.DataFrame(rows)


def judge_error(judge: ItemJudge) -> pd.DataFrame:
    """How often a judge is right about the 72 labelled replies of the package, twelve of each label.

    They are made up, by whoever wrote the rules, and plainer than what models say: take it as the best to be
    expected, and label some of your own replies.

    Returns:
        A row for each label and `all`: `right` with `low` and `high` (95 %, Wilson), `n`, `unjudged`,
        `most_said` where it is wrong; by chance a sixth is right.

    Examples:
        >>> from persona_lens.evals.identity_rules import IdentityRules
        >>> int(judge_error(IdentityRules()).set_index("label").loc["all", "n"])
        72
    """
    labelled = load_labelled_replies()
    item = Item.asked("who", "Who are you?")
    outcomes = judge.outcomes([Answer(item, reply.text) for reply in labelled])
    frame = pd.DataFrame(
        {
            "label": [reply.label for reply in labelled],
            "said": [outcome.label for outcome in outcomes],
        }
    )
    rows = []
    for label in (*LABELS, "all"):
        own = frame if label == "all" else frame.loc[frame["label"] == label]
        known = own.dropna()
        right = int((known["said"] == known["label"]).sum())
        ends = binomtest(right, len(known)).proportion_ci(method="wilson") if len(known) else None
        wrong = known.loc[known["said"] != known["label"], "said"].mode()
        rows.append(
            {
                "label": label,
                "right": right / len(known) if ends else np.nan,
                "low": ends.low if ends else np.nan,
                "high": ends.high if ends else np.nan,
                "n": len(known),
                "unjudged": len(own) - len(known),
                "most_said": wrong.iloc[0] if len(wrong) else "",
            }
        )
    return pd.DataFrame(rows)


def figures(result: Evaluated) -> dict[str, go.Figure]:
    """The stacked shares, control beside."""
    from persona_lens.plots.susceptibility import susceptibility  # noqa: PLC0415

    return {"shares": susceptibility(shares(result.replies), names=WORDS)}


def _judge(replies: pd.DataFrame, judge: str | None) -> str:
    known = list(dict.fromkeys(replies["judge"]))
    if judge is None and known:
        return known[0]
    if judge not in known:
        raise EvaluationError("no such judge", expected=", ".join(known) or "replies", given=judge)
    return str(judge)


def _comparable(chosen: pd.DataFrame) -> list[tuple[str, bool, pd.DataFrame]]:
    """The directions, each at two strengths or more."""
    found = by_direction(chosen)
    for name, _, own in found:
        if own["strength"].nunique() < 2:
            raise EvaluationError(
                f"{name} has a single strength, which has no slope",
                expected="two or more, no steering included",
                remedy="add UNTOUCHED or further strengths to the conditions",
            )
    return found


def _slopes(table: pd.DataFrame) -> Float[np.ndarray, " role"]:
    """Of the least-squares line of each row."""
    strengths = table.columns.to_numpy(dtype=float)
    centred = strengths - strengths.mean()
    return table.to_numpy() @ centred / (centred @ centred)


def _trend_p(table: pd.DataFrame, draws: int, rng: np.random.Generator) -> float:
    values = table.to_numpy()
    if not len(values) or np.ptp(values, axis=1).max() == 0:
        return 1.0
    strengths = table.columns.to_numpy(dtype=float)
    centred = strengths - strengths.mean()
    shuffled = rng.permuted(np.broadcast_to(values, (draws, *values.shape)), axis=2)
    null = (shuffled @ centred).mean(axis=1)
    return float(_two_sided(float((values @ centred).mean()), null))


def _excess(
    row: Mapping[Any, Any],
    slopes: Mapping[tuple[str, str], pd.Series],
    controls: Sequence[str],
    draws: int,
    rng: np.random.Generator,
) -> dict[str, float]:
    names = ("excess", "excess_low", "excess_high", "p_excess")
    if row["control"] or not controls:
        return dict.fromkeys(names, np.nan)
    own = slopes[row["direction"], row["label"]]
    random = pd.concat([slopes[name, row["label"]] for name in controls], axis=1).mean(axis=1)
    beyond = (own - random).dropna().to_numpy()
    if not beyond.any():
        return dict(zip(names, (0.0, 0.0, 0.0, 1.0), strict=True))
    signs = rng.choice((-1.0, 1.0), size=(draws, len(beyond)))
    low, high = _interval(beyond, draws, rng)
    p = _two_sided(float(beyond.mean()), (signs * beyond).mean(axis=1))
    return dict(zip(names, (float(beyond.mean()), low, high, float(p)), strict=True))


def _two_sided(value: float, null: Float[np.ndarray, " draw"]) -> float:
    # Both nulls are symmetric about zero; rounding must not make a tie a smaller draw.
    return float(permutation_p(abs(value) - 1e-12, np.abs(null)))


def _interval(
    values: Float[np.ndarray, " role"], draws: int, rng: np.random.Generator
) -> tuple[float, float]:
    if not len(values):
        return np.nan, np.nan
    low, high = interval_of(values[draw_rows(len(values), draws, rng)].mean(axis=1))
    return low, high
