"""What personas do to rule keeping, from the replies of an evaluation: paired, by kind, and against controls.

persona_effect(result.replies)
persona_effect(result.replies, by_kind=True)     # with false discovery rate over kinds and conditions
against_controls(result.replies)
projection_relation(result.replies)
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.errors import EvaluationError
from persona_lens.statistics import draw_rows, fdr, interval_of, permutation_p
from persona_lens.statistics.conformal import share_interval

DRAWS = 2000
ALL_RULES = "all"
_NEEDED = ("judge", "label", "twin", "rule", "cluster", "condition", "kind")


def persona_effect(
    replies: pd.DataFrame, by_kind: bool = False, judge: str = "rule"
) -> pd.DataFrame:
    """How much more often a rule is broken under the persona than by its neutral twin.

    Args:
        replies: `Evaluated.replies` of `rules()`.
        by_kind: A row for each kind of rule too.
        judge: "rule", or "rule if coherent" to leave out replies that say nothing.

    Returns:
        A row for each condition (and kind): `persona` and `neutral`, shares broken; `effect`, their paired
        difference, positive where the persona breaks more, with `low` and `high` (95 %, pairs resampled);
        `p` (signs of pairs flipped, two-sided) and `q`, adjusted over all rows (Benjamini and Hochberg); `pairs`.
        Eight pairs of a kind give a p of 0.008 at best.

    Raises:
        EvaluationError: The frame is of another evaluation.
    """
    broken = broken_replies(replies, judge)
    by = ["condition", "rule"] if by_kind else ["condition"]
    pairs = broken.pivot_table("broken", [*dict.fromkeys([*by, "cluster"])], "twin", sort=False)
    pairs = pairs.reindex(columns=["persona", "neutral"]).dropna()
    rows = []
    for _, some in pairs.groupby(level=by, sort=False):
        told = {name: some.index.get_level_values(name)[0] for name in by}
        difference = (some["persona"] - some["neutral"]).to_numpy()
        rows.append(
            {
                **told,
                "persona": some["persona"].mean(),
                "neutral": some["neutral"].mean(),
                "effect": difference.mean(),
                **_tested(difference),
                "pairs": len(difference),
            }
        )
    return _adjusted(rows)


def against_controls(
    replies: pd.DataFrame, matched: str = "engagement", twin: str = "persona"
) -> pd.DataFrame:
    """What a plan does to rule breaking, beside what its controls do.

    Args:
        replies: `Evaluated.replies` of `rules()`, with a condition without a plan.
        matched: In what controls are like their plan: "engagement" or "norm".
        twin: Whose replies.

    Returns:
        A row for each plan with such controls: `change` in the share broken from no plan, `control_change`, mean
        of its controls; `difference` of the two, paired by rule, with `low`, `high`, `p` and `q` as in
        `persona_effect`; `engaged` and `control_engaged`, shares of tokens moved; `pairs`, `controls`.

    Raises:
        EvaluationError: There is no condition without a plan, or no control that is matched so.
    """
    broken = broken_replies(replies, "rule")
    broken = broken.loc[broken["twin"] == twin]
    plain = broken.loc[broken["kind"] == "none", "condition"].unique()
    controls = broken.loc[(broken["kind"] == "control") & (broken["matched"] == matched)]
    if not len(plain) or controls.empty:
        raise EvaluationError(
            "there is nothing to hold plans against",
            expected=f"a condition without a plan, and controls of equal {matched}",
            given=", ".join(broken["condition"].unique()),
            remedy="evaluate with UNTOUCHED and with conditions of capped() or steered()",
        )
    share = broken.pivot_table("broken", "cluster", "condition", sort=False)
    engaged = broken.groupby("condition")["engaged"].mean()
    rows = []
    for (plan, series, strength), _ in broken.loc[broken["kind"] == "plan"].groupby(
        ["condition", "series", "strength"], sort=False
    ):
        of = controls["control_of"].eq(series) & controls["strength"].eq(strength)
        names = list(controls.loc[of, "condition"].unique())
        if not names:
            continue
        known = share[[plain[0], plan, *names]].dropna()
        change = (known[plan] - known[plain[0]]).to_numpy()
        control = (known[names].mean(axis=1) - known[plain[0]]).to_numpy()
        rows.append(
            {
                "condition": plan,
                "matched": matched,
                "change": change.mean(),
                "control_change": control.mean(),
                "difference": (change - control).mean(),
                **_tested(change - control),
                "engaged": engaged[plan],
                "control_engaged": engaged[names].mean(),
                "pairs": len(known),
                "controls": len(names),
            }
        )
    return _adjusted(rows)


def projection_relation(replies: pd.DataFrame, judge: str = "rule") -> pd.DataFrame:
    """Are replies further from the Assistant the ones that break rules?

    Args:
        replies: `Evaluated.replies` of `rules()`, evaluated with a space.
        judge: As in `persona_effect`.

    Returns:
        Two rows, `scope` "all replies" and "within pairs" (a pair's own means taken off, so that rules that are
        always broken say nothing). `correlation` of being broken with the projection, negative where those
        further from the Assistant break more; `low` and `high` (95 %, pairs resampled); `p`, two-sided, with
        projections exchanged within each pair of replies (within pairs only; NaN for all replies, whose
        interval tells); `replies`, `pairs`.

    Raises:
        EvaluationError: No reply has a projection.
    """
    known = broken_replies(replies, judge).dropna(subset=["projection"])
    if known.empty:
        raise EvaluationError(
            "no reply has a projection",
            remedy="give evaluate() a space that is fitted and calibrated",
        )
    codes, names = pd.factorize(known["cluster"])
    values = known[["projection", "broken"]].to_numpy(dtype=float)
    means = pd.DataFrame(values).groupby(codes).transform("mean").to_numpy()
    rng = np.random.default_rng(0)
    null = np.array(
        [_correlation(_exchanged(values - means, codes, rng)) for _ in range(DRAWS // 4)]
    )
    rows = []
    for scope, some in (("all replies", values), ("within pairs", values - means)):
        low, high = interval_of(_resampled(some, codes, len(names)))
        found = _correlation(some)
        p = float(permutation_p(found, null, "two-sided")) if scope == "within pairs" else np.nan
        rows.append(
            {"scope": scope, "correlation": found, "low": low, "high": high, "p": p,
             "replies": len(some), "pairs": len(names)}
        )  # fmt: skip
    return pd.DataFrame(rows)


def broken_shares(replies: pd.DataFrame, judge: str = "rule") -> pd.DataFrame:
    """How often rules of each kind are broken, by each twin under each condition; what `plots.rules` draws.

    Args:
        replies: `Evaluated.replies` of `rules()`.
        judge: As in `persona_effect`.

    Returns:
        A row for each `condition` (with its `kind`: none, plan or control), `rule` (a kind of rule; "all" first)
        and `twin`: `value`, share broken, with `low` and `high` (95 %: exact, by Clopper and Pearson, with a
        reply of each pair; else pairs resampled), `n` replies, `pairs`; `effect`, `p` and `q` of the persona
        against its twin, as in `persona_effect` (its rows "all" are a family of their own).
    """
    broken = broken_replies(replies, judge)
    whole = persona_effect(replies, judge=judge).assign(rule=ALL_RULES)
    effects = pd.concat([whole, persona_effect(replies, by_kind=True, judge=judge)])
    tested = effects.set_index(["condition", "rule"])[["effect", "p", "q"]]
    rows = []
    both = pd.concat([broken.assign(rule=ALL_RULES), broken])
    for key, some in both.groupby(["condition", "rule", "twin"], sort=False):
        condition, rule, twin = tuple(key)  # pyright: ignore[reportArgumentType]
        by_pair = np.asarray(some.groupby("cluster")["broken"].mean(), dtype=float)
        low, high = _share_ends(by_pair, len(some))
        has = (condition, rule) in tested.index
        effect = tested.loc[(condition, rule)] if has else dict.fromkeys(tested, np.nan)
        rows.append(
            {"condition": condition, "kind": some["kind"].iloc[0], "rule": rule, "twin": twin,
             "value": float(by_pair.mean()), "low": low, "high": high, "n": len(some), "pairs": len(by_pair),
             **{name: float(effect[name]) for name in tested}}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _share_ends(by_pair: Float[np.ndarray, " pair"], replies: int) -> tuple[float, float]:
    if replies == len(by_pair) or not np.ptp(by_pair):
        found = share_interval(round(by_pair.sum()), len(by_pair))
        return found.low, found.high
    drawn = by_pair[draw_rows(len(by_pair), DRAWS, np.random.default_rng(0))].mean(axis=1)
    return interval_of(drawn)


def broken_replies(replies: pd.DataFrame, judge: str) -> pd.DataFrame:
    """The replies that were judged, with `broken`, 0 or 1.

    Raises:
        EvaluationError: The frame is of another evaluation.
    """
    lacking = [column for column in _NEEDED if column not in replies]
    chosen = replies.loc[replies["judge"] == judge] if not lacking else replies.iloc[:0]
    if lacking or chosen.empty:
        raise EvaluationError(
            "these are not the replies of rules()",
            expected=f"columns {', '.join(_NEEDED)}, and rows of the judge {judge!r}",
            given=f"no {', '.join(lacking)}" if lacking else "none of that judge",
        )
    known = chosen.loc[chosen["label"].notna()]
    return known.assign(broken=(known["label"] == "broken").astype(float))


def _tested(difference: Float[np.ndarray, " pair"]) -> dict[str, float]:
    rng = np.random.default_rng(0)
    drawn = difference[draw_rows(len(difference), DRAWS, rng)].mean(axis=1)
    signs = rng.choice([-1.0, 1.0], size=(DRAWS, len(difference)))
    null = (signs * difference).mean(axis=1)
    low, high = interval_of(drawn)
    if not difference.any():  # draws of nothing have no width
        high = share_interval(0, len(difference)).high
        low = -high
    # Sums of the same terms in another order differ by rounding.
    p = permutation_p(difference.mean().round(9), null.round(9), "two-sided")
    return {"low": low, "high": high, "p": float(p)}


def _adjusted(rows: list[dict]) -> pd.DataFrame:
    found = pd.DataFrame(rows)
    return found.assign(q=fdr(found["p"].to_numpy())) if len(found) else found


def _correlation(values: Float[np.ndarray, "reply 2"]) -> float:
    spread = values.std(axis=0)
    if not spread.all():
        return np.nan
    return float(np.corrcoef(values.T)[0, 1])


def _exchanged(
    values: Float[np.ndarray, "reply 2"], codes: np.ndarray, rng: np.random.Generator
) -> Float[np.ndarray, "reply 2"]:
    """Projections in another order within each pair."""
    order, drawn = (
        np.lexsort((np.arange(len(codes)), codes)),
        np.lexsort((rng.random(len(codes)), codes)),
    )
    moved = values.copy()
    moved[order, 0] = values[drawn, 0]
    return moved


def _resampled(values: np.ndarray, codes: np.ndarray, count: int) -> Float[np.ndarray, " draw"]:
    parts = [values[codes == code] for code in range(count)]
    drawn = draw_rows(count, DRAWS // 4, np.random.default_rng(0))
    return np.array([_correlation(np.concatenate([parts[code] for code in row])) for row in drawn])
