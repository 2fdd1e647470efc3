"""A sample for a person: blind, stratified, safe to open; and what comes back, checked and weighted."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from judged_run import honest, judged_by, level, write_run
from sklearn.metrics import accuracy_score, cohen_kappa_score

from persona_lens import RunFolder
from persona_lens.analysis.audit.hand_agreement import hand_agreement
from persona_lens.analysis.audit.hand_labels import COLUMNS, as_text, export_sample, read_labelled
from persona_lens.analysis.audit.stratified import draw_rows, shares
from persona_lens.analysis.audit.verdicts import judges_of, verdict_frame
from persona_lens.errors import RunError
from persona_lens.judges import Verdict
from persona_lens.judges.base import LABELS
from persona_lens.rollouts.reply import Reply

N_REPLIES = 8 * 2 * 12
PLANTED = {("role_03", 1, "q05"), ("role_06", 0, "q00")}


def planted(case, rng):
    """As `honest`, but for two replies."""
    key = (case.shard.name, case.shard.prompt_index, case.shard.requests[case.index].question_id)
    return Verdict(label=LABELS[(level(case) + 1) % 3]) if key in PLANTED else honest(case, rng)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = write_run(tmp_path_factory.mktemp("hand") / "run", n_traits=1)
    judged_by(run, "honest", honest)
    judged_by(run, "planted", planted)
    return run


def rows_of(sheet: Path) -> list[dict[str, str]]:
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def write_sheet(sheet: Path, rows: list[dict[str, str]], delimiter: str = ",") -> None:
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def test_there_and_back_again(run: RunFolder, tmp_path: Path) -> None:
    sheet, instructions, design = export_sample(run, tmp_path / "hand.csv", n=40)
    assert "fully" in instructions.read_text("utf-8")
    rows = rows_of(sheet)
    assert len(rows) == 40
    assert tuple(rows[0]) == COLUMNS
    assert not any(row["label"] for row in rows)
    for row in rows:  # the person reads, but skips every reply with an aside of 1
        row["label"] = LABELS[int(row["reply"][0])] if row["reply"].endswith("0") else ""
    write_sheet(sheet, rows)
    labelled = read_labelled(run, sheet)
    assert labelled["id"].to_list() == [row["id"] for row in rows]
    frame = verdict_frame(run)
    key = next(key for key in judges_of(frame) if key.startswith("honest"))
    same = labelled.merge(frame, on=["name", "prompt_index", "question_id", "sample"])
    given = same["label"].notna()
    assert (
        same.loc[given, "label"].astype(str) == same.loc[given, f"label:{key}"].astype(str)
    ).all()
    assert given.sum() == sum(row["reply"].endswith("0") for row in rows)
    found = {each.judge.split("-")[0]: each for each in hand_agreement(labelled, frame)}
    assert found["honest"].kappa.value == pytest.approx(1)
    assert found["honest"].unlabelled == 40 - given.sum()
    assert found["honest"].count == given.sum()
    assert design.is_file()


def test_planted_disagreements_are_in_the_sample(run: RunFolder, tmp_path: Path) -> None:
    export_sample(run, tmp_path / "hand.csv", n=20)
    sample = read_labelled(run, tmp_path / "hand.csv")
    keys = set(zip(sample["name"], sample["prompt_index"], sample["question_id"], strict=True))
    assert keys >= PLANTED
    assert sample.groupby("stratum").size().min() >= 1
    assert {"not / not", "somewhat / somewhat", "fully / fully"} <= set(sample["stratum"])
    sizes = sample.groupby("stratum")["stratum_size"].first()
    assert sizes.sum() == N_REPLIES
    assert sample["name"].value_counts().max() <= 6, "spread over eight roles"


def test_the_sheet_is_blind(run: RunFolder, tmp_path: Path) -> None:
    sheet, _, _ = export_sample(run, tmp_path / "hand.csv", n=60)
    text = sheet.read_text("utf-8-sig")
    assert not any(word in text for word in ("honest", "planted", *LABELS))
    strata = read_labelled(run, sheet)["stratum"].to_list()
    runs = 1 + sum(one != two for one, two in pairwise(strata))
    assert runs > 25, "strata do not lie together"


def test_no_cell_is_a_formula(run: RunFolder, tmp_path: Path) -> None:
    dangerous = ["=HYPERLINK(1)", "+1", "-2", "@SUM(A1)", "\t=1", " =1", "＝1", "\r=1"]
    assert all(as_text(cell) == f"'{cell}" for cell in dangerous)
    own = write_run(tmp_path / "own", n_roles=3)
    opened = own.opened()
    for shard in opened.shards:
        replies = [
            Reply(ids=np.array([1]), text=f'=1+1\r\n"{i}",;') for i in range(len(shard.requests))
        ]
        opened.write_replies(shard, replies)
    judged_by(own, "blind", lambda case, rng: Verdict(label="not"))
    rows = rows_of(export_sample(own, tmp_path / "hand.csv", n=9)[0])
    assert len(rows) == 9
    assert all(row["reply"].startswith("'=1+1\r\n\"") for row in rows)
    assert not any(
        cell.lstrip().startswith(("=", "+", "-", "@")) for row in rows for cell in row.values()
    )


def test_what_spreadsheets_do_to_a_sheet_does_not_matter(run: RunFolder, tmp_path: Path) -> None:
    sheet, _, _ = export_sample(run, tmp_path / "hand.csv", n=30)
    rows = rows_of(sheet)
    for row in rows:
        row["label"] = " Fully "
    write_sheet(sheet, sorted(rows, key=lambda row: row["reply"])[5:], delimiter=";")
    sheet.write_bytes(sheet.read_text("utf-8").replace("Someone", "J’aime").encode("cp1252"))
    labelled = read_labelled(run, sheet)
    assert labelled["id"].to_list() == [row["id"] for row in rows]
    assert (labelled["label"] == "fully").sum() == 25
    assert labelled["label"].isna().sum() == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[3].update(label="fuly"), r"row 5: 'fuly'"),
        (lambda rows: rows[0].update(id="role-x-p0/q01/0"), r"row 2: unknown id 'role-x-p0/q01/0'"),
        (lambda rows: rows.append(rows[0]), r"row 12: .* once more"),
        (lambda rows: [row.update(label="?") for row in rows], r"row 6: '\?' and 5 more"),
    ],
)
def test_faults_are_named_with_their_rows(run: RunFolder, tmp_path: Path, change, message) -> None:
    sheet, _, _ = export_sample(run, tmp_path / "hand.csv", n=10)
    rows = rows_of(sheet)
    change(rows)
    write_sheet(sheet, rows)
    with pytest.raises(RunError, match=message):
        read_labelled(run, sheet)


def test_sheets_that_do_not_fit(run: RunFolder, tmp_path: Path) -> None:
    sheet, _, design = export_sample(run, tmp_path / "hand.csv", n=10)
    with pytest.raises(RunError, match="there already"):
        export_sample(run, sheet)
    with pytest.raises(RunError, match="CSV"):
        export_sample(run, tmp_path / "hand.xlsx")
    with pytest.raises(RunError, match="at least one reply"):
        export_sample(run, tmp_path / "none.csv", n=0)
    other = write_run(tmp_path / "other", seed=7)
    with pytest.raises(RunError, match="other replies"):
        read_labelled(other, sheet)
    moved = tmp_path / "moved.csv"
    moved.write_bytes(sheet.read_bytes())
    with pytest.raises(RunError, match="design of"):
        read_labelled(run, moved)
    assert len(read_labelled(run, moved, design=design)) == 10
    sheet.write_text("id,verdict\n", "utf-8")
    with pytest.raises(RunError, match="no column label"):
        read_labelled(run, sheet)


def test_a_sample_larger_than_the_run_is_all_of_it(run: RunFolder, tmp_path: Path) -> None:
    export_sample(run, tmp_path / "hand.csv", n=10_000)
    assert len(read_labelled(run, tmp_path / "hand.csv")) == N_REPLIES


@pytest.mark.parametrize("sizes", [[900, 90, 10, 2], [5], [1, 1, 1], [1000, 1000]])
def test_no_stratum_is_forgotten_and_none_gets_less_than_half_its_part(sizes: list[int]) -> None:
    drawn = shares(np.array(sizes), 40)
    assert drawn.sum() == min(40, sum(sizes))
    assert (drawn <= sizes).all()
    assert (drawn >= 1).all()
    assert (drawn >= np.minimum(sizes, 20 * np.array(sizes) / sum(sizes)) - 1).all()


def test_every_reply_of_a_stratum_has_the_same_chance() -> None:
    rng = np.random.default_rng(0)
    roles = pd.DataFrame({"name": rng.choice(["a", "b", "c", "d"], 300, p=[0.7, 0.1, 0.1, 0.1])})
    roles["stratum"] = rng.choice(["often", "rare"], 300, p=[0.9, 0.1])
    counts = np.zeros(300)
    for _ in range(1000):
        rows = draw_rows(roles, 50, rng)
        assert len(set(rows)) == 50
        counts[rows] += 1
    for stratum in ("often", "rare"):
        own = counts[roles["stratum"] == stratum] / 1000
        chance = own.mean()
        # 5 standard errors: three hundred replies are looked at
        assert np.abs(own - chance).max() < 5 * np.sqrt(chance * (1 - chance) / 1000)
    assert counts[roles["stratum"] == "rare"].mean() > 2 * counts.mean()


def test_weights_undo_the_oversampling_of_disagreements() -> None:
    rng = np.random.default_rng(1)
    n = 900
    frame = pd.DataFrame({"kind": "role", "name": [f"role_{i % 20}" for i in range(n)]})
    frame = frame.assign(prompt_index=0, question_id=np.arange(n).astype(str), sample=0)
    person = rng.integers(0, 3, size=n)
    careless = np.where(rng.random(n) < 0.25, rng.integers(0, 3, size=n), person)
    for name, codes in (("honest", person), ("careless", careless)):
        frame[f"label:{name}"] = pd.Categorical.from_codes(codes, LABELS)
    truth = cohen_kappa_score(person, careless)
    frame["stratum"] = frame["label:honest"].astype(str) + frame["label:careless"].astype(str)
    frame["stratum_size"] = frame.groupby("stratum")["name"].transform("size")
    frame["label"] = frame["label:honest"]
    weighted, plain, hits = [], [], []
    for seed in range(30):
        labelled = frame.loc[draw_rows(frame, 100, rng)]
        _, found = hand_agreement(labelled, frame, n_resamples=200, seed=seed)
        assert found.covered == 1.0
        weighted.append(found.kappa.value)
        hits.append(found.kappa.low <= truth <= found.kappa.high)
        plain.append(cohen_kappa_score(labelled["label"], labelled["label:careless"]))
    assert np.mean(weighted) == pytest.approx(truth, abs=0.02)
    assert np.mean(plain) < truth - 0.1, "counted plainly, judges look worse than they are"
    assert np.mean(hits) > 0.85


def test_agreement_with_a_person_is_that_of_scikit_learn_under_weights() -> None:
    rng = np.random.default_rng(0)
    n = 90
    frame = pd.DataFrame(
        {"kind": "role", "name": [f"r{i % 9}" for i in range(n)], "prompt_index": 0, "sample": 0}
    ).assign(question_id=[f"q{i}" for i in range(n)])
    judge = rng.integers(-1, 3, size=n)
    frame["label:a"] = pd.Categorical.from_codes(judge, LABELS)
    stratum = np.where(judge < 0, 0, judge)
    person = np.where(rng.random(n) < 0.5, np.maximum(judge, 0), rng.integers(0, 3, size=n))
    sizes = np.array([400, 100, 20])
    labelled = frame.drop(columns="label:a").assign(
        stratum=stratum, stratum_size=sizes[stratum], label=np.array(LABELS)[person]
    )
    [found] = hand_agreement(labelled, frame, n_resamples=300)
    weights = (sizes / np.bincount(stratum))[stratum]
    both = judge >= 0
    arguments = {"sample_weight": weights[both]}
    assert found.count == both.sum()
    assert found.equal.value == pytest.approx(
        accuracy_score(person[both], judge[both], **arguments)
    )
    for measure, kind in ((found.kappa, None), (found.weighted_kappa, "linear")):
        expected = cohen_kappa_score(person[both], judge[both], weights=kind, **arguments)
        assert measure.value == pytest.approx(expected)
        assert measure.low < measure.value < measure.high
        assert measure.null_low < 0 < measure.null_high < measure.value
    said = both & (judge == 2)
    right = weights[said & (person == 2)].sum() / weights[said].sum()
    assert found.precision["fully"].value == pytest.approx(right)
    assert found.confusion.to_numpy().sum() == pytest.approx(weights[both].sum())
    assert found.effective_count < found.count


def test_an_empty_sheet_says_nothing(run: RunFolder, tmp_path: Path) -> None:
    export_sample(run, tmp_path / "hand.csv", n=10)
    for found in hand_agreement(read_labelled(run, tmp_path / "hand.csv"), verdict_frame(run)):
        assert found.count == found.covered == 0
        assert found.unlabelled == 10
        assert np.isnan([found.kappa.value, found.equal.value, found.equal.low]).all()


def test_strata_of_which_nothing_is_labelled_are_not_covered(
    run: RunFolder, tmp_path: Path
) -> None:
    sheet, _, _ = export_sample(run, tmp_path / "hand.csv", n=20)
    rows = rows_of(sheet)
    for row in rows:
        row["label"] = "fully" if row["reply"].startswith("2") else ""
    write_sheet(sheet, rows)
    frame = verdict_frame(run)
    roles = frame.loc[frame["kind"] == "role"]
    [honest_key, _] = judges_of(frame)
    for found in hand_agreement(read_labelled(run, sheet), frame):
        assert found.covered == pytest.approx((roles[f"label:{honest_key}"] == "fully").mean())
