"""How far each judge agrees with a person, on all replies of a run, from a stratified sample of them.

    labelled = read_labelled(run, "hand.csv")
    for found in hand_agreement(labelled, verdict_frame(run)):
        print(found.judge, found.kappa, found.precision["fully"])

Disagreements of the judges are overrepresented in the sample, so plain counts would make every judge look worse
than it is. Each labelled reply therefore stands for as many replies of the run as there are in its stratum for
each one labelled in it. This takes replies that the person left out for a random part of their stratum.

Intervals come of drawing whole roles anew, with the strata brought back to their known sizes every time. The null
is a person who gives each label as often as this one, but without reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from persona_lens.analysis.audit.verdicts import judges_of, label_codes
from persona_lens.judges.base import LABELS
from persona_lens.statistics import draw_counts
from persona_lens.statistics.kappa import LabelAgreement, Measure, equal_share, kappa

_KEY = ["name", "prompt_index", "question_id", "sample"]


@dataclass(frozen=True, eq=False)
class HandAgreement(LabelAgreement):
    """How far a judge agrees with a person.

    `count` are replies labelled by both, `n_groups` their roles, and `confusion` estimates how many of all replies
    of the run the person (rows) and the judge (columns) give which labels.

    Attributes:
        judge: Key of the judge.
        unlabelled: Replies of the sample to which the person gave no label.
        covered: Share of the run's replies in strata of which the person has labelled any.
        effective_count: Replies that a plain random sample would need to know as much of a mean.
        precision: Of the replies to which the judge gives each label, the share to which the person gives it too.
    """

    judge: str
    unlabelled: int
    covered: float
    effective_count: float
    precision: dict[str, Measure]

    def frame(self) -> pd.DataFrame:
        """One number a row: `judge`, `what`, the fields of `Measure`, counts, and `covered`."""
        measures = {"equal": self.equal, "kappa": self.kappa, "weighted kappa": self.weighted_kappa}
        measures |= {f"right on {label!r}": m for label, m in self.precision.items()}
        sizes = {
            "count": self.count,
            "effective_count": self.effective_count,
            "groups": self.n_groups,
            "covered": self.covered,
        }
        return pd.DataFrame(
            [
                {"judge": self.judge, "what": what, **vars(measure), **sizes}
                for what, measure in measures.items()
            ]
        )


def hand_agreement(
    labelled: pd.DataFrame,
    frame: pd.DataFrame,
    *,
    labels: Sequence[str] = LABELS,
    n_resamples: int = 1000,
    seed: int = 0,
) -> list[HandAgreement]:
    """Compare each judge with the person.

    Args:
        labelled: Of `read_labelled`.
        frame: Of `verdict_frame`; its judges need not be those the sample was stratified by.
        labels: What replies are labelled with, in order.
        n_resamples: Bootstrap samples, and draws of the null.
        seed: Of both.

    Returns:
        One a judge, in the order of the frame.

    Examples:
        >>> frame = pd.DataFrame({"kind": "role", "name": ["ghost", "pirate"] * 20, "prompt_index": 0,
        ...                       "question_id": "q01", "sample": np.arange(40) // 2})
        >>> frame["label:first"] = ["not", "fully"] * 20
        >>> sheet = frame[["name", "prompt_index", "question_id", "sample"]].head(10)
        >>> sheet = sheet.assign(stratum="any", stratum_size=40, label=["not"] * 5 + ["fully"] * 5)
        >>> [found] = hand_agreement(sheet, frame)
        >>> found.count, found.equal.value, found.confusion.loc["not", "not"].item()
        (10, 0.6, 12.0)
    """
    roles = frame.loc[frame["kind"] == "role", [*_KEY, *map("label:{}".format, judges_of(frame))]]
    given = labelled.loc[labelled["label"].notna(), [*_KEY, "stratum", "label"]]
    done = given.merge(roles, on=_KEY, how="left", validate="1:1")
    sizes = labelled.groupby("stratum")["stratum_size"].first()
    known = sizes.loc[sizes.index.isin(done["stratum"])]
    sheet = _Sheet(
        role=np.unique(done["name"].to_numpy(dtype=str), return_inverse=True)[1],
        stratum=known.index.get_indexer(done["stratum"]),
        sizes=known.to_numpy(dtype=float),
        label=np.asarray(pd.Categorical(done["label"], labels).codes, dtype=np.int64),
    )
    return [
        _agreement(
            sheet,
            judge,
            labels,
            label_codes(done, judge, labels),
            unlabelled=len(labelled) - len(done),
            covered=float(known.sum() / len(roles)),
            n_resamples=n_resamples,
            rng=np.random.default_rng(seed),
        )
        for judge in judges_of(frame)
    ]


@dataclass(frozen=True, eq=False)
class _Sheet:
    """What the person has labelled: role, stratum and label of each reply, and the sizes of the strata."""

    role: Int[np.ndarray, " reply"]
    stratum: Int[np.ndarray, " reply"]
    sizes: Float[np.ndarray, " stratum"]
    label: Int[np.ndarray, " reply"]

    def weights(
        self, times: Float[np.ndarray, "resample reply"]
    ) -> Float[np.ndarray, "resample reply"]:
        """Replies of the run that each reply stands for when it is drawn so many times.

        Those of a stratum add up to its size; one of which nothing is drawn is lost to that resample.
        """
        member = np.eye(len(self.sizes))[self.stratum]
        return times * ((self.sizes / np.maximum(times @ member, 1)) @ member.T)

    def drawn_anew(
        self, n_resamples: int, rng: np.random.Generator
    ) -> Float[np.ndarray, "resample reply"]:
        """How often each reply is drawn when whole roles are."""
        n_roles = int(self.role.max(initial=-1)) + 1
        if n_roles < 2:  # a single role says nothing of how roles differ
            return np.empty((0, len(self.role)))
        return draw_counts(n_roles, n_resamples, rng)[:, self.role]


def _agreement(
    sheet: _Sheet,
    judge: str,
    labels: Sequence[str],
    codes: Int[np.ndarray, " reply"],
    *,
    unlabelled: int,
    covered: float,
    n_resamples: int,
    rng: np.random.Generator,
) -> HandAgreement:
    both = codes >= 0
    weights = sheet.weights(np.ones((1, len(codes))))
    total = _tables(weights, sheet.label, codes, len(labels))
    resampled = _tables(
        sheet.weights(sheet.drawn_anew(n_resamples, rng)), sheet.label, codes, len(labels)
    )
    blind = total.sum(axis=(0, 2)) / max(total.sum(), 1)
    null = np.concatenate(
        [
            _tables(weights, rng.choice(len(labels), size=len(codes), p=blind), codes, len(labels))
            for _ in range(n_resamples if both.any() else 0)
        ]
        or [np.empty((0, len(labels), len(labels)))]
    )

    def measured(values: np.ndarray, anew: np.ndarray, drawn: np.ndarray) -> Measure:
        return Measure.of(values.item(), anew, drawn)

    used = weights[0, both]
    arrangements = (total, resampled, null)
    return HandAgreement(
        count=int(both.sum()),
        n_groups=len(np.unique(sheet.role[both])),
        confusion=pd.DataFrame(total[0], index=list(labels), columns=list(labels)),
        equal=measured(*map(equal_share, arrangements)),
        kappa=measured(*map(kappa, arrangements)),
        weighted_kappa=measured(*(kappa(tables, linear=True) for tables in arrangements)),
        judge=judge,
        unlabelled=unlabelled,
        covered=covered,
        effective_count=float(used.sum() ** 2 / max((used**2).sum(), 1)),
        precision={
            label: measured(*(_precision(tables, place) for tables in arrangements))
            for place, label in enumerate(labels)
        },
    )


def _tables(
    weights: Float[np.ndarray, "resample reply"],
    person: Int[np.ndarray, " reply"],
    judge: Int[np.ndarray, " reply"],
    n: int,
) -> Float[np.ndarray, "resample label label"]:
    """Weights by the person's label (rows) and the judge's; replies without the latter are left out."""
    both = judge >= 0
    cells = np.eye(n * n)[person[both] * n + judge[both]]
    return (weights[:, both] @ cells).reshape(-1, n, n)


def _precision(
    tables: Float[np.ndarray, "*batch label label"], label: int
) -> Float[np.ndarray, "*batch"]:
    """Share of a column on the diagonal; NaN where the column is empty."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return tables[..., label, label] / tables[..., label].sum(axis=-1)
