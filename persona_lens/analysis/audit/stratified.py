"""A stratified sample of replies, spread over roles.

Half of it is shared out evenly among the strata, so that rare ones are well covered, and half in proportion to
their sizes, so that no reply has less than half the chance it has in a plain sample: however the strata look,
weighting the sample back costs at most half of it.

    rows = draw_rows(roles, 120, np.random.default_rng(0))
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Int


def shares(sizes: Int[np.ndarray, " stratum"], n: int) -> Int[np.ndarray, " stratum"]:
    """How many of `n` draws go to each stratum: half of them evenly, half in proportion to the sizes.

    What a small stratum has no replies for goes to the others.

    Examples:
        >>> shares(np.array([900, 90, 10, 2]), 40)
        array([24,  8,  6,  2])
    """
    wanted = n * (1 / len(sizes) + sizes / sizes.sum()) / 2
    drawn = np.zeros(len(sizes), dtype=np.int64)
    for _ in range(min(n, int(sizes.sum()))):
        drawn[np.argmax(np.where(drawn < sizes, wanted - drawn, -np.inf))] += 1
    return drawn


def draw_rows(roles: pd.DataFrame, n: int, rng: np.random.Generator) -> list[int]:
    """Draw a stratified sample: within a stratum every reply has the same chance.

    Args:
        roles: Replies with `name` and `stratum`; the index counts from 0.
        n: Replies to draw.
        rng: Draws them.

    Returns:
        Rows, stratum by stratum.
    """
    rows: list[int] = []
    strata = [part.index.to_numpy() for _, part in roles.groupby("stratum", sort=True)]
    number = rng.permutation(roles["name"].nunique())[roles.groupby("name").ngroup()]
    for members, count in zip(strata, shares(np.array([*map(len, strata)]), n), strict=True):
        # Every so-many-th of a list in which the replies of a role are neighbours: equal chances, many roles.
        ordered = members[np.argsort(number[members] + rng.random(len(members)))]
        places = (rng.random() + np.arange(count)) * len(members) / max(count, 1)
        rows += ordered[places.astype(int)].tolist()
    return rows
