"""Do two judges say the same of the same replies, beyond what knowing the role alone would give?

    frame = verdict_frame(RunFolder("runs/first"))
    found = agreement(frame, "rules", "likelihood")
    found.roles.kappa        # Measure(value=0.41, low=0.33, high=0.48, null=0.06, ...)
    found.roles.by_role      # the same, role by role

Intervals come of drawing whole roles (or traits) anew, because replies of one role are not independent. The null
shuffles the second judge's verdicts within every role: so far agree two judges that know how often each role is
played, but not in which replies. Kappa is 0 where they do not even know that.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from persona_lens.analysis.audit.verdicts import judges_of, label_codes
from persona_lens.errors import RunError
from persona_lens.judges.base import LABELS
from persona_lens.runs.vectors import MIN_GAP
from persona_lens.statistics import draw_counts
from persona_lens.statistics.kappa import (
    LabelAgreement,
    Measure,
    drawn_anew,
    equal_share,
    kappa,
    label_agreement,
    percentiles,
    shuffled,
)

FILTERED = ("left out", "kept")
"""What the gap between its scores makes of a pair of trait replies."""
NULL_DRAWS = 200
"""At most so many shuffles of trait scores, each of which sorts all of them."""
_PAIR = ("name", "prompt_index", "question_id", "sample")


@dataclass(frozen=True, eq=False)
class RoleAgreement(LabelAgreement):
    """How far two judges agree on role replies.

    Attributes:
        by_role: One row a role: `name`, `count`, `equal`; `kappa` with its interval over the role's replies
            (`low`, `high`) and the range of its null (`null_low`, `null_high`); how many different labels
            either judge gives (`labels_first`, `labels_second`). Where that is one, kappa is NaN.
        dropped: Replies without a usable verdict, one row for each `judge` and each label `by_other` that the
            other judge gives them ("any" for all replies, "none" where it has no verdict either): `replies`,
            `dropped`, `share`, `low`, `high`. A judge that drops one label more often than another biases what
            it filters.
    """

    by_role: pd.DataFrame
    dropped: pd.DataFrame

    @property
    def counted(self) -> str:
        """What agreement is measured on, as figures say it."""
        return f"{self.count:,} replies of {self.n_groups} roles"


@dataclass(frozen=True, eq=False)
class TraitAgreement:
    """How far two judges agree on trait replies.

    Attributes:
        count: Replies that both have scored; refusals have no score.
        n_traits: Traits they belong to.
        spearman: Rank correlation of the scores. Its null shuffles within each side of each trait: so much comes
            of knowing what a reply was written for.
        pairs: Agreement on which pairs of a positive and a negative reply are kept because their scores differ
            by more than 50. A pair that lacks a score is left out, as in `vector_table`.
    """

    count: int
    n_traits: int
    spearman: Measure
    pairs: LabelAgreement


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far two judges agree; `roles` or `traits` is None where a run has none."""

    first: str
    second: str
    roles: RoleAgreement | None
    traits: TraitAgreement | None

    def frame(self) -> pd.DataFrame:
        """One number a row: `first`, `second`, `what`, the fields of `Measure`, `count` and `groups`."""
        found: list[tuple[str, Measure, int, int]] = []
        for what, labels in (
            ("roles", self.roles),
            ("trait pairs", None if self.traits is None else self.traits.pairs),
        ):
            if labels is not None:
                sizes = labels.count, labels.n_groups
                found.append((f"{what}: equal", labels.equal, *sizes))
                found.append((f"{what}: kappa", labels.kappa, *sizes))
                if len(labels.confusion) > 2:  # with two labels both kappas are the same
                    found.append((f"{what}: weighted kappa", labels.weighted_kappa, *sizes))
        if self.traits is not None:
            sizes = self.traits.count, self.traits.n_traits
            found.append(("traits: Spearman", self.traits.spearman, *sizes))
        rows = [(self.first, self.second, what, *vars(m).values(), *n) for what, m, *n in found]
        names = [field.name for field in fields(Measure)]
        return pd.DataFrame(rows, columns=["first", "second", "what", *names, "count", "groups"])


def agreement(
    frame: pd.DataFrame, first: str, second: str, *, n_resamples: int = 1000, seed: int = 0
) -> Agreement:
    """How far two judges agree on roles and on traits.

    Args:
        frame: Of `verdict_frame`.
        first, second: Keys of judges in it.
        n_resamples: Bootstrap samples, and draws of the null.
        seed: Of both.

    Raises:
        RunError: No such judge in the frame.

    Examples:
        >>> frame = pd.DataFrame({"kind": "role", "name": ["ghost", "pirate"] * 20})
        >>> frame["label:first"] = ["not", "somewhat", "fully", "fully"] * 10
        >>> frame["label:second"] = ["not", "fully", "fully", "fully"] * 10
        >>> found = agreement(frame, "first", "second").roles
        >>> found.count, found.n_groups, found.equal.value, round(found.kappa.value, 2)
        (40, 2, 0.75, 0.56)
        >>> found.confusion.loc["somewhat", "fully"].item()
        10
    """
    known = judges_of(frame)
    for judge in (first, second):
        if judge not in known:
            raise RunError(f"no judge {judge!r} in the frame", expected=" or ".join(known))
    rng = np.random.default_rng(seed)
    roles, traits = (frame.loc[frame["kind"] == kind] for kind in ("role", "trait"))
    return Agreement(
        first,
        second,
        _roles(roles, first, second, n_resamples, rng) if len(roles) else None,
        _traits(traits, first, second, n_resamples, rng) if len(traits) else None,
    )


# Roles --------------------------------------------------------------------------------------------


def _roles(
    frame: pd.DataFrame, first: str, second: str, n_resamples: int, rng: np.random.Generator
) -> RoleAgreement:
    names, role = np.unique(frame["name"].to_numpy(dtype=str), return_inverse=True)
    codes = [label_codes(frame, judge) + 1 for judge in (first, second)]  # 0: no verdict
    tables = _count(role, *codes, shape=(len(names), len(LABELS) + 1, len(LABELS) + 1))
    both = tables[:, 1:, 1:]
    used = both.sum(axis=(1, 2)) > 0
    null = shuffled(both[used], n_resamples, rng)
    whole = label_agreement(both, LABELS, n_resamples=n_resamples, rng=rng, null=null.sum(axis=0))
    dropped = [
        _dropped(first, tables, n_resamples, rng),
        _dropped(second, tables.transpose(0, 2, 1), n_resamples, rng),
    ]
    return RoleAgreement(
        **vars(whole),
        by_role=_by_role(names[used], both[used], null, rng),
        dropped=pd.concat(dropped, ignore_index=True),
    )


def _by_role(
    names: np.ndarray,
    tables: Int[np.ndarray, "role label label"],
    null: Int[np.ndarray, "role draw label label"],
    rng: np.random.Generator,
) -> pd.DataFrame:
    rows = []
    for name, table, drawn in zip(names.tolist(), tables, null, strict=True):
        count = int(table.sum())
        anew = rng.multinomial(count, table.ravel() / count, size=len(drawn)).reshape(drawn.shape)
        # Samples with one label only show no agreement; without them, a role with a rare label would look certain.
        resampled = np.nan_to_num(kappa(anew))
        found = Measure.of(kappa(table).item(), resampled, kappa(drawn))
        shown = (found.value, found.low, found.high, found.null_low, found.null_high)
        if np.isnan(found.value):  # resamples cannot know what the role's own replies do not show
            shown = (np.nan,) * len(shown)
        labels = [int((table.sum(axis=axis) > 0).sum()) for axis in (1, 0)]
        rows.append((name, count, equal_share(table).item(), *shown, *labels))
    columns = ["name", "count", "equal", "kappa", "low", "high", "null_low", "null_high"]
    return pd.DataFrame(rows, columns=[*columns, "labels_first", "labels_second"])


def _dropped(
    judge: str,
    tables: Int[np.ndarray, "role label other"],
    n_resamples: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Shares without a verdict (label 0), for every label of the other judge and for all of them."""
    by_other = np.stack([tables[:, 0], tables.sum(axis=1)], axis=1)  # role, dropped or all, other
    cells = np.concatenate([by_other.sum(axis=2, keepdims=True), by_other], axis=2)
    anew = drawn_anew(cells, n_resamples, rng)
    with np.errstate(invalid="ignore"):
        shares = anew[:, 0] / anew[:, 1]
    rows = []
    for place, label in enumerate(("any", "none", *LABELS)):
        dropped, replies = cells[:, :, place].sum(axis=0).tolist()
        if replies:
            share = dropped / replies
            rows.append((judge, label, replies, dropped, share, *percentiles(shares[:, place])))
    columns = ["judge", "by_other", "replies", "dropped", "share", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _count(*codes: Int[np.ndarray, " reply"], shape: tuple[int, ...]) -> Int[np.ndarray, "*cell"]:
    """How often each combination of codes occurs."""
    flat = np.ravel_multi_index(codes, shape)
    return np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)


# Traits -------------------------------------------------------------------------------------------


def _traits(
    frame: pd.DataFrame, first: str, second: str, n_resamples: int, rng: np.random.Generator
) -> TraitAgreement:
    scores = pd.DataFrame(
        {
            judge: frame[f"score:{judge}"].mask(frame[f"refused:{judge}"].astype(bool))
            for judge in (first, second)
        }
    )
    scored = scores.notna().all(axis=1).to_numpy()
    return TraitAgreement(
        count=int(scored.sum()),
        n_traits=frame.loc[scored, "name"].nunique(),
        spearman=_spearman(frame.loc[scored], scores.loc[scored].to_numpy().T, n_resamples, rng),
        pairs=_pairs(frame, scores, n_resamples, rng),
    )


def _pairs(
    frame: pd.DataFrame, scores: pd.DataFrame, n_resamples: int, rng: np.random.Generator
) -> LabelAgreement:
    keyed = scores.set_index([frame[name] for name in (*_PAIR, "side")])
    positive, negative = (keyed.xs(side, level="side") for side in ("positive", "negative"))
    kept = positive - negative.reindex(positive.index) > MIN_GAP  # a missing score compares false
    names, trait = np.unique(kept.index.get_level_values("name"), return_inverse=True)
    first, second = kept.to_numpy().astype(np.int64).T
    tables = _count(trait, first, second, shape=(len(names), 2, 2))
    return label_agreement(tables, FILTERED, n_resamples=n_resamples, rng=rng)


def _spearman(
    frame: pd.DataFrame,
    scores: Float[np.ndarray, "judge reply"],
    n_resamples: int,
    rng: np.random.Generator,
) -> Measure:
    """Rank correlation, with whole traits drawn anew, and with scores shuffled within each side of a trait."""
    names, trait = np.unique(frame["name"].to_numpy(dtype=str), return_inverse=True)
    if len(names) == 0:
        return Measure(np.nan, np.nan, np.nan)
    x, y = (np.unique(values, return_inverse=True)[1] for values in scores)
    once = np.ones(len(frame))
    ranks, dealt = (_midranks(x, once), _midranks(y, once)), np.empty(len(frame))
    anew = []
    for times in draw_counts(len(names), n_resamples, rng):
        weights = times[trait]
        anew.append(_correlation(_midranks(x, weights), _midranks(y, weights), weights))
    cell = frame.groupby(["name", "side"], sort=False).ngroup().to_numpy()
    own = np.argsort(cell, kind="stable")
    null = []
    for _ in range(min(n_resamples, NULL_DRAWS)):
        dealt[own] = ranks[1][np.argsort(cell + rng.random(len(cell)))]
        null.append(_correlation(ranks[0], dealt, once))
    # Of a single trait it is not known how traits differ.
    resampled = np.array(anew) if len(names) > 1 else np.empty(0)
    return Measure.of(_correlation(*ranks, once), resampled, np.array(null))


def _midranks(
    places: Int[np.ndarray, " reply"], weights: Float[np.ndarray, " reply"]
) -> Float[np.ndarray, " reply"]:
    """Ranks when every reply counts as often as its weight says; `places` is the order of its value."""
    share = np.bincount(places, weights)
    return (np.cumsum(share) - share / 2)[places]


def _correlation(
    first: Float[np.ndarray, " reply"],
    second: Float[np.ndarray, " reply"],
    weights: Float[np.ndarray, " reply"],
) -> float:
    """Pearson's correlation under weights; NaN where either does not vary."""
    x = first - np.average(first, weights=weights)
    y = second - np.average(second, weights=weights)
    spread = np.sqrt((weights * x * x).sum() * (weights * y * y).sum())
    return float((weights * x * y).sum() / spread) if spread > 0 else np.nan
