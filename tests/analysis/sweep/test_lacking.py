"""What a sweep cannot give: the true cause and what would mend it; replies at hand are measured."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from judged_run import write_run

from persona_lens import PersonaSpace
from persona_lens.errors import SpaceError

SWEPT = {"metrics": ["identity"], "n_draws": 20, "progress": False}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run and its space beside it."""
    folder = tmp_path_factory.mktemp("kept")
    run = write_run(folder / "run", n_questions=4)
    PersonaSpace.from_run(run.path, n_resamples=10).fit().save(folder / "space")
    return folder


def test_single_replies_are_measured_where_the_run_is_at_hand(kept: Path) -> None:
    space = PersonaSpace.load(kept / "space")
    assert space.separability_ is None
    assert set(space.sweep(**SWEPT).frame["metric"]) == {"identity"}
    assert space.separability_ is not None


def test_the_run_is_found_beside_the_space_after_both_were_moved(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(kept, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    space = PersonaSpace.load(tmp_path / "elsewhere/space")
    space.run = None
    shutil.move(kept / "run", kept / "away")
    try:
        found = PersonaSpace.load(tmp_path / "elsewhere/space").run
    finally:
        shutil.move(kept / "away", kept / "run")
    assert Path(str(found)) == tmp_path / "elsewhere/run"


def test_another_run_beside_a_space_is_not_taken_for_its_own(kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept / "space", tmp_path / "space")
    shutil.copytree(kept / "run", tmp_path / "run")
    manifest = tmp_path / "run/manifest.json"
    text = manifest.read_text("utf-8")
    assert '"reader_key": "made-up"' in text
    manifest.write_text(text.replace('"reader_key": "made-up"', '"reader_key": "other"'), "utf-8")
    card = tmp_path / "space/card.json"
    card.write_text(card.read_text("utf-8").replace(str(kept / "run"), "gone/run"), "utf-8")
    space = PersonaSpace.load(tmp_path / "space")
    assert space.run is None
    with pytest.raises(SpaceError, match=r"(?s)run of this space is not at hand.*beside the space"):
        space.sweep(**SWEPT)


def test_one_prompt_a_role_is_named_as_the_cause(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", n_questions=4, n_prompts=1, n_roles=20)
    space = PersonaSpace.from_run(run.path, n_resamples=10).fit()
    with pytest.raises(SpaceError, match=r"(?s)system prompts.*at least 2.*given 1.*prompts=2"):
        space.sweep(**SWEPT)
    found = space.sweep(n_draws=20, progress=False)
    assert "at least 2" in found.card["left_out"]["identity"]
    with pytest.raises(SpaceError, match="at least 2 of each"):
        found.emergence()


def test_a_space_of_vectors_is_told_to_be_made_from_a_run() -> None:
    rng = np.random.default_rng(0)
    roles = {f"role_{place}": rng.normal(size=(1, 6)) for place in range(20)}
    space = PersonaSpace.from_vectors(roles, default=np.ones((1, 6)), n_resamples=10).fit()
    with pytest.raises(SpaceError, match=r"(?s)made from vectors.*from_run"):
        space.sweep(**SWEPT)
    with pytest.raises(SpaceError, match=r"(?s)folds of the questions.*from_run"):
        space.sweep(metrics=["split_half"], n_draws=20, progress=False)
