"""Joining the modules of a page's script: nothing missing, nothing twice, nothing left to load."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from persona_lens.pages.shared.script import IMPORT, joined

PAGES = Path(str(files("persona_lens.pages")))
MODULES = sorted(path.relative_to(PAGES).as_posix() for path in PAGES.rglob("*.js"))
ENTRIES = [name for name in MODULES if name.endswith("/start.js")]
DECLARED = re.compile(r"^(export )?(?:async )?(?:function|const|let|class) (\w+|\{[^}]+\})", re.M)


def declared(text: str, *, exported: bool = False) -> list[str]:
    """Names at the outermost level of a module."""
    found = [names for export, names in DECLARED.findall(text) if export or not exported]
    return [name for names in found for name in re.findall(r"\w+", names)]


@pytest.mark.parametrize("module", MODULES)
def test_what_is_imported_is_there_and_used(module: str) -> None:
    text = (PAGES / module).read_text("utf-8")
    body = IMPORT.sub("", text)
    assert not re.search(r"^\s*import\b|\bfrom \"", body, flags=re.M), "an import of another form"
    for names, source in IMPORT.findall(text):
        other = ((PAGES / module).parent / source).resolve().read_text("utf-8")
        for name in names.split(", "):
            assert name in declared(other, exported=True), f"{source} has no {name}"
            assert re.search(rf"\b{name}\b", body), f"{name} is not used"


def test_every_module_is_in_a_page_and_no_two_share_a_name() -> None:
    assert ENTRIES
    used: set[str] = set()
    for entry in ENTRIES:
        text = joined(entry)
        names = declared(text)
        assert len(set(names)) == len(names)
        assert not re.search(r"^(import|export)\b", text, flags=re.M)
        used |= set(names)
    for module in MODULES:
        assert set(declared((PAGES / module).read_text("utf-8"))) <= used, f"{module} is in no page"


def test_a_module_stands_behind_those_it_imports_and_only_once() -> None:
    text = joined("atlas/script/start.js")
    places = [
        text.index(f"const {name} =") for name in ("byId", "unpack", "atlas", "state", "legend")
    ]
    assert places == sorted(places)
    assert text.count("const byId =") == 1
    assert text.endswith("\nstart();\n")
