"""The order of the rooms: CONTRIBUTING's table is the plan, and the imports of the package keep to it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "persona_lens"
LONGEST = 400

DOORS = {
    # A space goes to the hub by a method of its own, and what comes from there is a space.
    ("persona_space", "interop"),
}
"""Rooms that may import from a room below them in the table. This list only shrinks."""


def _rooms() -> list[list[str]]:
    """The rows of the table, each with the dotted names of its rooms."""
    table = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("| floor | room | holds |")[1]
    rows = re.findall(r"^\|[^|\n]*\|([^|\n]*)\|", table, flags=re.M)
    named = [re.findall(r"`([\w/.]+)`", row) for row in rows]
    return [[_dotted(name) for name in names] for names in named if names]


def _dotted(path: str) -> str:
    """
    >>> _dotted("runs/store/"), _dotted("errors.py")
    ('runs.store', 'errors')
    """
    return path.removesuffix(".py").strip("/").replace("/", ".")


def _modules() -> dict[str, Path]:
    """The files of the package by the dotted names of their modules, without the package's own."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()
ROOMS = _rooms()
RANKS = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}


def _room(module: str) -> str:
    """The smallest room a module is in."""
    parts = module.split(".")
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in names if name in RANKS), "")


def _imports(module: str) -> set[str]:
    """Modules of the package that a module names: in imports wherever they stand, and as lazy homes."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}:{node.lineno} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    names = {
        name.removeprefix("persona_lens.") for name in found if name.startswith("persona_lens.")
    }
    return {name for name in names if name in MODULES and _room(name)}


CROSSINGS = {
    (_room(module), _room(other)): (module, other)
    for module in MODULES
    if module
    for other in _imports(module)
    if _room(module) != _room(other)
}


def test_every_module_is_in_a_room_and_every_room_is_there() -> None:
    assert len(ROOMS) > 20
    assert not [module for module in MODULES if module and not _room(module)]
    assert not [room for room in RANKS if room not in MODULES]


def test_a_room_imports_only_from_rooms_above_it() -> None:
    against = {
        (here, there): example
        for (here, there), example in CROSSINGS.items()
        if RANKS[there] > RANKS[here]
    }
    assert {way: example for way, example in against.items() if way not in DOORS} == {}


def test_every_door_is_used() -> None:
    assert {way for way in DOORS if way not in CROSSINGS} == set()
    assert len(DOORS) <= 3


def test_there_is_no_circle_among_rooms() -> None:
    above: dict[str, set[str]] = {}
    for here, there in CROSSINGS.keys() - DOORS:
        above.setdefault(here, set()).add(there)
    while above:
        free = {room for room, needed in above.items() if not needed & above.keys()}
        assert free, f"a circle among {sorted(above)}"
        above = {room: needed for room, needed in above.items() if room not in free}


@pytest.mark.parametrize("suffix", ["py", "js", "css"])
def test_no_module_or_script_is_too_long(suffix: str) -> None:
    lines = {
        path: len(path.read_text("utf-8").splitlines()) for path in PACKAGE.rglob(f"*.{suffix}")
    }
    assert lines
    assert {path.name: count for path, count in lines.items() if count > LONGEST} == {}
