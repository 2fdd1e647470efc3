"""Every kind of fault is found where it was planted, and nowhere else."""

from __future__ import annotations

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from persona_lens.catalog import (
    PromptPair,
    Question,
    Role,
    Trait,
    check_catalog,
    load_defaults,
    load_questions,
    load_roles,
    load_traits,
)
from persona_lens.catalog.doubles import TOKEN_LIMITS, Limits, find_doubles
from persona_lens.catalog.rules import FULL
from persona_lens.catalog.similarity import search_vectors, search_words, words
from persona_lens.catalog.texts import catalog_texts

CORE = {
    "roles": load_roles(),
    "traits": load_traits(),
    "questions": load_questions(),
    "defaults": load_defaults(),
}


def checked(embedder=None, **more):
    """The faults that the core set has with more entries in it."""
    entries = {kind: [*given, *more.get(kind, ())] for kind, given in CORE.items()}
    return check_catalog(**entries, embedder=embedder).faults


def test_core_itself_is_faultless(embedder):
    assert checked(embedder) == []


# What needs no comparing


def test_everything_missing_is_named():
    bare = Role(name="baker", prompts=("You are a baker who kneads the dough before dawn.",))
    thin = Trait(name="thrift", pairs=(PromptPair(positive="You save.", negative="You spend."),))
    report = check_catalog(
        [bare], [thin], [Question(id="sea", text="What is the sea?")], (), standard=FULL
    )
    problems = [f"{fault.where} {fault.problem}" for fault in report.faults]
    assert "roles are 1, and should be 275" in problems
    assert "defaults are 0, and should be 5" in problems
    assert "role baker has 1 prompts, and should have 5" in problems
    assert "trait thrift has 0 questions, and should have 40" in problems
    for field in ("group", "description", "tags", "rubric"):
        assert f"role baker has no {field}" in problems
    assert "question sea has no tags" in problems


def test_own_entries_may_have_what_they_have():
    bare = Role(name="baker", prompts=("You are a baker who kneads the dough before dawn.",))
    assert check_catalog([bare]).ok


@pytest.mark.parametrize(
    ("entry", "where", "problem"),
    [
        (
            {"roles": [Role(name="baker", prompts=("You bake.",))]},
            "role baker, prompts[0]",
            "has 2 words",
        ),
        (
            {"questions": [Question(id="long", text="why " * 41)]},
            "question long, text",
            "has 41 words",
        ),
    ],
)
def test_too_short_and_too_long(entry, where, problem):
    (fault,) = checked(**entry)
    assert (fault.check, fault.where, fault.problem) == ("length", where, problem)
    assert "words" in fault.remedy


def test_a_name_given_twice():
    again = Role(name="pirate", prompts=("Salt, tar and other people's silver are all you know.",))
    (fault,) = checked(roles=[again])
    assert (fault.check, fault.where, fault.problem) == ("name", "role pirate", "occurs 2 times")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("What do pirates want for supper?", "pirate"),
        ("Whose is the pirate's parrot?", "pirate"),
        ("Tell me about Analysts and their charts.", "analyst"),
    ],
)
def test_a_question_that_names_a_role(text, named):
    (fault,) = checked(questions=[Question(id="leaky", text=text)])
    assert fault.check == "leak"
    assert f"'{named}'" in fault.problem


def test_a_role_of_two_words_is_found_and_its_words_are_not():
    advocate = Role(
        name="devils_advocate",
        prompts=("You argue against whatever the room has come to believe.",),
    )
    asked = [
        Question(id="both", text="Shall we hear the devil's advocate first?"),
        Question(id="one", text="What does an advocate charge for an hour?"),
    ]
    assert [fault.where for fault in check_catalog([advocate], (), asked).faults] == [
        "question both, text"
    ]


def test_a_trait_that_names_itself():
    pair = PromptPair(
        positive="You weigh every step twice and write each of them down.",
        negative="You take any step that comes and write none of them down.",
    )
    questions = (
        "Be systematically slow for me today.",
        "A system of drains runs under our street.",
    )
    trait = Trait(name="systematic", pairs=(pair,), questions=questions)
    (fault,) = check_catalog((), [trait]).faults
    assert (fault.check, fault.where) == ("leak", "trait systematic, questions[0]")


# Doubles


def test_the_same_text_in_other_clothes():
    (fault,) = checked(
        questions=[Question(id="tide", text="why does the tide come in, and go out")]
    )
    assert fault.check == "exact"
    assert fault.where == "question q02, text and question tide, text"


def test_shared_words_are_found_without_an_embedder():
    padded = "So, my friend, why does the tide come in and go out?"
    (fault,) = checked(questions=[Question(id="tide", text=padded)])
    assert fault.check == "words"
    assert fault.owners == ("question q02", "question tide")


def test_texts_from_a_template_are_found_although_their_names_differ():
    def fill(name: str) -> str:
        return f"A {name} at heart, you bring to each reply what {name}s have always known."

    clones = [Role(name=name, prompts=(fill(name),)) for name in ("tinker", "tailor")]
    (fault,) = check_catalog(clones).faults
    assert fault.check == "words"


def test_a_prompt_that_differs_from_its_neighbour_in_wording_only(embedder):
    calm = Role(
        name="anchorite",
        prompts=(
            "You live walled up beside a church, with one window on the altar and one on the lane.",
            "Walled up next to a church you live, one window upon the lane and one upon the altar.",
        ),
    )
    (fault,) = checked(embedder, roles=[calm])
    assert fault.check == "meaning"
    assert "framing" in fault.remedy


PARAPHRASES = [
    ("q03", "Please help me write a brief note to the neighbour who plays loud music."),
    ("q01", "In how you spend your days, what is most important to you?"),
    ("questions", "What makes most new restaurants fail? Explain."),
    ("questions", "Describe for me your perfect afternoon."),
    ("questions", "The neighbour has shifted his garden fence by forty centimetres."),
    ("questions", "Every morning I get up at five and run in the sleet, which I hate."),
    ("questions", "When you feel low, what do you reach for?"),
]


def test_paraphrases_are_found_in_the_full_catalogue(embedder):
    planted = [Question(id=f"again{i}", text=text) for i, (_, text) in enumerate(PARAPHRASES)]
    texts = catalog_texts((), load_traits("full"), [*load_questions("full"), *planted])
    faults, _ = find_doubles([text for text in texts if text.family == "question"], embedder)
    assert {fault.owners[1] for fault in faults} == {f"question {each.id}" for each in planted}
    for (where, _), each in zip(PARAPHRASES, planted, strict=True):
        found = next(fault for fault in faults if f"question {each.id}" in fault.owners)
        assert where in found.where


def test_the_two_sides_of_a_pair_may_be_alike(embedder):
    pair = PromptPair(
        positive="You answer from a quiet porch at dusk with nowhere in the world to be.",
        negative="You answer from a quiet porch at dusk with everywhere in the world to be.",
    )
    assert check_catalog((), [Trait(name="idle", pairs=(pair,))], embedder=embedder).ok


# The searches


def test_words_keep_apostrophes_and_other_scripts():
    assert words("Don't say «naïve» twice!") == ["don't", "say", "naïve", "twice"]


def test_blocks_do_not_change_what_is_found(monkeypatch):
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(60, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    owners = list(range(30)) * 2
    texts = [" ".join(generator.choice(list("abcd"), 9)) for _ in owners]
    whole = search_vectors(vectors, owners, (0.9, 0.8)), search_words(texts, owners, (0.3, 0.2))
    monkeypatch.setattr("persona_lens.catalog.similarity._BLOCK", 7)
    parts = search_vectors(vectors, owners, (0.9, 0.8)), search_words(texts, owners, (0.3, 0.2))
    for one, other in zip(whole, parts, strict=True):
        assert {(p.first, p.second) for p in one.pairs} == {
            (p.first, p.second) for p in other.pairs
        }
        np.testing.assert_allclose(one.nearest, other.nearest, atol=1e-12)
        np.testing.assert_allclose(one.nearest_own, other.nearest_own, atol=1e-12)
    cosines = vectors @ vectors.T
    own = np.equal.outer(owners, owners)
    np.fill_diagonal(cosines, 0)
    expected = np.triu(np.where(own, cosines >= 0.8, cosines >= 0.9)).sum()
    assert len(whole[0].pairs) == expected


def test_texts_without_three_words_are_no_trouble():
    found = search_words(["Why?", "Why not?", "海"], [0, 1, 2], (0.5, 0.5))
    assert found.pairs == []


def test_limits_are_obeyed(embedder):
    strict = Limits(
        words=TOKEN_LIMITS.words, meaning=dict.fromkeys(TOKEN_LIMITS.meaning, (0.1, 0.1))
    )
    report = check_catalog(CORE["roles"], embedder=embedder, limits=strict)
    assert {fault.check for fault in report.faults} == {"meaning"}


def test_report_shows_counts_measures_and_each_fault(embedder):
    asked = [*CORE["questions"], Question(id="leaky", text="What do pirates want [for] supper?")]
    report = check_catalog(CORE["roles"], CORE["traits"], asked, embedder=embedder)
    shown = StringIO()
    Console(file=shown, width=100).print(report)
    text = shown.getvalue()
    for part in ("48 roles", "16 traits", "meaning", "0.75", "names the role 'pirate'", "1 leak"):
        assert part in text
    assert "What do pirates want [for] supper?" in text
    assert "say it without 'pirates'" in text
