"""What will be asked of the model: shards of requests, planned before anything runs.

A shard is one role (or one side of one trait) under one system prompt. It is the unit of work, of resume and of
distribution; its content hash covers everything its replies depend on, so a changed prompt makes a new shard and
leaves all others valid.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from persona_lens.arrays import plain
from persona_lens.catalog import DefaultPrompt, Question, Role, Trait
from persona_lens.catalog.schema import TraitQuestions
from persona_lens.errors import RunError

MIN_ROLES = 3

Kind = Literal["default", "role", "trait"]
Side = Literal["", "positive", "negative"]
SIDES: tuple[Side, ...] = ("positive", "negative")


class Request(BaseModel):
    """One question put to the model under a shard's system prompt."""

    model_config = ConfigDict(frozen=True)

    question_id: str
    question: str
    sample: int = 0


class Shard(BaseModel):
    """The requests of one role, default prompt or trait side under one system prompt.

    Examples:
        >>> shard = Shard(kind="role", name="pirate", prompt_index=0, system="You are a pirate.",
        ...               requests=(Request(question_id="q01", question="Who are you?"),))
        >>> shard.key
        'role-pirate-p0'
    """

    model_config = ConfigDict(frozen=True)

    kind: Kind
    name: str
    prompt_index: int
    side: Side = ""
    system: str
    requests: tuple[Request, ...]

    @property
    def key(self) -> str:
        """Name of the shard, unique in a plan and fit for a file name."""
        parts = (self.kind, self.name, f"p{self.prompt_index}", self.side)
        return "-".join(part for part in parts if part)

    @property
    def asked(self) -> list[tuple[str, str]]:
        """System prompt and question of each request."""
        return [(self.system, request.question) for request in self.requests]

    def content_hash(self, conditions: Mapping[str, Any]) -> str:
        """Hash of the requests and of `conditions` (model, template, sampling): same hash, same replies."""
        content = json.dumps(
            plain([self.model_dump(), conditions]), sort_keys=True, ensure_ascii=False
        )
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def plan_shards(
    roles: Sequence[Role],
    traits: Sequence[Trait],
    questions: Sequence[Question],
    defaults: Sequence[DefaultPrompt],
    *,
    model_name: str,
    prompts: int | None = None,
    default_samples: int = 1,
    trait_questions: TraitQuestions = "shared",
) -> tuple[Shard, ...]:
    """Lay out a collection: every chosen prompt of everything crossed with every question.

    All shards ask the same questions, so that differences of means are differences between personas and not
    between questions. A trait is a difference by itself, so both its sides may ask questions of its own.

    Args:
        prompts: Use only the first so many system prompts of each role and trait; all by default. The default
            Assistant always gets all of its prompts.
        default_samples: Replies to each question under each default prompt. The default mean enters the axis
            with full weight while each role is one of many, so its noise is the bottleneck.
        trait_questions: `shared` asks traits what everyone is asked (the paper, appendix C.1), `own` asks each
            trait its own questions (the recipe of Persona Vectors, arXiv 2507.21509).

    Raises:
        RunError: No questions, fewer than three roles, no default prompt, or nothing to sample.
    """
    if not questions:
        raise RunError("a plan needs questions", remedy='pass questions="core"')
    if len(roles) < MIN_ROLES or not defaults:
        raise RunError(
            "a plan needs roles and the default Assistant, or no space can be fitted",
            expected=f"at least {MIN_ROLES} roles and one default prompt",
            given=f"{len(roles)} and {len(defaults)}",
        )
    if default_samples < 1 or (prompts is not None and prompts < 1):
        raise RunError(
            "a plan needs replies",
            expected="at least 1 prompt and 1 default sample",
            given=f"{prompts} and {default_samples}",
        )

    def requests(asked: Sequence[Question], samples: int = 1) -> tuple[Request, ...]:
        return tuple(
            Request(question_id=question.id, question=question.text, sample=sample)
            for question in asked
            for sample in range(samples)
        )

    shared = requests(questions)
    of_default = requests(questions, default_samples)
    shards = [
        Shard(
            kind="default",
            name=default.id,
            prompt_index=index,
            system=default.fill(model_name),
            requests=of_default,
        )
        for index, default in enumerate(defaults)
    ]
    for role in roles:
        shards += [
            Shard(kind="role", name=role.name, prompt_index=index, system=system, requests=shared)
            for index, system in enumerate(role.prompts[:prompts])
        ]
    for trait in traits:
        own = requests(trait.own_questions()) if trait_questions == "own" else shared
        for index, pair in enumerate(trait.pairs[:prompts]):
            shards += [
                Shard(
                    kind="trait",
                    name=trait.name,
                    prompt_index=index,
                    side=side,
                    system=getattr(pair, side),
                    requests=own,
                )
                for side in SIDES
            ]
    return tuple(shards)


def n_requests(shards: Iterable[Shard]) -> int:
    """Requests, and so replies, of some shards."""
    return sum(len(shard.requests) for shard in shards)


def work_units(shards: Sequence[Shard], rows: int) -> list[tuple[Shard, ...]]:
    """Neighbouring shards grouped until a unit has at least `rows` requests.

    A unit is generated together, so that small shards still fill a batch. Units depend on the plan alone and
    not on what is done already: a resumed run samples in the same batches as an uninterrupted one.

    Examples:
        >>> def shard(name): return Shard(kind="role", name=name, prompt_index=0, system="",
        ...     requests=(Request(question_id="q", question="?"),) * 3)
        >>> [[s.name for s in unit] for unit in work_units([shard("a"), shard("b"), shard("c")], rows=5)]
        [['a', 'b'], ['c']]
    """
    units: list[tuple[Shard, ...]] = []
    current: list[Shard] = []
    for shard in shards:
        current.append(shard)
        if n_requests(current) >= rows:
            units.append(tuple(current))
            current = []
    if current:
        units.append(tuple(current))
    return units
