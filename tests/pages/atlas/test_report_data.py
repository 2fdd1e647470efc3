"""The numbers and words of the atlas, without a browser."""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from persona_lens.errors import FigureError
from persona_lens.pages.atlas import atlas
from persona_lens.pages.atlas.measures import Measures, anchor_layer, measure
from persona_lens.pages.atlas.ordering import clustered
from persona_lens.pages.atlas.packing import script_json
from persona_lens.pages.atlas.sweeps import sweep_panels
from persona_lens.pages.atlas.units import Units
from persona_lens.persona_space import PersonaSpace


@pytest.fixture(scope="module")
def units(hostile_space: PersonaSpace) -> Units:
    return Units.of(hostile_space)


@pytest.fixture(scope="module")
def measures(units: Units) -> Measures:
    return measure(units, anchor_layer(units.space))


class Page(HTMLParser):
    """Tags of a page, what they load, and its data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.texts: dict[str, str] = {}
        self._id = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._id = dict(attrs).get("id") or ""
        self.loads += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if self._id:
            self.texts[self._id] = self.texts.get(self._id, "") + data


def unpacked(entry: dict[str, Any]) -> np.ndarray:
    kinds = {"Float32Array": "<f4", "Int16Array": "<i2", "Int8Array": "i1"}
    raw = base64.b64decode(entry["data"])
    return np.frombuffer(raw, kinds[entry["type"]]).reshape(entry["shape"])


def test_units_are_default_roles_traits(units: Units) -> None:
    described = units.described()
    assert described[0]["name"] == "default Assistant"
    assert [entry["kind"] for entry in described] == ["default"] + ["role"] * 32 + ["trait"] * 9
    keys = [entry["key"] for entry in described]
    assert len(set(keys)) == len(keys), "links must be unambiguous"
    assert "pirate (somewhat)" in keys
    assert len(units.places("role")) == 30, "the axis is made of those fully in role"
    assert [entry["onAxis"] for entry in described if entry["label"] == "somewhat"] == [False] * 2


def test_names_that_would_look_alike_keep_their_underscores() -> None:
    rng = np.random.default_rng(0)
    roles = {name: rng.normal(size=(1, 8)) for name in ("sea_dog", "sea dog", "old_hand")}
    space = PersonaSpace.from_vectors(roles, default=np.ones((1, 8)), n_resamples=5).fit()
    names = [entry["name"] for entry in Units.of(space).described()]
    assert names == ["default Assistant", "sea_dog", "sea dog", "old hand"]


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


def test_cosines_of_traits_and_roles_within_a_hundredth(
    hostile_space: PersonaSpace, hostile_page: Path
) -> None:
    page = Page(hostile_page.read_text("utf-8"))
    data = json.loads(page.texts["atlas-data"])
    shape = len(data["layers"]), len(data["traits"]), len(data["roles"])
    steps = zlib.decompress(base64.b64decode(page.texts["trait-role-cosines"]))
    shown = np.frombuffer(steps, np.int8).reshape(shape).cumsum(axis=0, dtype=np.int8) * 0.01
    space, units = hostile_space, Units.of(hostile_space)
    for index in range(shape[0]):
        directions = {
            kind: space.table.values[[units.rows[place] for place in units.places(kind)], index]
            for kind in ("trait", "role")
        }
        directions["role"] = directions["role"] - space.role_mean_[index]
        unit = {k: v / np.linalg.norm(v, axis=1, keepdims=True) for k, v in directions.items()}
        assert np.abs(shown[index] - unit["trait"] @ unit["role"].T).max() <= 0.005 + 1e-6


def test_page_data_are_the_measures(hostile_page: Path, measures: Measures) -> None:
    data = json.loads(Page(hostile_page.read_text("utf-8")).texts["atlas-data"])
    for name in ("axis", "margins", "scores", "near"):
        np.testing.assert_array_equal(unpacked(data[name]), getattr(measures, name))
    np.testing.assert_array_equal(unpacked(data["nearCosines"]), measures.near_cosines)


def test_clusters_stand_together() -> None:
    rng = np.random.default_rng(1)
    centres = np.eye(8)[:3] * 5
    roles = {f"r{i}": (centres[i % 3] + 0.1 * rng.normal(size=8))[None] for i in range(12)}
    space = PersonaSpace.from_vectors(roles, default=np.ones((1, 8)), n_resamples=5).fit()
    units = Units.of(space)
    order = clustered(units, units.places("role"))
    clusters = [(place - 1) % 3 for place in order]
    assert sorted(order) == units.places("role")
    assert sum(a != b for a, b in pairwise(clusters)) == 2


def test_page_stands_alone(hostile_page: Path) -> None:
    text = hostile_page.read_text("utf-8")
    page = Page(text)
    assert page.loads == ["data:,"]
    assert "img" not in page.tags
    assert page.tags.count("script") == 5, "no name has opened another"
    assert text.count("* plotly.js v") == 1
    assert not re.search(r"@import|url\(http", text.split("<body>")[0])


def test_json_cannot_close_its_script() -> None:
    content = {"a": "</script><!--", "b": "&amp;\u2028"}
    text = str(script_json(content))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == content


def test_a_space_without_traits_folds_and_card_has_a_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    roles = {f"r{i}": rng.normal(size=(1, 8)) for i in range(4)}
    space = PersonaSpace.from_vectors(roles, default=np.ones((1, 8)), n_resamples=5).fit()
    said: list[str] = []
    path = atlas(space, tmp_path / "deep" / "page.html", title="A & <b>", status=said.append)
    page = Page(path.read_text("utf-8"))
    assert "trait-role-title" not in page.texts
    assert "A & <b>" in path.read_text("utf-8").replace("&amp;", "&").replace("&lt;", "<").replace(
        "&gt;", ">"
    )
    assert said[0] == "Measuring layer 1 of 1"
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]


def test_what_cannot_be_drawn_is_said(hostile_space: PersonaSpace, tmp_path: Path) -> None:
    with pytest.raises(FigureError, match=r"call space.fit\(\)"):
        atlas(PersonaSpace(hostile_space.table), tmp_path / "a.html")
    with pytest.raises(FigureError, match=r"\.html, given a\.png"):
        atlas(hostile_space, tmp_path / "a.png")
    with pytest.raises(FigureError, match="not a layer sweep"):
        atlas(hostile_space, tmp_path / "a.html", sweep=pd.DataFrame({"layer": [1]}))
    with pytest.raises(FigureError, match="no layer sweep in"):
        atlas(hostile_space, tmp_path / "a.html", sweep=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_may_be_a_frame_an_object_or_a_folder(
    sweep_frame: pd.DataFrame, tmp_path: Path
) -> None:
    class Sweep:
        frame = sweep_frame

    sweep_frame.to_parquet(tmp_path / "sweep.parquet")
    sweep_frame[["layer"]].to_parquet(tmp_path / "another.parquet")
    panels = sweep_panels(sweep_frame)
    assert sweep_panels(Sweep()) == panels == sweep_panels(tmp_path)
    assert panels[0]["metric"] == "identity"
    assert "held out" in panels[0]["title"]
    role, trait = panels[0]["lines"]
    assert role["layer"] == [0, 2, 4, 6, 8]
    assert role["value"] == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])
    assert trait["low"] == [None] * 5
    assert (role["n"], trait["nulls"]) == ([30, 30], [])
    assert [null["name"] for null in role["nulls"]] == ["shuffled labels", "random directions"]
    assert role["nulls"][1]["layer"] == role["layer"]
    assert role["nulls"][1]["high"] == pytest.approx([0.65] * 5)
    assert sweep_panels(None) == []
