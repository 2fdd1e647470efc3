"""Entries written by a model: asked for by schema, checked, told what is wrong, refused in the end."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from drafted import KEEPER
from faulty_server import FaultyServer, ok

from persona_lens.catalog import load_roles, load_traits, new_role, new_trait
from persona_lens.endpoints import Endpoint, EndpointSettings
from persona_lens.errors import CatalogError


def asked(script: Sequence[object], write, *arguments, **options):
    """What `write` returns or raises when the model answers with these drafts, and the requests."""
    drafts = [draft if isinstance(draft, str) else json.dumps(draft) for draft in script]
    with FaultyServer([ok(draft) for draft in drafts]) as server:
        endpoint = Endpoint(EndpointSettings(model="m", base_url=server.url))
        try:
            return write(*arguments, endpoint, **options), server.requests
        except CatalogError as error:
            return error, server.requests


def test_a_good_draft_becomes_a_role():
    role, requests = asked([KEEPER], new_role, "Lighthouse Keeper", hint="A century ago.")
    assert (role.name, role.group, len(role.prompts)) == ("lighthouse_keeper", "human", 5)
    assert len(requests) == 1
    assert 'role "lighthouse keeper". A century ago.' in requests[0].question
    schema = requests[0].body["response_format"]["json_schema"]["schema"]
    assert set(schema["required"]) == {"group", "description", "tags", "prompts", "rubric"}


def test_the_model_is_shown_a_finished_entry():
    _, requests = asked([KEEPER], new_role, "lighthouse_keeper")
    assert load_roles("smuggler")[0].prompts[1] in requests[0].question


@pytest.mark.parametrize(
    ("flaw", "told"),
    [
        ("I would love to help!", "Invalid JSON"),
        (KEEPER | {"group": "elf"}, "'assistant', 'human' or 'fantastical'"),
        (KEEPER | {"prompts": KEEPER["prompts"][:3]}, "has 3 prompts, and should have 5"),
        (KEEPER | {"prompts": ["", *KEEPER["prompts"][1:]]}, "prompts[0]: is blank"),
        (KEEPER | {"rubric": "Salty."}, "has 1 words\n  Salty.\n  write 8 to 45 words"),
        (
            KEEPER | {"prompts": [*KEEPER["prompts"][:4], load_roles("hermit")[0].prompts[0]]},
            "prompts[4] and role hermit, prompts[0] are the same",
        ),
    ],
)
def test_a_flaw_is_told_and_mended(flaw, told):
    role, requests = asked([flaw, KEEPER], new_role, "lighthouse_keeper")
    assert role.rubric == KEEPER["rubric"]
    assert told in requests[1].question
    assert [message["role"] for message in requests[1].body["messages"]] == [
        "system",
        "user",
        "assistant",
        "user",
    ]


def test_a_paraphrase_of_a_known_role_is_told(embedder):
    known = {"name": "lamp_keeper", "prompts": KEEPER["prompts"][:1]}
    again = "On a bare rock you keep the lighthouse, with the relief boat eleven days late."
    draft = KEEPER | {"prompts": [again, *KEEPER["prompts"][1:]]}
    error, requests = asked([draft], new_role, "lighthouse_keeper", known=known, embedder=embedder)
    assert isinstance(error, CatalogError)
    assert "role lamp_keeper, prompts[0] mean much the same (cosine" in requests[1].question
    words_only, _ = asked([draft], new_role, "lighthouse_keeper", known=known)
    assert words_only.name == "lighthouse_keeper"


def test_three_drafts_and_no_more():
    error, requests = asked([KEEPER | {"tags": []}], new_role, "lighthouse_keeper")
    assert len(requests) == 3
    for part in ("none of 3 drafts", "role lighthouse_keeper has no tags", "give a hint"):
        assert part in str(error)


def test_a_fence_around_the_answer_does_no_harm():
    role, requests = asked(
        [f"Here you are:\n```json\n{json.dumps(KEEPER)}\n```"], new_role, "lighthouse_keeper"
    )
    assert (role.name, len(requests)) == ("lighthouse_keeper", 1)


@pytest.mark.parametrize(
    ("name", "problem"), [("Pirate", "there is a role 'pirate' already"), ("海", "gives no name")]
)
def test_names_that_cannot_be_new_are_not_even_asked_for(name, problem):
    error, requests = asked([KEEPER], new_role, name)
    assert problem in str(error)
    assert not requests


def test_a_trait_has_pairs_and_questions_and_keeps_its_name_out_of_them():
    fields = {"description", "tags", "pairs", "questions", "rubric"}
    draft = load_traits("ascetic")[0].model_dump(include=fields)
    leaky = draft | {
        "questions": [*draft["questions"][:39], "Was it spartan of me to sell the bed?"]
    }
    trait, requests = asked([leaky, draft], new_trait, "Spartan", known="calm")
    assert (trait.name, len(trait.pairs), len(trait.questions)) == ("spartan", 5, 40)
    assert "names its trait 'spartan'" in requests[1].question
    error, _ = asked([draft], new_trait, "spartan", known="full")
    assert "trait spartan, pairs[0].positive and trait ascetic" in str(error)
