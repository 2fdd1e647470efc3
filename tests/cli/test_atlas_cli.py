"""`persona-lens atlas`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from typer.testing import CliRunner

from persona_lens import cli
from persona_lens.errors import FigureError, SpaceError
from persona_lens.persona_space import PersonaSpace


def test_writes_the_page_with_the_sweep(
    hostile_space: PersonaSpace, sweep_frame: pd.DataFrame, tmp_path: Path
) -> None:
    hostile_space.save(tmp_path / "space")
    (tmp_path / "sweep").mkdir()
    sweep_frame.to_parquet(tmp_path / "sweep" / "sweep.parquet")
    arguments = ["atlas", str(tmp_path / "space"), "--out", str(tmp_path / "a.html")]
    arguments += ["--sweep", str(tmp_path / "sweep"), "--title", "My <own> personas"]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert "a.html" in done.output.replace("\n", "")
    text = (tmp_path / "a.html").read_text("utf-8")
    assert "<title>My &lt;own&gt; personas</title>" in text
    assert 'id="sweep-title"' in text


def test_what_is_wrong_is_said(hostile_space: PersonaSpace, tmp_path: Path) -> None:
    hostile_space.save(tmp_path / "space")
    nowhere = CliRunner().invoke(cli.app, ["atlas", str(tmp_path), "--out", "a.html"])
    assert isinstance(nowhere.exception, SpaceError)
    arguments = ["atlas", str(tmp_path / "space"), "--out", str(tmp_path / "a.html")]
    no_sweep = CliRunner().invoke(cli.app, [*arguments, "--sweep", str(tmp_path)])
    assert isinstance(no_sweep.exception, FigureError)
    assert not (tmp_path / "a.html").exists()


def test_help_has_an_example() -> None:
    shown = CliRunner().invoke(cli.app, ["atlas", "--help"]).output
    assert "persona-lens atlas spaces/first --out atlas.html" in shown
    assert "--sweep" in shown
