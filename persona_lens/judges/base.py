"""What every judge is: cases in, verdicts out, each as soon as it is known.

A judge reads one reply and says how far its writer plays the role it was given (`not`, `somewhat`, `fully`), or,
for a trait, how strongly the reply shows it (0 to 100). Judges know nothing of runs: `persona_lens.runs.judging`
feeds them and stores what they say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from persona_lens.arrays import plain
from persona_lens.rollouts.plan import Shard
from persona_lens.rollouts.reply import Reply

Label = Literal["not", "somewhat", "fully"]
LABELS: tuple[Label, ...] = ("not", "somewhat", "fully")

Status = Literal["ok", "unparsed", "failed"]


@dataclass(frozen=True, eq=False)
class Case:
    """One reply to be judged.

    Attributes:
        shard: The role or trait side it was written as, with its system prompt.
        index: Its place among the shard's requests.
        reply: The reply.
        about: Description and rubric of the role or trait.
        opposite: System prompt of the trait's other side; empty for roles.

    Examples:
        >>> from persona_lens.rollouts import Request
        >>> import numpy as np
        >>> shard = Shard(kind="role", name="pirate", prompt_index=0, system="You are a pirate.",
        ...               requests=(Request(question_id="q05", question="Who are you?"),))
        >>> Case(shard, 0, Reply(ids=np.array([], dtype=int), text="Arr!")).question
        'Who are you?'
    """

    shard: Shard
    index: int
    reply: Reply
    about: Mapping[str, Any] = field(default_factory=dict)
    opposite: str = ""

    @property
    def question(self) -> str:
        """What was asked."""
        return self.shard.requests[self.index].question


@dataclass(frozen=True)
class Verdict:
    """What a judge says of one reply.

    Attributes:
        label: Of a role: `not`, `somewhat` or `fully` playing it; None for traits, and if there is no answer.
        score: Of a role, the number behind the label (its scale is the judge's); of a trait, 0 to 100.
        refused: The reply is a refusal that shows nothing of the trait.
        status: `ok`; `unparsed`, the judge's answer could not be read; `failed`, it did not answer.
        raw: The judge's own words, or the reason there are none.

    Examples:
        >>> Verdict(label="fully", score=3.0).status
        'ok'
    """

    label: Label | None = None
    score: float | None = None
    refused: bool = False
    status: Status = "ok"
    raw: str = ""


class Judge(Protocol):
    """A judge of replies."""

    @property
    def name(self) -> str:
        """Short name, the beginning of its folder's name."""
        ...

    def card(self) -> dict[str, Any]:
        """Everything that decides its verdicts, as plain data."""
        ...

    def verdicts(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        """One verdict for each case, in any order, each handed out as soon as it is known.

        `cases` may be long: a judge takes no more of them than it is working on.
        """
        ...


@runtime_checkable
class CalibratedJudge(Protocol):
    """A judge whose thresholds come from replies of the default Assistant, before it says anything."""

    def nulls_wanted(self, shard: Shard) -> int:
        """How many default replies it wants to see under the system prompt of `shard`."""
        ...

    def calibrate(self, nulls: Iterable[Case]) -> dict[str, Any]:
        """Learn thresholds from default replies, given as if they had been written in each shard.

        Returns:
            What was learnt, as plain data, fit for `restore`.
        """
        ...

    def restore(self, calibration: Mapping[str, Any]) -> None:
        """Take over what an earlier `calibrate` returned."""
        ...


def judge_key(judge: Judge) -> str:
    """Folder name of a judge: its name, and a hash of everything that decides its verdicts.

    Examples:
        >>> from types import SimpleNamespace
        >>> judge_key(SimpleNamespace(name="rules", card=lambda: {"version": 1}))
        'rules-c3aa9744'
    """
    content = json.dumps(plain(judge.card()), sort_keys=True)
    return f"{judge.name}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
