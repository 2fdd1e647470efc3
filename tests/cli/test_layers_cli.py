"""`sweep`, `reconstruct` and `compare` on the command line: files are there and can be read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from persona_lens import PersonaSpace
from persona_lens.analysis.comparison import Comparison
from persona_lens.analysis.composition import Reconstruction
from persona_lens.analysis.sweep import Sweep
from persona_lens.cli import app

PACKAGED = "smollm2-135m-instruct"


def run(*words: str | Path) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def made(folder: Path, seed: int) -> Path:
    """Twelve roles in eight dimensions, alike but for noise."""
    rng = np.random.default_rng(0)
    roles = {f"role_{i}": rng.normal(size=(3, 8)) for i in range(12)}
    noise = np.random.default_rng(seed)
    noisy = {name: values + 0.1 * noise.normal(size=(3, 8)) for name, values in roles.items()}
    PersonaSpace.from_vectors(noisy, default=np.ones((3, 8))).fit().save(folder)
    return folder


def test_sweep_writes_tables_and_a_figure(tmp_path: Path) -> None:
    control = made(tmp_path / "control", seed=1)
    out = tmp_path / "swept"
    metrics = "participation_ratio,similarity_to_last"
    space = made(tmp_path / "space", seed=0)
    run(
        "sweep",
        space,
        "--out",
        out,
        "--metrics",
        metrics,
        "--control",
        f"made={control}",
        "--quiet",
    )
    found = Sweep.load(out)
    assert set(found.frame["metric"]) == set(metrics.split(","))
    assert "made" in (out / "sweep.html").read_text("utf-8")


def test_two_controls_of_one_name_are_refused(tmp_path: Path) -> None:
    for place in ("a", "b"):
        made(tmp_path / place / "space", seed=1)
    controls = [word for place in ("a", "b") for word in ("--control", tmp_path / place / "space")]
    result = CliRunner().invoke(
        app, ["sweep", PACKAGED, "--out", str(tmp_path / "out"), *map(str, controls)]
    )
    assert result.exit_code != 0
    assert "two controls have one name" in str(result.exception)


def test_sweep_of_the_packaged_space_tells_which_comes_first(tmp_path: Path) -> None:
    said = run(
        *("sweep", PACKAGED, "--out", tmp_path, "--metrics", "identity", "--layers", "0,15,29"),
        *("--draws", 20, "--quiet"),
    )
    assert "role minus trait" in said
    assert set(Sweep.load(tmp_path).frame["layer"]) == {0, 15, 29}


def test_reconstruct_writes_what_it_found(tmp_path: Path) -> None:
    run("reconstruct", PACKAGED, "--out", tmp_path, "--layers", "29", "--k", 3, "--quiet")
    found = Reconstruction.load(tmp_path)
    assert set(found.frame["layer"]) == {29}
    assert found.frame["k"].max() == 3
    traits = found.frame.query("dictionary == 'traits' and held_out == 'questions' and k == 3")
    random = found.frame.query(
        "dictionary == 'random directions' and held_out == 'questions' and k == 3"
    )
    assert traits["share"].item() > 5 * random["share"].item()
    assert (tmp_path / "reconstruction.html").is_file()


def test_compare_writes_what_it_found(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one", seed=0), made(tmp_path / "other", seed=1)
    run("compare", one, other, "--out", tmp_path / "compared", "--draws", 20, "--quiet")
    found = Comparison.load(tmp_path / "compared")
    ranks = found.frame.query("measure == 'axis_ranks'")
    assert ranks["value"].min() > 0.8
    assert (tmp_path / "compared" / "comparison.html").is_file()


@pytest.mark.parametrize("command", ["sweep", "reconstruct", "compare", "atlas"])
def test_help_has_examples(command: str) -> None:
    assert f"persona-lens {command}" in run(command, "--help")
