"""Judging a run: every verdict kept the moment it is there, none asked for twice, several judges side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from persona_lens import PersonaModel, RunFolder, Sampling
from persona_lens.errors import RunError
from persona_lens.judges import Case, Verdict
from persona_lens.runs import collect_run
from persona_lens.runs.judging import judge_run
from persona_lens.runs.store.labels import Labels, judge_keys

PLAN = {
    "roles": ["pirate", "ghost", "analyst"],
    "traits": ["calm"],
    "questions": ["q01", "q02", "q03"],
    "prompts": 2,
    "default_samples": 2,
    "batch_size": 64,
    "progress": False,
}
JUDGED = 3 * 2 * 3 + 2 * 2 * 3


class CountingJudge:
    """Says "fully" when a reply is long; dies after so many verdicts; may leave some unparsed."""

    name = "counting"

    def __init__(self, version: int = 1, dies_after: int | None = None, mute: bool = False) -> None:
        self.version, self.dies_after, self.mute = version, dies_after, mute
        self.seen: list[tuple[str, int]] = []

    def card(self) -> dict[str, Any]:
        return {"version": self.version}

    def verdicts(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        for case in cases:
            if self.dies_after is not None and len(self.seen) == self.dies_after:
                raise KeyboardInterrupt
            self.seen.append((case.shard.key, case.index))
            if self.mute and case.index == 1:
                yield case, Verdict(status="unparsed", raw="hm")
            else:
                yield case, Verdict(label="fully", score=float(len(case.reply.text)))


class Thresholded(CountingJudge):
    name = "thresholded"

    def nulls_wanted(self, shard: Any) -> int:
        return 4

    def calibrate(self, nulls: Iterable[Case]) -> dict[str, Any]:
        taken = list(nulls)
        return {"nulls": len(taken), "systems": sorted({case.shard.system for case in taken})}

    def restore(self, calibration: Mapping[str, Any]) -> None:
        self.restored = calibration


@pytest.fixture
def run(tiny_llama: Path, tmp_path: Path) -> RunFolder:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    return collect_run(model, tmp_path / "run", sampling=Sampling(max_new_tokens=6), **PLAN)


def test_every_role_and_trait_reply_gets_one_verdict(run: RunFolder) -> None:
    judge = CountingJudge()
    labels = judge_run(run, judge, progress=False)
    assert len(judge.seen) == len(set(judge.seen)) == JUDGED
    opened = run.opened()
    for shard in opened.shards:
        if shard.kind == "default":
            assert not labels.has(shard)
            continue
        for verdict, reply in zip(labels.read(shard), opened.read_replies(shard), strict=True):
            assert verdict == Verdict(label="fully", score=float(len(reply.text)))
    assert not list(run.path.glob("labels/*/*.jsonl"))


@pytest.mark.parametrize("dies_after", [0, 1, 4, JUDGED - 1])
def test_a_judge_that_dies_repeats_nothing(run: RunFolder, dies_after: int) -> None:
    first, second = CountingJudge(dies_after=dies_after), CountingJudge()
    with pytest.raises(KeyboardInterrupt):
        judge_run(run, first, progress=False)
    labels = judge_run(run, second, progress=False)
    assert len(first.seen) == dies_after
    assert sorted(first.seen + second.seen) == sorted(set(first.seen) | set(second.seen))
    assert len(first.seen + second.seen) == JUDGED
    again = CountingJudge()
    judge_run(run, again, progress=False)
    assert again.seen == []
    assert all(labels.has(shard) for shard in run.manifest().shards if shard.kind != "default")


def test_a_torn_or_flipped_journal_line_costs_only_its_verdict(run: RunFolder) -> None:
    with pytest.raises(KeyboardInterrupt):
        judge_run(run, CountingJudge(dies_after=5), progress=False)
    (journal,) = run.path.glob("labels/*/*.jsonl")
    data = journal.read_bytes()
    journal.write_bytes(data.replace(b'"label": "fully"', b'"label": "fulmy"', 1)[:-7])
    judge = CountingJudge()
    judge_run(run, judge, progress=False)
    assert len(judge.seen) == JUDGED - 5 + 2


def test_what_could_not_be_read_is_kept_and_asked_again_on_request(run: RunFolder) -> None:
    labels = judge_run(run, CountingJudge(mute=True), progress=False)
    shards = [shard for shard in run.manifest().shards if shard.kind != "default"]
    silent = sum(verdict.status != "ok" for shard in shards for verdict in labels.read(shard))
    assert silent == len(shards)
    judge = CountingJudge()
    judge_run(run, judge, progress=False)
    assert judge.seen == []
    judge_run(run, judge, retry=True, progress=False)
    assert sorted(judge.seen) == sorted((shard.key, 1) for shard in shards)
    assert all(verdict.status == "ok" for shard in shards for verdict in labels.read(shard))


def test_judges_lie_side_by_side_and_are_found_by_name(run: RunFolder) -> None:
    judge_run(run, CountingJudge(1), progress=False)
    judge_run(run, Thresholded(), progress=False)
    assert [key.split("-")[0] for key in judge_keys(run.opened())] == ["counting", "thresholded"]
    assert Labels.find(run.opened(), "counting").card() == {"name": "counting", "version": 1}
    judge_run(run, CountingJudge(2), progress=False)
    with pytest.raises(RunError, match="more than one judge 'counting'"):
        Labels.find(run.opened(), "counting")
    with pytest.raises(RunError, match=r"(?s)no judge 'rule'.*expected counting-"):
        Labels.find(run.opened(), "rule")


def test_labels_of_other_replies_are_not_used(run: RunFolder) -> None:
    labels = judge_run(run, CountingJudge(), progress=False)
    opened = run.opened()
    shard = opened.shards[-1]
    opened.write_replies(shard, opened.read_replies(shard)[::-1])
    with pytest.raises(RunError, match="about other replies"):
        labels.read(shard)
    judge = CountingJudge()
    judge_run(run, judge, progress=False)
    assert {key for key, _ in judge.seen} == {shard.key}


def test_a_calibrated_judge_learns_once_from_default_replies(run: RunFolder) -> None:
    judge = Thresholded()
    judge_run(run, judge, progress=False)
    judged = [shard for shard in run.manifest().shards if shard.kind != "default"]
    # Four are wanted of each shard, which has three questions; none is asked twice.
    assert judge.restored["nulls"] == 3 * len(judged)
    assert judge.restored["systems"] == sorted({shard.system for shard in judged})
    again = Thresholded()
    again.calibrate = lambda nulls: pytest.fail("calibrated again")  # pyright: ignore
    judge_run(run, again, progress=False)
    assert again.restored == judge.restored


def test_a_judge_that_leaves_a_reply_out_is_told_so(run: RunFolder) -> None:
    class Lazy(CountingJudge):
        def verdicts(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
            return (pair for pair in super().verdicts(cases) if pair[0].index)

    with pytest.raises(RunError, match=r"(?s)no verdict on some replies of 10 shards"):
        judge_run(run, Lazy(), progress=False)
