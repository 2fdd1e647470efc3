"""Does the axis put Assistant-like roles above human ones, and those above fantastical ones?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import permutation_test, rankdata

from persona_lens.errors import SpaceError
from persona_lens.space import Space

GROUP_RANKS = {"fantastical": 0, "human": 1, "assistant": 2}


@dataclass(frozen=True)
class GroupOrder:
    """Rank correlation of role projections with the order fantastical < human < assistant.

    Attributes:
        layer: Block.
        correlation: Spearman's rho; positive if Assistant-like roles lie towards the Assistant.
        p_value: Share of relabelled roles with a correlation at least as large (one-sided permutation test).
        n_roles: Roles with a group.
    """

    layer: int
    correlation: float
    p_value: float
    n_roles: int


def group_order(
    space: Space, layer: int, *, n_permutations: int = 9999, seed: int = 0
) -> GroupOrder:
    """Correlate the projection on the axis with the group of each role.

    The axis is computed without the groups, so their order along it is not built in.

    Raises:
        SpaceError: Fewer than three roles have a group.

    Examples:
        >>> from persona_lens import PersonaSpace
        >>> rng = np.random.default_rng(0)
        >>> groups = ["assistant", "human", "fantastical"] * 3
        >>> height = {"assistant": 2.0, "human": 1.0, "fantastical": 0.0}
        >>> about = {f"r{i}": {"group": group} for i, group in enumerate(groups)}
        >>> roles = {name: np.eye(1, 4) * height[entry["group"]] + 0.1 * rng.normal(size=(1, 4))
        ...          for name, entry in about.items()}
        >>> space = PersonaSpace.from_vectors(roles, default=np.eye(1, 4) * 3, about=about).fit()
        >>> group_order(space, 0).correlation > 0.9
        True
    """
    ranking = space.ranking(layer)
    known = ranking.loc[ranking["group"].isin(list(GROUP_RANKS))]
    if len(known) < 3:
        raise SpaceError(
            "too few roles have a group",
            expected=f"at least 3 roles in {', '.join(GROUP_RANKS)}",
            given=len(known),
        )
    # Spearman's rho is Pearson's of ranks, and shuffling moves ranks about: ranked once, all draws at once.
    groups = _unit_ranks(known["group"].map(GROUP_RANKS).to_numpy(dtype=float))
    projections = _unit_ranks(known["projection"].to_numpy(dtype=float))

    test = permutation_test(
        (groups,),
        lambda shuffled, axis: np.tensordot(shuffled, projections, axes=(axis, 0)),
        permutation_type="pairings",
        alternative="greater",
        n_resamples=n_permutations,
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return GroupOrder(layer, float(test.statistic), float(test.pvalue), len(known))


def _unit_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks about their mean, as a vector of length one."""
    centred = rankdata(values) - (len(values) + 1) / 2
    return centred / np.linalg.norm(centred)
