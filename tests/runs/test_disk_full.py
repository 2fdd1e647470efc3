"""What happens to runs in practice: the disk is full, somebody presses Ctrl-C, two processes start at once.

The full disk is a real one: a small file system in memory. Mounting it takes rights; where the tests have none,
this file is run again in a namespace in which they have them, and where that is forbidden too it is skipped.
"""

from __future__ import annotations

import os
import platform
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import (
    JUDGED,
    SHARDS,
    CountingJudge,
    ScriptedEngine,
    collected,
    contents,
    judged,
)

from persona_lens import RunFolder, files
from persona_lens.errors import RunError
from persona_lens.runs.judging import judge_run
from persona_lens.runs.store.checking import check_run
from persona_lens.runs.store.disk import full_disk_explained, is_disk_full

PAGE = 4096
_OF_DISKS = "a_disk or full_disk or another_disk"
FULL = r"(?s)the disk under .* is full.*everything finished is kept.*same command"


class SmallDisk:
    """A file system in memory, with a ballast file that leaves as much room as one wants."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def leave(self, pages: int) -> None:
        """Leave so much room, whatever lies on it."""
        self._ballast.unlink(missing_ok=True)
        free = shutil.disk_usage(self.path).free
        self._ballast.write_bytes(bytes(free - pages * PAGE))

    def clear(self) -> None:
        self._ballast.unlink()

    def enlarge(self) -> None:
        subprocess.run(["mount", "-o", "remount,size=64m", str(self.path)], check=True)


def mounted(path: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)]
    return (
        shutil.which("mount") is not None
        and not subprocess.run(command, capture_output=True, check=False).returncode
    )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    path = tmp_path / "disk"
    path.mkdir()
    if not mounted(path):
        pytest.skip("a file system cannot be mounted here")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def rng() -> random.Random:
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    return random.Random(seed)


def test_full_disks_in_a_namespace(tmp_path: Path) -> None:
    if mounted(tmp_path):
        subprocess.run(["umount", str(tmp_path)], check=True)
        pytest.skip("not needed: a file system can be mounted without")
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("neither a file system nor a namespace can be made here")
    pytest_again = [sys.executable, "-m", "pytest", "-q", "-k", _OF_DISKS, __file__]
    done = subprocess.run(
        [*unshare, *pytest_again, f"--basetemp={tmp_path}/again", "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def finished_files(run: RunFolder) -> dict[str, bytes]:
    """All but journals, which grow."""
    return {name: data for name, data in contents(run.path).items() if "jsonl" not in name}


# A full disk --------------------------------------------------------------------------------------


def until_done(
    attempt: Callable[[], object], disk: SmallDisk, rng: random.Random, run: RunFolder
) -> int:
    """Try with random room until the work is done; after each failure, what is there must be whole."""
    for failures in range(60):
        disk.leave(rng.randrange(4 if failures < 3 else 12))
        kept = finished_files(run)
        try:
            attempt()
        except RunError as error:
            full = error
        else:
            return failures
        assert re.search(FULL, str(full))
        assert kept.items() <= finished_files(run).items()
        assert not list(run.path.rglob(".partial-*"))
        if run.has_manifest():
            damaged = check_run(run, progress=False).damaged
            assert all(damage.path.suffix == ".jsonl" for damage in damaged), (
                "more than a torn line"
            )
    pytest.fail("never done")


def test_a_collection_on_a_full_disk_loses_and_repeats_nothing(
    disk: SmallDisk, tmp_path: Path, rng: random.Random
) -> None:
    whole = collected(tmp_path / "whole")
    run = RunFolder(disk.path / "run")
    finished: set[str] = set()

    def attempt() -> None:
        engine = ScriptedEngine()
        try:
            collected(run.path, engine)
        finally:
            assert not finished & set(engine.asked), "a finished shard was sampled again"
            finished.update(
                file.name.rsplit("-", 1)[0] for file in run.path.glob("replies/*.parquet")
            )

    assert until_done(attempt, disk, rng, run) > 0
    assert len(finished) == SHARDS
    assert contents(run.path) == contents(whole.path)
    assert check_run(run, progress=False).sound


def test_judging_on_a_full_disk_loses_nothing_and_asks_again_only_what_found_no_room(
    disk: SmallDisk, tmp_path: Path, rng: random.Random
) -> None:
    whole = judged(tmp_path / "whole", 1)
    run = collected(disk.path / "run")
    asked: list[tuple[str, int]] = []

    def attempt() -> None:
        judge = CountingJudge()
        try:
            judge_run(run, judge, progress=False)
        finally:
            asked.extend(judge.seen)

    failures = until_done(attempt, disk, rng, run)
    assert failures > 0
    assert len(set(asked)) == JUDGED
    assert len(asked) <= JUDGED + failures
    assert finished_files(run) == finished_files(whole)


def test_a_disk_without_any_room_is_named_and_a_larger_one_finishes(
    disk: SmallDisk, tmp_path: Path
) -> None:
    run = RunFolder(disk.path / "run")
    disk.leave(0)
    with pytest.raises(RunError, match=FULL):
        collected(run.path)
    disk.enlarge()
    collected(run.path)
    disk.leave(0)
    with pytest.raises(RunError, match=FULL):
        judge_run(run, CountingJudge(), progress=False)
    disk.clear()
    judge_run(run, CountingJudge(), progress=False)
    assert contents(run.path) == contents(judged(tmp_path / "whole", 1).path)


def test_a_fork_on_another_disk_that_is_full_says_so_and_is_continued(
    disk: SmallDisk, tmp_path: Path
) -> None:
    run = judged(tmp_path / "run", 1)
    roles = [{"name": n, "prompts": [f"You are a {n}."]} for n in ("pirate", "ghost", "analyst")]
    disk.leave(5)
    with pytest.raises(RunError, match=FULL):
        collected(run.path, fork=disk.path / "fork", roles=roles)
    disk.enlarge()
    engine = ScriptedEngine()
    fork = collected(run.path, engine, fork=disk.path / "fork", roles=roles)
    assert engine.asked == []
    report = check_run(fork, progress=False)
    assert report.sound
    assert report.others == ()


def test_a_disk_that_cannot_be_written_to_is_named_and_read_and_forked(
    disk: SmallDisk, tmp_path: Path
) -> None:
    run = collected(disk.path / "run")
    subprocess.run(["mount", "-o", "remount,ro", str(disk.path)], check=True)
    with pytest.raises(RunError, match=r"(?s)cannot be written to.*Read-only file system.*--fork"):
        collected(run.path)
    with pytest.raises(RunError, match="cannot be written to"):
        check_run(run, repair=True, progress=False)
    assert check_run(run, progress=False).sound
    assert len(run.replies()) > 0
    engine = ScriptedEngine()
    fork = collected(run.path, engine, fork=tmp_path / "fork")
    assert engine.asked == []
    assert contents(fork.path) == contents(run.path)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(28, "No space left on device"), True),
        (OSError(122, "Disk quota exceeded"), True),
        (RuntimeError("Error while serializing: I/O error: No space left on device"), True),
        (OSError(13, "Permission denied"), False),
        (ValueError("no space"), False),
    ],
)
def test_only_a_full_disk_is_called_one(error: Exception, full: bool, tmp_path: Path) -> None:
    assert is_disk_full(error) == full
    with pytest.raises(RunError if full else type(error)), full_disk_explained(tmp_path):
        raise error


# Ctrl-C -------------------------------------------------------------------------------------------

WORK = """
import signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from made_runs import CountingJudge, ScriptedEngine, collected
from persona_lens.runs.judging import judge_run
done = False
while not done and sys.stdin.readline():
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("started", flush=True)
        run = collected(Path(sys.argv[2]), ScriptedEngine(lambda: time.sleep(0.004)))
        judge_run(run, CountingJudge(before_each=lambda: time.sleep(0.002)), progress=False)
        done = True
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("done" if done else "stopped", flush=True)
"""


def test_a_run_interrupted_at_random_points_is_whole_at_each_and_equal_in_the_end(
    tmp_path: Path, rng: random.Random
) -> None:
    whole = judged(tmp_path / "whole", 1)
    run = RunFolder(tmp_path / "run")
    command = [sys.executable, "-c", WORK, str(Path(__file__).parent), str(run.path)]
    stopped = 0
    kept: dict[str, bytes] = {}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for attempt in range(40):
            process.stdin.write("start\n")
            process.stdin.flush()
            assert process.stdout.readline() == "started\n"
            if attempt < 30:
                time.sleep(rng.random() * 0.03)
                process.send_signal(signal.SIGINT)
            said = process.stdout.readline()
            now = finished_files(run)
            assert kept.items() <= now.items()
            kept = now
            if run.has_manifest():
                assert check_run(run, progress=False).damaged == ()
            if said == "done\n":
                break
            assert said == "stopped\n"
            stopped += 1
    assert stopped > 0
    assert finished_files(run) == finished_files(whole)
    assert check_run(run, progress=False).others == ()


# Two at once --------------------------------------------------------------------------------------

HOLD = """
import subprocess, sys, time
from persona_lens.runs.store.folder import RunFolder
with RunFolder(sys.argv[1]).writing():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    print(child.pid, flush=True)
    time.sleep(3600)
"""


def test_the_second_writer_is_told_whom_to_wait_for_and_gets_in_when_the_first_is_killed(
    tmp_path: Path,
) -> None:
    run = RunFolder(tmp_path / "run")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            told = rf"(?s)written by another process.*process {process.pid} on {platform.node()}"
            with pytest.raises(RunError, match=told):
                collected(run.path)
            assert not run.has_manifest()
            (run.path / ".lock.json").write_text("")  # as it is before the first has written it
            with pytest.raises(RunError, match="written by another process"), run.writing():
                pass
            process.kill()
            process.wait()
            collected(run.path)  # although a child of the dead process lives
        finally:
            process.kill()
            os.kill(child, signal.SIGKILL)
    assert not (run.path / ".lock.json").exists()


def test_a_note_of_a_dead_process_locks_nobody_out(tmp_path: Path) -> None:
    run = collected(tmp_path / "run")
    (run.path / ".lock.json").write_text('{"pid": 1, "host": "elsewhere"}')
    with run.writing():
        assert f'"pid": {os.getpid()}' in (run.path / ".lock.json").read_text()
    assert not (run.path / ".lock.json").exists()


def test_what_killed_writers_leave_behind_is_removed_by_the_next(tmp_path: Path) -> None:
    run = judged(tmp_path / "run", 1)
    before = contents(run.path)
    for folder in ("replies", *(f"{kind}/*" for kind in ("activations", "labels"))):
        (inside,) = run.path.glob(folder)
        (inside / ".partial-1-x.parquet").write_bytes(b"half")
        (inside / ".partial-abc").mkdir()
        (inside / ".partial-abc" / ".tmp123").write_bytes(b"half")
    assert len(check_run(run, progress=False).others) == 6
    with run.writing():
        pass
    assert contents(run.path) == before
    assert check_run(run, progress=False).others == ()


def test_what_a_library_writes_beside_its_target_lies_where_it_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """safetensors writes to a `.tmp` file of its own, private to its owner, and leaves it when killed."""
    save, folders = files.save_file, []

    def note(tensors: Any, path: Path, metadata: Any) -> None:
        folders.append(path.parent)
        save(tensors, path, metadata=metadata)

    monkeypatch.setattr(files, "save_file", note)
    files.write_tensors(tmp_path / "x.safetensors", {"x": np.zeros(3)})
    files.write_json(tmp_path / "x.json", {})
    (folder,) = folders
    assert folder.parent == tmp_path
    assert folder.name.startswith(files.PARTIAL_PREFIX)
    assert {path.name for path in tmp_path.iterdir()} == {"x.safetensors", "x.json"}
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


def test_a_file_is_on_the_disk_before_its_name_and_its_name_before_anything_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut leaves cannot be tried; in which order the system is told, can."""
    done: list[str] = []
    sync, rename = os.fsync, os.replace

    def note_sync(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    def note_rename(source: Path, target: Path) -> None:
        done.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)
    with files.whole_or_nothing(tmp_path / "new" / "x") as partial:
        partial.write_text("x")
    assert done == ["folder", "file", "rename", "folder"]


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match=r"(?s)cannot be written to.*File exists"):
        collected(tmp_path / "run")
