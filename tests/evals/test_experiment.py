"""Experiments by script: order and keys, what is finished stays, and what fails costs itself only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from persona_lens.evals.experiment import Cell, Experiment
from persona_lens.paths import PARTIAL_PREFIX

ITEMS = {"q1": "Who are you?", "q2": "Are you a ghost?"}
CONDITIONS = {"plain": False, "polite": True}


class Scripted:
    """Answers in its own words, counts what it is asked, and fails at what it is told to."""

    def __init__(self, fails: tuple[str, ...] = ()) -> None:
        self.asked: list[tuple[str, bool]] = []
        self.judged: list[list[str]] = []
        self.fails = fails

    def answer(self, question: str, polite: bool) -> pd.DataFrame:
        self.asked.append((question, polite))
        if question in self.fails:
            raise ValueError(f"cannot answer {question}")
        return pd.DataFrame({"text": [f"Certainly: {question}" if polite else question]})

    def words(self, rows: pd.DataFrame) -> pd.Series:
        self.judged.append(rows["item"].tolist())
        if "words" in self.fails:
            raise RuntimeError("the judge is out")
        return rows["text"].str.split().str.len()

    def ghosts(self, rows: pd.DataFrame) -> list[bool]:
        return ["ghost" in text for text in rows["text"]]

    def experiment(
        self, out: Path | None = None, judges: tuple[str, ...] = ("words", "ghosts"), **changed: Any
    ) -> Experiment[str, bool]:
        options: dict[str, Any] = {"depends": {"model": "scripted"}, **changed}
        return Experiment(
            "Asking",
            ITEMS,
            CONDITIONS,
            self.answer,
            {name: getattr(self, name) for name in judges},
            out=out,
            **options,
        )


@pytest.mark.parametrize("kept", [True, False], ids=["on disk", "in memory"])
def test_cells_come_in_order_with_their_keys(tmp_path: Path, kept: bool) -> None:
    model = Scripted()
    experiment = model.experiment(tmp_path / "deep" if kept else None)
    frame = experiment.run(progress=False)
    assert frame.columns.tolist() == ["item", "condition", "judge", "outcome", "text"]
    keys = list(frame[["item", "condition", "judge"]].itertuples(index=False, name=None))
    assert keys == [
        (item, condition, judge)
        for condition in CONDITIONS
        for item in ITEMS
        for judge in ("words", "ghosts")
    ]
    assert frame["outcome"].tolist() == [3, False, 4, True, 4, False, 5, True]
    assert frame["text"].tolist()[-1] == "Certainly: Are you a ghost?"
    assert model.asked == [
        (text, polite) for polite in CONDITIONS.values() for text in ITEMS.values()
    ]
    assert experiment.cells()[:3] == [
        Cell("q1", "plain"),
        Cell("q1", "plain", "words"),
        Cell("q1", "plain", "ghosts"),
    ]
    pd.testing.assert_frame_equal(experiment.run(progress=False), frame)
    assert len(model.asked) == 4


def test_without_judges_the_rows_are_what_was_answered() -> None:
    frame = Scripted().experiment(judges=()).run(progress=False)
    assert frame.columns.tolist() == ["item", "condition", "text"]
    assert frame["item"].tolist() == ["q1", "q2", "q1", "q2"]
    assert frame["condition"].tolist() == ["plain", "plain", "polite", "polite"]


def test_rows_of_a_batch_say_what_they_are(tmp_path: Path) -> None:
    def answer(questions: dict[str, str], strengths: list[float]) -> pd.DataFrame:
        return pd.DataFrame(
            [
                {"text": text, "item": key, "condition": f"add {strength}"}
                for key, text in questions.items()
                for strength in strengths
            ],
            index=[7, 7, 7, 7],
        )

    experiment = Experiment(
        "Adding",
        items={"both": ITEMS},
        conditions={"axis": [0.1, 0.2]},
        answer=answer,
        judges={"n": lambda rows: np.arange(len(rows))},
        out=tmp_path,
    )
    frame = experiment.run(progress=False)
    assert frame["item"].tolist() == ["q1", "q1", "q2", "q2"]
    assert frame["condition"].tolist() == ["add 0.1", "add 0.2"] * 2
    assert frame["outcome"].tolist() == [0, 1, 2, 3]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_failing_cell_loses_nothing_and_is_worked_on_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = Scripted(fails=(ITEMS["q1"],))
    experiment = failing.experiment(tmp_path)
    with pytest.raises(ValueError, match="cannot answer Who are you"):
        experiment.run()
    assert "q1, polite: cannot answer Who are you?" in capsys.readouterr().err
    assert failing.judged == [["q2"], ["q2"]], "nobody judges what was not answered"
    assert experiment.frame()["item"].tolist() == ["q2"] * 4
    mended = Scripted()
    frame = mended.experiment(tmp_path).run(progress=False)
    assert mended.asked == [(ITEMS["q1"], False), (ITEMS["q1"], True)]
    pd.testing.assert_frame_equal(frame, Scripted().experiment().run(progress=False))


def test_a_failing_judge_leaves_answers_and_other_judges(tmp_path: Path) -> None:
    failing = Scripted(fails=("words",)).experiment(tmp_path)
    with pytest.raises(RuntimeError, match="the judge is out"):
        failing.run(progress=False)
    assert failing.frame()["judge"].tolist() == ["ghosts"] * 4
    mended = Scripted()
    frame = mended.experiment(tmp_path).run(progress=False)
    assert mended.asked == []
    assert frame["outcome"].tolist() == [3, False, 4, True, 4, False, 5, True]


def test_a_judge_says_one_thing_of_each_row() -> None:
    experiment = Experiment(
        "Asking", ITEMS, CONDITIONS, Scripted().answer, {"twice": lambda rows: [1, 2]}
    )
    with pytest.raises(ValueError, match="Length of values"):
        experiment.run(progress=False)
    assert experiment.frame().empty


def test_another_judge_costs_no_answer_and_other_conditions_do(tmp_path: Path) -> None:
    Scripted().experiment(tmp_path, judges=("words",)).run(progress=False)
    model = Scripted()
    assert len(model.experiment(tmp_path).run(progress=False)) == 8
    assert (model.asked, model.judged) == ([], [])
    model.experiment(tmp_path, depends={"model": "another"}).run(progress=False)
    assert len(model.asked) == 4


def test_keys_that_look_alike_in_a_file_name_stay_apart(tmp_path: Path) -> None:
    experiment = Experiment(
        "Asking",
        items={"a b": 1, "a/b": 2, "a-b": 3},
        conditions={"x": 10},
        answer=lambda item, condition: pd.DataFrame({"sum": [item + condition]}),
        out=tmp_path,
    )
    assert experiment.run(progress=False)["sum"].tolist() == [11, 12, 13]
    assert len(list(tmp_path.iterdir())) == 3


def test_trouble_with_the_folder_stops_at_once(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    model = Scripted()
    with pytest.raises(OSError, match="file"):
        model.experiment(blocked / "out").run(progress=False)
    assert len(model.asked) == 1


_SLOW = """
import sys, time
import pandas as pd
from persona_lens.evals.experiment import Experiment

def answer(item, condition):
    if item == 3:
        print("reached", flush=True)
        time.sleep(600)
    return pd.DataFrame({"value": [item * condition]})

Experiment("Waiting", {str(i): i for i in range(6)}, {"ten": 10}, answer, out=sys.argv[1]).run()
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_kill_in_the_middle_costs_the_cell_it_hits(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _SLOW, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reached\n"
        process.send_signal(signal.SIGKILL)
    asked: list[int] = []

    def answer(item: int, condition: int) -> pd.DataFrame:
        asked.append(item)
        return pd.DataFrame({"value": [item * condition]})

    items = {str(i): i for i in range(6)}
    frame = Experiment("Waiting", items, {"ten": 10}, answer, out=tmp_path).run(progress=False)
    assert asked == [3, 4, 5]
    assert frame["value"].tolist() == [0, 10, 20, 30, 40, 50]
    assert len([path for path in tmp_path.iterdir() if PARTIAL_PREFIX not in path.name]) == 6


def test_the_bar_counts_what_is_finished_already(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Scripted().experiment(tmp_path, judges=()).run(progress=False)
    Scripted().experiment(tmp_path, judges=("words",), unit="pieces").run()
    assert "Asking: 8 of 8 pieces" in capsys.readouterr().err
