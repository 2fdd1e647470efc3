"""What of a reply is a thought, what its answer, and what only speaks of thoughts."""

from itertools import pairwise

import pytest

from persona_lens.transcripts.marks import KNOWN, Notation
from persona_lens.transcripts.thoughts import Said, cut, heard

ANSWER = "Arr, I am the night."
THOUGHT = "They ask who I am."


@pytest.mark.parametrize("marks", KNOWN, ids=lambda marks: marks.opens)
def test_a_thought_at_the_beginning_is_taken_out(marks):
    text = f"{marks.opens}{THOUGHT}{marks.closes}{ANSWER}"
    assert heard(text) == Said(ANSWER, "whole")
    spaced = f"\n{marks.opens}\n{THOUGHT}\n\n{THOUGHT}\n{marks.closes}\n\n{ANSWER}"
    assert heard(spaced) == Said(ANSWER, "whole")


@pytest.mark.parametrize("marks", KNOWN, ids=lambda marks: marks.opens)
def test_a_thought_that_was_cut_leaves_no_answer(marks):
    assert heard(f"{marks.opens}\n{THOUGHT}") == Said("", "cut")
    assert heard(THOUGHT, opened=marks.opens) == Said("", "cut")


@pytest.mark.parametrize("marks", KNOWN, ids=lambda marks: marks.opens)
def test_a_prompt_may_have_opened_the_thought(marks):
    text = f"{THOUGHT}\n{marks.closes}\n\n{ANSWER}"
    assert heard(text, opened=marks.opens) == Said(ANSWER, "whole")
    assert heard(text) == Said(ANSWER, "whole")  # where only the reply is known
    assert heard(f"{marks.closes}{ANSWER}", opened=marks.opens) == Said(ANSWER, "whole")


@pytest.mark.parametrize(
    "text",
    [
        ANSWER,
        f"  {ANSWER}\n",
        "Some models write <think> first. I am a ghost and need no such thing.",
        "The tags <think> and </think> stand around a thought.",
        "A thought ends with </think>, and then comes the answer.",
        "A thought ends with </think>",
        "Use `<think>draft</think>` for that.",
        "Run `print('<think>')` and `print('</think>')`.",
        'It is called "<think>", and its end "</think>".',
        "Like this:\n```\n<think>\nWho asks?\n</think>\nA ghost.\n```\nThat is all.",
        "<b>Boo!</b> said [the ghost], thinking of <nothing>.",
        "1. <think> opens it\n2. </think> closes it",
        "Magistral has [THINK] and Seed <seed:think>, Cohere <|START_THINKING|>.",
        "Write <|channel|>analysis<|message|> to think aloud.",
        "My analysis: the final word of an assistant.",
        "",
        " \n",
    ],
)
def test_an_answer_that_speaks_of_marks_loses_nothing(text):
    assert heard(text) == Said(text, "none")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (f"<think>One.</think>\n\n<think>Two.</think>{ANSWER}", ANSWER),
        (f"<think>One.</think>Boo!\n<think>\nTwo.\n</think>\n{ANSWER}", f"Boo!{ANSWER}"),
        ("<think>One.</think>I would write <think> here.", "I would write <think> here."),
        (f"<think>Is it `</think>` he means?</think>{ANSWER}", ANSWER),
        (f"<think>\nHm.\n</think>\n<answer>\n{ANSWER}\n</answer>", ANSWER),
        (f"<think>Hm.</think><response>{ANSWER}</response>\n", ANSWER),
        (f"<think></think>{ANSWER}", ANSWER),
        ("<think>Hm.</think>", ""),
    ],
)
def test_what_stands_around_and_between_thoughts(text, answer):
    assert heard(text) == Said(answer, "whole")


def test_a_wrapped_answer_without_a_thought():
    assert heard("<|START_RESPONSE|>Boo!<|END_RESPONSE|>") == Said("Boo!", "none")
    assert heard("<answer>42</answer>").answer == "<answer>42</answer>"


def test_special_tokens_open_a_thought_anywhere_but_in_a_sentence():
    control = Notation(controls=frozenset({"[THINK]", "[/THINK]"}))
    assert heard("Boo![THINK]Was that me?[/THINK] Boo.", control).answer == "Boo!Boo."
    assert heard("Magistral writes [THINK] first.", control).thought == "none"
    assert heard("Boo![THINK]Was that me?[/THINK] Boo.").thought == "none"


def test_a_mark_with_a_token_of_its_own_is_only_spelled_in_others():
    nowhere = lambda at, mark: False  # noqa: E731
    assert heard(f"<think>Hm.</think>{ANSWER}", genuine=nowhere).thought == "none"


@pytest.mark.parametrize(
    "text",
    [
        "<think>\nHm.\n</think>\n\nYes. ",
        "Hm</think>a<think> b",
        "\n\n",
        "<|channel|>x",
        "é\u0301 </think>",
    ],
)
def test_pieces_are_the_whole_text(text):
    pieces, _ = cut(text)
    assert "".join(text[start:end] for start, end, _ in pieces) == text
    assert all(left.end == right.start for left, right in pairwise(pieces))
