"""Have a judge label a run: every verdict stored when it arrives, killed and continued at will."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle

import numpy as np
import xxhash

from persona_lens.errors import RunError
from persona_lens.judges.base import CalibratedJudge, Case, Judge, Verdict, judge_key
from persona_lens.progress import StageProgress
from persona_lens.rollouts.plan import Shard, n_requests
from persona_lens.rollouts.reply import Reply
from persona_lens.runs.store.disk import full_disk_explained
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.store.labels import Labels
from persona_lens.runs.store.open_run import OpenRun, digest_of
from persona_lens.spelling import did_you_mean

KINDS = ("role", "trait")
"""What judges label: all but the default Assistant."""


def judge_run(
    run: RunFolder,
    judge: Judge,
    *,
    kinds: Sequence[str] = KINDS,
    retry: bool = False,
    progress: bool = True,
) -> Labels:
    """Label the role and trait replies of a run with `judge`.

    The default Assistant is not labelled: its mean is taken over all of its replies (paper section 2.1.2).
    Verdicts of other judges stay beside these.

    Args:
        run: A run with all of its replies; activations are not needed.
        judge: Any judge.
        kinds: What to label: only `role` spares the traits, whose labels are needed for nothing but the pairs that
            differ by more than 50. The rest can be labelled later.
        retry: Ask again where an earlier answer could not be read or did not come.
        progress: Show a progress bar on standard error.

    Returns:
        The labels.

    Raises:
        RunError: Replies are missing, another process writes to the run, or there is no such kind.
    """
    check_kinds(kinds)
    opened = run.opened()
    labels = Labels(opened, judge_key(judge))
    judged = [shard for shard in opened.shards if shard.kind != "default"]
    wanted = [shard for shard in judged if shard.kind in kinds]
    bar = StageProgress("Judging", n_requests(wanted), shown=progress)
    with run.writing(), full_disk_explained(run.path):
        labels.write_card({"name": judge.name, **judge.card()})
        if isinstance(judge, CalibratedJudge):
            _calibrate(judge, labels, judged, progress=progress)
        stream = _Stream(labels, wanted, retry=retry, bar=bar)
        with bar.running():
            for case, verdict in judge.verdicts(stream.cases()):
                stream.take(case, verdict)
        stream.finish()
    return labels


def check_kinds(kinds: Sequence[str]) -> None:
    """Refuse what is no kind of reply a judge labels: with a wrong one, nothing would be labelled.

    Raises:
        RunError: It is none, or there is none.
    """
    for kind in kinds or ("",):
        if kind not in KINDS:
            raise RunError(
                "no such kind of replies",
                expected=" or ".join(KINDS),
                given=repr(kind),
                remedy=did_you_mean(kind, KINDS),
            )


def sample_cases(
    run: RunFolder, count: int = 32, *, kinds: Sequence[str] = KINDS
) -> tuple[list[Case], int]:
    """Some replies that a judge would label, evenly spread over the plan, and how many there are in all.

    Raises:
        RunError: Replies are missing, or there is no such kind.
    """
    check_kinds(kinds)
    opened = run.opened()
    judged = [shard for shard in opened.shards if shard.kind in kinds]
    total = n_requests(judged)
    chosen = judged[:: max(1, len(judged) // count)][:count]
    stream = _Cases(opened, judged)
    return [next(stream.of(shard)) for shard in chosen], total


@dataclass(frozen=True)
class _OpenShard:
    """A shard under way: the digest of its replies, and the verdicts that are there."""

    replies: str
    verdicts: dict[int, Verdict]


class _Cases:
    """Makes cases of stored replies."""

    def __init__(self, run: OpenRun, judged: Sequence[Shard]) -> None:
        self._run = run
        self._systems = {
            (shard.name, shard.prompt_index, shard.side): shard.system
            for shard in judged
            if shard.kind == "trait"
        }

    def of(
        self, shard: Shard, replies: Sequence[Reply] | None = None, *, but: Container[int] = ()
    ) -> Iterator[Case]:
        """The cases of a shard, but for some; `replies` if they are at hand."""
        about = self._run.manifest.about.get(f"{shard.kind}-{shard.name}", {})
        other = "negative" if shard.side == "positive" else "positive"
        opposite = self._systems.get((shard.name, shard.prompt_index, other), "")
        said = self._run.read_replies(shard) if replies is None else replies
        for index, reply in enumerate(said):
            if index not in but:
                yield Case(shard, index, reply, about, opposite)


class _Stream:
    """Hands cases to a judge and puts its verdicts together, shard by shard."""

    def __init__(
        self, labels: Labels, shards: Sequence[Shard], *, retry: bool, bar: StageProgress
    ) -> None:
        self.labels = labels
        self.shards = shards
        self.retry = retry
        self.bar = bar
        self._cases = _Cases(labels.run, shards)
        self._open: dict[str, _OpenShard] = {}

    def cases(self) -> Iterator[Case]:
        """Every reply without a verdict, read from disk as the judge asks for it."""
        for shard in self.shards:
            replies = self.labels.run.read_replies(shard)
            opened = _OpenShard(digest_of(replies), self._known(shard, digest_of(replies)))
            self.bar.advance(len(opened.verdicts))
            if len(opened.verdicts) == len(replies):
                if not self.labels.has(
                    shard
                ):  # killed between the last verdict and the shard's file
                    self._close(shard, opened)
                continue
            self._open[shard.key] = opened
            yield from self._cases.of(shard, replies, but=frozenset(opened.verdicts))

    def _known(self, shard: Shard, replies: str) -> dict[int, Verdict]:
        """Verdicts that are there already; those in the journal are the younger ones."""
        known = dict(enumerate(self.labels.read(shard))) if self.labels.has(shard) else {}
        for record in self.labels.journal(shard).records():
            if record["replies"] == replies:
                known[record["index"]] = Verdict(**record["verdict"])
        if self.retry:
            known = {index: verdict for index, verdict in known.items() if verdict.status == "ok"}
        return known

    def take(self, case: Case, verdict: Verdict) -> None:
        """Store a verdict."""
        opened = self._open[case.shard.key]
        record = {"index": case.index, "replies": opened.replies, "verdict": asdict(verdict)}
        self.labels.journal(case.shard).append(record)
        opened.verdicts[case.index] = verdict
        self.bar.advance(1)
        if len(opened.verdicts) == len(case.shard.requests):
            self._close(case.shard, self._open.pop(case.shard.key))

    def _close(self, shard: Shard, opened: _OpenShard) -> None:
        self.labels.write(shard, [opened.verdicts[index] for index in range(len(shard.requests))])
        self.labels.journal(shard).remove()

    def finish(self) -> None:
        """Check that the judge has left nothing out."""
        if self._open:
            key, opened = next(iter(self._open.items()))
            raise RunError(
                f"the judge gave no verdict on some replies of {len(self._open)} shards",
                given=f"{len(opened.verdicts)} verdicts on {key}",
                remedy="this is a fault of the judge; run the same command again to continue",
            )


def _calibrate(
    judge: CalibratedJudge, labels: Labels, judged: Sequence[Shard], *, progress: bool
) -> None:
    """Restore the judge's thresholds, or have it learn them from default replies to the same questions.

    Thresholds hold for the plan they were learnt on. When roles have been added, they are learnt anew, and the
    labels that rest on the old ones are made again.
    """
    plan = xxhash.xxh3_64_hexdigest("".join(map(labels.run.manifest.stem, judged)).encode())
    calibration = labels.calibration()
    if calibration is None or calibration["plan"] != plan:
        labels.remove_verdicts()
        total = sum(judge.nulls_wanted(shard) for shard in judged)
        bar = StageProgress("Calibrating", total, shown=progress)
        with bar.running():
            learnt = judge.calibrate(bar.counted(_nulls(judge, labels.run, judged)))
        calibration = {"plan": plan, **learnt}
        labels.write_calibration(calibration)
    judge.restore(calibration)


def _nulls(judge: CalibratedJudge, run: OpenRun, judged: Sequence[Shard]) -> Iterator[Case]:
    """Default replies as if they had been given in each shard, spread over questions, prompts and samples."""
    by_question: dict[str, list[Reply]] = {}
    for shard in run.shards:
        if shard.kind == "default":
            replies = run.read_replies(shard)
            for request, reply in zip(shard.requests, replies, strict=True):
                if reply.answer:
                    by_question.setdefault(request.question_id, []).append(reply)
    sources = {question: cycle(replies) for question, replies in by_question.items()}
    for shard in judged:
        askable = [i for i, request in enumerate(shard.requests) if request.question_id in sources]
        about = run.manifest.about.get(f"{shard.kind}-{shard.name}", {})
        drawn = np.random.default_rng(int(shard.content_hash({}), 16)).permutation(askable)
        for index in drawn[: judge.nulls_wanted(shard)].tolist():
            yield Case(shard, index, next(sources[shard.requests[index].question_id]), about)
