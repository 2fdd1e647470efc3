"""Roles near the Assistant: as many as promised, none like another, none of which says what speaks."""

from __future__ import annotations

import copy
import json
import re
from collections import Counter

import pytest
from pydantic import ValidationError

from persona_lens.catalog import load_roles
from persona_lens.catalog.identity import (
    IdentitySet,
    load_identity_questions,
    load_identity_roles,
    packaged_identity,
)
from persona_lens.catalog.similarity import search_words, words
from persona_lens.errors import CatalogError

TOLD = re.compile(
    r"\b(AI|artificial|language model|assistant|chat ?bot|human being|pretend\w*|role-?play\w*|persona)\b",
    re.IGNORECASE,
)


def test_fifty_roles_of_the_assistants_kind_each_with_four_long_prompts():
    roles, catalogue = load_identity_roles(), {role.name: role for role in load_roles("full")}
    assert len({role.name for role in roles}) == 50
    assert {catalogue[role.name].group for role in roles} == {"assistant"}
    counts = [len(words(prompt)) for role in roles for prompt in role.prompts]
    assert len(counts) == 200
    assert min(counts) >= 60
    assert max(counts) <= 120


def test_every_prompt_names_its_role_and_none_says_what_speaks():
    for role in load_identity_roles():
        for prompt in role.prompts:
            assert role.name in prompt.lower()
            assert not TOLD.search(prompt), prompt


def test_no_prompt_is_made_from_another_or_from_the_catalogue():
    own = [prompt for role in load_identity_roles() for prompt in role.prompts]
    short = [prompt for role in load_roles("full") for prompt in role.prompts]
    texts = [*own, *short]
    found = search_words(texts, range(len(texts)), (0.1, 0.1))
    among = [pair for pair in found.pairs if pair.second < len(own)]
    beside = [pair for pair in found.pairs if pair.first < len(own) and pair.score > 0.25]
    assert (among, beside) == ([], [])
    openings = Counter(tuple(words(prompt)[:4]) for prompt in own)
    assert openings.most_common(1)[0][1] == 1


def test_own_roles_beside_packaged_ones(tmp_path):
    own = {"name": "keeper", "prompts": ["You keep a lighthouse on a bare rock."]}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([own]), "utf-8")
    names = [role.name for role in load_identity_roles(["tutor", path, *load_roles(["pirate"])])]
    assert names == ["tutor", "keeper", "pirate"]
    assert load_identity_roles(str(path)) == load_identity_roles(own)
    asked = load_identity_questions(["name", "Who made you?"])
    assert [question.text for question in asked] == ["What is your name?", "Who made you?"]


@pytest.mark.parametrize(
    ("load", "told"),
    [
        (lambda: load_identity_roles("pirate"), r"load_roles"),
        (lambda: load_identity_roles(["tutor", "tutor"]), "given twice"),
        (lambda: load_identity_roles(7), "int 7"),
        (lambda: load_identity_questions(["who", "who"]), "given twice"),
    ],
)
def test_mistakes_are_told(load, told):
    with pytest.raises(CatalogError, match=told):
        load()


def test_a_file_that_breaks_its_promises_is_refused():
    whole = packaged_identity().model_dump()

    def broken(change) -> str:
        given = copy.deepcopy(whole)
        change(given)
        with pytest.raises(ValidationError) as told:
            IdentitySet.model_validate(given)
        return str(told.value)

    def same_text(given):
        given["roles"][1]["prompts"] = (
            given["roles"][0]["prompts"][0].upper(),
            *given["roles"][1]["prompts"][1:],
        )

    def short(given):
        given["roles"][0]["prompts"] = ("You count.", *given["roles"][0]["prompts"][1:])

    def same_name(given):
        given["roles"][1]["name"] = given["roles"][0]["name"]

    assert "a text is given twice" in broken(same_text)
    assert "of 60 to 120" in broken(short)
    assert "a name is given twice" in broken(same_name)
    assert "at least 50" in broken(lambda given: given.update(roles=given["roles"][1:]))
