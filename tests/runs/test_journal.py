"""The journal: what was appended is read back, whatever becomes of the lines beside it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from persona_lens.runs.store.journal import Journal

APPEND = """
import sys
from pathlib import Path
from persona_lens.runs.store.journal import Journal
journal = Journal(Path(sys.argv[1]))
for index in range(int(sys.argv[2]), 10**9):
    journal.append({"index": index, "reply": "wörd " * (index % 300)})
    print(index, flush=True)
"""
RECORDS = [{"index": n, "reply": f"line\nbreak, ☀, \x00 and \\ {n}", "ok": None} for n in range(5)]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    made = Journal(tmp_path / "deep" / "shard.jsonl")
    for record in RECORDS:
        made.append(record)
    return made


def test_records_come_back_in_order(journal: Journal) -> None:
    assert list(journal.records()) == RECORDS
    assert journal.count() == (5, 0)


def test_there_may_be_no_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "none.jsonl")
    assert list(journal.records()) == []
    assert journal.count() == (0, 0)
    journal.remove()


def test_what_cannot_be_written_as_json_leaves_the_journal_as_it_was(journal: Journal) -> None:
    for wrong in ({"score": float("nan")}, {"reply": object()}, {"reply": "\ud800"}):
        with pytest.raises((ValueError, TypeError)):
            journal.append(wrong)
    assert journal.count() == (5, 0)


def test_a_journal_cut_anywhere_keeps_the_lines_before_and_takes_new_ones(journal: Journal) -> None:
    data = journal.path.read_bytes()
    for length in range(len(data)):
        journal.path.write_bytes(data[:length])
        kept = list(journal.records())
        assert kept == RECORDS[: len(kept)]
        journal.append({"index": "new"})
        assert list(journal.records()) == [*kept, {"index": "new"}], f"cut at {length}"
        whole, damaged = journal.count()
        assert (whole, damaged <= 1) == (len(kept) + 1, True)


def test_a_changed_byte_costs_one_record_at_most_and_is_counted(journal: Journal) -> None:
    data = journal.path.read_bytes()
    seed = int.from_bytes(os.urandom(4), "big")
    rng = random.Random(seed)
    for _ in range(500):
        changed = bytearray(data)
        place = rng.randrange(len(data))
        changed[place] = rng.randrange(256)
        journal.path.write_bytes(changed)
        kept = list(journal.records())
        lost = [record for record in RECORDS if record not in kept]
        assert [record for record in RECORDS if record in kept] == kept, f"seed {seed}"
        assert len(lost) <= 1, f"seed {seed}, place {place}"
        assert bool(lost) <= bool(journal.count()[1]), f"a lost line is not counted (seed {seed})"


def test_zeros_at_the_end_as_a_power_cut_leaves_them_are_left_out(journal: Journal) -> None:
    with journal.path.open("ab") as file:
        file.write(bytes(4096))
    journal.append({"index": 5})
    assert list(journal.records()) == [*RECORDS, {"index": 5}]
    assert journal.count() == (6, 1)


def test_a_rewritten_journal_has_only_whole_lines(journal: Journal) -> None:
    data = journal.path.read_bytes()
    journal.path.write_bytes(data.replace(b'"index": 2', b'"index": 7')[:-3])
    assert journal.count() == (3, 2)
    journal.rewrite()
    assert journal.count() == (3, 0)
    assert [record["index"] for record in journal.records()] == [0, 1, 3]
    journal.append({"index": 2})
    assert journal.count() == (4, 0)


def test_what_was_appended_before_a_kill_is_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "shard.jsonl")
    rng = random.Random()
    told = 0
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", APPEND, str(journal.path), str(told)],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            for _ in range(rng.randrange(1, 200)):
                told = int(process.stdout.readline()) + 1
            process.send_signal(signal.SIGKILL)
            told = max([told, *(int(line) + 1 for line in process.stdout if line.endswith("\n"))])
        indices = [record["index"] for record in journal.records()]
        assert indices[:told] == list(range(told))
        assert len(indices) - told in (0, 1)  # the last one may have been written and not told
        told = len(indices)
