"""The audit puts agreement, person and effect together, shows them and writes them down."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from judged_run import guessing, honest, judged_by, taken_in, write_run
from rich.console import Console

from persona_lens import RunFolder
from persona_lens.analysis.audit.agreement import agreement
from persona_lens.analysis.audit.auditing import Audit, audit_run
from persona_lens.analysis.audit.hand_labels import export_sample
from persona_lens.analysis.audit.judge_effect import judge_effect
from persona_lens.analysis.audit.verdicts import judges_of, verdict_frame
from persona_lens.plots import export


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = write_run(tmp_path_factory.mktemp("audit") / "run", n_traits=2)
    judged_by(run, "honest", honest)
    judged_by(run, "guessing", guessing, seed=1)
    judged_by(run, "taken-in", taken_in)
    return run


@pytest.fixture(scope="module")
def audit(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    sheet = export_sample(run, tmp_path_factory.mktemp("sheet") / "hand.csv", n=40)[0]
    rows = pd.read_csv(sheet, dtype=str, keep_default_na=False)
    rows["label"] = ["not", "somewhat", "fully", ""] * 10
    rows.to_csv(sheet, index=False)
    return audit_run(run, labelled=sheet, min_count=4, n_resamples=50)


def shown(audit: Audit) -> str:
    console = Console(width=80, record=True)
    console.print(audit)
    return console.export_text()


def test_its_parts_are_those_of_the_parts(run: RunFolder, audit: Audit) -> None:
    frame = verdict_frame(run)
    guess, read, taken = judges_of(frame)
    assert audit.judges == (guess, read, taken)
    assert [(each.first, each.second) for each in audit.agreements] == [
        (guess, read),
        (guess, taken),
        (read, taken),
    ]
    alone = agreement(frame, guess, taken, n_resamples=50)
    pd.testing.assert_frame_equal(audit.agreements[1].frame(), alone.frame())
    assert audit.effect is not None
    pd.testing.assert_frame_equal(audit.effect, judge_effect(run, min_count=4, n_resamples=50))
    assert [each.judge for each in audit.hand] == list(audit.judges)


def test_it_fits_a_terminal_and_names_every_judge(audit: Audit) -> None:
    text = shown(audit)
    assert max(map(len, text.splitlines())) <= 80
    for words in (
        "guessing and honest",
        "honest and a person",
        "no judge and taken-in",
        "axes, cosine",
    ):
        assert words in text
    kappa = audit.agreements[0].roles
    assert kappa is not None
    assert f"{kappa.kappa.value:.2f} [{kappa.kappa.low:.2f}, {kappa.kappa.high:.2f}]" in text
    assert "nan" not in text
    assert "The person left 10" in " ".join(text.split())


def test_every_number_is_written_down(
    audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "can_export_images", lambda: False)
    written = audit.save(tmp_path / "audit")
    assert {path.name for path in written} == {path.name for path in (tmp_path / "audit").iterdir()}
    frames = audit.frames()
    assert set(frames) == {
        "agreement",
        "confusion",
        "by-role",
        "dropped",
        "person",
        "person-confusion",
        "effect",
    }
    for name, frame in frames.items():
        pd.testing.assert_frame_equal(
            pd.read_csv(tmp_path / "audit" / f"{name}.csv"), frame, check_dtype=False
        )
    assert {path.stem for path in written if path.suffix == ".html"} == {
        "confusion",
        "kappa-by-role-1",
        "kappa-by-role-2",
        "kappa-by-role-3",
        "effect-1",
        "effect-2",
    }
    confusion = frames["confusion"]
    assert confusion.groupby(["first", "second"])["replies"].sum().tolist() == [192] * 3


def test_one_judge_without_activations_or_person(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", n_roles=3, layers=(), writer="server")
    judged_by(run, "honest", honest)
    audit = audit_run(run)
    assert audit.agreements == audit.hand == ()
    assert audit.effect is None
    assert audit.frames() == {}
    assert audit.card["model"] == "made-up"
    assert "one judge alone" in shown(audit).lower()
    assert audit.save(tmp_path / "audit") == []
