"""The notebooks run from the first cell to the last, as they stand, on the packaged space."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
NAMES = [
    "01_first_persona_map",
    "02_steer_and_cap",
    "03_layers_traits_and_personas",
    "04_your_own_roles_and_model",
    "05_drift",
]
MEGABYTE = 1_000_000
BRIEF = f"""
import sys

sys.path.insert(0, {str(Path(__file__).parent)!r})
import pytest
from brief import keep_replies_brief

keep_replies_brief(pytest.MonkeyPatch())
"""


def runner():
    spec = importlib.util.spec_from_file_location("notebook_runner", NOTEBOOKS / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.embedded
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    copy = tmp_path / f"{name}.ipynb"
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(BRIEF))
    nbformat.write(notebook, copy)
    shutil.copytree(NOTEBOOKS / "data", tmp_path / "data")
    done = runner().run(copy, renderer="json")  # raises where a cell fails
    code = [cell for cell in done.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)


@pytest.mark.parametrize("name", NAMES)
def test_committed_outputs_are_whole_and_small(name: str) -> None:
    file = NOTEBOOKS / f"{name}.ipynb"
    notebook = nbformat.read(file, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert file.stat().st_size < MEGABYTE
    assert all(cell.execution_count == place for place, cell in enumerate(code, start=1))
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output.output_type == "error" for output in outputs)
    assert not any(output.get("name") == "stderr" for output in outputs)  # warnings name folders
    assert {file.stem for file in NOTEBOOKS.glob("*.ipynb")} == set(NAMES)
