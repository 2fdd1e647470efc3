"""A run written by hand, whose replies say how far they play their role, and judges that read it off them.

Activations follow: the further a reply plays its role, the further it lies from the default along a direction of
that role, so that judges who choose other replies find another axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from persona_lens.judges.base import LABELS, Case, Verdict
from persona_lens.rollouts.plan import Request, Shard
from persona_lens.rollouts.reply import Reply
from persona_lens.runs.judging import judge_run
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.store.manifest import Manifest

Decide = Callable[[Case, np.random.Generator], Verdict]


def write_run(
    path: Path,
    *,
    n_roles: int = 8,
    n_traits: int = 0,
    n_prompts: int = 2,
    n_questions: int = 12,
    layers: tuple[int, ...] = (0, 1),
    d_model: int = 6,
    writer: str = "model",
    seed: int = 0,
) -> RunFolder:
    """A run with `n_prompts` a role and a trait; a reply reads "<level> <aside>", both digits, level 0 to 2."""
    rng = np.random.default_rng(seed)
    asked = tuple(Request(question_id=f"q{i:02}", question=f"Q{i}?") for i in range(n_questions))
    shards = [Shard(kind="default", name="none", prompt_index=0, system="", requests=asked)]
    roles = [f"role_{i:02}" for i in range(n_roles)]
    for name in roles:
        for prompt in range(n_prompts):
            system = f"You are {name}, prompt {prompt}."
            shards.append(
                Shard(kind="role", name=name, prompt_index=prompt, system=system, requests=asked)
            )
    for name in [f"trait_{i}" for i in range(n_traits)]:
        for prompt in range(n_prompts):
            for side in ("positive", "negative"):
                system = f"{name}, {side}, {prompt}."
                shards.append(
                    Shard(
                        kind="trait",
                        name=name,
                        prompt_index=prompt,
                        side=side,
                        system=system,
                        requests=asked,
                    )  # pyright: ignore[reportArgumentType]
                )
    run = RunFolder(path)
    manifest = Manifest(
        conditions={writer: {"model": "made-up"}, "sampling": {}},
        reader={"model": "made-up", "d_model": d_model} if layers else {},
        reader_key="made-up",
        layers=layers,
        shards=tuple(shards),
        about={
            f"role-{name}": {"group": "human", "description": f"Someone called {name}."}
            for name in roles
        },
        versions={},
    )
    opened = run.started(manifest)
    own = {name: rng.normal(size=(len(layers), d_model)) for name in roles}
    common, aside = rng.normal(size=(2, len(layers), d_model)) * 2
    for shard in shards:
        n = len(asked)
        levels = rng.integers(0, 3, size=n) if shard.kind != "default" else np.zeros(n, dtype=int)
        asides = rng.integers(0, 2, size=n)
        replies = [
            Reply(ids=np.array([level, other]), text=f"{level} {other}", finish="end")
            for level, other in zip(levels.tolist(), asides.tolist(), strict=True)
        ]
        opened.write_replies(shard, replies)
        if layers:
            means = rng.normal(size=(n, len(layers), d_model)) * 0.5
            means += levels[:, None, None] * (common + own.get(shard.name, 0.0))
            means += asides[:, None, None] * aside
            opened.write_activations(shard, replies, means)
    return run


class StubJudge:
    """Says what a function of the case says."""

    def __init__(self, name: str, decide: Decide, seed: int = 0) -> None:
        self.name, self.decide, self.seed = name, decide, seed

    def card(self) -> dict[str, Any]:
        return {"seed": self.seed}

    def verdicts(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        rng = np.random.default_rng(self.seed)
        for case in cases:
            yield case, self.decide(case, rng)


def judged_by(run: RunFolder, name: str, decide: Decide, seed: int = 0) -> str:
    """Have a stub judge label the run; returns its key."""
    return judge_run(run, StubJudge(name, decide, seed), progress=False).key


def level(case: Case) -> int:
    return int(case.reply.text.split()[0])


def honest(case: Case, rng: np.random.Generator) -> Verdict:
    """Reads the level; scores a trait by it and by the side."""
    if case.shard.kind == "trait":
        base = 60 if case.shard.side == "positive" else 5
        return Verdict(score=float(base + 10 * level(case) + rng.integers(0, 8)))
    return Verdict(label=LABELS[level(case)], score=float(level(case)))


def guessing(case: Case, rng: np.random.Generator) -> Verdict:
    """Does not read."""
    if case.shard.kind == "trait":
        return Verdict(score=float(rng.integers(0, 101)))
    return Verdict(label=LABELS[rng.integers(0, 3)])


def taken_in(case: Case, rng: np.random.Generator) -> Verdict:
    """Goes by the aside instead of the role."""
    if case.shard.kind == "trait":
        return Verdict(refused=True)
    return Verdict(label="fully" if case.reply.text.endswith("1") else "not")
