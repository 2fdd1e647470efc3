"""Runs without a model: an engine that answers from a hash of what it is asked, and a judge that counts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from persona_lens import RunFolder
from persona_lens.judges import Case, Verdict
from persona_lens.rollouts.reply import Reply
from persona_lens.runs import collect_run
from persona_lens.runs.engines.worker import Job, Product, WorkerFacts, WorkSettings
from persona_lens.runs.judging import judge_run

WIDTH = 8
PLAN: dict[str, Any] = {
    "roles": [
        {"name": name, "prompts": [f"You are a {name}.", f"Answer as a {name} would."]}
        for name in ("pirate", "ghost", "analyst")
    ],
    "traits": None,
    "questions": ["Who are you?", "Where do you come from?", "What is a good day? ☀", "Why?"],
    "defaults": ["Be yourself."],
    "default_samples": 2,
    "batch_size": 8,
    "progress": False,
}
REPLIES = 1 * 4 * 2 + 3 * 2 * 4
JUDGED = 3 * 2 * 4
SHARDS = 1 + 3 * 2


class ScriptedEngine:
    """Says the same to the same, at once. `before_each` is called before every job."""

    workers = 1

    def __init__(self, before_each: Callable[[], None] = lambda: None) -> None:
        self.before_each = before_each
        self.asked: list[str] = []

    def facts(self) -> WorkerFacts:
        card = {"model": "scripted", "d_model": WIDTH}
        return WorkerFacts("Script", card, card, "scripted", n_layers=2)

    def check(self, asked: Sequence[Any], settings: WorkSettings, *, samples: bool) -> None:
        pass

    def seconds(self, asked: Sequence[Any], settings: WorkSettings) -> float:
        return 0.0

    def products(
        self, jobs: Iterable[Job], settings: WorkSettings, *, on_batch: Any = None
    ) -> Iterator[tuple[Job, list[Product]]]:
        for job in jobs:
            self.before_each()
            products = []
            for shard in job.unit:
                stored = job.stored.get(shard.key)
                if stored is None or shard.key in job.unread:
                    self.asked.append(shard.key)
                    said = stored or [
                        _reply(f"{shard.system}{request.question}{request.sample}")
                        for request in shard.requests
                    ]
                    means = np.stack([_mean(reply)[list(settings.layers)] for reply in said])
                    products.append(Product(shard, said, means))
            yield job, products


def _reply(asked: str) -> Reply:
    rng = _seeded(asked)
    ids = rng.integers(0, 5000, rng.integers(3, 12))
    return Reply(
        ids=ids,
        text="Arr: " + " ".join(f"wörd{number}" for number in ids),
        log_probs=-rng.random(len(ids)).astype(np.float32),
    )


def _mean(reply: Reply) -> np.ndarray:
    return _seeded(reply.text).normal(size=(2, WIDTH)).astype(np.float32)


def _seeded(text: str) -> np.random.Generator:
    return np.random.default_rng(int(hashlib.sha256(text.encode()).hexdigest()[:8], 16))


class CountingJudge:
    """Its verdicts follow from the reply; it notes what it is asked, and learns when `calibrated`."""

    name = "counting"

    def __init__(self, version: int = 1, *, before_each: Callable[[], None] = lambda: None) -> None:
        self.version = version
        self.before_each = before_each
        self.seen: list[tuple[str, int]] = []

    def card(self) -> dict[str, Any]:
        return {"version": self.version}

    def verdicts(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        for case in cases:
            self.before_each()
            self.seen.append((case.shard.key, case.index))
            yield case, Verdict(label="fully", score=float(len(case.reply.text)), raw="Ja ☀")


def collected(path: Path, engine: ScriptedEngine | None = None, **changes: Any) -> RunFolder:
    """A run, or what `collect_run` says of it."""
    return collect_run(None, path, engine=engine or ScriptedEngine(), **{**PLAN, **changes})


def judged(path: Path, *versions: int) -> RunFolder:
    """A run with the labels of some judges."""
    run = collected(path)
    for version in versions:
        judge_run(run, CountingJudge(version), progress=False)
    return run


def contents(folder: Path) -> dict[str, bytes]:
    """All files that hold data, by their names within the folder."""
    kinds = (".parquet", ".safetensors", ".jsonl")
    files = [file for file in folder.rglob("*") if file.suffix in kinds]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}
