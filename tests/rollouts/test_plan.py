"""Plans: everything is asked, once, and the hash knows what the replies depend on."""

from __future__ import annotations

import pytest

from persona_lens import load_defaults, load_questions, load_roles, load_traits
from persona_lens.errors import RunError
from persona_lens.rollouts import plan_shards, work_units

ROLES, TRAITS = load_roles(["pirate", "ghost", "poet"]), load_traits(["calm"])
QUESTIONS, DEFAULTS = load_questions()[:3], load_defaults()


def plan(**options):
    return plan_shards(ROLES, TRAITS, QUESTIONS, DEFAULTS, model_name="tiny", **options)


def test_a_plan_crosses_prompts_with_questions() -> None:
    shards = plan(prompts=2, default_samples=4)
    by_kind = {kind: [s for s in shards if s.kind == kind] for kind in ("default", "role", "trait")}
    assert len(by_kind["default"]) == 5
    assert len(by_kind["role"]) == 3 * 2
    assert len(by_kind["trait"]) == 2 * 2
    assert {len(s.requests) for s in by_kind["default"]} == {3 * 4}
    assert {len(s.requests) for s in by_kind["role"] + by_kind["trait"]} == {3}
    assert len({shard.key for shard in shards}) == len(shards)
    asked = {(shard.key, r.question_id, r.sample) for shard in shards for r in shard.requests}
    assert len(asked) == sum(len(shard.requests) for shard in shards)


def test_the_default_prompts_name_the_model_and_one_is_empty() -> None:
    systems = [shard.system for shard in plan() if shard.kind == "default"]
    assert systems.count("") == 1
    assert any("tiny" in system for system in systems)
    assert not any("{model_name}" in system for system in systems)


def test_the_hash_changes_with_prompt_question_sampling_and_model_only() -> None:
    shard = next(shard for shard in plan() if shard.kind == "role")
    conditions = {"model": {"fingerprint": "a"}, "sampling": {"seed": 0}}
    known = shard.content_hash(conditions)
    assert known == shard.content_hash({"sampling": {"seed": 0}, "model": {"fingerprint": "a"}})
    assert known != shard.content_hash({**conditions, "sampling": {"seed": 1}})
    assert known != shard.content_hash({**conditions, "model": {"fingerprint": "b"}})
    assert known != shard.model_copy(update={"system": "You sail."}).content_hash(conditions)
    fewer = shard.model_copy(update={"requests": shard.requests[:-1]})
    assert known != fewer.content_hash(conditions)


def test_work_units_keep_order_and_lose_nothing() -> None:
    shards = plan(default_samples=2)
    units = work_units(shards, rows=10)
    assert [shard for unit in units for shard in unit] == list(shards)
    sizes = [sum(len(shard.requests) for shard in unit) for unit in units]
    assert min(sizes[:-1]) >= 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"questions": ()}, "a plan needs questions"),
        ({"roles": ROLES[:2]}, r"(?s)at least 3 roles.*given 2 and 5"),
        ({"defaults": ()}, r"(?s)one default prompt.*given 3 and 0"),
        ({"prompts": 0}, "a plan needs replies"),
        ({"default_samples": 0}, "a plan needs replies"),
    ],
)
def test_a_plan_no_space_can_come_of_is_refused(changes: dict, message: str) -> None:
    parts = {"roles": ROLES, "traits": (), "questions": QUESTIONS, "defaults": DEFAULTS, **changes}
    with pytest.raises(RunError, match=message):
        plan_shards(**parts, model_name="tiny")
