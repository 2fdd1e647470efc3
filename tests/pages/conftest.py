"""The atlas of a space with hostile names, and the scripts of pages run in a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from page_driver import Opened

from persona_lens.pages.atlas import atlas
from persona_lens.pages.atlas.measures import Measures, anchor_layer, measure
from persona_lens.pages.atlas.units import Units
from persona_lens.pages.shared.script import joined
from persona_lens.persona_space import PersonaSpace


@pytest.fixture(scope="session")
def hostile_page(
    hostile_space: PersonaSpace,
    sweep_frame: pd.DataFrame,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    return atlas(hostile_space, tmp_path_factory.mktemp("atlas") / "a.html", sweep=sweep_frame)


@pytest.fixture(scope="session")
def units(hostile_space: PersonaSpace) -> Units:
    return Units.of(hostile_space)


@pytest.fixture(scope="session")
def measures(units: Units) -> Measures:
    return measure(units, anchor_layer(units.space))


@pytest.fixture(scope="session")
def run_script(
    browse: Callable[..., Opened], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Any]:
    """Evaluates an expression where a module of a page, and all it imports, has been run."""
    blank = tmp_path_factory.mktemp("pages") / "blank.html"
    blank.write_text('<!DOCTYPE html><html data-ready="true"></html>', "utf-8")
    page = browse(blank)

    def running(module: str, expression: str) -> Any:
        return page.ask(f'(() => {{ "use strict"; {joined(module)}\nreturn {expression}; }})()')

    return running
