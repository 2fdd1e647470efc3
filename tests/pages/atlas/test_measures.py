"""The numbers of the atlas against those of the space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from persona_lens.pages.atlas.measures import Measures, anchor_layer, measure
from persona_lens.pages.atlas.units import Units
from persona_lens.persona_space import PersonaSpace


def test_projections_are_those_of_the_ranking(units: Units, measures: Measures) -> None:
    space, described = units.space, units.described()
    for index, layer in enumerate(space.layers_):
        ranking = space.ranking(layer).set_index("name")
        for place in units.places("role"):
            row = ranking.loc[described[place]["key"].removeprefix("role:")]
            assert measures.axis[index, place] == pytest.approx(row["projection"], rel=1e-5)
            margin = row["high"] - row["projection"]
            assert measures.margins[index, place] == pytest.approx(margin, rel=1e-5)


def test_traits_have_the_cosine_with_the_axis(units: Units, measures: Measures) -> None:
    space = units.space
    for index in range(len(space.layers_)):
        axis = space.axis_[index] / np.linalg.norm(space.axis_[index])
        for place in units.places("trait"):
            vector = space.table.values[units.rows[place], index]
            length = np.linalg.norm(vector)
            assert measures.axis[index, place] == pytest.approx(vector @ axis / length, abs=1e-5)
            margin = space.projection_margins_[units.rows[place], index]
            assert measures.margins[index, place] == pytest.approx(margin / length, rel=1e-5)


def test_scores_are_those_of_the_space_but_for_the_sign(units: Units, measures: Measures) -> None:
    space, kept = units.space, measures.scores.shape[2]
    placed = [place for place, row in enumerate(units.rows) if space.table.kinds[row] != "trait"]
    for index, layer in enumerate(space.layers_):
        rows = [units.rows[place] for place in placed]
        scores = space.transform(space.table.values[rows, index], layer)[:, :kept]
        np.testing.assert_allclose(
            measures.scores[index, placed] * measures.signs[index], scores, rtol=1e-4, atol=1e-4
        )
    assert (measures.signs[anchor_layer(space)] == 1).all()


def test_components_keep_their_sides_between_layers(units: Units, measures: Measures) -> None:
    roles = [place for place, entry in enumerate(units.described()) if entry["kind"] == "role"]
    products = (measures.scores[1:, roles] * measures.scores[:-1, roles]).sum(axis=1)
    assert (products >= 0).all()


def test_a_turned_component_is_turned_back(units: Units) -> None:
    space, anchor = units.space, anchor_layer(units.space)
    before = measure(units, anchor)
    turned = PersonaSpace(space.table)
    turned._adopt(replace(space._fit, components=space._fit.components.copy()))
    turned.components_[anchor + 1 :] *= -1
    after = measure(Units.of(turned), anchor)
    np.testing.assert_allclose(after.scores, before.scores, atol=1e-4)
    np.testing.assert_array_equal(after.signs[anchor + 1 :], -before.signs[anchor + 1 :])


def test_neighbours_are_those_of_the_space(units: Units, measures: Measures) -> None:
    space, described, count = units.space, units.described(), measures.near.shape[2] // 2
    for index, layer in ((0, 0), (3, 6)):
        for place in (1, 7, units.places("trait")[0], units.places("trait")[4]):
            key = described[place]["key"].split(":")[-1]
            if key in ("pirate",) or key.startswith("<"):
                continue  # two vectors of that name, so `nearest` cannot be asked for this one
            for start, kind in ((0, "role"), (count, "trait")):
                near = space.nearest(key, layer, k=count, kind=kind)
                found = measures.near[index, place, start : start + count]
                names = [space.table.names[units.rows[other]] for other in found]
                assert names == near["name"].tolist()
                steps = measures.near_cosines[index, place, start : start + count]
                np.testing.assert_allclose(steps / 100, near["cosine"], atol=0.005 + 1e-9)


def test_nobody_is_near_a_namesake_and_missing_neighbours_are_marked(measures: Measures) -> None:
    few = PersonaSpace.from_vectors(
        {f"r{i}": np.eye(8)[[i]] for i in range(3)}, default=np.ones((1, 8)), n_resamples=5
    ).fit()
    near = measure(Units.of(few), 0).near[0]
    assert (near[1:] >= 0).sum(axis=1).tolist() == [2, 2, 2]
    assert (near[:, 6:] == -1).all(), "there are no traits"
    assert not (measures.near == np.arange(measures.near.shape[1])[None, :, None]).any()
