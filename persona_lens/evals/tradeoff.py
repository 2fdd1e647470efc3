"""What a plan buys against what it costs, and which one to take for a stated budget.

    points = tradeoff(bought.replies, "rule broken under the persona", cost.replies, "instructions followed", ...)
    advice = recommend(bought, Measure(...), cost, Measure(...), budget=0.02)
    advice.table         # chosen on one half of the items, reported on the other

A plan that looks best among many looks better than it is: the half that chooses does not report.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from persona_lens.errors import EvaluationError
from persona_lens.evals.measures import Measure, measured

_ABOUT = ["condition", "kind", "series", "strength", "control_of", "matched", "engaged", "moved"]


def tradeoff(
    bought: pd.DataFrame, gain: Measure, paid: pd.DataFrame, price: Measure
) -> pd.DataFrame:
    """What every condition buys and what it costs.

    Args:
        bought: `Evaluated.replies` of what a plan is for, under several conditions and under none.
        gain: What is read from them, with its `good` direction.
        paid: `Evaluated.replies` of what it should not harm, under conditions of the same names.
        price: The same of these.

    Returns:
        One row for each condition of both: its name and what it says of itself, `engaged` (of `bought`), `gain`
        and `price` with `_low`, `_high` and `_n`: changes from no plan, paired by item, in the direction one wants
        (`gain`) and the one that one does not (`price`); `front`, whether no other plan buys as much for less
        (controls are never on it).

    Raises:
        EvaluationError: A measure has no direction that is good, or the two have no plan in common.
    """
    for measure in (gain, price):
        if measure.good == 0:
            raise EvaluationError(
                f"of {measure.name!r}, neither more nor less is wanted",
                remedy="pass a measure with good=1 or good=-1",
            )
    got = _changes(bought, gain, gain.good, "gain")
    cost = _changes(paid, price, -price.good, "price")
    columns = ["condition", *(column for column in cost if column.startswith("price"))]
    table = got.merge(cost.loc[:, columns], on="condition")
    if not (table["kind"] == "plan").any():
        raise EvaluationError(
            "the two evaluations have no plan in common",
            expected="conditions of the same names",
            given=f"{', '.join(bought['condition'].unique())}; {', '.join(paid['condition'].unique())}",
        )
    plans = (table["kind"] != "control").to_numpy()
    front = np.zeros(len(table), dtype=bool)
    front[plans] = _front(
        table.loc[plans, "gain"].to_numpy(dtype=float),
        table.loc[plans, "price"].to_numpy(dtype=float),
    )
    return table.assign(front=front)


def _changes(replies: pd.DataFrame, measure: Measure, sign: int, name: str) -> pd.DataFrame:
    table = measured(replies, [measure])
    ends = sign * table[["change_low", "change_high"]].to_numpy(dtype=float)
    found = table.loc[:, _ABOUT].assign(
        **{
            name: sign * table["change"],
            f"{name}_low": ends.min(axis=1),
            f"{name}_high": ends.max(axis=1),
            f"{name}_n": table["n"],
        }
    )
    bare = (table["kind"] == "none").to_numpy()
    found.loc[bare, [name, f"{name}_low", f"{name}_high"]] = 0.0
    return found


def _front(
    gains: Float[np.ndarray, " plan"], prices: Float[np.ndarray, " plan"]
) -> Bool[np.ndarray, " plan"]:
    """Plans that no other beats in both.

    >>> _front(np.array([0.0, 0.3, 0.2]), np.array([0.0, 0.1, 0.2])).tolist()
    [True, True, False]
    """
    better = (gains[:, None] >= gains) & (prices[:, None] <= prices)
    strictly = (gains[:, None] > gains) | (prices[:, None] < prices)
    return np.logical_not((better & strictly).any(axis=0))


@dataclass(frozen=True, eq=False)
class Recommendation:
    """Which plan to take.

    Attributes:
        condition: Its name; that of no plan where none keeps to the budget or buys anything.
        table: The conditions on the half of the items that was kept apart, as `tradeoff` has them.
        chosen_on: The same on the half it was chosen on.
        budget: What it may cost, in the unit of the price.
    """

    condition: str
    table: pd.DataFrame
    chosen_on: pd.DataFrame
    budget: float

    def __str__(self) -> str:
        row = self.table.set_index("condition").loc[self.condition]
        return (
            f"{self.condition}: gain {row['gain']:.3g} [{row['gain_low']:.3g}, {row['gain_high']:.3g}], "
            f"price {row['price']:.3g} [{row['price_low']:.3g}, {row['price_high']:.3g}] on items it was not "
            f"chosen on (budget {self.budget:.3g})"
        )


def recommend(
    bought: pd.DataFrame,
    gain: Measure,
    paid: pd.DataFrame,
    price: Measure,
    *,
    budget: float,
    seed: int = 0,
) -> Recommendation:
    """The plan that buys most for at most a stated price, chosen on one half of the items, told on the other.

    Args:
        bought: As for `tradeoff`.
        gain: As for `tradeoff`.
        paid: As for `tradeoff`.
        price: As for `tradeoff`.
        budget: Most that the price may change the wrong way.
        seed: Of the split; items of one cluster stay together.

    Raises:
        EvaluationError: As `tradeoff`; there are fewer than four clusters to split; the budget is below 0.
    """
    if not budget >= 0:
        raise EvaluationError(
            "the budget allows no plan, and not even none", expected="at least 0", given=budget
        )
    one, other = _halves(bought, seed), _halves(paid, seed)
    chosen_on = tradeoff(bought.loc[one], gain, paid.loc[other], price)
    told = tradeoff(bought.loc[~one], gain, paid.loc[~other], price)
    plans = chosen_on.loc[chosen_on["kind"] != "control"]
    afforded = plans.loc[plans["price"] <= budget]
    best = str(afforded.loc[afforded["gain"].idxmax(), "condition"])
    return Recommendation(best, told, chosen_on, budget)


def _halves(replies: pd.DataFrame, seed: int) -> pd.Series:
    """Whether the cluster of each reply is in the first half."""
    clusters = np.unique(replies["cluster"].to_numpy(dtype=str))
    if len(clusters) < 4:
        raise EvaluationError(
            "too few items to choose on one half and report on the other",
            expected="at least 4 independent items",
            given=len(clusters),
        )
    first = np.random.default_rng(seed).permutation(clusters)[: len(clusters) // 2]
    return replies["cluster"].isin(first)
