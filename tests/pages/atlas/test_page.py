"""The page of the atlas as it is written: what it holds, and that it needs nothing else."""

from __future__ import annotations

import base64
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from persona_lens.errors import FigureError
from persona_lens.pages.atlas import atlas
from persona_lens.pages.atlas.measures import Measures
from persona_lens.pages.atlas.units import Units
from persona_lens.persona_space import PersonaSpace


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


def test_page_stands_alone(hostile_page: Path) -> None:
    text = hostile_page.read_text("utf-8")
    page = Page(text)
    assert page.loads == ["data:,"]
    assert "img" not in page.tags
    assert page.tags.count("script") == 5, "no name has opened another"
    assert text.count("* plotly.js v") == 1
    assert not re.search(r"@import|url\(http", text.split("<body>")[0])


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
