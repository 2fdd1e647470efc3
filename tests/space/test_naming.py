"""One meaning a name, whichever method is asked."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from persona_lens import PersonaSpace
from persona_lens.analysis.composition import composed_direction, explain
from persona_lens.catalog import load_roles, load_traits
from persona_lens.errors import CatalogError, PersonaLensError, SpaceError
from persona_lens.space.naming import resolve
from persona_lens.vectors.table import VectorTable

D = 12
LAYER = 1
ROLES = ("assistant", "axis", "default", "pc1", "stoic", "pirate", "ghost", "bard", "tutor")
TRAITS = ("stoic", "calm", "assistant")


def vectors(names: tuple[str, ...], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(3, D)).astype(np.float32) for name in names}


ROLE, TRAIT = vectors(ROLES, 0), vectors(TRAITS, 1)
DEFAULT = np.random.default_rng(2).normal(size=(3, D)).astype(np.float32) + 2
MEAN = np.mean(list(ROLE.values()), axis=0)
AXIS = DEFAULT - MEAN


@pytest.fixture(scope="module")
def space() -> PersonaSpace:
    """Roles with every name that means something else, and two that traits have too."""
    return PersonaSpace.from_vectors(ROLE, DEFAULT, TRAIT, n_resamples=5).fit()


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


# What the names are ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("assistant", AXIS),
        ("axis", AXIS),
        ("default", DEFAULT - MEAN),
        ("role:assistant", ROLE["assistant"] - MEAN),
        ("trait:assistant", TRAIT["assistant"]),
        ("role:axis", ROLE["axis"] - MEAN),
        ("role:default", ROLE["default"] - MEAN),
        ("role:pc1", ROLE["pc1"] - MEAN),
        ("role:stoic", ROLE["stoic"] - MEAN),
        ("trait:stoic", TRAIT["stoic"]),
        ("pirate", ROLE["pirate"] - MEAN),
        ("calm", TRAIT["calm"]),
        ("trait:calm", TRAIT["calm"]),
    ],
)
def test_every_method_takes_a_name_for_the_same(
    space: PersonaSpace, name: str, expected: np.ndarray
) -> None:
    np.testing.assert_allclose(space.direction(name).values, expected, atol=1e-5)
    for plan in (space.add(name, unit="raw"), space.ablate(name), space.rotate(name, degrees=5)):
        held = plan.steps[0].operation.direction
        np.testing.assert_allclose(held.values, expected[list(held.layers)], atol=1e-5)
    here = unit(expected[LAYER].astype(np.float64))
    got = space.project("role:ghost", LAYER, onto=name)
    assert got == pytest.approx(ROLE["ghost"][LAYER] @ here, abs=1e-4)
    near = space.nearest(name, LAYER, k=3, kind=None)
    cosines = {
        **{("role", key): unit(value[LAYER] - MEAN[LAYER]) @ here for key, value in ROLE.items()},
        **{("trait", key): unit(value[LAYER]) @ here for key, value in TRAIT.items()},
    }
    own = space.named(name)
    cosines.pop((own.kind, space.table.names[own.row]) if own.row >= 0 else ("", ""), None)
    best = sorted(cosines, key=lambda key: -cosines[key])[:3]
    assert list(zip(near["kind"], near["name"], strict=True)) == best


def test_vectors_are_found_by_the_same_names(space: PersonaSpace) -> None:
    for name, expected in (
        ("assistant", AXIS),
        ("default", DEFAULT),
        ("role:assistant", ROLE["assistant"]),
        ("role:default", ROLE["default"]),
        ("role:stoic", ROLE["stoic"]),
        ("trait:stoic", TRAIT["stoic"]),
        ("pirate", ROLE["pirate"]),
        ("pc1", space.components_[:, 0]),
        ("role:pc1", ROLE["pc1"]),
    ):
        np.testing.assert_allclose(space.vector(name), expected, atol=1e-5, err_msg=name)
    for kind, held in (("role", ROLE), ("trait", TRAIT)):
        for name, expected in held.items():
            np.testing.assert_array_equal(space.vector(name, kind=kind), expected)


@pytest.mark.parametrize("name", ["pc2", "PC2", "pc:2", "pc 2"])
def test_a_component_may_be_written_as_people_write_it(space: PersonaSpace, name: str) -> None:
    np.testing.assert_array_equal(space.direction(name).values, space.components_[:, 1])
    assert space.direction(name).name == "pc2"
    score = space.transform(["pirate"], LAYER)[0, 1]
    assert space.project("pirate", LAYER, onto=name) == pytest.approx(score)


@pytest.mark.parametrize(
    "ask",
    [
        lambda s: s.direction("stoic"),
        lambda s: s.vector("stoic"),
        lambda s: s.add("stoic", unit="raw"),
        lambda s: s.ablate("stoic"),
        lambda s: s.project("stoic", LAYER),
        lambda s: s.project(["pirate", "stoic"], LAYER),
        lambda s: s.project("pirate", LAYER, onto="stoic"),
        lambda s: s.transform(["stoic"], LAYER),
        lambda s: s.nearest("stoic", LAYER),
        lambda s: s.calibrated_directions(["stoic"]),
        lambda s: s.map(LAYER, x="stoic"),
        lambda s: s.map(LAYER, color="stoic"),
        lambda s: s.layer_map(x="stoic"),
    ],
)
def test_a_name_of_a_role_and_a_trait_is_refused_with_both_spellings(
    space: PersonaSpace, ask: Callable[[PersonaSpace], Any]
) -> None:
    with pytest.raises(SpaceError, match=r'(?s)both a role and a.*"role:stoic" or "trait:stoic"'):
        ask(space)


def test_where_one_kind_is_meant_a_shared_name_is_plain(space: PersonaSpace) -> None:
    of_role = explain(space, "stoic", LAYER, k=2)
    pd.testing.assert_frame_equal(of_role, explain(space, "role:stoic", LAYER, k=2))
    of_trait = explain(space, "stoic", LAYER, k=2, by="roles")
    assert set(of_role["trait"]) <= set(TRAITS)
    assert set(of_trait["role"]) <= set(ROLES)
    with pytest.raises(SpaceError, match=r"(?s)'trait:stoic' is no role.*given a trait"):
        explain(space, "trait:stoic", LAYER)
    with pytest.raises(SpaceError, match=r"(?s)'calm' is no role.*given a trait"):
        explain(space, "calm", LAYER)


def test_what_composes_the_role_called_assistant_is_about_the_role(space: PersonaSpace) -> None:
    parts = composed_direction(space, "assistant", LAYER, k=len(TRAITS))
    basis = np.stack([value[LAYER] for value in TRAIT.values()]).astype(np.float64)
    target = (ROLE["assistant"] - MEAN)[LAYER].astype(np.float64)
    expected = np.linalg.lstsq(basis.T, target, rcond=None)[0] @ basis
    np.testing.assert_allclose(parts.values[0], expected, atol=1e-4)


def test_plans_and_figures_say_which_of_two_is_meant(space: PersonaSpace) -> None:
    assert space.direction("role:assistant").name == "role:assistant"
    assert space.direction("trait:stoic").name == "trait:stoic"
    assert space.direction("role:pirate").name == "pirate"
    fig: Any = space.map(LAYER, x="trait:stoic", y="assistant")
    assert "stoic (trait)" in fig.layout.xaxis.title.text
    assert "the Assistant Axis" in fig.layout.yaxis.title.text


def test_a_figure_along_the_assistant_is_the_one_along_the_axis(space: PersonaSpace) -> None:
    named: Any = space.map(LAYER, x="assistant", color="assistant")
    plain: Any = space.map(LAYER, x="axis", color="axis")
    assert named.to_json() == plain.to_json()


def test_a_calibration_knows_a_direction_by_all_its_names(space: PersonaSpace) -> None:
    names = ["role:pirate", "pirate", "PC1", "assistant", "trait:stoic", "role:assistant"]
    components = [f"pc{number}" for number in range(1, 6)]
    expected = ("axis", *components, "pirate", "trait:stoic", "role:assistant")
    assert space.calibrated_directions(names).names == expected


def test_both_vectors_of_a_judged_role_have_a_name() -> None:
    table = VectorTable(
        np.arange(12, dtype=np.float32).reshape(3, 1, 4),
        ("pirate", "pirate", "calm"),
        ("role", "role", "trait"),
        ("somewhat", "fully", "pos-neg"),
        np.array([10, 12, 9]),
        (0,),
    )
    assert resolve(table, "pirate").row == resolve(table, "role:pirate").row == 1
    for name in ("pirate (somewhat)", "role:pirate (somewhat)"):
        assert resolve(table, name).row == 0
    assert resolve(replace(table, labels=("somewhat", "all", "pos-neg")), "pirate").row == 1


# What is not known ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Pirate", r"no vector named 'Pirate'\n  did you mean pirate"),
        ("role:priate", r"did you mean pirate"),
        ("rolle:pirate", r"did you mean role:pirate"),
        ("asistant", r"did you mean assistant"),
        ("trait:pirate", r"(?s)'pirate' is no trait.*given a role.*called 'pirate'"),
        ("pc99", r"(?s)no such component.*pc1 to pc8"),
        ("pc0", r"no such component"),
        ("", r"no vector named ''"),
        (7, r"(?s)this is no name.*given int 7"),
    ],
)
def test_what_nothing_is_called_is_refused_with_what_may_be_meant(
    space: PersonaSpace, name: Any, message: str
) -> None:
    with pytest.raises(SpaceError, match=message):
        space.vector(name)


def test_a_difference_is_neither_centred_nor_placed_among_residuals(space: PersonaSpace) -> None:
    components = space.components_[LAYER]
    for name, expected in (("calm", TRAIT["calm"]), ("trait:stoic", TRAIT["stoic"])):
        np.testing.assert_allclose(
            space.transform([name], LAYER)[0], components @ expected[LAYER], atol=1e-4
        )
        score = space.project(name, LAYER, onto="pc2")
        assert score == pytest.approx(components[1] @ expected[LAYER], abs=1e-4)
        with pytest.raises(SpaceError, match=r'(?s)no place in units of .roles..*units="raw"'):
            space.project(name, LAYER, units="roles")
    mixed = space.transform(["pirate", "calm"], LAYER)
    np.testing.assert_allclose(mixed[0], space.transform(["pirate"], LAYER)[0])
    np.testing.assert_allclose(mixed[1], space.transform(["calm"], LAYER)[0])


@pytest.mark.parametrize("name", ["assistant", "axis", "pc1", "PC:2"])
def test_the_axis_is_no_vector_among_roles(space: PersonaSpace, name: str) -> None:
    """A list of role names with "assistant" in it would else have one number of another sort."""
    for ask in (
        lambda: space.project(name, LAYER),
        lambda: space.project(["pirate", name, "ghost"], LAYER),
        lambda: space.transform([name], LAYER),
    ):
        with pytest.raises(SpaceError, match=r'(?s)no vector among others.*"default".*"role:'):
            ask()


def test_a_vector_of_the_axis_warns_where_a_role_has_its_name(space: PersonaSpace) -> None:
    with pytest.warns(UserWarning, match='"role:assistant"'):
        space.vector("assistant")
    plain = PersonaSpace.from_vectors({n: ROLE[n] for n in ("pirate", "ghost", "bard")}, DEFAULT)
    plain.n_resamples = 5
    plain.fit()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(plain.vector("assistant"), plain.axis_)


def test_a_column_of_names_is_as_good_as_a_list(space: PersonaSpace) -> None:
    names = space.ranking(LAYER)["name"]
    got = space.project(names, LAYER, kind="role")  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(got, space.ranking(LAYER)["projection"], rtol=1e-6)
    np.testing.assert_allclose(space.project(names.to_numpy(), LAYER, kind="role"), got)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda s: s.project("pirate", "1"), "did you mean 1"),
        (lambda s: s.project("pirate", 0.5), "(?s)number of a block.*depth"),
        (lambda s: s.project("pirate", 3), "the last is 2"),
        (lambda s: s.direction("pirate", layers="1"), "did you mean 1"),
        (lambda s: s.direction("pirate", layers="papr"), "did you mean paper"),
        (lambda s: s.direction("pirate", layers=[0, 1.5]), "did you mean 1 or 2"),
        (lambda s: s.direction("pirate", depth=(40, 90)), r"did you mean \(0.4, 0.9\)"),
        (lambda s: s.direction("pirate", depth=0.7), r"not a range of depths"),
        (lambda s: s.add("pirate", unit="residuals"), "did you mean residual"),
        (lambda s: s.add(["pirate", "ghost"], unit="raw"), "(?s)several names.*add them up"),
        (lambda s: s.ablate(None), "(?s)no direction.*leave it out for the axis"),
        (lambda s: s.load("smollm2-135m-instrct"), "did you mean smollm2-135m-instruct"),
        (lambda s: s.project("pirate", 1, units="role"), "did you mean roles"),
        (lambda s: s.nearest("pirate", 1, kind="traits"), "did you mean trait"),
        (lambda s: s.map(1, labels="extreme"), "did you mean extremes"),
    ],
)
def test_layers_units_and_presets_are_asked_back(
    space: PersonaSpace, ask: Callable[[PersonaSpace], Any], message: str
) -> None:
    with pytest.raises(PersonaLensError, match=message):
        ask(space)


def test_whole_floats_and_numpy_integers_are_layers(space: PersonaSpace) -> None:
    expected = space.project("pirate", 1)
    layers: list[Any] = [1.0, np.float64(1), np.int64(1), -2]
    for layer in layers:
        assert space.project("pirate", layer) == expected
        assert space.direction("pirate", layers=[layer]).layers == (1,)


# Of the packaged catalogue --------------------------------------------------------------------------


def test_the_catalogue_takes_the_same_spellings() -> None:
    roles, traits = load_roles("full"), load_traits("full")
    shared = {role.name for role in roles} & {trait.name for trait in traits}
    assert len(shared) == 9
    for name in sorted(shared):
        assert load_roles(f"role:{name}") == load_roles(name)
        assert load_traits([f"trait:{name}"]) == load_traits(name)
    with pytest.raises(CatalogError, match="unknown role"):
        load_roles("trait:calm")


def test_every_vector_of_the_packaged_space_has_a_name_of_its_own() -> None:
    table = PersonaSpace.load("smollm2-135m-instruct").table
    titles = table.titles()
    refused = 0
    for row in (*table.axis_rows(), *table.trait_rows()):
        spelled = f"{table.kinds[row]}:{titles[row]}"
        assert resolve(table, spelled).row == row
        assert resolve(table, resolve(table, spelled).name).row == row
        try:
            assert resolve(table, titles[row]).row in (row, -1)
        except SpaceError:
            refused += 1
    assert refused == 18
