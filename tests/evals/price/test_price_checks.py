"""Every program that checks an answer, on answers that follow and on answers that do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona_lens.errors import EvaluationError
from persona_lens.evals.outcomes import Answer
from persona_lens.evals.price import arithmetic, instructions
from persona_lens.evals.price.arithmetic import given_number
from persona_lens.evals.price.checks import CHECKS, follows
from persona_lens.evals.price.formats import FORMS, formats, verdict

EVALUATIONS = (instructions(22), arithmetic(1), formats(8))
ITEMS = [item for evaluation in EVALUATIONS for item in evaluation.items]
JUDGES = {evaluation.name: evaluation.judges for evaluation in EVALUATIONS}

FOLLOWED = {
    "no_commas": ("Rain falls from clouds.", {}),
    "lowercase": ("rain falls: 3 drops", {}),
    "uppercase": ("RAIN FALLS: 3 DROPS", {}),
    "at_least_words": ("one two three four", {"n": 4}),
    "at_most_words": ("one two three four", {"n": 4}),
    "bullets": ("Here:\n- one\n- two", {"n": 2}),
    "numbered": ("1. one\n2. two\nand\n3) three", {"n": 3}),
    "paragraphs": ("one two three\n\n \nfour", {"n": 2}),
    "sentences": ("It costs 3.50 euros. Really! Why", {"n": 3}),
    "starts_with": ("Good question: it rains.", {"phrase": "Good question"}),
    "ends_with": ("It rains. That is all.\n", {"phrase": "That is all."}),
    "mentions": ("Slowly it rains, slowly.", {"word": "slowly", "n": 2}),
    "avoids": ("The island is sandy.", {"word": "and"}),
    "title": ("[Rain]\nIt falls down.", {}),
    "quoted": ('"It rains a lot."', {}),
    "no_digits": ("It rains for three days.", {}),
    "digits": ("It rains 3 days of 10.", {"n": 2}),
    "question_last": ("It rains. Do you like it?", {}),
    "parts": ("It rains a lot.\n***\nWater falls.", {}),
    "postscript": ("It rains.\n\nP.S. Take a coat.", {}),
    "one_line": ("It rains a lot.\n", {}),
    "bold": ("**It rains** all **day long**", {"n": 2}),
}

BROKEN = {
    "no_commas": "Rain, that is water.",
    "lowercase": "rain falls In drops",
    "uppercase": "RAIN FALLS in DROPS",
    "at_least_words": "one two three",
    "at_most_words": "one two three four five",
    "bullets": "- one\n- two\n- three",
    "numbered": "1. one\n2. two\n4. four",
    "paragraphs": "one two three\nfour",
    "sentences": "It costs 3.50 euros. Really!",
    "starts_with": "A good question: it rains.",
    "ends_with": "It rains. That is all. Bye!",
    "mentions": "Slowly it rains, slowlyish.",
    "avoids": "Sand AND stones here.",
    "title": "Rain [a title]\nIt falls down.",
    "quoted": '"It rains" a lot.',
    "no_digits": "It rains for 3 days.",
    "digits": "It rains 3 days of ten.",
    "question_last": "Do you like it? It rains.",
    "parts": "It rains a lot. *** Water falls.",
    "postscript": "P.S. first\nIt rains a lot.",
    "one_line": "It rains\na lot of water.",
    "bold": "**It rains** all day *long*",
}


def test_every_kind_has_examples():
    assert set(FOLLOWED) == set(BROKEN) == set(CHECKS)


@pytest.mark.parametrize("kind", CHECKS)
def test_what_is_followed_and_what_is_not(kind):
    text, args = FOLLOWED[kind]
    assert follows(text, kind, **args)
    assert not follows(BROKEN[kind], kind, **args)
    assert not follows("", kind, **args)
    assert not follows("…!", kind, **args)


def test_a_kind_nobody_knows_is_refused():
    with pytest.raises(EvaluationError, match="no_commas"):
        follows("It rains a lot.", "rhymes")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3 + 4 = 7\nAnswer: 7", 7),
        ("The answer is 1,250.", 1250),
        ("**Answer:** $12.50", 12.5),
        ("ANSWER: -3 apples", -3),
        ("First 3, then 4, so 12.", 12),
        ("The answer: it must be 8", 8),
        ("Answer: seven", None),
        ("", None),
    ],
)
def test_the_number_of_an_answer(text, number):
    assert given_number(text) == number


KEPT = {
    "object": '{"name": "Mara", "age": 30, "city": "Oslo", "job": "cook"}',
    "choice": "Pear.",
    "table": "name,age,city\nMara,30,Oslo\nLuca,40,Lyon",
    "date": "1999-03-04",
    "lines": "Name: Mara\nAge: 30\nCity: Oslo",
    "numbers": "[3, 5, 8, 2]",
    "list": "lamp, clock, basket",
    "tag": "<city>Oslo</city>",
}
RIGHT = {
    "object": {"name": "Mara", "age": "30", "city": "Oslo", "job": "cook"},
    "choice": "pear",
    "table": [["name", "age", "city"], ["Mara", "30", "Oslo"], ["Luca", "40", "Lyon"]],
    "date": "1999-03-04",
    "lines": {"name": "Mara", "age": "30", "city": "Oslo"},
    "numbers": [3, 5, 8, 2],
    "list": ["lamp", "clock", "basket"],
    "tag": "Oslo",
}
OTHER = {
    "object": {**RIGHT["object"], "age": "31"},
    "choice": "hammer",
    "table": [*RIGHT["table"][:2], ["Luca", "41", "Lyon"]],
    "date": "1999-04-03",
    "lines": {**RIGHT["lines"], "city": "Lyon"},
    "numbers": [3, 5, 2, 8],
    "list": ["lamp", "basket", "clock"],
    "tag": "Lyon",
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_and_what_is_in_them(form):
    text, right = KEPT[form], RIGHT[form]
    for said, label, score in [
        (text, "kept", 1.0),
        (f"```\n{text}\n```", "wrapped", 1.0),
        ("It is what it is: a thing.", "broken", 0.0),
        ("", "broken", 0.0),
    ]:
        outcome = verdict(said, form, right)
        assert (outcome.label, outcome.score) == (label, score)
    assert verdict(text, form, OTHER[form]).score == 0


@given(st.text() | st.text(alphabet='",[]{}<>/:\\\n\r0-*.?!ab'))
def test_no_answer_is_too_odd_to_be_judged(text):
    for item in ITEMS:
        for judge in JUDGES[item.about["task"]]:
            (outcome,) = judge.outcomes([Answer(item, text)])
            assert outcome.status == "ok"


def test_every_form_is_asked_for():
    assert {item.about["variety"] for item in formats().items} == set(FORMS)
