"""Compositions of one role, and traits beside the axis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planted import planted_space

from persona_lens import PersonaSpace
from persona_lens.analysis.composition import aligned, composed_direction, explain, trait_view
from persona_lens.analysis.composition.sides import Method
from persona_lens.errors import SpaceError


@pytest.fixture(scope="module")
def space() -> PersonaSpace:
    return planted_space(n_roles=60, n_traits=30, n_layers=2, d_model=128, k=2, noise=0.3)


@pytest.mark.parametrize("method", ["omp", "nnls", "lasso"])
def test_the_planted_traits_are_found_with_their_weights(method: Method) -> None:
    noisy, exact = (
        planted_space(n_roles=60, n_traits=30, d_model=128, k=2, noise=noise)
        for noise in (0.1, 0.0)
    )
    within = []
    for number in range(20):
        found = explain(noisy, f"role_{number}", 0, k=2, method=method)
        assert found["trait"].tolist() == [f"trait_{number}", f"trait_{number + 1}"]
        np.testing.assert_allclose(found["weight"], [3, 2], atol=0.5)  # the mean role is taken away
        truth = explain(exact, f"role_{number}", 0, k=2)["weight"]
        within += list((found["low"] < truth) & (found["high"] > truth))
        assert found["chosen"].min() == 1
    assert np.mean(within) > 0.8


def test_shares_grow_and_what_is_held_out_stops_growing(space: PersonaSpace) -> None:
    found = explain(space, "role_3", 0, k=5)
    assert (found["share"].diff().dropna() > 0).all()
    assert 0.85 < found["share"].iloc[1] < found["share"].iloc[4] <= 1
    assert 0.8 < found["held_out"].iloc[1] < found["share"].iloc[1]
    assert found["held_out"].iloc[4] < found["held_out"].iloc[1] + 0.03
    assert found["chosen"].iloc[4] < found["chosen"].iloc[0] == 1
    np.testing.assert_allclose(found["cosine"].iloc[0] ** 2, found["share"].iloc[0])


def test_a_trait_is_composed_of_the_roles_that_hold_it(space: PersonaSpace) -> None:
    found = explain(space, "trait_7", 0, k=2, by="roles")
    assert found.columns[0] == "role"
    assert found["role"].iloc[0] in ("role_7", "role_37")  # three parts trait_7, two parts trait_8
    assert found["weight"].iloc[0] > 0
    assert found["share"].iloc[1] > found["share"].iloc[0] > 0.5


def test_without_folds_nothing_is_held_out(space: PersonaSpace) -> None:
    bare = PersonaSpace(replace(space.table, folds=None), n_resamples=5).fit()
    found = explain(bare, "role_3", 0, k=2)
    assert found[["low", "high", "held_out", "chosen"]].isna().to_numpy().all()
    assert found["trait"].tolist() == ["trait_3", "trait_4"]
    assert trait_view(bare, layer=0)[["low", "high"]].isna().to_numpy().all()


def test_the_composed_direction_is_the_weighted_sum(space: PersonaSpace) -> None:
    found = explain(space, "role_5", 1, k=3)
    direction = composed_direction(space, "role_5", 1, k=3)
    units = [
        space.vector(name)[1] / np.linalg.norm(space.vector(name)[1]) for name in found["trait"]
    ]
    np.testing.assert_allclose(direction.values[0], found["weight"] @ np.array(units), rtol=1e-4)
    assert direction.layers == (1,)
    assert direction.name.startswith("trait_5 + trait_6")


def test_unknown_names_are_told_with_near_ones(space: PersonaSpace) -> None:
    with pytest.raises(SpaceError, match=r"(?s)no role named 'rolle_3'.*did you mean role_3"):
        explain(space, "rolle_3", 0)
    with pytest.raises(SpaceError, match=r"(?s)'trait_3' is no role.*given a trait"):
        explain(space, "trait_3", 0)
    with pytest.raises(SpaceError, match="'role_3' is no trait"):
        explain(space, "role_3", 0, by="roles")
    with pytest.raises(SpaceError, match="unknown method"):
        explain(space, "role_3", 0, method="ridge")  # pyright: ignore[reportArgumentType]
    with pytest.raises(SpaceError, match="at least 1"):
        explain(space, "role_3", 0, k=0)


# Traits beside the axis -----------------------------------------------------------------------------


def test_cosines_with_the_axis_have_intervals_and_both_nulls() -> None:
    space = planted_space(n_roles=80, n_traits=60, d_model=128, k=2, noise=0.2, n_folds=8)
    roles = space.table.axis_rows()
    trait = space.table.trait_rows()[0]
    assert space.table.folds is not None
    space.table.values[trait, 0] = space.axis_[0]  # one trait is the axis itself
    space.table.folds[trait] = space.table.folds[0] - space.table.folds[roles].mean(axis=0)
    view = trait_view(space, layer=0).set_index("trait")
    known = np.isfinite(view["low"])
    assert known.all()
    assert ((view["low"] < view["cosine"]) & (view["cosine"] < view["high"])).iloc[1:].all()
    assert view.loc["trait_0", "cosine"] == pytest.approx(1)
    assert view.loc["trait_0", "p_matched"] == 1 / 5000
    assert view.loc["trait_0", "q"] < 0.05
    # The rest has nothing to do with the axis but what the mean of the roles has with every trait.
    assert (view.iloc[1:]["q"] > 0.05).mean() > 0.8


def test_the_matched_null_knows_that_the_axis_is_a_main_direction_of_the_roles() -> None:
    rng = np.random.default_rng(0)
    way = rng.normal(size=64) / 8
    roles = {
        f"role_{i}": (2 * rng.normal() * way + 0.2 * rng.normal(size=64) / 8)[None]
        for i in range(50)
    }
    traits = {
        f"trait_{i}": (rng.normal() * way + 0.2 * rng.normal(size=64) / 8)[None] for i in range(40)
    }
    space = PersonaSpace.from_vectors(roles, default=3 * way[None], traits=traits, n_resamples=5)
    view = trait_view(space.fit(), layer=0)
    assert (view["p_random"] < 0.01).mean() > 0.8
    assert (view["q"] < 0.05).mean() < 0.1


def test_every_target_and_layer_has_its_cosine(space: PersonaSpace) -> None:
    view = trait_view(space, against="roles")
    assert len(view) == 2 * 30 * 60
    one = view.query("layer == 1 and trait == 'trait_9' and target == 'role_9'")["cosine"].item()
    role = space.vector("role_9")[1] - space.role_mean_[1]
    trait = space.vector("trait_9")[1]
    assert one == pytest.approx(
        role @ trait / np.linalg.norm(role) / np.linalg.norm(trait), abs=1e-5
    )
    components = trait_view(space, against="components", layer=1, n_components=2)
    assert components["target"].unique().tolist() == ["pc1", "pc2"]
    assert len(components) == 30 * 2
    assert set(trait_view(space)["layer"]) == {0, 1}
    with pytest.raises(SpaceError, match="axis, components or roles"):
        trait_view(space, against="questions")  # pyright: ignore[reportArgumentType]


def test_the_most_aligned_come_first_at_either_end(space: PersonaSpace) -> None:
    found = aligned(space, 0, k=3)
    assert found["end"].tolist() == ["Assistant"] * 3 + ["roles"] * 3
    cosines = trait_view(space, layer=0)["cosine"].sort_values()
    np.testing.assert_array_equal(found["cosine"][:3], cosines[::-1][:3])
    np.testing.assert_array_equal(found["cosine"][3:], cosines[:3])
