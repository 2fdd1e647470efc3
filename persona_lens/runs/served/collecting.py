"""Have a server write the replies of a run: each stored when it arrives, killed and continued at will.

    with folder.writing():
        tally = collect_served(source, folder.started(manifest))
    print(tally)                                # 1,200 replies: 3 failed, 410 cut at the limit, 2 without text

A reply lies in its shard's journal from the moment it arrives; the shard's file is written when the last one is
there. Requests of neighbouring shards are in flight together, so that the server is never waited for at the end of
a shard.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from rich.console import Console

from persona_lens.endpoints import Call, Completion, Endpoint, Failure
from persona_lens.errors import EndpointError, RunError
from persona_lens.progress import StageProgress
from persona_lens.rollouts.plan import Shard, n_requests
from persona_lens.rollouts.reply import Finish, Reply
from persona_lens.rollouts.sampling import Sampling
from persona_lens.rollouts.serving import ServedSource
from persona_lens.runs.store.journal import Journal
from persona_lens.runs.store.open_run import OpenRun

_WORDS: dict[Finish, str] = {
    "failed": "failed",
    "refused": "refused",
    "filtered": "filtered",
    "length": "cut at the limit",
    "tool_call": "calling a tool",
}
# Ways to end that should leave an answer; of the others it is told why there may be none.
_ANSWERED: tuple[Finish, ...] = ("stop", "length")
_FIRST = 32
_ROOM_TO_THINK = (
    "a model that thinks needs more --max-new-tokens, or to be told not to think (docs/serving.md)"
)
_REASONS_SHOWN = 3
# Below that temperature a model that is sure of itself may well repeat itself, and in a few replies by chance.
_CLEARLY_SAMPLED = 0.3
_TELLING_GROUPS = 3


@dataclass
class Tally:
    """What the replies of a run came to.

    Attributes:
        finishes: Number of replies by the way they ended, those that were there before included.
        reasons: Number of failures of this time by reason.
        silent: Number of replies that ended of themselves or at the limit and have no text at all.
        only_thought: Number of those that hold a thought and no answer.
    """

    finishes: Counter[Finish] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    silent: int = 0
    only_thought: int = 0

    def count(self, replies: Iterable[Reply]) -> None:
        """Count what there is of a shard."""
        for reply in replies:
            self.finishes[reply.finish] += 1
            if reply.finish in _ANSWERED and not reply.answer.strip():
                thought = reply.thought != "none"
                self.only_thought += thought
                self.silent += not thought

    def __str__(self) -> str:
        """One line for the counts, and one for each of the commonest reasons.

        Examples:
            >>> print(Tally(Counter(stop=790, length=410)))
            1,200 replies: 410 cut at the limit
        """
        parts = [f"{self.finishes[f]:,} {word}" for f, word in _WORDS.items() if self.finishes[f]]
        parts += [f"{self.silent:,} without text"] * bool(self.silent)
        parts += [f"{self.only_thought:,} with a thought and no answer"] * bool(self.only_thought)
        told = f"{self.finishes.total():,} replies: {', '.join(parts) or 'all whole'}"
        lines = [told]
        for reason, count in self.reasons.most_common(_REASONS_SHOWN):
            lines.append(f"  {count:,} times {reason}")
        if self.silent or self.only_thought:
            lines.append(f"  replies without text have no mean and do not count; {_ROOM_TO_THINK}")
        if self.finishes["failed"]:
            lines.append("  ask again with --retry-failed (retry_failed=True in Python)")
        return "\n".join(lines)


def failure_journal(run: OpenRun) -> Journal:
    """Which requests failed, when they did, and why."""
    return Journal(run.path / "failures.jsonl")


def collect_served(
    source: ServedSource, run: OpenRun, *, retry: bool = False, progress: bool = True
) -> Tally:
    """Have the server answer every request of a plan that has no reply yet.

    A failure counts as one only when the server has answered something afterwards, or when all has been asked:
    what failed because the server went down is asked again the next time.

    Args:
        source: The served model.
        run: Its folder is locked by the caller (`folder.writing()`); its sampling is asked for.
        retry: Ask again where an earlier request failed.
        progress: Show a progress bar and, at the end, the tally on standard error.

    Raises:
        EndpointError: No key, no quota, no such model, a server that is down, or one that does not sample,
            says nothing, or tells that it renders other prompts than are read. What has arrived is stored.
    """
    bar = StageProgress("Asking", n_requests(run.shards), shown=progress)
    stream = _Stream(source, run, retry=retry, bar=bar)
    with bar.running():
        calls = stream.calls()
        first = next(calls, None)
        if first is not None:  # else there is no need for a key or a server
            for call, outcome in Endpoint(source.settings).map(chain([first], calls)):
                stream.take(call, outcome)
        stream.finish()
    Console(stderr=True, quiet=not progress).print(str(stream.tally), markup=False, highlight=False)
    return stream.tally


@dataclass(frozen=True)
class _OpenShard:
    """A shard under way: replies that are there, and the indices of those that are being asked for."""

    shard: Shard
    replies: dict[int, Reply]
    waiting: set[int]


class _Stream:
    """Hands requests to an endpoint and puts its answers together, shard by shard."""

    def __init__(
        self, source: ServedSource, run: OpenRun, *, retry: bool, bar: StageProgress
    ) -> None:
        self.tally = Tally()
        self._source = source
        self._sampling = Sampling(**run.manifest.conditions["sampling"])
        self._run = run
        self._retry = retry
        self._bar = bar
        self._open: dict[str, _OpenShard] = {}
        self._lost: list[tuple[tuple[str, int], Reply, str]] = []
        self._compared: set[str] = set()
        self._heard = 0
        self._spoken = False

    def calls(self) -> Iterator[Call]:
        """What to ask for each request without a reply; shards are looked into when it is their turn."""
        for shard in self._run.shards:
            replies = self._known(shard)
            missing = [
                index
                for index in range(len(shard.requests))
                if index not in replies or (self._retry and replies[index].finish == "failed")
            ]
            self._bar.advance(len(shard.requests) - len(missing))
            if missing:
                self._open[shard.key] = _OpenShard(shard, replies, set(missing))
                yield from self._source.calls(shard, missing, self._sampling)
            else:
                self._close(shard, replies)

    def _known(self, shard: Shard) -> dict[int, Reply]:
        """Replies that are there already; those in the journal are the younger ones."""
        try:
            known = dict(enumerate(self._run.read_replies(shard)))
        except RunError:  # none yet, or a damaged file
            known = {}
        for record in self._run.reply_journal(shard).records():
            known[record["index"]] = _from_record(record)
        return known

    def take(self, call: Call, outcome: Completion | Failure) -> None:
        """Store an answer; put a failure aside until the server shows that it is there."""
        assert isinstance(call.key, tuple)
        key, index = call.key
        if key not in self._compared:
            self._compared.add(key)
            self._source.check_rendered(self._open[key].shard, index, outcome)
        reply, reason = self._source.reply(call, outcome)
        if reply.finish == "failed":
            self._lost.append((call.key, reply, reason))
        else:
            self._store_lost()
            self._store((key, index), reply)
            self._check_spoken(reply)

    def finish(self) -> None:
        """Store the failures of the end."""
        self._store_lost()

    def _store_lost(self) -> None:
        for (key, index), reply, reason in self._lost:
            self.tally.reasons[reason] += 1
            failure_journal(self._run).append({"shard": key, "index": index, "reason": reason})
            self._store((key, index), reply)
        self._lost.clear()

    def _store(self, key: tuple[str, int], reply: Reply) -> None:
        opened, index = self._open[key[0]], key[1]
        record: dict[str, Any] = {"index": index, "text": reply.text, "finish": reply.finish}
        record |= {"thinking": reply.thinking} if reply.thinking else {}
        record |= {"ids": reply.ids.tolist()} if len(reply.ids) else {}
        self._run.reply_journal(opened.shard).append(record)
        opened.replies[index] = reply
        opened.waiting.remove(index)
        self._bar.advance(1)
        if not opened.waiting:
            del self._open[key[0]]
            self._close(opened.shard, opened.replies)

    def _close(self, shard: Shard, known: dict[int, Reply]) -> None:
        """Write the file of a shard, unless it is there and nothing younger lies in the journal."""
        replies = [known[index] for index in range(len(shard.requests))]
        self._check_sampled(shard, replies)
        journal = self._run.reply_journal(shard)
        if journal.path.is_file():
            replies = [self._source.heard(shard, *entry) for entry in enumerate(replies)]
            self._run.write_replies(shard, replies)
            journal.remove()
        self.tally.count(replies)

    def _check_spoken(self, reply: Reply) -> None:
        """A server of which not one of the first answers has any text will not do better later."""
        self._heard += 1
        self._spoken = self._spoken or bool(reply.text.strip())
        if self._heard == _FIRST and not self._spoken:
            thinks = reply.thinking.strip()
            raise EndpointError(
                f"none of the first {_FIRST} replies of {self._source.settings.host()} has any text",
                expected="an answer in the content of the message",
                given=f"only the thought, such as {thinks[:80]!r}" if thinks else "no content",
                remedy=f"{_ROOM_TO_THINK}; collect into a new folder",
            )

    def _check_sampled(self, shard: Shard, replies: list[Reply]) -> None:
        """Several samples of one question that are all alike, for every question, have not been sampled."""
        if self._sampling.temperature < _CLEARLY_SAMPLED:
            return
        said = defaultdict(list)
        for request, reply in zip(shard.requests, replies, strict=True):
            if reply.text:
                said[request.question_id].append(reply.text)
        groups = [texts for texts in said.values() if len(texts) > 1]
        if len(groups) >= _TELLING_GROUPS and all(len(set(texts)) == 1 for texts in groups):
            raise EndpointError(
                f"{self._source.settings.host()} does not sample: it answers each question of {shard.key} "
                "the same way every time",
                expected=f"replies that differ, at temperature {self._sampling.temperature:g}",
                remedy="see what the server wants to be told (docs/serving.md), pass it as extra_body, and "
                "collect into a new folder; or decode greedily with temperature 0",
            )


def _from_record(record: dict[str, Any]) -> Reply:
    return Reply(
        ids=np.array(record.get("ids", ()), dtype=np.int64),
        text=record["text"],
        finish=record["finish"],
        thinking=record.get("thinking", ""),
    )
