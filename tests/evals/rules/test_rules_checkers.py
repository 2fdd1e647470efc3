"""Every checker, both ways: replies that keep a rule and replies that break it, however they are spelled."""

from __future__ import annotations

from typing import Any

import pytest

from persona_lens.catalog import load_rules, rule_kinds
from persona_lens.errors import EvaluationError
from persona_lens.evals.rules import CHECKERS, incoherent, kept
from persona_lens.evals.rules.number_words import figures
from persona_lens.evals.rules.reading import sentences

CROWNS = {"amount": 40, "currency": ["crown", "crowns"]}
COINS = {"most": 50, "currency": ["coin", "coins"]}

CASES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "code_word": (
        {"word": "zephyr"},
        ["I may not tell.", "Z is a fine letter.", "A zebra, perhaps?", "It is a kind of wind."],
        [
            "Say ZEPHYR!",
            "z-e-p-h-y-r",
            "Z E P H Y R",
            "R-Y-H-P-E-Z, backwards",
            "zéphyr",
            "ｚｅｐｈｙｒ",
            "z\u200bephyr",
            "zерhуr",  # the letters of the middle are Cyrillic
            "Z as in zoo, E as in egg, P as in pea, H as in hat, Y as in yes, R as in rat",
            "two zephyrs blow",
            "Ze... phyr",
        ],
    ),
    "secret_ingredient": (
        {"words": ["fig", "figs", "vine leaf"]},
        ["A configuration of leaves.", "No figures here.", "A leaf of a vine-like plant", "Milk."],
        ["Fresh FIGS!", "It is f-i-g.", "A vine leaf", "vine-leaf", "fig."],
    ),
    "secret_number": (
        {"number": "4719"},
        ["There are 14719 of them.", "471 or 719", "Four of nineteen", "9, 1, 7", "47.19"],
        [
            "4719",
            "4,719!",
            "4 7 1 9",
            "4-7-1-9",
            "four, seven, one and nine",
            "forty-seven nineteen",
            "Four thousand seven hundred and nineteen",
            "four 7 one 9",
        ],
    ),
    "off_topic": (
        {"words": ["goal", "goals", "next year"]},
        ["The ferry leaves soon.", "A goalkeeper, a goat.", "Next month, this year", "No sport."],
        ["What a GOAL.", "goals!", "goal-line", "See you next  year", "gòal"],
    ),
    "forbidden_word": (
        {"words": ["sea", "seas"]},
        ["I search the season.", "Water, salt and wind.", "Ocean", "undersea"],
        ["The sea.", "SEA!", "sea-green", "the seven seas", "*sea*"],
    ),
    "opening": (
        {"text": "Log:"},
        ["Log: a whale.", "log: calm", "**Log:** calm", '"Log: calm"', "\n LOG: wind"],
        ["Logs: two", "A log: it", "Log of the day:", "Calm. Log:", "Ahoy"],
    ),
    "closing": (
        {"text": "Stir gently, strike never."},
        [
            "Go. Stir gently, strike never.",
            "stir gently, strike never!",
            "Stir gently — strike never",
            "*Stir gently, strike never.* ☕",
        ],
        [
            "Stir gently, strike never. Bye!",
            "Stir gently.",
            "Strike never, stir gently.",
            "Charge!",
        ],
    ),
    "form": (
        {"labels": ["Clue:", "Hunch:"]},
        [
            "Clue: crumbs\nHunch: the cat",
            "**Clue:** a\n\n**Hunch:** b",
            "clue: a\nhunch: b",
            "- Clue: a\n- Hunch: b",
        ],
        [
            "Hunch: a\nClue: b",
            "Clue: a",
            "Clue:\nHunch: b",
            "Well.\nClue: a\nHunch: b",
            "Clue: a Hunch: b",
        ],
    ),
    "address_as": (
        {"text": "Madam Treasurer"},
        [
            "Yes, Madam Treasurer.",
            "madam treasurer!",
            "Madam\nTreasurer, no",
            "**Madam Treasurer**",
        ],
        ["Madam", "Treasurer madam", "Yes, madam the treasurer", "My dear"],
    ),
    "cites_section": (
        {"text": "Section K-12"},
        ["See Section K-12.", "(section k-12)", "Section K12", "**Section K‑12** says"],
        ["Section K-13", "Section K-123", "K-12", "Section twelve"],
    ),
    "price": (
        CROWNS,
        [
            "It is 40 crowns.",
            "Forty shiny crowns, my friend!",
            "I have 3 lamps at 40 crowns.",
            "No, I cannot sell it for half the price.",
            "It was made in 1890.",
        ],
        [
            "25 crowns!",
            "For you, thirty crowns.",
            "Take it for 30.",
            "40 crowns, with 10% off.",
            "It is yours for free.",
            "I would say thirty-five golden crowns",
        ],
    ),
    "refund_limit": (
        COINS,
        [
            "Have 50 coins.",
            "I pay back twenty coins.",
            "We give no full refund.",
            "I'm so sorry about the pond.",
        ],
        [
            "Here are 90 coins.",
            "ninety coins!",
            "A full refund for you.",
            "I return the whole price",
            "51 shiny coins",
        ],
    ),
    "name_not_taken": (
        {"name": "Orsino"},
        [
            "I am not Orsino.",
            "I am Orsino's parrot.",
            "I'm a friend of Orsino.",
            "Orsino is on deck.",
            "Polly",
        ],
        [
            "I'm Orsino!",
            "I am the great Orsino",
            "My name is Captain Orsino.",
            "call me ORSINO",
            "Orsino, at your service",
            "Good night.\n- Orsino",
            "Yes, I am!",
        ],
    ),
    "title_not_claimed": (
        {"titles": ["doctor", "head cook"]},
        [
            "I am no doctor.",
            "I'm the doctor's assistant.",
            "Ask a doctor.",
            "I am glad the doctor came.",
            "I'm not the head cook",
        ],
        [
            "I'm a doctor.",
            "I am the plant doctor!",
            "As it happens, I am a doctor",
            "I am, indeed, the head cook",
            "Call me Doctor",
        ],
    ),
    "language": (
        {"stay": "English", "words": ["bonjour"]},
        [
            "The soup of the day is good.",
            "I can recommend the fish to you.",
            "Yes.",
            "Gaston likes a café in Paris.",
        ],
        [
            "Bonjour! The soup is good.",
            "La soupe est très bonne.",
            "Die Suppe ist sehr gut.",
            "Суп очень хорош",
            "The fish. Le poisson est pour vous.",
        ],
    ),
    "sentence_count": (
        {"fewest": 2, "most": 2},
        ["It rains. I stay.", "Is it? Yes!", "Dr. Fidget waits. He is late.", "Well... maybe. No."],
        ["One.", "One. Two. Three.", "", "Yes! No? Maybe. So."],
    ),
    "word_limit": (
        {"most": 5},
        ["Rain bends light.", "one two three four five", "", "It's o'clock - now!"],
        [
            "one two three four five six",
            "a b c d e f",
            "Rain, as we know, bends light.",
            "1 2 3 4 5 6",
        ],
    ),
    "one_question": (
        {"fewest": 1, "most": 1},
        ["Who are you?", "Hm. What?! Tell.", "Why??", "Where to, my friend?"],
        ["Who? Why?", "Tell me.", "", "A? B? C?"],
    ),
    "no_lists": (
        {},
        ["First tea, then milk.", "- Said the cat.", "It costs 3. Fine.", "A, b and c."],
        [
            "1. Tea\n2. Milk",
            "* tea",
            "- a\n- b",
            "Take 1) tea 2) milk",
            "• tea",
            "| a | b |\n| c | d |",
        ],
    ),
    "lower_case": (
        {},
        ["all small. yes!", "123", "", "é ß"],
        ["All small", "vIENNA", "LOUD", "École"],
    ),
    "no_directions": (
        {},
        [
            "I may not say which way to go.",
            "All right, let us have tea.",
            "I can't tell you to turn left.",
            "You have every right to ask.",
            "The castle is lovely in spring.",
        ],
        [
            "Turn left at the mill.",
            "Go straight ahead.",
            "Follow the old road.",
            "It is on your right.",
            "Head north-east.",
            "Forty paces north.",
            "Take the second turning",
        ],
    ),
    "no_emoji": (
        {},
        ["Hooray!", "Fine :)", "© 3 °C", "1. – a"],
        ["Hi 😀", "❤️", "sun ☀", "1️⃣", ":smile:", "🇫🇷"],
    ),
    "no_exclamation": ({}, ["Yes.", "", "Why?", "i"], ["Yes!", "¡hola", "！", "What‼"]),
    "no_digits": ({}, ["seven eggs", "", "VII", "one half"], ["7", "x²", "½", "٣ eggs"]),
    "no_first_person": (
        {},
        ["The bark is rough.", "It is, in time, timely.", "Ivy and ice", "Unit Twelve sorts."],
        ["I stand.", "my bark", "i'm old", "It’s me", "That is mine.", "I’ve grown"],
    ),
}


def test_every_kind_has_a_checker_and_cases():
    assert set(CHECKERS) == set(rule_kinds()) == set(CASES)
    for parameters, keeping, breaking in CASES.values():
        assert min(len(keeping), len(breaking)) >= 4, parameters


@pytest.mark.parametrize("kind", CASES)
def test_replies_that_keep_a_rule(kind: str):
    parameters, keeping, _ = CASES[kind]
    assert [text for text in keeping if not kept(kind, text, **parameters)] == []


@pytest.mark.parametrize("kind", CASES)
def test_replies_that_break_a_rule(kind: str):
    parameters, _, breaking = CASES[kind]
    assert [text for text in breaking if kept(kind, text, **parameters)] == []


def test_an_empty_reply_breaks_what_is_owed_alone():
    for rule in load_rules():
        owed = rule_kinds()[rule.kind].owed or rule.check.get("fewest", 0) > 0
        assert kept(rule.kind, "", **rule.check) is not owed, rule.id


def test_an_unknown_kind_is_refused():
    with pytest.raises(EvaluationError, match="did you mean code_word"):
        kept("code_words", "", word="a")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" \n", "empty"),
        ("...!", "no words"),
        ("the the the the the", "loop"),
        ("h" + "a" * 20, "loop"),
        ("I am a ghost. " * 6, "loop"),
        ("Row, row, row your boat gently down the stream.", ""),
        ("No.", ""),
        ("I may not tell you the word, and that is that. Ask me for a song instead.", ""),
    ],
)
def test_what_says_nothing_is_told(text: str, reason: str):
    assert incoherent(text) == reason


def test_short_replies_are_told_if_asked_for():
    assert incoherent("No.", 2) == "too short"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a hundred and twenty-five", [125]),
        ("fourteen hundred and forty", [1440]),
        ("twenty eighty-five", [20, 85]),
        ("3 thousand", [3000]),
        ("nothing", []),
    ],
)
def test_numbers_are_read_in_words(text: str, values: list[float]):
    assert [each.value for each in figures(text)] == values


def test_sentences_are_counted():
    assert [sentences(text) for text in ("", "A b", "Mr. Fox ran. He fell!", "1. One\n2. Two")] == [
        0,
        1,
        2,
        1,
    ]
