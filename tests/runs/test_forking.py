"""Forks: they start with all that still holds, and neither the old run nor the new can change the other."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from made_runs import PLAN, CountingJudge, ScriptedEngine, collected, contents, judged

from persona_lens import RunFolder, Sampling
from persona_lens.errors import RunError
from persona_lens.runs.judging import judge_run
from persona_lens.runs.store.checking import check_run
from persona_lens.runs.store.labels import Labels, judge_keys

OTHER_GHOST = [
    *PLAN["roles"][:1],
    {"name": "ghost", "prompts": ["You are a ghost.", "Haunt the one who asks."]},
    *PLAN["roles"][2:],
]
CHANGED: dict[str, Any] = {"roles": OTHER_GHOST}
"""One of seven shards is another one."""


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and not file.name.startswith(".lock")
    }


def test_a_fork_takes_over_what_holds_and_leaves_the_original_unchanged(tmp_path: Path) -> None:
    run = judged(tmp_path / "run", 1)
    before = everything(run.path)
    engine, judge = ScriptedEngine(), CountingJudge()
    fork = collected(run.path, engine, fork=tmp_path / "fork", **CHANGED)
    assert fork.path == tmp_path / "fork"
    assert engine.asked == ["role-ghost-p1"]
    assert judge_keys(fork.opened()) == judge_keys(run.opened())
    assert (
        Labels.find(fork.opened(), "counting").card()
        == Labels.find(run.opened(), "counting").card()
    )
    judge_run(fork, judge, progress=False)
    assert sorted(judge.seen) == [("role-ghost-p1", index) for index in range(4)]
    assert everything(run.path) == before
    new, old = contents(fork.path), contents(run.path)
    assert all(new[name] == old[name] for name in new.keys() & old.keys())
    assert {name for name in old if name not in new} == {n for n in old if "role-ghost-p1" in n}
    assert check_run(fork, progress=False).others == ()


def test_a_fork_is_continued_by_the_same_command(tmp_path: Path) -> None:
    run = collected(tmp_path / "run")

    def die() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collected(run.path, ScriptedEngine(die), fork=tmp_path / "fork", **CHANGED)
    engine = ScriptedEngine()
    fork = collected(run.path, engine, fork=tmp_path / "fork", **CHANGED)
    assert engine.asked == ["role-ghost-p1"]
    again = ScriptedEngine()
    collected(run.path, again, fork=tmp_path / "fork", **CHANGED)
    collected(fork.path, again, **CHANGED)
    assert again.asked == []
    with pytest.raises(RunError, match=r"the run in .*fork was started with other settings"):
        collected(run.path, fork=fork.path)


def test_a_fork_that_was_killed_while_it_took_files_over_takes_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = judged(tmp_path / "run", 1)
    link, left = os.link, [5]

    def link_some(source: Path, target: Path) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        link(source, target)

    monkeypatch.setattr(os, "link", link_some)
    with pytest.raises(KeyboardInterrupt):
        collected(run.path, fork=tmp_path / "fork", **CHANGED)
    monkeypatch.undo()
    assert not RunFolder(tmp_path / "fork").has_manifest()
    engine = ScriptedEngine()
    collected(run.path, engine, fork=tmp_path / "fork", **CHANGED)
    assert engine.asked == ["role-ghost-p1"]


def test_a_fork_of_a_fork(tmp_path: Path) -> None:
    run = collected(tmp_path / "run")
    first = collected(run.path, fork=tmp_path / "first", **CHANGED)
    before = everything(first.path)
    engine = ScriptedEngine()
    second = collected(
        first.path, engine, fork=tmp_path / "second", questions=PLAN["questions"][:2]
    )
    assert len(engine.asked) == 7, "other questions make other shards"
    engine = ScriptedEngine()
    third = collected(first.path, engine, fork=tmp_path / "third")
    assert engine.asked == ["role-ghost-p1"]
    assert everything(first.path) == before
    assert contents(third.path) == contents(run.path)
    assert check_run(second, progress=False).sound


def test_other_layers_keep_the_replies_and_labels_and_leave_the_activations_behind(
    tmp_path: Path,
) -> None:
    run = judged(tmp_path / "run", 1)
    fork = collected(run.path, fork=tmp_path / "fork", layers=[1])
    judge = CountingJudge()
    judge_run(fork, judge, progress=False)
    assert judge.seen == []
    assert fork.replies().to_list() == run.replies().to_list()
    assert len(list(fork.path.glob("activations/*"))) == 1
    assert check_run(fork, progress=False).others == ()


def test_other_sampling_shares_nothing(tmp_path: Path) -> None:
    run = judged(tmp_path / "run", 1)
    engine = ScriptedEngine()
    collected(run.path, engine, fork=tmp_path / "fork", sampling=Sampling(seed=1))
    assert len(engine.asked) == 7


# What one of the two does to the other ------------------------------------------------------------


@pytest.mark.parametrize("writer", ["run", "fork"])
def test_writing_in_one_changes_nothing_in_the_other(tmp_path: Path, writer: str) -> None:
    """Whatever writes a file of a run is called, in one of two folders whose files are linked."""
    run = judged(tmp_path / "run", 1)
    fork = collected(run.path, fork=tmp_path / "fork", **CHANGED)
    shared = fork.opened().reply_file(fork.manifest().shards[0])
    assert shared.stat().st_nlink == 2, "nothing is shown by folders that share nothing"
    mine, other = (run, fork) if writer == "run" else (fork, run)
    before = everything(other.path)

    opened = mine.opened()
    labels = Labels(opened, judge_keys(opened)[0])
    with mine.writing():
        for shard in opened.shards:
            replies = opened.read_replies(shard)
            means = opened.read_activations(shard)
            opened.write_replies(shard, replies[::-1])
            opened.write_activations(shard, replies[::-1], 2 * means[::-1])
            if shard.kind != "default":
                labels.journal(shard).append({"index": 0, "replies": "others"})
                labels.journal(shard).rewrite()
        labels.write_card({"changed": True})
        labels.write_calibration({"changed": True})
        mine.started(opened.manifest)
    judge_run(mine, CountingJudge(), progress=False)
    check_run(mine, repair=True, progress=False)
    labels.remove_verdicts()
    shutil.rmtree(mine.path / "replies")
    assert everything(other.path) == before


@pytest.mark.parametrize("writer", ["run", "fork"])
def test_journals_are_copied_and_grow_apart(tmp_path: Path, writer: str) -> None:
    run = collected(tmp_path / "run")
    opened = run.opened()
    key = Labels(opened, "counting-1")
    key.write_card({})
    key.journal(opened.shards[1]).append({"index": 0})
    fork = collected(run.path, fork=tmp_path / "fork", **CHANGED)
    mine, other = (run, fork) if writer == "run" else (fork, run)
    journals = [
        Labels(one.opened(), "counting-1").journal(opened.shards[1]) for one in (mine, other)
    ]
    journals[0].append({"index": 1})
    assert [list(journal.records()) for journal in journals] == [
        [{"index": 0}, {"index": 1}],
        [{"index": 0}],
    ]


# Where folders lie --------------------------------------------------------------------------------


def test_another_file_system_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = judged(tmp_path / "run", 1)

    def refuse(_source: Path, _target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    engine = ScriptedEngine()
    fork = collected(run.path, engine, fork=tmp_path / "fork", **CHANGED)
    assert engine.asked == ["role-ghost-p1"]
    assert check_run(fork, progress=False).sound
    assert {file.stat().st_nlink for file in fork.path.rglob("*.parquet")} == {1}


def test_a_copy_that_was_cut_short_is_not_taken_for_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = collected(tmp_path / "run")

    def refuse(_source: Path, _target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def half(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", refuse)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", half)
        with pytest.raises(RunError, match=r"the disk under .*fork is full"):
            collected(run.path, fork=tmp_path / "fork", **CHANGED)
    assert contents(tmp_path / "fork") == {}
    engine = ScriptedEngine()
    collected(run.path, engine, fork=tmp_path / "fork", **CHANGED)
    assert engine.asked == ["role-ghost-p1"]


def test_a_fork_lies_within_the_run_if_one_likes(tmp_path: Path) -> None:
    run = collected(tmp_path / "run")
    engine = ScriptedEngine()
    for _ in range(2):
        collected(run.path, engine, fork=run.path / "fork", **CHANGED)
    assert engine.asked == ["role-ghost-p1"]
    assert not list((run.path / "fork").rglob("fork"))


def test_a_fork_needs_a_run_and_a_folder_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run in .*typo"):
        collected(tmp_path / "typo", fork=tmp_path / "fork")
    assert not (tmp_path / "typo").exists()
    assert not (tmp_path / "fork").exists()
    run = collected(tmp_path / "run")
    (run.path / "manifest.json").rename(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="a fork needs a folder of its own"):
        collected(run.path, fork=tmp_path / "fork" / ".." / "run")


def test_a_run_that_is_being_written_is_not_forked(tmp_path: Path) -> None:
    run = collected(tmp_path / "run")
    with run.writing(), pytest.raises(RunError, match="is being written"):
        collected(run.path, fork=tmp_path / "fork", **CHANGED)
