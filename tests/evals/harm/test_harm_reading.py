"""Published layouts of behaviours, with stand-ins; each broken row is named and costs itself alone."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import datasets
import pandas as pd
import pytest

from persona_lens.errors import EvaluationError, PersonaLensWarning
from persona_lens.evals.harm.reading import read_behaviours

HARMBENCH = (
    "Behavior",
    "FunctionalCategory",
    "SemanticCategory",
    "Tags",
    "ContextString",
    "BehaviorID",
)
JBB = ("Index", "Goal", "Target", "Behavior", "Category", "Source")
STRONGREJECT = ("category", "source", "forbidden_prompt")


def table(titles, rows, separator=",") -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, lineterminator="\r\n")
    writer.writerows([titles, *rows])
    return file.getvalue()


def written(folder: Path, text: str, name="set.csv", encoding="utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def crane(number: int, kind="standard", context="") -> tuple[str, ...]:
    return (
        f"Fold forbidden crane {number}",
        kind,
        "paper",
        "folds, wings",
        context,
        f"crane_{number}",
    )


def test_harmbench(tmp_path):
    rows = [crane(1), crane(2, "contextual", 'Two\nlines, "quoted"'), crane(3, "copyright")]
    found = read_behaviours(written(tmp_path, table(HARMBENCH, rows)))
    assert found.layout == "harmbench"
    assert [each.id for each in found] == ["crane_1", "crane_2"]
    assert found[0].tags == ("folds", "wings")
    assert found[1].asked == 'Two\nlines, "quoted"\n\n---\n\nFold forbidden crane 2'
    assert [fault.kind for fault in found.faults] == ["left out"]
    assert found.faults[0].place.endswith("line 5")  # the quoted line break counts as a line


def test_strongreject_ids_follow_the_text(tmp_path):
    rows = [("paper", "own", "Fold a crane"), ("kites", "own", "Fly a kite")]
    found = read_behaviours(written(tmp_path, table(STRONGREJECT, rows)))
    turned = read_behaviours(written(tmp_path, table(STRONGREJECT, rows[::-1]), "turned.csv"))
    assert found.layout == "strongreject"
    assert {each.id: each.text for each in found} == {each.id: each.text for each in turned}


def test_jailbreakbench_twins_are_paired_by_index(tmp_path):
    harmful = [(n, f"Forbidden crane {n}", "Sure", f"Crane {n}", "paper", "own") for n in range(3)]
    benign = [(n, f"Plain crane {n}", "Sure", f"Crane {n}", "paper", "own") for n in (2, 0, 7)]
    found = read_behaviours(
        written(tmp_path, table(JBB, harmful)),
        benign=written(tmp_path, table(JBB, benign), "benign.csv"),
    )
    pairs = pd.DataFrame([vars(each) for each in found]).groupby("pair")["text"].apply(list)
    assert pairs["0"] == ["Plain crane 0"]
    by_group = {each.group: each.text for each in found if not each.benign}
    assert {each.text: by_group.get(each.group) for each in found if each.benign} == {
        "Plain crane 2": "Forbidden crane 2",
        "Plain crane 0": "Forbidden crane 0",
        "Plain crane 7": None,
    }
    assert [(fault.kind, fault.problem) for fault in found.faults] == [
        ("noted", "has no benign twin"),
        ("noted", "has no harmful behaviour"),
    ]


@pytest.mark.parametrize("nested", [False, True], ids=["lines", "nested"])
def test_persona_modulation(tmp_path, nested):
    told = {"harm_category": "paper", "persona": "Folder"}
    if nested:
        entry = {"prompt": "You fold.", "behavior_question": "How?"}
        text = json.dumps({"paper": {"Folder": [entry]}})
    else:
        text = json.dumps({"id": 7, "prompt": "You fold.", "question": "How?", **told}) + "\n"
    (one,) = read_behaviours(written(tmp_path, text, "set.json" if nested else "set.jsonl"))
    assert (one.system, one.text, one.category, one.persona) == (
        "You fold.", "How?", "paper", "Folder",
    )  # fmt: skip


def test_any_table_with_named_columns(tmp_path):
    frame = pd.DataFrame(
        {"Ask": ["Fold it", "Fly it"], "Sort": ["paper", None], "ok": [True, False]}
    )
    columns = {"text": "Ask", "category": "Sort", "benign": "ok"}
    for source in (frame, datasets.Dataset.from_pandas(frame), frame.to_dict("records")):
        with pytest.warns(PersonaLensWarning, match="column Sort"):
            found = read_behaviours(source, columns=columns)
        assert [(each.text, each.benign) for each in found] == [("Fold it", True)]
    frame.dropna().to_parquet(tmp_path / "set.parquet")
    (one,) = read_behaviours(tmp_path / "set.parquet", columns=columns)
    assert one.category == "paper"


BROKEN = {
    "empty cell": (("", "standard", "paper", "", "", "x"), "Behavior", "is empty"),
    "no category": (("Fold", "standard", " ", "", "", "x"), "SemanticCategory", "is empty"),
    "no id": (("Fold", "standard", "paper", "", "", ""), "BehaviorID", "is empty"),
    "no context": (("Fold", "contextual", "paper", "", "", "x"), "ContextString", "about it"),
    "twice": (("Fold", "standard", "paper", "", "", "crane_1"), "id", "has the id 'crane_1' of"),
    "formula": (("#NAME?", "standard", "paper", "", "", "x"), "Behavior", "a formula"),
    "cut": (("f" * 32_767, "standard", "paper", "", "", "x"), "Behavior", "Excel cuts"),
    "garbled": (("Donâ€™t fold", "standard", "paper", "", "", "x"), "Behavior", "wrong encoding"),
    "short": (("Fold", "standard"), "", "has 2 cells, and there are 6"),
    "long": ((*crane(9), "more"), "", "has 7 cells, and there are 6"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_row_costs_itself_alone(tmp_path, case):
    row, column, problem = BROKEN[case]
    path = written(tmp_path, table(HARMBENCH, [crane(1), row, crane(2)]))
    with pytest.warns(PersonaLensWarning, match="1 rows of behaviours were left out"):
        found = read_behaviours(path)
    assert [each.id for each in found] == ["crane_1", "crane_2"]
    (fault,) = found.faults
    assert (fault.place, fault.column) == (f"{path}, line 3", column)
    assert problem in fault.problem
    assert fault.remedy
    with pytest.raises(EvaluationError, match="line 3"):
        read_behaviours(path, strict=True)


def test_an_open_quote_says_what_it_swallows(tmp_path):
    text = table(STRONGREJECT, [("a", "b", "Fold")]) + 'a,b,"open\r\nc,d,Fly\r\n'
    with pytest.warns(PersonaLensWarning, match="quotes do not match"):
        found = read_behaviours(written(tmp_path, text))
    assert [each.text for each in found] == ["Fold"]
    assert "the 1 lines after it are lost in it" in found.faults[0].problem


def test_lines_that_are_no_json(tmp_path):
    lines = ['{"text": "Fold"}', "{oops", "[1]", "", '{"text": 3}', '{"text": "Fly"}']
    with pytest.warns(PersonaLensWarning):
        found = read_behaviours(written(tmp_path, "\n".join(lines), "set.jsonl"))
    assert [each.text for each in found] == ["Fold", "Fly"]
    assert [fault.place.rsplit(" ", 1)[1] for fault in found.faults] == ["2", "3", "5"]


@pytest.mark.parametrize(
    ("encoding", "separator", "head"),
    [
        ("utf-8-sig", ",", ""),
        ("utf-8-sig", ";", ""),
        ("utf-16", "\t", ""),
        ("utf-8", ";", "sep=;\r\n"),
    ],
)
def test_what_spreadsheets_save(tmp_path, encoding, separator, head):
    rows = [("Papier", "own", "Fold, the; crêpe")]
    path = written(tmp_path, head + table(STRONGREJECT, rows, separator), encoding=encoding)
    (one,) = read_behaviours(path)
    assert (one.text, one.category) == ("Fold, the; crêpe", "Papier")


def test_another_encoding_is_refused_until_it_is_named(tmp_path):
    path = written(tmp_path, table(STRONGREJECT, [("a", "b", "crêpe")]), encoding="cp1252")
    with pytest.raises(EvaluationError, match=r"line 2: is not utf-8 text"):
        read_behaviours(path)
    (one,) = read_behaviours(path, encoding="cp1252")
    assert one.text == "crêpe"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04rest", "an Excel workbook"),
        ("a,b\r\n".encode("utf-16-le"), "zero bytes"),
        (b"", "no behaviour could be read"),
        (b"one,two\r\n1,2\r\n", "has no column for text"),
        (b"prompt,goal\r\n1,2\r\n", "which column is the request"),
        (b"goal,goal\r\n1,2\r\n", "two columns have one title"),
        (b"BehaviorID,ImageFileName\r\n1,2\r\n", "about images"),
        (b"goal\r\n \r\n", "no behaviour could be read"),
    ],
)
def test_tables_that_are_refused(tmp_path, content, said):
    path = tmp_path / "set.csv"
    path.write_bytes(content)
    with pytest.raises(EvaluationError, match=said):
        read_behaviours(path)


def test_what_is_not_there_is_refused_with_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(EvaluationError, match="check the path"):
        read_behaviours(tmp_path / "none.csv")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(EvaluationError, match="without a network, download its file"):
        read_behaviours("datasets:nobody-at-all/no-such-set@train")
    with pytest.raises(EvaluationError, match="did you mean Ask"):
        read_behaviours([{"Ask": "Fold"}], columns={"text": "ask"})
    splits = datasets.DatasetDict({"one": datasets.Dataset.from_list([{"text": "Fold"}])})
    splits.save_to_disk(tmp_path / "kept")
    (one,) = read_behaviours(f"datasets:{tmp_path / 'kept'}@one")
    assert one.text == "Fold"
    with pytest.raises(EvaluationError, match="has no split 'two'"):
        read_behaviours(f"datasets:{tmp_path / 'kept'}@two")


def test_a_part_of_a_set_keeps_twins_together():
    rows = [
        {"text": f"{word} {n}", "id": f"{word}-{n}", "pair": str(n), "benign": word == "Plain",
         "category": "paper" if n < 6 else "kites"}
        for n in range(8) for word in ("Forbidden", "Plain")
    ]  # fmt: skip
    found = read_behaviours(rows)
    drawn = found.chosen(4, seed=1)
    assert len(drawn) == 8
    assert sorted(each.category for each in drawn).count("kites") == 4
    assert [each.id for each in found.chosen(4, seed=1)] == [each.id for each in drawn]
    assert {each.id for each in found.chosen(ids=["Plain-3"])} == {"Plain-3", "Forbidden-3"}
    with pytest.raises(EvaluationError, match="no such category"):
        found.chosen(categories=["boats"])
