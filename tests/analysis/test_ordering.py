"""The order of the groups along the axis: found where it is, not found where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import permutation_test, spearmanr

from persona_lens import PersonaSpace
from persona_lens.analysis import group_order
from persona_lens.errors import SpaceError

HEIGHT = {"assistant": 2.0, "human": 1.0, "fantastical": 0.0}


def space(strength: float, *, grouped: bool = True) -> PersonaSpace:
    rng = np.random.default_rng(0)
    groups = [group for group in HEIGHT for _ in range(10)]
    axis = np.eye(1, 8)
    roles = {
        f"role_{index}": strength * HEIGHT[group] * axis + rng.normal(size=(1, 8))
        for index, group in enumerate(groups)
    }
    about = (
        {f"role_{index}": {"group": group} for index, group in enumerate(groups)} if grouped else {}
    )
    return PersonaSpace.from_vectors(roles, default=20 * axis, about=about, n_resamples=10).fit()


def test_an_order_that_is_there_is_found() -> None:
    order = group_order(space(3.0), 0, n_permutations=499)
    assert order.correlation > 0.8
    assert order.p_value == pytest.approx(1 / 500)
    assert order.n_roles == 30


def test_an_order_that_is_not_there_is_not_found() -> None:
    order = group_order(space(0.0), 0, n_permutations=499)
    assert abs(order.correlation) < 0.4
    assert order.p_value > 0.05


def test_it_is_the_rank_correlation_and_its_permutation_test() -> None:
    given = space(0.3)
    ranking = given.ranking(0)
    heights = ranking["group"].map(HEIGHT).to_numpy()
    plain = permutation_test(
        (heights,),
        lambda shuffled: spearmanr(shuffled, ranking["projection"])[0],
        permutation_type="pairings",
        alternative="greater",
        n_resamples=299,
        vectorized=False,
        rng=np.random.default_rng(0),
    )
    order = group_order(given, 0, n_permutations=299)
    assert order.correlation == pytest.approx(plain.statistic)
    assert order.p_value == plain.pvalue
    assert 0.01 < order.p_value < 0.99


def test_roles_without_groups_are_refused() -> None:
    with pytest.raises(SpaceError, match="too few roles have a group"):
        group_order(space(1.0, grouped=False), 0)


@pytest.mark.embedded
def test_the_real_roles_are_in_order(small_space: PersonaSpace) -> None:
    order = group_order(small_space, 20, n_permutations=499)
    assert order.correlation > 0
    assert order.n_roles == 12
