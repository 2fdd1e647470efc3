"""The atlas in a browser: what it shows, what it does, and that nothing in it does harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hostile_atlas import IMAGE, SCRIPT
from page_driver import Opened

from persona_lens.persona_space import PersonaSpace

Browse = Callable[..., Opened]

_KEYS = """(text, keys) => {
  const box = document.getElementById("search");
  box.focus();
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  for (const key of keys) box.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
}"""
_FRAME = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def text_of(page: Opened, selector: str) -> str:
    return page.ask(f"document.querySelector({json.dumps(selector)}).textContent")


def number_in(text: str) -> float:
    return float(text.replace("−", "-"))


def search(page: Opened, text: str, *keys: str) -> None:
    page.ask(f"({_KEYS})({json.dumps(text)}, {json.dumps(keys)})")


def move_slider(page: Opened, place: int) -> None:
    page.ask(
        f"""(() => {{ const slider = document.getElementById("layer"); slider.value = {place};
        slider.dispatchEvent(new Event("input", {{ bubbles: true }})); return {_FRAME}; }})()"""
    )


def map_points(page: Opened) -> dict[int, tuple[float, float]]:
    """Place of every unit on the map, by its number."""
    traces = page.ask(
        'document.getElementById("map").data.filter((trace) => trace.customdata)'
        ".map((trace) => [[...trace.customdata], [...trace.x], [...trace.y]])"
    )
    return {
        unit: (x, y)
        for trace in traces
        for unit, x, y in zip(*trace, strict=True)
    }  # fmt: skip


def ranking_rows(page: Opened) -> list[list[str]]:
    return page.ask(
        '[...document.querySelectorAll("#ranking tbody tr")].map((row) =>'
        ' [row.cells[0].textContent, row.querySelector("button").textContent,'
        " row.cells[2].title, row.cells[3].textContent, row.cells[4].textContent])"
    )


@pytest.fixture
def page(browse: Browse, hostile_page: Path) -> Opened:
    return browse(hostile_page)


def test_hostile_names_are_only_text(page: Opened) -> None:
    assert page.ask("window.harmed") is None
    assert page.ask('document.querySelectorAll("img").length') == 0
    assert page.ask("document.documentElement.dataset.errors") is None
    assert page.complaints == []
    names = [row[1] for row in ranking_rows(page)]
    assert SCRIPT in names
    assert IMAGE in names
    shown = page.ask('document.getElementById("map").data.map((trace) => trace.name)')
    assert all(name is None or "<" not in name for name in shown), "plotly would read tags"
    search(page, SCRIPT, "Enter")
    assert text_of(page, "#detail-name").endswith(SCRIPT)
    assert page.ask("window.harmed") is None
    assert page.complaints == []


def test_every_panel_is_drawn(page: Opened) -> None:
    drawn = page.ask(
        '[...document.querySelectorAll(".plot")].map((e) => [e.id, !!(e.data || []).length])'
    )
    assert len(drawn) == 10
    assert [name for name, there in drawn if not there] == []


def test_ranking_is_that_of_the_space(page: Opened, hostile_space: PersonaSpace) -> None:
    anchor = hostile_space.recommend_layer().layer
    assert text_of(page, "#layer-text") == f"{anchor} of 8, relative depth {anchor / 8:.2f}"
    rows, expected = ranking_rows(page), hostile_space.ranking(anchor)
    assert [row[0] for row in rows] == [str(rank + 1) for rank in range(len(expected))]
    assert [row[1] for row in rows] == expected["name"].str.replace("_", " ").tolist()
    half = 0.5 * 10.0 ** -len(rows[0][3].partition(".")[2])
    for row, wanted in zip(rows, expected.to_dict("records"), strict=True):
        assert number_in(row[3]) == pytest.approx(wanted["projection"], abs=half * 1.01)
        assert number_in(row[4]) == pytest.approx(wanted["z_roles"], abs=0.00501)
        low, high = row[2].split("(")[1].rstrip(")").split(" to ")
        assert number_in(low) == pytest.approx(wanted["low"], abs=half * 1.01)
        assert number_in(high) == pytest.approx(wanted["high"], abs=half * 1.01)


def test_slider_moves_every_panel(
    browse: Browse, hostile_page: Path, hostile_space: PersonaSpace
) -> None:
    page = browse(hostile_page, "#layer=6")
    before, rows = map_points(page), ranking_rows(page)
    z = 'document.getElementById("trait-role").data[0].z'
    cosines = page.ask(z)
    move_slider(page, 1)
    assert page.ask('document.getElementById("map").dataset.layer') == "2"
    after = map_points(page)
    assert before.keys() == after.keys()
    assert all(before[unit] != after[unit] for unit in before)
    scores = hostile_space.transform(["role_0", "default"], layer=2)[:, :2]
    np.testing.assert_allclose(np.abs([after[5], after[0]]), np.abs(scores), rtol=1e-4)
    assert ranking_rows(page) != rows
    assert page.ask(z) != cosines
    assert "layer 2" in text_of(page, "#detail-kind")
    for plot in ("cosine", "variance", "components", "trace", "sweep-0", "sweep-1"):
        assert page.ask(f'document.getElementById("{plot}").layout.shapes[0].x0') == 2
    assert page.ask("location.hash") == "#layer=2"
    assert page.complaints == []


def test_search_by_keyboard_opens_the_detail(page: Opened, hostile_space: PersonaSpace) -> None:
    search(page, "role 1")
    options = page.ask(
        '[...document.querySelectorAll("#suggestions li")].map((e) => e.textContent)'
    )
    assert options[0] == "■role 1role".replace("■", options[0][0])
    assert page.ask('document.getElementById("search").ariaExpanded') == "true"
    search(page, "role 1", "ArrowDown", "ArrowUp", "Enter")
    assert text_of(page, "#detail-name").endswith("role 1")
    assert page.ask('document.getElementById("suggestions").hidden')
    layer = hostile_space.recommend_layer().layer
    ranking = hostile_space.ranking(layer)
    place = ranking.index[ranking["name"] == "role_1"][0]
    numbers = text_of(page, "#detail-numbers")
    assert f"{place + 1} of 30 roles" in numbers
    projection = f"{ranking['projection'][place]:.4g}".replace("-", "−")
    assert f"on the axis{projection} (" in numbers
    chosen = page.ask('document.querySelector("#ranking tr.selected button").textContent')
    assert chosen == "role 1"
    ring = page.ask('document.getElementById("map").data.at(-1).x[0]')
    assert ring == pytest.approx(map_points(page)[6][0])
    search(page, "role 1", "Escape")
    assert page.ask('document.getElementById("suggestions").hidden')


def test_neighbours_shown_are_those_of_the_space(
    browse: Browse, hostile_page: Path, hostile_space: PersonaSpace
) -> None:
    page = browse(hostile_page, "#layer=4&select=trait_3")
    assert text_of(page, "#detail-name").endswith("trait 3")
    for kind in ("role", "trait"):
        shown = page.ask(
            f'[...document.querySelectorAll("#near-{kind}s li")].map((e) =>'
            " [e.firstChild.textContent, e.lastChild.textContent])"
        )
        expected = hostile_space.nearest("trait_3", 4, k=6, kind=kind)
        for (name, cosine), wanted in zip(shown, expected.to_dict("records"), strict=True):
            assert name == wanted["name"].replace("_", " ") or "<" in name
            assert number_in(cosine) == pytest.approx(wanted["cosine"], abs=0.00501)


def test_a_trait_is_an_arrow_and_ranked_among_traits(browse: Browse, hostile_page: Path) -> None:
    page = browse(hostile_page, "#select=calm&x=axis&y=pc3")
    assert page.ask('document.getElementById("map-x").value') == "axis"
    assert page.ask('document.getElementById("map-y").value') == "pc3"
    assert "Assistant Axis" in page.ask('document.getElementById("map").layout.xaxis.title.text')
    assert page.ask('document.getElementById("map").data.at(-1).mode') == "lines+markers"
    rows = ranking_rows(page)
    assert len(rows) == 9
    assert "calm" in [row[1] for row in rows]
    cosines = [number_in(row[3]) for row in rows]
    assert cosines == sorted(cosines, reverse=True)
    shapes = page.ask('document.getElementById("trait-role").layout.shapes.length')
    assert shapes == 1, "its row is marked"


def test_links_are_followed_and_nonsense_is_ignored(
    browse: Browse, hostile_page: Path, hostile_space: PersonaSpace
) -> None:
    page = browse(hostile_page, "#layer=1&select=nobody&x=pc99")
    assert text_of(page, "#detail-name").endswith("default Assistant")
    assert text_of(page, "#layer-text").startswith(f"{hostile_space.recommend_layer().layer} of 8")
    page.ask(f'location.hash = "#layer=0&select=pirate (somewhat)"; {_FRAME}')
    page.ask(_FRAME)
    assert text_of(page, "#detail-name").endswith("pirate (somewhat)")
    assert text_of(page, "#layer-text").startswith("0 of 8")
    assert page.complaints == []


def test_csv_is_the_ranking(page: Opened, hostile_space: PersonaSpace) -> None:
    text = page.ask(
        """(async () => { let kept; const make = URL.createObjectURL;
        URL.createObjectURL = (blob) => { kept = blob; return make.call(URL, blob); };
        document.getElementById("csv").click(); return kept.text(); })()"""
    )
    lines = text.splitlines()
    assert lines[0] == "layer,rank,name,kind,group,replies,projection,low,high,z_roles"
    assert len(lines) == 31
    layer = hostile_space.recommend_layer().layer
    first = hostile_space.ranking(layer).iloc[0]
    assert lines[1].startswith(f"{layer},1,")
    assert float(lines[1].split(",")[-4]) == pytest.approx(first["projection"], rel=1e-5)


def test_groups_can_be_hidden(page: Opened) -> None:
    page.ask('document.querySelector("#map-legend button").click()')
    shown = page.ask('document.getElementById("map").data.map((trace) => trace.visible)')
    assert shown.count(False) >= 1
    assert page.ask('document.querySelector("#map-legend button").ariaPressed') == "false"


def test_a_search_that_finds_nothing_says_so(page: Opened) -> None:
    search(page, "zzzz")
    assert "No role or trait has “zzzz”" in text_of(page, "#no-match")
    search(page, "")
    assert text_of(page, "#no-match") == ""


def test_back_returns_to_the_unit_before_and_not_to_every_layer(
    page: Opened, hostile_space: PersonaSpace
) -> None:
    first = text_of(page, "#detail-name")
    page.ask('document.querySelector("#ranking tbody button.link").click()')
    chosen = text_of(page, "#detail-name")
    assert chosen != first
    move_slider(page, 0)
    move_slider(page, 1)
    page.ask(
        'new Promise((done) => { addEventListener("hashchange", () => setTimeout(done, 50), '
        "{ once: true }); history.back(); })"
    )
    assert text_of(page, "#detail-name") == first


def test_what_is_selected_stays_in_sight(page: Opened) -> None:
    page.ask('document.querySelector("#ranking tbody button.link").click()')
    name = text_of(page, "#detail-name")
    page.ask("window.scrollTo(0, document.body.scrollHeight)")
    top = page.ask('document.getElementById("chosen").getBoundingClientRect().top')
    assert 0 <= top < 200
    assert text_of(page, "#chosen b") in name


_FAULTS = """(() => {
  const bright = (colour) => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$|transparent/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const named = (node) => node.getAttribute("aria-label") || node.getAttribute("aria-labelledby") ||
    node.labels?.length || node.textContent.trim() || node.title;
  const seen = (node) => node.getClientRects().length && !node.closest(".js-plotly-plot");
  const faults = [];
  for (const node of document.querySelectorAll("button, select, input, a[href], [role=img]")) {
    if (seen(node) && !named(node)) faults.push(`no name: ${node.outerHTML.slice(0, 90)}`);
  }
  let level = 0;
  for (const node of document.querySelectorAll("h1, h2, h3, h4")) {
    const own = Number(node.tagName[1]);
    if (own > level + 1) faults.push(`heading skips a level: ${node.textContent}`);
    level = own;
  }
  for (const node of document.querySelectorAll("p, dd, dt, td, th, li, label, h1, h2, h3, button, summary")) {
    if (!seen(node) || !node.textContent.trim() || getComputedStyle(node).opacity < 1) continue;
    const [one, other] = [bright(getComputedStyle(node).color), bright(behind(node))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(1)}: ${node.textContent.trim().slice(0, 40)}`);
  }
  for (const node of document.querySelectorAll("*")) {
    const twice = node.id && document.querySelectorAll(`[id="${CSS.escape(node.id)}"]`).length > 1;
    if (twice) faults.push(`id twice: ${node.id}`);
    const scrolls = /auto|scroll/.test(getComputedStyle(node).overflowY) && node.parentElement;
    if (scrolls && seen(node) && node.scrollHeight > node.clientHeight + 20 && node.tabIndex < 0) {
      faults.push(`scrolls by mouse alone: ${node.className}`);
    }
  }
  return [...new Set(faults)];
})()"""


def test_the_page_can_be_read_and_used_by_all(page: Opened) -> None:
    """Contrast of text, names of controls, order of headings, ids, and scrolling by keys."""
    assert page.ask(_FAULTS) == []
