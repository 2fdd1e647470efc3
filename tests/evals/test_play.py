"""Role-play and creative writing: what is in a persona scores as that, and judges keep to their items."""

from __future__ import annotations

import pytest

from persona_lens import PersonaModel, Sampling
from persona_lens.evals.conditions import UNTOUCHED
from persona_lens.evals.evaluation import evaluate
from persona_lens.evals.items import Item
from persona_lens.evals.outcomes import Answer
from persona_lens.evals.price.play import InPersona, play

PIRATE = "You are a pirate captain. Speak of the sea, your ship and your crew."


@pytest.mark.embedded
def test_a_reply_in_the_persona_scores_above_a_plain_one(smol: PersonaModel):
    asked = Item.asked("p", "What do you do all day?", system=PIRATE)
    said = ["Arr, I sail the seas with my crew and hunt for gold!", "I help users with questions."]
    sailing, helping = InPersona(smol).outcomes([Answer(asked, text) for text in said])
    assert sailing.score is not None
    assert helping.score is not None
    assert sailing.score > helping.score + 0.1


def test_nothing_is_asked_of_items_without_a_persona(smol: PersonaModel):
    bare = Item.asked("b", "Who are you?")
    told = Item.asked("t", "Who are you?", system=PIRATE)
    outcomes = InPersona(smol).outcomes([Answer(bare, "A ghost."), Answer(told, "")])
    assert [outcome.status for outcome in outcomes] == ["not asked", "not asked"]


@pytest.mark.embedded
def test_it_runs_whole(smol_auto: PersonaModel):
    evaluation = play(smol_auto, first=2)
    result = evaluate(
        evaluation, smol_auto, [UNTOUCHED], sampling=Sampling(max_new_tokens=8), progress=False
    )
    table = result.measures.set_index("measure")
    assert table["n"].to_dict() == {
        "in persona, nats a token": 2,
        "says it is an AI, in persona": 2,
        "distinct word pairs, in persona": 2,
        "distinct word pairs, creative": 2,
        "words, creative": 2,
    }
    assert table.loc["in persona, nats a token", "unjudged"] == 0
