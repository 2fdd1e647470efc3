"""Modules of the atlas that only compute, run in a browser: links, search, names beside points."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

RunScript = Callable[[str, str], Any]

UNITS = [
    {"key": key, "name": key.removeprefix("role:").replace("_", " "), "kind": "role"}
    for key in ("default", "sea_dog", "role:calm", "old sea dog", "seagull", "overseas")
]
ATLAS = json.dumps({"layers": [0, 4, 8], "units": UNITS})


def address(run_script: RunScript, state: dict[str, Any]) -> str:
    return run_script("atlas/script/address.js", f"addressOf({json.dumps(state)}, {ATLAS})")


def addressed(run_script: RunScript, link: str) -> dict[str, Any]:
    call = f'addressed({json.dumps(link)}, {ATLAS}, ["axis", "pc1", "pc2", "pc3"])'
    return run_script("atlas/script/address.js", call)


def test_a_link_says_what_is_unusual(run_script: RunScript) -> None:
    usual = {"layer": 1, "selected": 0, "x": "pc1", "y": "pc2"}
    assert address(run_script, usual) == "#layer=4"
    other = {"layer": 2, "selected": 2, "x": "axis", "y": "pc3"}
    link = address(run_script, other)
    assert link == "#layer=8&select=role%3Acalm&x=axis&y=pc3"
    assert addressed(run_script, link) == other


def test_nonsense_in_a_link_is_left_out(run_script: RunScript) -> None:
    assert addressed(run_script, "") == {"selected": 0}
    assert addressed(run_script, "#layer=5&select=nobody&x=pc9") == {"selected": 0}
    assert addressed(run_script, "#layer=&select=&y=axis") == {
        "layer": 0,
        "selected": 0,
        "y": "axis",
    }
    assert addressed(run_script, "#select=Sea_Dog")["selected"] == 1, "names are found as well"


def test_a_search_has_beginnings_first_and_short_names_before_long(run_script: RunScript) -> None:
    def found(text: str) -> list[str]:
        call = f"matches({json.dumps(text)}, {json.dumps(UNITS)})"
        return [UNITS[place]["name"] for place in run_script("atlas/script/matching.js", call)]

    assert found("SEA") == ["sea dog", "seagull", "overseas", "old sea dog"]
    assert found("sea_d") == ["sea dog", "old sea dog"]
    assert found("  ") == found("x") == []


def test_names_hide_neither_points_nor_one_another(run_script: RunScript) -> None:
    def placed(*spots: dict[str, Any]) -> list[tuple[str, list[float]]]:
        full = [{"gap": 7, "always": False, **spot} for spot in spots]
        call = f"placedNames({json.dumps(full)}, [200, 100])"
        return [(s["name"], s["shift"]) for s in run_script("atlas/script/placing.js", call)]

    one = {"name": "ten chars!", "at": [100, 50]}
    assert placed(one) == [("ten chars!", [39, 0])]
    assert placed({**one, "at": [180, 50]}) == [("ten chars!", [-39, 0])], "it would leave the map"
    right, left = {"name": "b", "at": [120, 50]}, {"name": "c", "at": [80, 50]}
    assert placed(one, right, left)[0] == ("ten chars!", [0, -14])
    above, below = {"name": "d", "at": [100, 30]}, {"name": "e", "at": [100, 70]}
    crowd = [right, left, above, below]
    assert "ten chars!" not in dict(placed(one, *crowd))
    assert ("ten chars!", [39, 0]) in placed({**one, "always": True}, *crowd)
