"""The scripts of benchmarks/gpu: each runs here at toy shapes, and loses no row to what a machine lacks."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tiny_architectures import CASES, GPU_RESULTS, REAL, where_run

from persona_lens import PersonaModel
from persona_lens.model import EMBEDDED
from persona_lens.runs.engines.engine import LocalEngine

ROOT = Path(__file__).parents[1]
KIT = ROOT / "benchmarks" / "gpu"
SHARED = ("kit", "shapes", "run_all")
CHEAP = {
    "verify_models": ["--attention", "default", "--checks", "floor", "repeatable"],
    "caches": ["--caches", "dynamic", "static"],  # compiling takes half a minute of a processor
}


@pytest.fixture(autouse=True)
def kit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for folder in (KIT.parent, KIT):
        monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module("kit")


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Ray's workers, all in this process; Ray itself is tested where the engine is."""
    asked: list[dict[str, Any]] = []

    @contextmanager
    def engine(spec: Any, **options: Any) -> Iterator[LocalEngine]:
        asked.append(options)
        yield LocalEngine(spec.writer.load())

    monkeypatch.setattr(importlib.import_module("ray_shares"), "RayEngine", engine)
    return asked


def scripts() -> list[str]:
    return sorted(file.stem for file in KIT.glob("*.py") if file.stem not in SHARED)


def run(name: str, tmp_path: Path, *options: str) -> Any:
    out = tmp_path / f"{name}.md"
    given = ["--toy", "--device", "cpu", "--out", str(out), *CHEAP.get(name, []), *options]
    report = importlib.import_module(name).main(given)
    assert out.read_text() == f"{report}\n"
    return report


@pytest.mark.parametrize("name", [name for name in scripts() if name != "ray_shares"])
def test_every_script_measures_what_it_can(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(name, tmp_path)
    printed = capsys.readouterr().out
    assert "toy shapes" in printed
    assert f"torch {torch.__version__}" in printed
    table = [line for line in printed.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    errors = {str(row[-1]) for row in report.rows if "Error" in str(row[-1])}
    assert errors <= {"RuntimeError: no second device: 0 there"}
    assert len(report.rows) > len(errors)
    checked = {
        "hook_kernels": lambda row: float(row[3]) <= 12.5,  # operations a layer
        "verify_models": lambda row: row[3] == "2 of 2" and not row[-1],
        "full_blocks": lambda row: float(row[5].replace(",", "")) > 0,
        "devices": lambda row: row[3:6] == ("0", "0", "100%"),
        "caches": lambda row: row[3] == "100%",
    }
    assert all(checked[name](row) for row in report.rows if "Error" not in str(row[-1]))


def test_workers_share_a_card_by_halves(tmp_path: Path, workers: list[dict[str, Any]]) -> None:
    report = run("ray_shares", tmp_path)
    assert [(row[0], row[-1]) for row in report.rows] == [(1, ""), (2, "")]
    assert [options["workers"] for options in workers] == [1, 2]


def test_what_goes_wrong_is_a_row_and_the_rest_runs(kit: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "there" / "table.md"
    given = kit.options("").parse_args(["--device", "cpu", "--out", str(out)])
    report = kit.Report("Trouble", ("what", "number", "note"), given)
    for error in (torch.OutOfMemoryError("of 80 GiB"), ImportError("no | flash\nat all")):
        with report.part("broken"):
            raise error
    with report.part("sound"):
        report.add("sound", 1, "")
    late = kit.Report(
        "Late", ("what", "note"), kit.options("").parse_args(["--device", "cpu", "--minutes", "-1"])
    )
    with late.part("never"):
        late.refuse_late()
        late.add("never", "ran")
    assert report.rows == [
        ("broken", "", "out of memory"),
        ("broken", "", "ImportError: no / flash"),
        ("sound", 1, ""),
    ]
    assert out.read_text().count("\n| broken") == 2
    assert late.rows == [("never", "not run: -1 minutes were up")]


def test_layers_are_as_many_as_fit(kit: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = importlib.import_module("shapes")
    cpu, half = torch.device("cpu"), torch.bfloat16
    sizes = {name: shape.bytes(shape.layers, half) for name, shape in shapes.SHAPES.items()}
    # Parameters as published, in two bytes each.
    assert sizes["Qwen3-32B"] == 2 * 32_762_123_264
    assert sizes["Llama-3.3-70B"] == 2 * 70_553_706_496
    assert sizes["Gemma-2-27B"] == 2 * 27_227_128_320
    shape = shapes.SHAPES["Llama-3.3-70B"]
    monkeypatch.setattr(shapes, "memory_there", lambda _device: 100 * 2**30)
    layers = shape.layers_that_fit(cpu, half)
    assert shape.bytes(layers, half) <= 70 * 2**30 < shape.bytes(layers + 1, half)
    monkeypatch.setattr(shapes, "memory_there", lambda _device: 2**30)
    with pytest.raises(torch.OutOfMemoryError):
        shape.layers_that_fit(cpu, half)


def test_all_are_run_and_one_that_hangs_or_fails_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run_all = importlib.import_module("run_all")
    assert sorted(run_all.SCRIPTS) == scripts()
    bodies = {
        "hangs": "import signal; signal.pause()",
        "fails": "raise SystemExit(3)",
        "ends": "import sys, pathlib; pathlib.Path(sys.argv[2]).write_text('a table')",
    }
    for name, body in bodies.items():
        (tmp_path / f"{name}.py").write_text(body)
    monkeypatch.setattr(run_all, "HERE", tmp_path)
    monkeypatch.setattr(run_all, "SCRIPTS", tuple(bodies))
    out = tmp_path / "out"
    assert run_all.main(["--out", str(out), "--limit", "2", "--only", *bodies]) == 2
    assert "hangs stopped after 2 seconds" in (out / "hangs.md").read_text()
    assert "fails ended with 3" in (out / "fails.md").read_text()
    assert (out / "ends.md").read_text() == "a table"
    assert "no row was measured" in capfd.readouterr().out


def test_the_page_on_models_says_what_is_run_where(smol: PersonaModel) -> None:
    page = (ROOT / "docs" / "models.md").read_text()
    rows = re.findall(
        r"^\| \w+ \| `([\w-]+)` \| \w+ \| .*?\|(.*?)\|(.*?)\|(.*?)\|$", page, re.MULTILINE
    )
    told = {name: tuple(cell.strip() for cell in cells) for name, *cells in rows}
    assert told == {architecture: where_run(architecture) for architecture in CASES}
    assert smol.held.backend.module.config.model_type in REAL  # pyright: ignore[reportAttributeAccessIssue]
    assert len(REAL) == len(EMBEDDED)
    assert ("no GPU was at hand yet" in page) is not GPU_RESULTS.exists()
