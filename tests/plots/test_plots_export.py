"""Figures as files: pages that need nothing else, pictures where a browser is found."""

from __future__ import annotations

import struct
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from persona_lens.errors import FigureError
from persona_lens.persona_space import PersonaSpace
from persona_lens.plots import can_export_images, export, persona_map, save_figure, save_figures

needs_browser = pytest.mark.skipif(
    not can_export_images(), reason="no Chromium or Chrome to draw pictures with"
)


class Page(HTMLParser):
    """What a page loads from elsewhere, its title, and its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.title = ""
        self.scripts = 0
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        self.scripts += tag == "script"
        self.loads += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if self._tag == "title":
            self.title += data.strip()


@pytest.fixture
def no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export.Chromium, "find_browser", lambda **_: None)


def test_page_stands_alone(space: PersonaSpace, tmp_path: Path) -> None:
    fig = persona_map(space, 1, title="Map of <b>it</b> & more")
    [path] = save_figure(fig, tmp_path / "deep" / "map.html")
    text = path.read_text("utf-8")
    page = Page(text)
    assert page.loads == []
    assert page.title == "Map of it & more"
    assert page.scripts >= 2
    assert len(text) > 1_000_000, "plotly.js is inside"
    assert f"min-width: {fig.layout.width}px" in text
    assert "no group" in text
    assert fig.layout.width == 1100, "the figure itself is left as it was"
    assert list(path.parent.iterdir()) == [path]


def test_without_browser_pictures_say_what_to_install(no_browser: None, tmp_path: Path) -> None:
    assert not can_export_images()
    with pytest.raises(FigureError, match=r"(?s)chromium.*BROWSER_PATH"):
        save_figure(go.Figure(), tmp_path / "figure.png")
    assert list(tmp_path.iterdir()) == []


def test_without_ending_and_browser_the_page_is_written(no_browser: None, tmp_path: Path) -> None:
    assert save_figure(go.Figure(), tmp_path / "figure") == [tmp_path / "figure.html"]


def test_unknown_ending(tmp_path: Path) -> None:
    with pytest.raises(FigureError, match=r"\.html, \.png, \.svg, given \.pdf"):
        save_figure(go.Figure(), tmp_path / "figure.pdf")


@needs_browser
def test_pictures_have_twice_the_size_of_the_figure(space: PersonaSpace, tmp_path: Path) -> None:
    fig: Any = persona_map(space, 1)
    png, svg = save_figures({tmp_path / "map.png": fig, tmp_path / "map.svg": fig})
    content = png.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (2 * fig.layout.width, 2 * fig.layout.height)
    drawing = svg.read_text("utf-8")
    assert drawing.startswith("<svg")
    assert "default Assistant" in drawing
    assert sorted(tmp_path.iterdir()) == [png, svg]


@needs_browser
def test_a_browser_that_does_not_start_is_a_plain_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(export.Chromium, "find_browser", lambda **_: "/bin/false")
    with pytest.raises(FigureError, match="did not start"):
        save_figure(go.Figure(), tmp_path / "figure.png")
    assert list(tmp_path.iterdir()) == []
