"""How often a judge of completions is right: against labels that a person gave, with interval and chance.

    error = labelling_error(CategoryJudge())          # on the half that chose nothing
    error.summary                                     # accuracy by family; goes into figures
    error.confusion                                   # what is taken for what

Any judge whose labels are those of the sample can be measured, and any sample of your own: completions of your own
model, labelled by you, say most about it. The packaged ones were written for this purpose by one person, who
labelled them too; real completions of a small model are more confused than they.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import binomtest

from persona_lens.catalog.prefills import (
    LabelledCompletion,
    load_labelled,
    load_prefills,
    split_labelled,
)
from persona_lens.errors import EvaluationError
from persona_lens.evals.category_labels import UNCLEAR
from persona_lens.evals.items import Item
from persona_lens.evals.outcomes import Answer, ItemJudge

_PRIOR = 1.0
"""One completion spread over all that may be said, before any is counted: what was not seen is not impossible."""


@dataclass(frozen=True, eq=False)
class LabellingError:
    """What a judge makes of completions that a person labelled.

    Attributes:
        summary: A row a family: `family`; `accuracy` of the labels it gave with `low` and `high` (95 %, Wilson);
            `accepted`, the same with a second label that could be defended counted as right; `chance`, the
            accuracy of the same labels dealt out at random; `labelled`, the share that got a label, the others
            being "unclear"; `n`, completions, and `given`, those with a label.
        confusion: `family`, `label` (of the person), `said` (by the judge), `count`.
        judge: Its name.
    """

    summary: pd.DataFrame
    confusion: pd.DataFrame
    judge: str

    def labels(self, family: str) -> list[str]:
        """Labels that persons gave, in the order of the sample."""
        return list(dict.fromkeys(self._of(family)["label"]))

    def said(self, family: str) -> list[str]:
        """Labels that the judge may give: those of persons, and "unclear"."""
        known = self.labels(family)
        more = [said for said in dict.fromkeys(self._of(family)["said"]) if said not in known]
        return [*known, *([UNCLEAR] if UNCLEAR not in more else []), *more]

    def rates(
        self, family: str, draws: int = 0, seed: int = 0
    ) -> Float[np.ndarray, "draw label said"]:
        """How often the judge says each thing of completions of each label; rows sum to one.

        Args:
            family: Of the labels.
            draws: Of rates that the counted completions allow (Dirichlet); 0 gives the estimate as the only one.
            seed: Of the draws.
        """
        labels, said = self.labels(family), self.said(family)
        table = self._of(family).pivot_table(
            index="label", columns="said", values="count", aggfunc="sum", fill_value=0
        )
        counts = table.reindex(index=labels, columns=said, fill_value=0).to_numpy(dtype=float)
        likely = counts + _PRIOR / len(said)
        if not draws:
            return (likely / likely.sum(axis=-1, keepdims=True))[None]
        rng = np.random.default_rng(seed)
        return np.stack([rng.dirichlet(row, size=draws) for row in likely], axis=1)

    def said_of(self, family: str) -> str:
        """The error in words, for captions.

        Raises:
            EvaluationError: The judge was not measured on that family.
        """
        row = self.summary.loc[self.summary["family"] == family]
        if row.empty:
            raise EvaluationError(
                f"the judge was not measured on family {family!r}",
                expected=", ".join(self.summary["family"]),
            )
        (found,) = row.to_dict("records")
        return (
            f"labels of {family} right at {found['accuracy']:.0%} ({found['low']:.0%} to {found['high']:.0%}, "
            f"chance {found['chance']:.0%}; {found['given']} of {found['n']} hand-labelled completions got one)"
        )

    def _of(self, family: str) -> pd.DataFrame:
        return self.confusion.loc[self.confusion["family"] == family]


def labelling_error(
    judge: ItemJudge, sample: Sequence[LabelledCompletion] | None = None
) -> LabellingError:
    """Have a judge label completions whose labels are known.

    Args:
        judge: Of completions, as `CategoryJudge`.
        sample: Labelled by hand; by default the half of the packaged ones on which `CategoryJudge` chose nothing.

    Raises:
        EvaluationError: The sample is empty, or the judge answered nothing.

    Examples:
        >>> from persona_lens.evals.outcomes import Exact, Outcome
        >>> found = labelling_error(Exact("always", lambda answer: Outcome("other")))
        >>> found.summary["accuracy"].tolist()
        [0.1, 0.1]
    """
    chosen = split_labelled(load_labelled())[1] if sample is None else tuple(sample)
    if not chosen:
        raise EvaluationError("no completions to measure a judge on", expected="a labelled sample")
    texts = {each.id: each.text for each in load_prefills("all")}
    answers = [
        Answer(
            Item(
                f"{place}",
                prefill=texts.get(each.prefill, each.prefill),
                about={"family": each.family, "prefill": each.prefill},
            ),
            " " + each.text,
        )
        for place, each in enumerate(chosen)
    ]
    rows = pd.DataFrame(
        {
            "family": [each.family for each in chosen],
            "label": [each.label for each in chosen],
            "also": [each.also for each in chosen],
            "said": [outcome.label for outcome in judge.outcomes(answers)],
        }
    )
    known = rows.dropna(subset=["said"])
    if known.empty:
        raise EvaluationError(f"judge {judge.name!r} answered nothing", expected="labels")
    counted = known[["family", "label", "said"]].value_counts(sort=False).rename("count")
    summary = [_summary(str(family), some) for family, some in known.groupby("family", sort=False)]
    return LabellingError(pd.DataFrame(summary), counted.reset_index(), judge.name)


def _summary(family: str, rows: pd.DataFrame) -> dict[str, Any]:
    given = rows.loc[rows["said"] != UNCLEAR]
    right = given["said"] == given["label"]
    accuracy = low = high = accepted = chance = np.nan
    if len(given):
        interval = binomtest(int(right.sum()), len(given)).proportion_ci(method="wilson")
        accuracy, low, high = float(right.mean()), float(interval.low), float(interval.high)
        accepted = float((right | (given["said"] == given["also"])).mean())
        shares = given["said"].value_counts(normalize=True)
        chance = float((given["label"].map(shares).fillna(0.0)).mean())
    return {
        "family": family,
        "accuracy": accuracy,
        "low": low,
        "high": high,
        "accepted": accepted,
        "chance": chance,
        "labelled": len(given) / len(rows),
        "n": len(rows),
        "given": len(given),
    }
