"""Of what a space has too little for its numbers to be relied on, and what would mend it.

Three limits, which the packaged space keeps:

- a vector of fewer than four replies, which is nearly all noise. Had the packaged space's role vectors three
  replies each, independent of each other, differences between roles would be 4 to 21 % of their variance,
  depending on the layer;
- an axis whose halves of the questions have a cosine below 1/3 in the median layer. Its reliability, 2 h / (1 + h)
  for a cosine of h (Spearman and Brown), is then below 1/2: there is more noise in it than axis;
- fewer than 19 roles, with which the null of `stability_` cannot be passed at 5 %: among n roles and the default,
  the default is the most extreme by chance with a probability of 1 / (n + 1).

What is not known (counts and folds of vectors made elsewhere) is not complained about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from persona_lens.vectors.table import VectorTable

FEWEST_REPLIES = 4
FEWEST_ROLES = 19
LEAST_HALVES = 1 / 3


@dataclass(frozen=True)
class Shortage:
    """One thing there is too little of.

    Attributes:
        problem: In words, with the numbers.
        remedy: What to collect.
    """

    problem: str
    remedy: str


def shortages(table: VectorTable, stability: pd.DataFrame) -> tuple[Shortage, ...]:
    """What a fitted space has too little of; nothing if it has enough.

    Examples:
        >>> names, kinds = ("default", *map(str, range(20))), ("default", *["role"] * 20)
        >>> table = VectorTable(
        ...     np.zeros((21, 1, 4)), names, kinds, ("all",) * 21, np.array([60] + [3] * 20), (0,))
        >>> [found] = shortages(table, pd.DataFrame({"axis_questions": [0.8]}))
        >>> found.problem
        '20 of 20 roles rest on fewer than 4 replies'
    """
    found = [
        *_of_replies(table),
        *_of_questions(stability["axis_questions"].to_numpy(dtype=float)),
        *_of_roles(len({table.names[row] for row in table.axis_rows()})),
    ]
    return tuple(found)


def shortage_note(found: tuple[Shortage, ...]) -> str:
    """One sentence for a figure's caption; empty if there is enough."""
    return f"Too little data: {'; '.join(each.problem for each in found)}." if found else ""


def shortage_warning(found: tuple[Shortage, ...]) -> str:
    """What `fit` says: every problem with what would mend it."""
    return "too little data: " + "; ".join(f"{each.problem} ({each.remedy})" for each in found)


def _of_replies(table: VectorTable) -> list[Shortage]:
    found = []
    for kind, rows in (
        ("default", table.indices(kind="default")),
        ("role", table.indices(kind="role")),
        ("trait", table.trait_rows()),
    ):
        counts = np.asarray(table.counts)[rows]
        few = int(((counts > 0) & (counts < FEWEST_REPLIES)).sum())
        if few and kind == "default":
            problem = f"the default rests on fewer than {FEWEST_REPLIES} replies"
            found.append(Shortage(problem, "collect with more questions or default_samples"))
        elif few:
            problem = f"{few} of {len(rows)} {kind}s rest on fewer than {FEWEST_REPLIES} replies"
            found.append(Shortage(problem, "collect with more questions or prompts"))
    return found


def _of_questions(halves: np.ndarray) -> list[Shortage]:
    known = halves[np.isfinite(halves)]
    if not len(known) or float(np.median(known)) >= LEAST_HALVES:
        return []
    halves_agree = f"{np.median(known):.2f}"
    return [
        Shortage(
            f"axes from two halves of the questions have a cosine of {halves_agree} only: more noise than axis",
            "collect with more questions; persona_lens.statistics.default_reply_advice(space) tells how far more "
            "default replies would help",
        )
    ]


def _of_roles(n_roles: int) -> list[Shortage]:
    if n_roles >= FEWEST_ROLES:
        return []
    least = 1 / (n_roles + 1)
    return [
        Shortage(
            f"{n_roles} roles, with which no p of the default against them is below {least:.3f}",
            f"collect at least {FEWEST_ROLES} roles",
        )
    ]
