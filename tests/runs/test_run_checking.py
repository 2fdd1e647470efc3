"""Checking a run: whatever happens to a byte is found, and repairing costs only what it happened to."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_runs import CountingJudge, ScriptedEngine, collected, contents, judged

from persona_lens import RunFolder
from persona_lens.errors import RunError
from persona_lens.runs.judging import judge_run
from persona_lens.runs.store import checking
from persona_lens.runs.store.checking import check_run
from persona_lens.runs.store.journal import Journal
from persona_lens.runs.store.labels import Labels, judge_keys
from persona_lens.runs.store.report import Report
from persona_lens.runs.store.tables import DamagedFile, read_array

FILES = {
    "replies": "replies/role-ghost-p1-*.parquet",
    "activations": "activations/*/role-ghost-p1-*.safetensors",
    "labels": "labels/counting-c3aa9744/role-ghost-p1-*.parquet",
}
PLACES: dict[str, int | bytes] = {"replies": b"Arr", "activations": -6, "labels": b"Ja"}


def check(run: RunFolder, **options: Any) -> Report:
    return check_run(run, progress=False, **options)


def flip(file: Path, place: int | bytes, bit: int = 0) -> None:
    """Flip a bit at a place, or where some bytes begin."""
    data = bytearray(file.read_bytes())
    data[data.index(place) if isinstance(place, bytes) else place] ^= 1 << bit
    file.write_bytes(data)


def stopped_after(count: int) -> CountingJudge:
    """A judge that is interrupted after so many verdicts."""
    left = [count]

    def stop() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt

    return CountingJudge(before_each=stop)


def under_way(path: Path) -> RunFolder:
    """A run with a judge's journal of 6 verdicts."""
    run = collected(path, roles=[{"name": n, "prompts": [f"{n}!"]} for n in ("pirate", "ghost", "fox")],
                    questions=[f"Question {number}?" for number in range(8)])  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        judge_run(run, stopped_after(6), progress=False)
    return run


# What is found ------------------------------------------------------------------------------------


def test_a_sound_run_is_found_sound(tmp_path: Path) -> None:
    run = judged(tmp_path / "run", 1, 2)
    report = check(run)
    assert report.sound
    assert not report.damaged
    assert not report.others
    assert {part.name: part.whole for part in report.parts} == {
        "judges": 2,
        "replies": 7,
        "activations": 7,
        "labels counting-c3aa9744": 6,
        "labels counting-0899eaee": 6,
    }
    assert not any(part.missing or part.damaged for part in report.parts)
    assert report.bytes_used == sum(
        file.stat().st_size for file in run.path.rglob("*") if file.is_file()
    )
    assert "Everything is there and undamaged." in str(report)
    assert "7 of 7 whole" in str(report)


@pytest.mark.parametrize("kind", FILES)
def test_a_flipped_bit_is_found_set_aside_and_only_its_shard_made_again(
    kind: str, tmp_path: Path
) -> None:
    run = judged(tmp_path / "run", 1)
    before = contents(run.path)
    (file,) = run.path.glob(FILES[kind])
    flip(file, PLACES[kind])

    report = check(run)
    assert not report.sound
    assert [damage.path for damage in report.damaged] == [file]
    assert {part.name.split()[0]: part.damaged for part in report.parts if part.damaged} == {
        kind: ("role-ghost-p1",)
    }
    assert str(file.relative_to(run.path)) in str(report)
    assert "--check --repair" in str(report)
    assert file.exists(), "a check alone changes nothing"

    repaired = check(run, repair=True)
    aside = file.with_name(f"{file.name}.damaged")
    assert repaired.sound
    assert [damage.set_aside for damage in repaired.damaged] == [aside]
    assert aside.exists()
    assert not file.exists()
    again = check(run)
    assert again.sound
    assert again.others == (aside,)
    assert [p.name.split()[0] for p in again.parts if p.missing == ("role-ghost-p1",)] == [kind]

    engine, judge = ScriptedEngine(), CountingJudge()
    collected(run.path, engine)
    judge_run(run, judge, progress=False)
    assert engine.asked == ([] if kind == "labels" else ["role-ghost-p1"])
    assert {key for key, _ in judge.seen} == ({"role-ghost-p1"} if kind == "labels" else set())
    assert contents(run.path) == before


def test_what_was_set_aside_before_is_kept(tmp_path: Path) -> None:
    run = collected(tmp_path / "run")
    (file,) = run.path.glob(FILES["replies"])
    for number in range(2):
        flip(file, b"Arr", bit=number)
        check(run, repair=True)
        collected(run.path)
    assert {path.name.split(".parquet")[1] for path in file.parent.glob("*.damaged")} == {
        ".damaged",
        ".2.damaged",
    }


def test_missing_shards_are_listed_and_nothing_is_called_damaged(tmp_path: Path) -> None:
    run = judged(tmp_path / "run", 1)
    for pattern in (
        "replies/role-ghost-*",
        "activations/*/role-pirate-p0-*",
        "labels/*/role-fox-*",
    ):
        for file in run.path.glob(pattern):
            file.unlink()
    report = check(run)
    assert report.sound
    missing = {part.name.split()[0]: part.missing for part in report.parts}
    assert missing["replies"] == ("role-ghost-p0", "role-ghost-p1")
    assert missing["activations"] == ("role-pirate-p0",)
    assert missing["labels"] == ()
    assert "the same collect or judge command makes what is missing" in str(report)


def test_files_that_are_not_of_the_plan_are_listed_and_left_alone(tmp_path: Path) -> None:
    run = collected(tmp_path / "run")
    strangers = {
        run.path / "notes.txt",
        run.path / "replies" / "role-king-p0-0123456789ab.parquet",
        run.path / "replies" / ".partial-1-x.parquet",
    }
    for file in strangers:
        file.write_bytes(b"12345")
    report = check(run)
    assert set(report.others) == strangers
    assert report.bytes_of_others == 15
    assert report.sound


def test_a_file_in_the_place_of_another_is_noticed(tmp_path: Path) -> None:
    run = judged(tmp_path / "run", 1)
    for pattern in ("replies/*.parquet", "labels/*/*.parquet"):
        first, second = sorted(run.path.glob(pattern))[-2:]
        shutil.copyfile(first, second)
    found = {
        str(damage.path.relative_to(run.path))[:6]: damage.what for damage in check(run).damaged
    }
    assert found == dict.fromkeys(("replie", "labels"), "it holds another shard")


def test_activations_and_labels_of_other_replies_are_noticed_and_made_again(tmp_path: Path) -> None:
    run = judged(tmp_path / "run", 1)
    opened = run.opened()
    shard = opened.shards[-1]
    opened.write_replies(shard, opened.read_replies(shard)[::-1])
    report = check(run)
    assert [damage.path.suffix for damage in report.damaged] == [".safetensors", ".parquet"]
    assert {damage.what for damage in report.damaged} == {
        "it is of other replies than those that are there"
    }
    with pytest.raises(RunError, match="not of the replies that are there"):
        opened.read_activations(shard)
    check(run, repair=True)
    collected(run.path)
    judge = CountingJudge()
    judge_run(run, judge, progress=False)
    assert {key for key, _ in judge.seen} == {shard.key}
    assert check(run).sound


def test_labels_wait_for_replies_that_were_set_aside(tmp_path: Path) -> None:
    run = judged(tmp_path / "run", 1)
    (file,) = run.path.glob(FILES["replies"])
    flip(file, b"Arr")
    check(run, repair=True)
    labels = Labels.find(run.opened(), "counting")
    shard = next(s for s in labels.run.shards if s.key == "role-ghost-p1")
    assert not labels.has(shard)
    with pytest.raises(RunError, match=r"(?s)not finished: role-ghost-p1 is missing.*collect"):
        labels.read(shard)
    collected(run.path)
    assert len(labels.read(shard)) == 4


def test_a_damaged_card_of_a_judge_is_written_again(tmp_path: Path) -> None:
    run = judged(tmp_path / "run", 1)
    (card,) = run.path.glob("labels/*/judge.json")
    flip(card, b"1")
    with pytest.raises(RunError, match="is damaged"):
        Labels.find(run.opened(), "counting").card()
    assert [damage.path for damage in check(run, repair=True).damaged] == [card]
    assert judge_keys(run.opened()) == []
    assert [part.missing for part in check(run).parts if part.name == "judges"] == [
        ("counting-c3aa9744",)
    ]
    judge = CountingJudge()
    judge_run(run, judge, progress=False)
    assert judge.seen == []
    assert check(run).sound


@pytest.mark.parametrize("change", [(b"[4,2,8]", b"[2,4,8]"), (b'"F32"', b'"I32"')])
def test_the_same_bytes_in_another_shape_are_not_the_same(
    change: tuple[bytes, bytes], tmp_path: Path
) -> None:
    run = collected(tmp_path / "run")
    (file,) = run.path.glob(FILES["activations"])
    data = file.read_bytes()
    assert change[0] in data
    file.write_bytes(data.replace(*change))
    with pytest.raises(DamagedFile):
        read_array(file)


# The manifest -------------------------------------------------------------------------------------


def test_a_damaged_manifest_is_set_aside_and_written_again(tmp_path: Path) -> None:
    run = collected(tmp_path / "run")
    file = run.path / "manifest.json"
    before, whole = contents(run.path), file.read_bytes()
    flip(file, b"You are a ghost")
    with pytest.raises(RunError, match=r"(?s)is damaged.*finished replies are kept"):
        run.manifest()
    report = check(run)
    assert [damage.path for damage in report.damaged] == [file]
    assert not report.parts
    assert not report.others, "which files are of the plan is not known"
    assert "manifest.json" in str(report)
    check(run, repair=True)
    engine = ScriptedEngine()
    collected(run.path, engine)
    assert engine.asked == []
    assert contents(run.path) == before
    assert file.read_bytes() == whole


def test_a_run_of_another_format_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"format": 1, "shards": []}')
    with pytest.raises(RunError, match=r"(?s)another version.*expected format 2, given 1"):
        check(RunFolder(tmp_path))


# Journals -----------------------------------------------------------------------------------------


def test_a_journal_keeps_its_whole_lines(tmp_path: Path) -> None:
    run = under_way(tmp_path / "run")
    (file,) = run.path.glob("labels/*/*.jsonl")
    report = check(run)
    assert report.sound
    assert (report.journals, report.records) == (1, 6)
    damaged = file.read_bytes().replace(b'"index": 2', b'"index": 3')[:-5]
    file.write_bytes(damaged)
    report = check(run)
    assert [damage.what for damage in report.damaged] == ["2 of its 6 lines are damaged"]
    assert report.records == 4
    check(run, repair=True)
    assert [record["index"] for record in Journal(file).records()] == [0, 1, 3, 4]
    assert Journal(file).count() == (4, 0)
    assert check(run).sound
    assert file.with_name(f"{file.name}.damaged").read_bytes() == damaged
    judge = CountingJudge()
    judge_run(run, judge, progress=False)
    assert len(judge.seen) == 3 * 8 - 4
    assert check(run).sound


# What is out of reach, and who is at work ---------------------------------------------------------


@pytest.mark.parametrize(("number", "lost"), [(errno.EACCES, False), (errno.EIO, True)])
def test_only_what_the_disk_has_lost_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, lost: bool
) -> None:
    run = collected(tmp_path / "run")
    (file,) = run.path.glob(FILES["replies"])
    read: Callable[[Path], Any] = checking.read_table

    def refuse(path: Path) -> Any:
        if path == file:
            raise OSError(number, os.strerror(number))
        return read(path)

    monkeypatch.setattr(checking, "read_table", refuse)
    report = check(run, repair=True)
    assert [damage.what for damage in report.damaged] == [
        f"it cannot be read: {os.strerror(number)}"
    ]
    assert report.sound == lost
    assert file.exists() != lost


def test_a_run_in_use_is_checked_but_not_repaired(tmp_path: Path) -> None:
    run = collected(tmp_path / "run")
    with run.writing():
        assert check(run).sound
        with pytest.raises(RunError, match=rf"given process {os.getpid()} on "):
            check(run, repair=True)


def test_a_file_replaced_during_the_check_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = collected(tmp_path / "run")
    opened = run.opened()
    shard = opened.shards[-1]
    replies, means = opened.read_replies(shard), opened.read_activations(shard)
    read, times = checking.read_array, []

    def write_between(path: Path) -> Any:
        if path == opened.activation_file(shard) and not times:
            times.append(1)
            opened.write_activations(shard, replies[::-1], means[::-1])
            opened.write_replies(shard, replies[::-1])
        return read(path)

    monkeypatch.setattr(checking, "read_array", write_between)
    assert check(run).sound
    assert times


# Any byte -----------------------------------------------------------------------------------------


def decoded(run: RunFolder) -> dict[str, Any]:
    """Everything a run holds, as it is read."""
    opened = run.opened()
    labels = Labels(opened, judge_keys(opened)[0])
    found: dict[str, Any] = {
        "manifest": opened.manifest.model_dump_json(),
        "judge": labels.card(),
        "calibration": labels.calibration(),
        "rows": run.replies().to_list(),
    }
    for shard in opened.shards:
        found[f"means {shard.key}"] = opened.read_activations(shard).tobytes()
        if shard.kind != "default":
            found[f"journal {shard.key}"] = list(labels.journal(shard).records())
            found[f"labels {shard.key}"] = labels.read(shard) if labels.has(shard) else None
    return found


def corrupted(data: bytes, rng: random.Random) -> bytes:
    """With a bit or a byte changed, a stretch of zeros, or cut short."""
    changed, place = bytearray(data), rng.randrange(len(data))
    how = rng.choice(["bit", "bit", "byte", "zeros", "cut"])
    if how == "bit":
        changed[place] ^= 1 << rng.randrange(8)
    elif how == "byte":
        changed[place] = rng.randrange(256)
    elif how == "zeros":
        stop = min(len(data), place + rng.randrange(1, 4096))
        changed[place:stop] = bytes(stop - place)
    else:
        del changed[place:]
    return bytes(changed)


@pytest.mark.parametrize(
    "pattern",
    [
        "manifest.json",
        "replies/role-*.parquet",
        "activations/*/role-*.safetensors",
        "labels/*/role-*.parquet",
        "labels/*/role-*.jsonl",
        "labels/*/judge.json",
        "labels/*/calibration.json",
    ],
)
def test_no_changed_byte_goes_unnoticed(pattern: str, tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    rng = random.Random(seed)
    run = under_way(tmp_path / "run")
    judge = stopped_after(11)  # one shard is labelled, of another there is a journal
    with pytest.raises(KeyboardInterrupt):
        judge_run(run, judge, progress=False)
    Labels(run.opened(), judge_keys(run.opened())[0]).write_calibration(
        {"threshold": 0.5, "words": ["ahoy ☀"]}
    )
    assert check(run).sound
    before = decoded(run)
    file = sorted(run.path.glob(pattern))[0]
    data = file.read_bytes()
    noticed = 0
    for attempt in range(60):
        file.write_bytes(corrupted(data, rng))
        if damaged := [damage.path for damage in check(run).damaged]:
            assert damaged == [file], f"seed {seed}, attempt {attempt}"
            noticed += 1
            continue
        after = decoded(run)
        for name, content in before.items():
            # A journal that ends early is a journal as it was earlier.
            end = len(after[name]) if name.startswith("journal") else None
            assert after[name] == (content if end is None else content[:end]), (
                f"{name} has changed unnoticed (seed {seed}, attempt {attempt})"
            )
    assert noticed > 20, f"seed {seed}"
