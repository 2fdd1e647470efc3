"""The manifest: a plan packed small, and what differs between two of them told by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_runs import collected

from persona_lens import RunFolder
from persona_lens.errors import RunError
from persona_lens.rollouts.plan import Request, Shard
from persona_lens.runs.store.manifest import Manifest, pack_plan, unpack_plan
from persona_lens.runs.store.tables import DamagedFile, write_record

ASKED = tuple(
    Request(question_id=f"q{number}", question=f"Question {number}? ☀") for number in range(3)
)
TWICE = tuple(request.model_copy(update={"sample": n}) for request in ASKED for n in range(2))


def shard(name: str = "pirate", **changes: Any) -> Shard:
    fields = {"kind": "role", "name": name, "prompt_index": 0, "system": f"You are a {name}."}
    return Shard(**{**fields, "requests": ASKED, **changes})


PLAN = (
    shard("default", kind="default", system="", requests=TWICE),
    shard("pirate"),
    shard("pirate", prompt_index=1, system="Speak like a pirate."),
    shard("calm", kind="trait", side="positive"),
    shard("calm", kind="trait", side="negative"),
)


def manifest(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "conditions": {
            "model": {"model": "tiny", "fingerprint": "f00", "template": "chatml"},
            "sampling": {"temperature": 0.7, "seed": 0},
        },
        "reader": {"model": "tiny", "fingerprint": "f00", "d_model": 16},
        "reader_key": "tiny-1",
        "layers": (0, 1, 2),
        "shards": PLAN,
        "about": {"role-pirate": {"description": "sails", "rubric": None}},
        "versions": {"python": "3.11"},
    }
    return Manifest(**{**fields, **changes})


def conditions(part: str, **changes: Any) -> dict[str, Any]:
    old = manifest().conditions
    return {**old, part: {**old[part], **changes}}


# Packing ------------------------------------------------------------------------------------------


def test_a_packed_plan_comes_back_equal() -> None:
    packed = pack_plan(PLAN)
    assert len(packed["questions"]) == 3
    assert len(packed["asked"]) == 2
    assert unpack_plan(json.loads(json.dumps(packed))) == PLAN


def test_a_written_manifest_comes_back_equal_with_the_same_file_names(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.started(manifest())
    assert run.manifest() == manifest()
    assert dict(run.manifest().stems) == dict(manifest().stems)


def test_one_question_id_for_two_texts_is_refused() -> None:
    other = (Request(question_id="q0", question="Something else?"),)
    with pytest.raises(RunError, match=r"(?s)'q0' stands for two texts.*another id"):
        pack_plan((shard("pirate"), shard("ghost", requests=other)))


def test_the_names_of_files_follow_from_all_that_replies_depend_on() -> None:
    names = [
        manifest().stem(PLAN[1]),
        manifest(conditions=conditions("sampling", seed=1)).stem(PLAN[1]),
        manifest(conditions=conditions("model", template="llama3")).stem(PLAN[1]),
        manifest(shards=(shard(system="You are a pilot."),)).stem(PLAN[1]),
        manifest(shards=(shard(requests=ASKED[:2]),)).stem(PLAN[1]),
        manifest(shards=(shard(requests=ASKED[::-1]),)).stem(PLAN[1]),
        manifest(shards=(shard(requests=TWICE),)).stem(PLAN[1]),
    ]
    assert len(set(names)) == len(names)
    assert all(name.startswith("role-pirate-p0-") for name in names)
    reading = manifest(reader={"model": "base"}, reader_key="base-1", layers=(1,), about={})
    assert reading.stem(PLAN[1]) == names[0], "who reads the replies does not change them"


def test_a_large_plan_is_a_small_file_in_which_no_question_is_read_twice(tmp_path: Path) -> None:
    asked = tuple(
        Request(question_id=f"q{number:03}", question=f"Question {number}? " + "word " * 15)
        for number in range(240)
    )
    shards = tuple(
        shard(f"role_{role}", prompt_index=prompt, system="You are someone. " * 15, requests=asked)
        for role in range(275)
        for prompt in range(5)
    )
    assert sum(len(one.requests) for one in shards) == 330_000
    run = RunFolder(tmp_path)
    run.started(manifest(shards=shards))
    assert (tmp_path / "manifest.json").stat().st_size < 2_000_000
    opened = run.manifest()
    assert len({id(request) for one in opened.shards for request in one.requests}) == 240


# What is refused ----------------------------------------------------------------------------------


def test_the_same_plan_and_additions_to_it_differ_in_nothing() -> None:
    assert manifest().differences(manifest()) == []
    added = (*PLAN, shard("ghost"), shard("pirate", prompt_index=2, system="Ahoy."))
    assert manifest().differences(manifest(shards=added)) == []
    assert manifest().differences(manifest(shards=added[::-1])) == []
    assert manifest().differences(manifest(versions={"python": "3.12"})) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"conditions": conditions("model", model="large")},
            "model.model: 'tiny' here, 'large' asked for",
        ),
        (
            {"conditions": conditions("model", template="llama3")},
            "model.template: 'chatml' here, 'llama3' asked for",
        ),
        (
            {"conditions": conditions("sampling", temperature=1.0)},
            "sampling.temperature: 0.7 here, 1.0 asked for",
        ),
        ({"conditions": conditions("sampling", top_k=5)}, "sampling.top_k: None here, 5 asked for"),
        ({"layers": (1, 2)}, "layers: [0, 1, 2] here, [1, 2]"),
        (
            {"reader": {"model": "base", "fingerprint": "f00", "d_model": 16}},
            "reader.model: 'tiny' here, 'base' asked for",
        ),
        ({"shards": PLAN[:-1]}, "not asked for any more: trait-calm-p0-negative"),
        (
            {"shards": (*PLAN[:1], shard(system="You are a pilot."), *PLAN[2:])},
            "other prompts, questions or samples: role-pirate-p0",
        ),
        (
            {"shards": (*PLAN[:1], shard(requests=ASKED[:2]), *PLAN[2:])},
            "other prompts, questions or samples: role-pirate-p0",
        ),
        (
            {"shards": (shard("default", kind="default", system=""), *PLAN[1:])},
            "other prompts, questions or samples: default-default-p0",
        ),
    ],
)
def test_every_other_change_is_told(changes: dict[str, Any], told: str) -> None:
    assert manifest().differences(manifest(**changes)) == [told]


def test_reading_can_be_added_and_left_out() -> None:
    unread = manifest(reader={}, reader_key="none", layers=())
    assert unread.differences(manifest()) == []
    assert manifest().differences(unread) == [], "replies alone are collected, whoever reads them"


def test_many_changed_shards_are_summed_up() -> None:
    many = tuple(shard(f"role_{number}") for number in range(20))
    (line,) = manifest(shards=many).differences(manifest(shards=many[:1]))
    assert line.startswith("not asked for any more: role-role_1-p0, ")
    assert line.endswith(" and 11 more")


def test_adding_to_a_run_is_taken_and_changing_it_refused_with_what_changed(tmp_path: Path) -> None:
    run = collected(tmp_path / "run")
    count = len(run.replies())
    with pytest.raises(RunError, match=r"(?s)other settings.*layers: \[0, 1\] here, \[1\].*--fork"):
        collected(run.path, layers=[1])
    with pytest.raises(RunError, match=r"(?s)other settings.*default-default_\w+-p0"):
        collected(run.path, default_samples=1)
    roles = [{"name": n, "prompts": [f"You are a {n}.", f"Answer as a {n} would."]}
             for n in ("pirate", "ghost", "analyst", "fox")]  # fmt: skip
    assert len(collected(run.path, roles=roles).replies()) == count + 2 * 4


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"format": 2}', '{"format": 2, "shards": {}}']
)
def test_a_manifest_that_is_none_says_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(RunError, match=r"(?s)is damaged.*remove it and run the same collect"):
        RunFolder(tmp_path).manifest()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.update(layers="all"),
        lambda content: content.update(unknown=1),
        lambda content: content["shards"]["shards"][0].update(asked=7),
        lambda content: content["shards"].update(asked=5),
        lambda content: content["shards"].pop("questions"),
        lambda content: content["shards"]["questions"].pop("q1"),
    ],
)
def test_a_manifest_whose_parts_do_not_fit_is_called_damaged(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], Any]
) -> None:
    content = manifest().packed()
    spoil(content)
    write_record(tmp_path / "manifest.json", content)
    with pytest.raises(DamagedFile, match="remove it and run the same collect"):
        RunFolder(tmp_path).manifest()
